//! Frames that tests feed, and the engines they feed them to.

use dreamframe::{Engine, EngineOptions, FrameView, PixelFormat, StreamDiffusionParams};

/// A picture of `width` x `height` RGBA pixels that moves on with `index`: a gradient with a bright disc.
pub fn moving_disc(index: usize, width: u32, height: u32) -> Vec<u8> {
    let (w, h) = (width as f32, height as f32);
    let (cx, cy) = (w * (0.2 + 0.08 * index as f32), h * (0.7 - 0.05 * index as f32));
    let mut pixels = Vec::with_capacity(width as usize * height as usize * 4);
    for y in 0..height {
        for x in 0..width {
            let (x, y) = (x as f32, y as f32);
            let inside = (x - cx).powi(2) + (y - cy).powi(2) < (w * 0.15).powi(2);
            let ground = [x / w * 200.0, y / h * 160.0 + 40.0, 120.0];
            let colour = if inside { [240.0, 210.0, 60.0] } else { ground };
            pixels.extend(colour.map(|value| value as u8));
            pixels.push(255);
        }
    }
    pixels
}

/// A demo engine for small pictures.
///
/// # Panics
///
/// If the demo model does not load: then nothing else can be tested.
pub fn demo_engine(side: u32, change: impl FnOnce(&mut StreamDiffusionParams, &mut EngineOptions)) -> Engine {
    let mut params = StreamDiffusionParams { width: side, height: side, ..StreamDiffusionParams::demo() };
    let mut options = EngineOptions::default();
    options.dtype = dreamframe::Dtype::F32;
    options.threads = Some(2);
    change(&mut params, &mut options);
    Engine::builder().params(params).options(options).build().expect("the demo model loads")
}

/// The pixels of the pictures that `engine` makes of `count` frames.
///
/// # Panics
///
/// If a frame fails.
pub fn pictures(engine: &mut Engine, count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|index| picture(engine, index)).collect()
}

/// The pixels of the picture that `engine` makes of one frame.
///
/// # Panics
///
/// If the frame fails.
pub fn picture(engine: &mut Engine, index: usize) -> Vec<u8> {
    let (width, height) = engine.size();
    let pixels = moving_disc(index, width, height);
    let frame = FrameView::packed(PixelFormat::Rgba8, width, height, &pixels).expect("the frame is well formed");
    engine.process(&frame).expect("the frame is worked on").frame.pixels().to_vec()
}

/// The largest difference of two pictures, in levels of 0 to 255.
pub fn largest_difference(a: &[u8], b: &[u8]) -> u8 {
    a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0)
}

/// The peak signal-to-noise ratio over all pictures, in decibels.
pub fn psnr(a: &[Vec<u8>], b: &[Vec<u8>]) -> f64 {
    let pairs = || a.iter().flatten().zip(b.iter().flatten());
    let noise = pairs().map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum::<f64>() / pairs().count() as f64;
    10.0 * (255.0 * 255.0 / noise).log10()
}
