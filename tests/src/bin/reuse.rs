//! Measures `feature_reuse` and `region_reuse`: how like their pictures are to those without them, and what they save. The
//! tables of docs/performance.md are made by it.
//!
//! `cargo run --release -p dreamframe-tests --bin reuse -- [OPTION]... FOLDER...`
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
//! - `--regions exact|LEVELS`: exact `region_reuse` to measure, or approximate with a threshold, any number

use std::error::Error;
use std::fmt;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Instant;

use dreamframe::frame::{Frame, psnr, ssim};
use dreamframe::preprocess::Image;
use dreamframe::{Dtype, Engine, EngineOptions, FrameView, PixelFormat, RegionReuse, StreamDiffusionParams};
use dreamframe_tests::clips::{arguments, bytes, clips, model_source};
use serde_json::{Value, json};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Frames of a clip before the measured ones.
const WARM_UP: usize = 4;

/// What an engine reuses.
#[derive(Clone)]
enum Variant {
    /// `feature_reuse`.
    Features(Value),
    /// `region_reuse`: exact, or approximate with a threshold.
    Regions(Option<f32>),
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Features(value) => write!(f, "features `{value}`"),
            Self::Regions(None) => write!(f, "regions, exact"),
            Self::Regions(Some(levels)) => write!(f, "regions, {levels} levels"),
        }
    }
}

/// What the command line says.
struct Options {
    model: String,
    dtype: Dtype,
    frames: usize,
    passes: usize,
    params: String,
    variants: Vec<Variant>,
    folders: Vec<PathBuf>,
}

impl Options {
    fn read() -> Result<Self> {
        let (model, params) = ("demo".to_owned(), "{}".to_owned());
        let (variants, folders) = (Vec::new(), Vec::new());
        let mut options = Self { model, dtype: Dtype::Auto, frames: 40, passes: 3, params, variants, folders };
        options.folders = arguments(|flag, value| {
            match flag {
                "--model" => options.model = value,
                "--dtype" => options.dtype = value.parse()?,
                "--frames" => options.frames = value.parse()?,
                "--passes" => options.passes = value.parse()?,
                "--params" => options.params = value,
                "--reuse" => options.variants.push(Variant::Features(serde_json::from_str(&value)?)),
                "--regions" if value == "exact" => options.variants.push(Variant::Regions(None)),
                "--regions" => options.variants.push(Variant::Regions(Some(value.parse()?))),
                _ => return Err("unknown option".into()),
            }
            Ok(())
        })?;
        if options.variants.is_empty() {
            let usual = |interval: u32| Variant::Features(json!({"interval": interval, "max_error": 0.3}));
            options.variants = [2, 3, 5].map(usual).into();
        }
        options.variants.insert(0, Variant::Features(json!({})));
        Ok(options)
    }

    fn engine(&self, size: (u32, u32), variant: &Variant) -> Result<Engine> {
        let (mut params, _) = StreamDiffusionParams::demo().patched(&self.params)?;
        let mut options = EngineOptions::default().with_dtype(self.dtype);
        match variant {
            Variant::Features(reuse) => params = params.patched(&json!({"feature_reuse": reuse}).to_string())?.0,
            Variant::Regions(None) => options.region_reuse = RegionReuse::Exact,
            Variant::Regions(Some(levels)) => {
                (options.region_reuse, options.region_threshold) = (RegionReuse::Approximate, *levels);
            }
        }
        (params.width, params.height) = size;
        let models = model_source(&self.model);
        Ok(Engine::builder().models(models).params(params).options(options).build()?)
    }
}

/// The figures of one variant.
#[derive(Default)]
struct Figures {
    pictures: Vec<Frame>,
    /// Milliseconds of all measured frames of each pass.
    passes: Vec<f64>,
    /// The share of full runs of the UNet, of pixels of frames that were encoded, and of pixels of latents that were decoded.
    computed: [f64; 3],
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
    let mut engines =
        options.variants.iter().map(|variant| options.engine(size, variant)).collect::<Result<Vec<_>>>()?;
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
        let share = |unchanged: u64, runs: u64, pixels: usize| 1.0 - unchanged as f64 / (runs as f64 * pixels as f64);
        let (width, height) = (size.0 as usize, size.1 as usize);
        figures.computed = [
            full / (full + shallow),
            share(work.unchanged_frame_pixels, work.encoder_evaluations, width * height),
            // The scale of the autoencoders of all models here is 8.
            share(work.unchanged_latent_pixels, work.decoder_evaluations, width / 8 * (height / 8)),
        ];
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
    let computed = "computed: full UNet, encoder, decoder";
    writeln!(out, "| clip | reuse | {computed} | SSIM: mean, worst | PSNR | times as fast | ms |")?;
    writeln!(out, "|---|---|---|---|---|---|---|")?;
    for (name, clip) in clips(&options.folders, options.frames, WARM_UP + 2)? {
        let all = measure(&options, &clip)?;
        let plain = &all[0];
        for (variant, figures) in options.variants.iter().zip(&all) {
            let [unet, encoder, decoder] = figures.computed.map(|share| 100.0 * share);
            let pairs = || plain.pictures.iter().zip(&figures.pictures);
            let alike = pairs().map(|(a, b)| Ok(ssim(a, b)?)).collect::<Result<Vec<f64>>>()?;
            let signal = pairs().map(|(a, b)| Ok(psnr(a, b)?)).collect::<Result<Vec<f64>>>()?;
            let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
            let ratios = plain.passes.iter().zip(&figures.passes).map(|(plain, own)| plain / own).collect();
            let frames = (clip.len() - WARM_UP) as f64;
            writeln!(
                out,
                "| {name} | {variant} | {unet:.0}, {encoder:.0}, {decoder:.0} % | {:.4}, {:.4} | {:.1} | {:.2} | {:.1} |",
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
