//! The operations of a queue on ONNX Runtime's CPU provider against those in host memory.

use half::f16;

use super::super::{HostQueue, Queue as _, Transfer, View};
use super::tests::{executor, library};
use super::*;
use crate::error::ErrorKind;
use crate::exec::Buffer;
use crate::frame::{Fit, Frame, FrameConverter, FrameView, PixelFormat};

fn queues() -> Vec<(f32, Arc<dyn Queue>)> {
    let Some(library) = library() else { return Vec::new() };
    // Half precision has 11 bits.
    let of = |dtype, tolerance| (tolerance, executor(&library, dtype).unwrap().queue());
    vec![of(Dtype::F32, 0.0), of(Dtype::F16, 1.0 / 1024.0)]
}

fn uploaded(queue: &dyn Queue, elements: &[f32]) -> Buffer {
    let mut buffer = queue.buffer(elements.len()).unwrap();
    queue.upload(elements, buffer.view_mut()).unwrap();
    buffer
}

fn downloaded(queue: &dyn Queue, view: View<'_>) -> Vec<f32> {
    let mut elements = vec![f32::NAN; view.len()];
    queue.download(view, &mut elements).unwrap();
    elements
}

fn assert_close(found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        let bound = tolerance * expected.abs().max(1.0) * 8.0;
        assert!((found - expected).abs() <= bound, "{found}, expected {expected} within {bound}");
    }
}

