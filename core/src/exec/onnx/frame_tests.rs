//! Frames in the memory of the device, which is that of the host for ONNX Runtime's CPU provider, against frames in host
//! memory.

use std::ffi::c_void;
use std::path::Path;
use std::ptr::NonNull;

use proptest::prelude::*;

use super::super::{Buffer, Transfer};
use super::conversions::{Conversion, Conversions, Layout};
use super::tests::{executor, library_for_cpu};
use super::*;
use crate::error::ErrorKind;
use crate::frame::{
    DeviceFrame, DeviceFrameMut, Fit, FrameConverter, FrameMemory, FrameView, FrameViewMut, Origin, PixelFormat, Plane,
    PlaneMut,
};

/// A frame with padding in its rows.
#[derive(Debug, Clone)]
struct Texture {
    format: PixelFormat,
    width: u32,
    height: u32,
    stride: usize,
    origin: Origin,
    bytes: Vec<u8>,
}

impl Texture {
    fn new(format: PixelFormat, (width, height): (u32, u32), padding: usize, origin: Origin) -> Self {
        let stride = format.packed_len(width, 1) + padding;
        let len = format.plane_span(0, width, height, stride).unwrap();
        let noise = |i: usize| (i.wrapping_mul(2_654_435_761) >> 11) as u8;
        Self { format, width, height, stride, origin, bytes: (0..len).map(noise).collect() }
    }

    fn view(&self) -> FrameView<'_> {
        let plane = Plane { pixels: &self.bytes, stride: self.stride };
        FrameView::new(self.format, self.width, self.height, &[plane]).unwrap().with_origin(self.origin)
    }

    fn view_mut(&mut self) -> FrameViewMut<'_> {
        let plane = PlaneMut { pixels: &mut self.bytes, stride: self.stride };
        FrameViewMut::new(self.format, self.width, self.height, [plane]).unwrap().with_origin(self.origin)
    }

    #[expect(unsafe_code, reason = "describes the texture's own bytes")]
    fn device(&self) -> DeviceFrame<'_> {
        let Self { format, width, height, stride, origin, bytes } = self;
        // SAFETY: the bytes are borrowed as long as the frame.
        let frame = unsafe { DeviceFrame::new(*format, *width, *height, bytes.as_ptr(), *stride, FrameMemory::Host) };
        frame.unwrap().with_origin(*origin)
    }

    #[expect(unsafe_code, reason = "describes the texture's own bytes")]
    fn device_mut(&mut self, memory: FrameMemory) -> DeviceFrameMut<'_> {
        let Self { format, width, height, stride, origin, bytes } = self;
        // SAFETY: the bytes are borrowed as long as the frame; other memory is refused before it is used.
        let frame = unsafe { DeviceFrameMut::new(*format, *width, *height, bytes.as_mut_ptr(), *stride, memory) };
        frame.unwrap().with_origin(*origin)
    }
}

fn queue(library: &Path, dtype: Dtype) -> Arc<dyn Queue> {
    executor(library, dtype).unwrap().queue()
}

/// Returns the bytes of the image that a queue makes from a frame.
fn imported(queue: &dyn Queue, image: (u32, u32), import: impl FnOnce(&dyn Queue, &mut Buffer)) -> Vec<u8> {
    let len = image.0 as usize * image.1 as usize * 3;
    let mut buffer = queue.buffer(len).unwrap();
    import(queue, &mut buffer);
    let mut bytes = vec![0; len];
    let (mut transfer, converter) = (Transfer::new(), &mut FrameConverter::new());
    queue.begin_export(buffer.view(), &mut transfer).unwrap();
    let mut out = FrameViewMut::packed(PixelFormat::Rgb8, image.0, image.1, &mut bytes).unwrap();
    queue.finish_export(buffer.view(), &mut transfer, converter, image, &mut out).unwrap();
    bytes
}

/// Checks that a frame on the device and one in host memory give the same image; returns the largest difference.
fn difference(queue: &dyn Queue, texture: &Texture, fit: Fit, image: (u32, u32)) -> u8 {
    let expected = imported(queue, image, |queue, to| {
        queue.import(&texture.view(), &mut FrameConverter::new(), fit, image, to.view_mut()).unwrap();
    });
    let found = imported(queue, image, |queue, to| {
        queue.import_device(&texture.device(), fit, image, to.view_mut()).unwrap();
    });
    expected.iter().zip(&found).map(|(a, b)| a.abs_diff(*b)).max().unwrap()
}

fn formats() -> impl Strategy<Value = PixelFormat> {
    prop_oneof![Just(PixelFormat::Rgba8), Just(PixelFormat::Bgra8), Just(PixelFormat::Rgb8)]
}

fn origins() -> impl Strategy<Value = Origin> {
    prop_oneof![Just(Origin::TopLeft), Just(Origin::BottomLeft)]
}

fn sizes() -> impl Strategy<Value = (u32, u32)> {
    (1..70_u32, 1..50_u32)
}

