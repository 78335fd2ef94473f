//! Changes parameters while frames are processed: each picture is written with the latest prompt.
//!
//! ```sh
//! cargo run --release -p dreamframe-examples --bin hot_swap -- in.png out-folder
//! ```

use std::error::Error;
use std::path::PathBuf;

use dreamframe::{Engine, FrameView, ParamsPatch, PixelFormat};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(input), Some(folder)) = (arguments.next(), arguments.next()) else {
        return Err("usage: hot_swap IN FOLDER".into());
    };
    std::fs::create_dir_all(&folder)?;
    let mut engine = Engine::builder().build()?;
    let pixels = image::open(input)?.to_rgba8();
    let frame = FrameView::packed(PixelFormat::Rgba8, pixels.width(), pixels.height(), &pixels)?;

    let patches = [
        r#"{"prompt": "moonlit night"}"#,
        r#"{"prompt": [["golden sunset", 0.5], ["blueprint", 0.5]]}"#,
        r#"{"t_index_list": [36, 41, 46], "seed": 5}"#,
    ];
    for (index, patch) in patches.iter().enumerate() {
        // Invalid values are rejected as a whole, with every violation, and the stream continues unchanged.
        let update = engine.update(&ParamsPatch::from_json(patch)?)?;
        // A picture is made from the frame `delay` calls ago, so after this many calls pictures fully reflect the
        // parameters.
        for _ in 0..engine.delay() {
            engine.process(&frame)?;
        }
        let picture = engine.process(&frame)?;
        let path = PathBuf::from(&folder).join(format!("{index}.png"));
        let (width, height) = engine.size();
        image::save_buffer(&path, picture.frame.pixels(), width, height, image::ColorType::Rgba8)?;
        eprintln!("{}: {patch} ({:?})", path.display(), update.cost);
    }
    Ok(())
}