#[test]
fn combinations_of_any_number_of_terms_equal_those_in_host_memory() {
    let vectors: Vec<Vec<f32>> = (0..9_u32).map(|i| (0..7).map(|j| (i * 7 + j) as f32 / 8.0 - 3.0).collect()).collect();
    for (tolerance, queue) in queues() {
        let queue = &*queue;
        let buffers: Vec<Buffer> = vectors.iter().map(|vector| uploaded(queue, vector)).collect();
        for count in 0..=9 {
            for keep in [0.0, 1.0, -0.75] {
                let factor = |i: usize| if i == 2 { 0.0 } else { 1.5 - i as f32 / 4.0 };
                let mut expected = vec![2.0; 7];
                let host: Vec<(f32, View<'_>)> =
                    vectors[..count].iter().enumerate().map(|(i, x)| (factor(i), x.into())).collect();
                HostQueue.combine((&mut expected).into(), keep, &host).unwrap();
                let mut to = uploaded(queue, &[2.0; 7]);
                // Every other operand is in host memory.
                let view = |i: usize| if i % 2 == 1 { View::from(&vectors[i]) } else { buffers[i].view() };
                let terms: Vec<(f32, View<'_>)> = (0..count).map(|i| (factor(i), view(i))).collect();
                queue.combine(to.view_mut(), keep, &terms).unwrap();
                assert_close(&downloaded(queue, to.view()), &expected, tolerance * 4.0);
            }
        }
    }
}

#[test]
fn ranges_of_a_buffer_are_read_and_written_alone() {
    for (_, queue) in queues() {
        let queue = &*queue;
        let from = uploaded(queue, &[1.0, 2.0, 3.0, 4.0]);
        let mut to = uploaded(queue, &[9.0; 5]);
        queue.copy(from.range(1..3), to.range_mut(2..4)).unwrap();
        assert_eq!(downloaded(queue, to.view()), [9.0, 9.0, 2.0, 3.0, 9.0]);
        queue.clear(to.range_mut(0..3)).unwrap();
        assert_eq!(downloaded(queue, to.range(1..5)), [0.0, 0.0, 3.0, 9.0]);
        assert_eq!(downloaded(queue, queue.buffer(3).unwrap().view()), [0.0; 3]);
    }
}

/// Infinity and not-a-number must not remain in a stream that is reset.
#[test]
fn clearing_replaces_what_is_not_a_number() {
    for (_, queue) in queues() {
        let mut to = uploaded(&*queue, &[f32::NAN, f32::INFINITY]);
        queue.clear(to.view_mut()).unwrap();
        assert_eq!(downloaded(&*queue, to.view()), [0.0; 2]);
    }
}

#[test]
fn more_sets_of_operands_than_bindings_are_kept_give_their_own_results() {
    for (_, queue) in queues() {
        let queue = &*queue;
        let buffers: Vec<Buffer> = (0..40_u8).map(|i| uploaded(queue, &[f32::from(i)])).collect();
        let mut sums: Vec<Buffer> = (0..40).map(|_| queue.buffer(1).unwrap()).collect();
        for _ in 0..2 {
            for (buffer, sum) in buffers.iter().zip(&mut sums) {
                queue.combine(sum.view_mut(), 1.0, &[(2.0, buffer.view())]).unwrap();
            }
        }
        let sums: Vec<f32> = sums.iter().map(|sum| downloaded(queue, sum.view())[0]).collect();
        assert!(sums.iter().enumerate().all(|(i, &sum)| sum == 4.0 * i as f32), "{sums:?}");
    }
}

#[test]
fn images_in_zero_to_one_equal_those_in_host_memory() {
    let image = [-1.5, -1.0, -0.25, 0.0, 0.7, 1.0, 2.0];
    for (tolerance, queue) in queues() {
        let mut expected = vec![0.0; image.len()];
        HostQueue.to_unit((&image).into(), (&mut expected).into()).unwrap();
        let (from, mut to) = (uploaded(&*queue, &image), queue.buffer(image.len()).unwrap());
        queue.to_unit(from.view(), to.view_mut()).unwrap();
        assert_close(&downloaded(&*queue, to.view()), &expected, tolerance);
    }
}

fn black(format: PixelFormat, width: u32, height: u32) -> Frame {
    Frame::from_packed(format, width, height, vec![0; format.packed_len(width, height)]).unwrap()
}

#[test]
fn frames_are_the_same_after_an_upload_and_a_download() {
    let (width, height) = (16, 16);
    let formats = [PixelFormat::Rgb8, PixelFormat::Rgba8, PixelFormat::Bgra8, PixelFormat::Rgba16F, PixelFormat::Nv12];
    let rgb: Vec<u8> = (0..width * height * 3).map(|i| i as u8).collect();
    for (tolerance, queue) in queues() {
        for format in formats {
            let mut converter = FrameConverter::new();
            let convert = |queue: &dyn Queue, converter: &mut FrameConverter, frame: &FrameView<'_>| {
                let mut buffer = queue.buffer(rgb.len()).unwrap();
                queue.import(frame, converter, Fit::Stretch, (width, height), buffer.view_mut()).unwrap();
                let (mut transfer, mut out) = (Transfer::new(), black(format, width, height));
                queue.begin_export(buffer.view(), &mut transfer).unwrap();
                let view = &mut out.view_mut();
                queue.finish_export(buffer.view(), &mut transfer, converter, (width, height), view).unwrap();
                out
            };
            let plain = FrameView::packed(PixelFormat::Rgb8, width, height, &rgb).unwrap();
            let first = convert(&HostQueue, &mut converter, &plain);
            let expected = convert(&HostQueue, &mut converter, &first.view());
            let found = convert(&*queue, &mut converter, &first.view());
            if format == PixelFormat::Rgba16F {
                // The values' own format rounds twice as much near 1 as that of the frame.
                let halves = |frame: &Frame| -> Vec<f32> {
                    let pixels = frame.pixels().as_chunks::<2>().0;
                    pixels.iter().map(|&half| f16::from_ne_bytes(half).to_f32()).collect()
                };
                assert_close(&halves(&found), &halves(&expected), tolerance);
            } else {
                assert!(found.pixels() == expected.pixels(), "{format:?}");
            }
        }
    }
}

#[test]
fn pictures_that_are_not_numbers_are_black() {
    for (_, queue) in queues() {
        let image = uploaded(&*queue, &[f32::NAN, f32::NEG_INFINITY, f32::INFINITY, -3.0, 3.0, 0.0].repeat(2));
        let (mut transfer, mut out) = (Transfer::new(), black(PixelFormat::Rgb8, 2, 2));
        queue.begin_export(image.view(), &mut transfer).unwrap();
        let (converter, view) = (&mut FrameConverter::new(), &mut out.view_mut());
        queue.finish_export(image.view(), &mut transfer, converter, (2, 2), view).unwrap();
        assert_eq!(out.pixels()[..6], [0, 0, 255, 0, 255, 128]);
    }
}

#[test]
fn other_lengths_and_memory_of_another_device_are_refused_and_nothing_is_written() {
    let all = queues();
    for (index, (_, queue)) in all.iter().enumerate() {
        let other = uploaded(&*all[1 - index].1, &[5.0; 2]);
        let mut to = uploaded(&**queue, &[7.0; 2]);
        let refused = |result: Result<()>| assert_eq!(result.unwrap_err().kind(), ErrorKind::InvalidArgument);
        refused(queue.combine(to.view_mut(), 0.0, &[(1.0, (&[1.0; 2]).into()), (1.0, other.view())]));
        refused(queue.combine(to.view_mut(), 0.0, &[(1.0, (&[1.0; 3]).into())]));
        refused(queue.to_unit(other.view(), to.view_mut()));
        refused(queue.upload(&[1.0; 3], to.view_mut()));
        refused(queue.download(other.view(), &mut [0.0; 2]));
        assert_eq!(downloaded(&**queue, to.view()), [7.0; 2]);
    }
}