fn textures() -> impl Strategy<Value = Texture> {
    (formats(), sizes(), prop_oneof![Just(0), 1..40_usize], origins())
        .prop_map(|(format, size, padding, origin)| Texture::new(format, size, padding, origin))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn frames_on_the_device_give_the_images_of_frames_in_host_memory(
        texture in textures(),
        image in sizes(),
        fit in prop_oneof![Just(Fit::Cover), Just(Fit::Fit), Just(Fit::Stretch)],
    ) {
        let Some(library) = library_for_cpu() else { return Ok(()) };
        let queue = queue(&library, Dtype::F32);
        prop_assert!(difference(&*queue, &texture, fit, image) <= 1);
        // Without scaling: the whole frame, and a part of it.
        let size = (texture.width, texture.height);
        prop_assert_eq!(difference(&*queue, &texture, fit, size), 0);
        let cropped = (size.0, size.1.div_ceil(2));
        prop_assert_eq!(difference(&*queue, &texture, Fit::Cover, cropped), 0);
    }

    #[test]
    fn pictures_on_the_device_equal_those_in_host_memory_and_padding_keeps_its_bytes(texture in textures()) {
        let Some(library) = library_for_cpu() else { return Ok(()) };
        for dtype in [Dtype::F32, Dtype::F16] {
            let queue = queue(&library, dtype);
            let size = (texture.width, texture.height);
            let values: Vec<f32> = (0..size.0 * size.1 * 3).map(|i| (i % 113) as f32 / 50.0 - 1.1).collect();
            let mut image = queue.buffer(values.len()).unwrap();
            queue.upload(&values, image.view_mut()).unwrap();
            let (mut expected, mut found) = (texture.clone(), texture.clone());
            let (mut transfer, converter) = (Transfer::new(), &mut FrameConverter::new());
            queue.begin_export(image.view(), &mut transfer).unwrap();
            queue.finish_export(image.view(), &mut transfer, converter, size, &mut expected.view_mut()).unwrap();
            queue.export_device(image.view(), size, &mut found.device_mut(FrameMemory::Host)).unwrap();
            prop_assert_eq!(found.bytes, expected.bytes);
        }
    }
}

#[test]
fn large_frames_differ_by_at_most_one_level() {
    let Some(library) = library_for_cpu() else { return };
    let queue = queue(&library, Dtype::F32);
    for (size, image, fit) in [((640, 360), (256, 256), Fit::Cover), ((320, 180), (512, 512), Fit::Fit)] {
        let texture = Texture::new(PixelFormat::Bgra8, size, 16, Origin::BottomLeft);
        assert!(difference(&*queue, &texture, fit, image) <= 1, "{size:?} {image:?}");
    }
}

/// Nothing on the way is an operand in host memory, so nothing is transferred.
#[test]
fn frames_on_the_device_are_not_transferred() {
    let Some(library) = library_for_cpu() else { return };
    let executor = executor(&library, Dtype::F16).unwrap();
    let queue = executor.queue();
    let mut texture = Texture::new(PixelFormat::Rgba8, (24, 16), 8, Origin::TopLeft);
    let mut image = queue.buffer(16 * 16 * 3).unwrap();
    executor.take_counts();
    queue.import_device(&texture.device(), Fit::Cover, (16, 16), image.view_mut()).unwrap();
    texture = Texture::new(PixelFormat::Rgba8, (16, 16), 8, Origin::TopLeft);
    queue.export_device(image.view(), (16, 16), &mut texture.device_mut(FrameMemory::Host)).unwrap();
    let counts = executor.take_counts();
    assert_eq!((counts.uploads, counts.downloads, counts.runs), (0, 0, 2));
}

#[test]
fn conversions_are_made_once_and_a_bounded_number_is_kept() {
    let Some(library) = library_for_cpu() else { return };
    let executor = executor(&library, Dtype::F32).unwrap();
    let (conversions, sessions) = (Conversions::default(), &executor.device.sessions);
    let textures: Vec<Texture> =
        (1..12).map(|side| Texture::new(PixelFormat::Rgb8, (side, 4), 0, Origin::TopLeft)).collect();
    let made = |texture: &Texture| {
        let conversion = Conversion::Import(Layout::of(&texture.device()), Fit::Stretch, (8, 8));
        conversions.session(conversion, ElementType::F32, sessions).unwrap()
    };
    let first = made(&textures[0]);
    assert!(Arc::ptr_eq(&first, &made(&textures[0])));
    for texture in &textures {
        made(texture);
        made(&textures[0]);
    }
    assert_eq!(conversions.count(), 8);
    assert!(Arc::ptr_eq(&first, &made(&textures[0])), "the most recently used one is kept");
}

#[test]
fn other_memory_streams_and_sizes_are_refused_and_nothing_is_written() {
    let Some(library) = library_for_cpu() else { return };
    let queue = queue(&library, Dtype::F32);
    assert_eq!(queue.frame_memory(), Some(FrameMemory::Host));
    let mut texture = Texture::new(PixelFormat::Rgba8, (4, 4), 0, Origin::TopLeft);
    let before = texture.bytes.clone();
    let image = queue.buffer(4 * 4 * 3).unwrap();
    let refused = |result: Result<()>, kind: ErrorKind, text: &str| {
        let error = result.unwrap_err();
        assert_eq!((error.kind(), error.to_string().contains(text)), (kind, true), "{error}");
    };
    let other = FrameMemory::Cuda { device: 2 };
    refused(
        queue.export_device(image.view(), (4, 4), &mut texture.device_mut(other)),
        ErrorKind::InvalidArgument,
        "got memory of CUDA device 2, expected memory of the host",
    );
    #[expect(unsafe_code, reason = "the stream is refused before it is used")]
    // SAFETY: likewise.
    let mut streamed = unsafe { texture.device_mut(FrameMemory::Host).with_stream(NonNull::<c_void>::dangling()) };
    refused(
        queue.export_device(image.view(), (4, 4), &mut streamed),
        ErrorKind::InvalidArgument,
        "got 0x1 for memory of the host, expected none",
    );
    refused(
        queue.export_device(image.view(), (2, 8), &mut texture.device_mut(FrameMemory::Host)),
        ErrorKind::InvalidFrame,
        "got 4x4, expected 2x8",
    );
    let mut short = queue.buffer(5).unwrap();
    refused(
        queue.import_device(&texture.device(), Fit::Cover, (4, 4), short.view_mut()),
        ErrorKind::InvalidArgument,
        "got 5 elements, expected 48",
    );
    assert_eq!(texture.bytes, before);
}
