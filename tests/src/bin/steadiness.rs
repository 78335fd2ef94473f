//! Measures how steady pictures are with the parts of `cached_attention`, and what that costs: the table of
//! docs/steadiness.md, which defines the figures.
//!
//! `cargo run --release -p dreamframe-tests --bin steadiness -- [OPTION]... FOLDER...`
//!
//! A folder has the frames of a clip, PNG files in order, of the size of the pictures. From the first frame of the first
//! clip, two further ones are made, with the noise of a sensor: a still one, and one in which the camera moves.
//!
//! - `--model MODEL`: `demo` (the default), a folder, or a name of random weights such as `sdxs-random`
//! - `--dtype DTYPE`: the number format of values and weights, `f32` unless given
//! - `--frames N`: the most frames of a clip, 40 unless given
//! - `--params JSON`: other parameters of all pictures
//! - `--part JSON`: values of `cached_attention` to measure, any number, instead of the usual ones
//! - `--pictures FOLDER`: where to write all pictures

use std::error::Error;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use dreamframe::preprocess::Image;
use dreamframe::{Dtype, Engine, EngineOptions, FrameView, PixelFormat, StreamDiffusionParams};
use dreamframe_tests::clips::{arguments, bytes, clips, from_bytes, model_source};
use dreamframe_tests::steadiness::{Motion, detail, difference, edges};
use image::RgbImage;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Pictures of a clip before the measured ones.
const WARM_UP: usize = 4;
/// The measured values of `cached_attention`, besides those without any.
const PARTS: [&str; 8] = [
    r#"{"enabled": true}"#,
    r#"{"enabled": true, "max_frames": 4}"#,
    r#"{"enabled": true, "feature_injection_strength": 0.8}"#,
    r#"{"enabled": true, "feature_injection_strength": 0.8, "feature_similarity_threshold": 0.9}"#,
    r#"{"enabled": true, "feature_injection_strength": 0.8, "interval": 4}"#,
    r#"{"enabled": true, "token_merging": true}"#,
    r#"{"enabled": true, "feature_injection_strength": 0.8, "token_merging": true}"#,
    r#"{"enabled": true, "feature_injection_strength": 0.8, "token_merging": true, "interval": 4}"#,
];
const PLAIN: &str = "{}";

/// What the command line says.
struct Options {
    model: String,
    dtype: Dtype,
    frames: usize,
    params: String,
    parts: Vec<String>,
    pictures: Option<PathBuf>,
    folders: Vec<PathBuf>,
}

impl Options {
    fn read() -> Result<Self> {
        let (model, params) = ("demo".to_owned(), "{}".to_owned());
        // Pictures flicker by the rounding of narrow formats, too.
        let dtype = Dtype::F32;
        let (parts, folders) = (Vec::new(), Vec::new());
        let mut options = Self { model, dtype, frames: 40, params, parts, pictures: None, folders };
        options.folders = arguments(|flag, value| {
            match flag {
                "--model" => options.model = value,
                "--dtype" => options.dtype = value.parse()?,
                "--frames" => options.frames = value.parse()?,
                "--params" => options.params = value,
                "--part" => options.parts.push(value),
                "--pictures" => options.pictures = Some(value.into()),
                _ => return Err("unknown option".into()),
            }
            Ok(())
        })?;
        if options.parts.is_empty() {
            options.parts = PARTS.map(str::to_owned).into();
        }
        options.parts.insert(0, PLAIN.to_owned());
        Ok(options)
    }

    /// Returns the pictures of `frames`, each in the place of the frame that it was made from.
    fn pictures(&self, frames: &[Image], part: &str) -> Result<Vec<Image>> {
        let (width, height) = (frames[0].width() as u32, frames[0].height() as u32);
        let (mut params, _) = StreamDiffusionParams::demo().patched(&self.params)?;
        params = params.patched(&format!(r#"{{"cached_attention": {part}}}"#))?.0;
        (params.width, params.height) = (width, height);
        let models = model_source(&self.model);
        let options = EngineOptions::default().with_dtype(self.dtype);
        let mut engine = Engine::builder().models(models).params(params).options(options).build()?;
        let mut pictures = Vec::new();
        let mut number = 0;
        // The last frame again, until its picture is complete.
        while pictures.len() < frames.len() {
            let pixels = bytes(&frames[number.min(frames.len() - 1)]);
            let picture = engine.process(&FrameView::packed(PixelFormat::Rgb8, width, height, &pixels)?)?;
            // Until the first frame is complete, its unfinished picture is shown.
            if picture.source_id.0 as usize == pictures.len() {
                let pixels = picture.frame.pixels().as_chunks::<4>().0.iter().flat_map(|[r, g, b, _]| [*r, *g, *b]);
                pictures.push(from_bytes(width, height, pixels)?);
            }
            number += 1;
        }
        Ok(pictures)
    }

    fn write(&self, clip: &str, part: usize, pictures: &[Image]) -> Result<()> {
        let Some(folder) = &self.pictures else { return Ok(()) };
        let folder = folder.join(clip).join(part.to_string());
        fs::create_dir_all(&folder)?;
        for (number, picture) in pictures.iter().enumerate() {
            let (width, height) = (picture.width() as u32, picture.height() as u32);
            let picture = RgbImage::from_raw(width, height, bytes(picture)).ok_or("an incomplete picture")?;
            picture.save(folder.join(format!("{number:03}.png")))?;
        }
        Ok(())
    }
}

fn main() -> Result<()> {
    let options = Options::read()?;
    let clips = clips(&options.folders, options.frames, WARM_UP + 2)?;
    let mut out = std::io::stdout();
    writeln!(out, "| clip | `cached_attention` | flicker | detail | edges | difference |\n|---|---|---|---|---|---|")?;
    for (clip, frames) in &clips {
        let motion = Motion::of(&frames[WARM_UP..])?;
        let measured = |pictures: &[Image]| motion.change(&pictures[WARM_UP..]);
        let own = measured(frames);
        writeln!(
            out,
            "| {clip} | (the frames: {:.0} % compared, change {:.2} of 255) | 1 | | | |",
            100.0 * motion.known(),
            255.0 * own
        )?;
        let mut plain = Vec::new();
        for (number, part) in options.parts.iter().enumerate() {
            let pictures = options.pictures(frames, part)?;
            options.write(clip, number, &pictures)?;
            if number == 0 {
                plain.clone_from(&pictures);
            }
            let (flicker, rest) = (measured(&pictures) / own, &pictures[WARM_UP..]);
            writeln!(
                out,
                "| {clip} | `{part}` | {flicker:.3} | {:.2} | {:.2} | {:.2} |",
                detail(rest) / detail(&plain[WARM_UP..]),
                edges(rest, &frames[WARM_UP..]),
                255.0 * difference(rest, &plain[WARM_UP..]),
            )?;
        }
    }
    Ok(())
}
