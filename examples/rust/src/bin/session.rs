//! Runs an engine on its own thread: a moving pattern is submitted at 30 frames per second while the prompt changes.
//! The result is written as one sheet, with frames above their pictures.
//!
//! ```sh
//! cargo run --release -p dreamframe-examples --bin session -- sheet.png
//! ```

use std::error::Error;
use std::time::{Duration, Instant};

use dreamframe::{
    Engine, Event, FrameView, Outcome, ParamsPatch, Picture, PixelFormat, SessionHandle, SessionOptions,
    StreamDiffusionParams,
};
use image::{RgbaImage, imageops};

const SIDE: u32 = 256;
const LIMIT: Duration = Duration::from_secs(60);

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let output = arguments.next().ok_or("usage: session OUT.png [FRAMES_PER_PROMPT]")?;
    let frames: u32 = arguments.next().map_or(Ok(30), |count| count.parse())?;
    let params = StreamDiffusionParams { width: SIDE, height: SIDE, ..StreamDiffusionParams::demo() };
    let engine = Engine::builder().params(params).build()?;
    let session = engine.start(SessionOptions::default())?;
    let handle = session.handle();

    let prompts = ["ink line art", "a blueprint", "cyberpunk city, neon lights", "stained glass window"];
    let mut sheet = RgbaImage::new(SIDE * prompts.len() as u32, SIDE * 2);
    for (column, prompt) in (0..).zip(prompts) {
        // Validated now, prepared in the background, applied between two frames.
        let ticket = handle.update(&ParamsPatch::from_json(&format!(r#"{{"prompt": "{prompt}"}}"#))?)?;
        let mut picture = None;
        for index in 0..frames {
            picture = feed(&handle, &pattern(column * frames + index))?.or(picture);
        }
        if let Outcome::Rejected(why) = handle.wait_for(&ticket, LIMIT)? {
            return Err(format!("{prompt}: {why}").into());
        }
        let last = pattern((column + 1) * frames);
        while picture.as_ref().is_none_or(|picture: &Picture| picture.version < ticket.version) {
            handle.submit(&FrameView::packed(PixelFormat::Rgba8, SIDE, SIDE, &last)?)?;
            picture = handle.wait(LIMIT);
        }
        let picture = picture.and_then(|picture| RgbaImage::from_raw(SIDE, SIDE, picture.frame.pixels().to_vec()));
        imageops::replace(&mut sheet, &last, i64::from(column * SIDE), 0);
        imageops::replace(&mut sheet, &picture.ok_or("no picture")?, i64::from(column * SIDE), i64::from(SIDE));
    }
    sheet.save(output)?;

    let stats = handle.stats();
    eprintln!(
        "{} frames in, {} restyled, {} dropped",
        stats.submitted.total, stats.computed.total, stats.dropped.total
    );
    for event in handle.events().try_iter().filter(|event| !matches!(event, Event::UpdateApplied { .. })) {
        eprintln!("{event:?}");
    }
    session.stop(LIMIT)?;
    Ok(())
}

/// Submits a frame, and returns the newest picture when the next frame is due.
fn feed(handle: &SessionHandle, frame: &RgbaImage) -> Result<Option<Picture>, dreamframe::Error> {
    let next = Instant::now() + Duration::from_secs(1) / 30;
    handle.submit(&FrameView::packed(PixelFormat::Rgba8, SIDE, SIDE, frame)?)?;
    std::thread::sleep(next.saturating_duration_since(Instant::now()));
    Ok(handle.poll())
}

/// Draws a disc that moves in a circle on a gradient.
fn pattern(index: u32) -> RgbaImage {
    let (y, x) = (index as f32 * 0.05).sin_cos();
    let centre = [x, y].map(|part| SIDE as f32 * (0.5 + 0.3 * part));
    RgbaImage::from_fn(SIDE, SIDE, |x, y| {
        let inside = (x as f32 - centre[0]).hypot(y as f32 - centre[1]) < SIDE as f32 * 0.15;
        image::Rgba(if inside { [240, 210, 60, 255] } else { [(x / 2) as u8, (40 + y / 2) as u8, 120, 255] })
    })
}
