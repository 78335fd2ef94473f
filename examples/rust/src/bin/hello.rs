//! Restyles one picture file.
//!
//! ```sh
//! cargo run --release -p dreamframe-examples --bin hello -- in.png out.png "stained glass window"
//! ```

use std::error::Error;

use dreamframe::{Engine, FrameView, PixelFormat, StreamDiffusionParams};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(input), Some(output)) = (arguments.next(), arguments.next()) else {
        return Err("usage: hello IN OUT [PROMPT]".into());
    };
    let mut params = StreamDiffusionParams::demo();
    if let Some(prompt) = arguments.next() {
        params.prompt = prompt.into();
    }

    let mut engine = Engine::builder().params(params).build()?;
    let pixels = image::open(input)?.to_rgba8();
    let frame = FrameView::packed(PixelFormat::Rgba8, pixels.width(), pixels.height(), &pixels)?;
    let picture = engine.process(&frame)?;

    let (width, height) = engine.size();
    image::save_buffer(output, picture.frame.pixels(), width, height, image::ColorType::Rgba8)?;
    Ok(())
}
