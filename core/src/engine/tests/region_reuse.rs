//! Engines that compute only what depends on changed pixels.

use crate::engine::{Engine, EngineOptions, RegionReuse};
use crate::error::ErrorKind;
use crate::exec::Dtype;
use crate::frame::{FrameView, PixelFormat};
use crate::params::StreamDiffusionParams;

const SIDE: u32 = 128;

fn engine(region_reuse: RegionReuse, dtype: Dtype) -> Engine {
    let params = StreamDiffusionParams { width: SIDE, height: SIDE, ..StreamDiffusionParams::demo() };
    let options = EngineOptions { region_reuse, dtype, threads: Some(2), ..EngineOptions::default() };
    Engine::builder().params(params).options(options).build().unwrap()
}

/// A frame with a square that moves on with `index` before a wall, with noise of `noise` levels.
fn frame(index: u32, noise: u32) -> Vec<u8> {
    let mut state = index.wrapping_mul(0x9e37_79b9) | 1;
    let mut pixels = Vec::new();
    for y in 0..SIDE {
        for x in 0..SIDE {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            let is_inside = (20 + 2 * index..36 + 2 * index).contains(&x) && (30..50).contains(&y);
            let colour = if is_inside { [220, 60, 90] } else { [x + 40, y + 30, 100] };
            pixels.extend(colour.map(|value| (value + state % (noise + 1)) as u8));
        }
    }
    pixels
}

fn picture(engine: &mut Engine, pixels: &[u8]) -> Vec<u8> {
    let frame = FrameView::packed(PixelFormat::Rgb8, SIDE, SIDE, pixels).unwrap();
    engine.process(&frame).unwrap().frame.pixels().to_vec()
}

/// The pixels of frames and of latents that were not computed again.
fn unchanged(engine: &Engine) -> [u64; 2] {
    let work = engine.work();
    [work.unchanged_frame_pixels, work.unchanged_latent_pixels]
}

#[test]
fn exact_reuse_has_the_bytes_of_whole_runs_through_changes_of_parameters() {
    for dtype in [Dtype::F32, Dtype::Auto] {
        let [mut whole, mut reusing] = [RegionReuse::Off, RegionReuse::Exact].map(|reuse| engine(reuse, dtype));
        // The last frames are equal: then latents are, too, after as many frames as there are steps.
        for index in [0, 1, 2, 3, 4, 4, 4, 4, 4] {
            for engine in [&mut whole, &mut reusing] {
                if index == 2 {
                    engine.edit(|params| params.prompt = "a mosaic".into()).unwrap();
                }
            }
            let pixels = frame(index, 0);
            assert!(picture(&mut whole, &pixels) == picture(&mut reusing, &pixels), "{dtype}, frame {index}");
        }
        let [frames, latents] = unchanged(&reusing);
        let pixels = u64::from(SIDE * SIDE);
        assert!(frames > 7 * pixels && latents >= pixels / 64, "{frames} {latents}");
        assert_eq!(unchanged(&whole), [0, 0]);
    }
}

#[test]
fn a_change_of_the_size_begins_with_a_whole_run() {
    let mut engine = engine(RegionReuse::Exact, Dtype::F32);
    let pixels = frame(0, 0);
    let first = picture(&mut engine, &pixels);
    engine.edit(|params| params.width = SIDE / 2).unwrap();
    picture(&mut engine, &pixels);
    engine.edit(|params| params.width = SIDE).unwrap();
    let before = unchanged(&engine);
    assert!(picture(&mut engine, &pixels) == first && unchanged(&engine) == before);
}

#[test]
fn approximate_reuse_ignores_noise_but_not_motion() {
    let [mut exact, mut approximate] =
        [RegionReuse::Exact, RegionReuse::Approximate].map(|reuse| engine(reuse, Dtype::F32));
    for index in 0..6 {
        let pixels = frame(index, 4);
        picture(&mut exact, &pixels);
        picture(&mut approximate, &pixels);
    }
    let pixels = u64::from(SIDE * SIDE);
    assert_eq!(unchanged(&exact)[0], 0);
    let [frames, _] = unchanged(&approximate);
    assert!((3 * pixels..5 * pixels).contains(&frames), "{frames} of {}", 6 * pixels);
}

#[test]
fn a_threshold_out_of_range_is_refused_with_the_range() {
    for threshold in [-1.0, 256.0, f32::NAN] {
        let options = EngineOptions { region_threshold: threshold, ..EngineOptions::default() };
        let refused = Engine::builder().options(options).build().unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
        assert_eq!(refused.to_string(), format!("region_threshold: got {threshold}, expected 0 to 255"));
    }
}
