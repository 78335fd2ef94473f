//! Measures `feature_reuse`: how like its pictures are to those without it, and what it saves. The tables of
//! docs/performance.md are made by it.
//!
//! `cargo run --release -p dreamframe-tests --bin feature_reuse -- [OPTION]... FOLDER...`
//!
//! A folder has the frames of a clip, PNG files in order, of the size of the pictures. From the first frame of the first
//! clip, two further ones are made, with the noise of a sensor: a still one, and one in which the camera moves.
//!
//! - `--model MODEL`: `demo` (the default), a folder, or a name of random weights such as `sd-turbo-random`
//! - `--dtype DTYPE`: the number format, `auto` unless given
//! - `--frames N`: the most frames of a clip, 40 unless given
//! - `--passes N`: how often each clip is shown, 3 unless given; engines take turns frame by frame
//! - `--params JSON`: other parameters of all pictures
//! - `--reuse JSON`: a value of `feature_reuse` to measure, any number, instead of the usual ones

use std::error::Error;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Instant;

use dreamframe::frame::{Frame, psnr, ssim};
use dreamframe::preprocess::Image;
use dreamframe::{Dtype, Engine, EngineOptions, FrameView, PixelFormat, StreamDiffusionParams};
use dreamframe_tests::clips::{arguments, bytes, clips, model_source};
use serde_json::{Value, json};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Frames of a clip before the measured ones.
const WARM_UP: usize = 4;

/// What the command line says.
struct Options {
    model: String,
    dtype: Dtype,
    frames: usize,
    passes: usize,
    params: String,
    reuse: Vec<Value>,
    folders: Vec<PathBuf>,
}

impl Options {
    fn read() -> Result<Self> {
        let (model, params) = ("demo".to_owned(), "{}".to_owned());
        let (reuse, folders) = (Vec::new(), Vec::new());
        let mut options = Self { model, dtype: Dtype::Auto, frames: 40, passes: 3, params, reuse, folders };
        options.folders = arguments(|flag, value| {
            match flag {
                "--model" => options.model = value,
                "--dtype" => options.dtype = value.parse()?,
                "--frames" => options.frames = value.parse()?,
                "--passes" => options.passes = value.parse()?,
                "--params" => options.params = value,
                "--reuse" => options.reuse.push(serde_json::from_str(&value)?),
                _ => return Err("unknown option".into()),
            }
            Ok(())
        })?;
        if options.reuse.is_empty() {
            let usual = |interval: u32| json!({"interval": interval, "max_error": 0.5});
            options.reuse = [2, 3, 5].map(usual).into();
        }
        options.reuse.insert(0, json!({}));
        Ok(options)
    }

    fn engine(&self, size: (u32, u32), reuse: &Value) -> Result<Engine> {
        let (mut params, _) = StreamDiffusionParams::demo().patched(&self.params)?;
        params = params.patched(&json!({"feature_reuse": reuse}).to_string())?.0;
        (params.width, params.height) = size;
        let models = model_source(&self.model);
        let options = EngineOptions::default().with_dtype(self.dtype);
        Ok(Engine::builder().models(models).params(params).options(options).build()?)
    }
}

/// The figures of one value of `feature_reuse`.
#[derive(Default)]
struct Figures {
    pictures: Vec<Frame>,
    /// Milliseconds of all measured frames of each pass.
    passes: Vec<f64>,
    /// The share of full runs.
    full: f64,
}

fn rgb(picture: &Frame) -> Result<Frame> {
    let pixels = picture.pixels().as_chunks::<4>().0.iter().flat_map(|[r, g, b, _]| [*r, *g, *b]).collect();
    Ok(Frame::from_packed(PixelFormat::Rgb8, picture.width(), picture.height(), pixels)?)
}

/// Shows the clip to all engines, which take turns frame by frame.
fn measure(options: &Options, clip: &[Image]) -> Result<Vec<Figures>> {
    let size =
        clip.first().map(|frame| (frame.width() as u32, frame.height() as u32)).ok_or("the clip has no frame")?;
    let clip: Vec<Vec<u8>> = clip.iter().map(bytes).collect();
    let mut engines = options.reuse.iter().map(|reuse| options.engine(size, reuse)).collect::<Result<Vec<_>>>()?;
    let mut figures: Vec<Figures> = engines.iter().map(|_| Figures::default()).collect();
    for pass in 0..options.passes {
        figures.iter_mut().for_each(|figures| figures.passes.push(0.0));
        for (number, frame) in clip.iter().enumerate() {
            let frame = FrameView::packed(PixelFormat::Rgb8, size.0, size.1, frame)?;
            for (engine, figures) in engines.iter_mut().zip(&mut figures) {
                let start = Instant::now();
                let picture = engine.process(&frame)?;
                let time = start.elapsed().as_secs_f64() * 1e3;
                if number < WARM_UP {
                    continue;
                }
                figures.passes.last_mut().into_iter().for_each(|sum| *sum += time);
                if pass == 0 {
                    figures.pictures.push(rgb(&picture.frame)?);
                }
            }
        }
    }
    for (engine, figures) in engines.iter().zip(&mut figures) {
        let work = engine.work();
        let (full, shallow) = (work.unet_evaluations as f64, work.shallow_evaluations as f64);
        figures.full = full / (full + shallow);
    }
    Ok(figures)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn main() -> Result<()> {
    let options = Options::read()?;
    let mut out = std::io::stdout();
    writeln!(out, "| clip | `feature_reuse` | full runs | SSIM: mean, worst | PSNR | times as fast | ms |")?;
    writeln!(out, "|---|---|---|---|---|---|---|")?;
    for (name, clip) in clips(&options.folders, options.frames, WARM_UP + 2)? {
        let all = measure(&options, &clip)?;
        let plain = &all[0];
        for (reuse, figures) in options.reuse.iter().zip(&all) {
            let pairs = || plain.pictures.iter().zip(&figures.pictures);
            let alike = pairs().map(|(a, b)| Ok(ssim(a, b)?)).collect::<Result<Vec<f64>>>()?;
            let signal = pairs().map(|(a, b)| Ok(psnr(a, b)?)).collect::<Result<Vec<f64>>>()?;
            let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
            let ratios = plain.passes.iter().zip(&figures.passes).map(|(plain, own)| plain / own).collect();
            let frames = (clip.len() - WARM_UP) as f64;
            writeln!(
                out,
                "| {name} | `{reuse}` | {:.0} % | {:.4}, {:.4} | {:.1} | {:.2} | {:.1} |",
                100.0 * figures.full,
                mean(&alike),
                alike.iter().copied().fold(f64::INFINITY, f64::min),
                mean(&signal),
                median(ratios),
                median(figures.passes.clone()) / frames
            )?;
        }
    }
    Ok(())
}
