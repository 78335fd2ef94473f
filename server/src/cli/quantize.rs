//! `dreamframe models quantize`: calibrates the layers of a model for int8, and checks the quality of the pictures.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use dreamframe::cpu;
use dreamframe::frame::{Frame, PixelFormat, psnr, ssim};
use dreamframe::load::{Calibration, Checkpoint, ModelSource, Quality};
use dreamframe::params::StreamDiffusionParams;
use dreamframe::{Dtype, Engine, EngineOptions, Error, ErrorKind, PackedCache};
use serde_json::json;

use super::exit::{Failure, Result};
use super::interrupt::Interrupt;
use super::options::{FitName, VideoArgs, read_params};
use super::progress::{Progress, rounded};
use crate::media::{self, PendingFile};

/// The least quality of int8 pictures against those in `f32`: structural similarity on average and at worst, signal to
/// noise in decibels on average and at worst. Below it, differences are visible side by side.
const LEAST: Quality = Quality { ssim_mean: 0.95, ssim_worst: 0.90, psnr_mean: 30.0, psnr_worst: 26.0, forced: false };

/// Quantizes a model's UNet and autoencoder to int8, calibrated with representative frames; reports the quality of the pictures, and
/// writes the file that --dtype int8 needs
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// demo, a diffusers folder, or a checkpoint in a .safetensors file
    model: String,
    /// Representative frames: a picture, a folder of pictures, an .mp4, a .y4m, or - for YUV4MPEG2 on standard input
    #[arg(long, value_name = "CLIP_OR_FOLDER")]
    frames: PathBuf,
    /// The prompt, in place of that of the parameters; several, given as often, take the frames in turn
    #[arg(long = "prompt", value_name = "PROMPT")]
    prompts: Vec<String>,
    /// A JSON file of parameters; others have their defaults (with the demo model, those of that model)
    #[arg(long, value_name = "FILE")]
    params: Option<PathBuf>,
    /// The maximum number of frames that are taken, from the first on
    #[arg(long, value_name = "N", default_value_t = 48, value_parser = clap::value_parser!(u32).range(1..=1000))]
    max_frames: u32,
    /// The file to write [default: dreamframe-int8.json in the model's folder, FILE.dreamframe-int8.json next to a file]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write the file even if the pictures are below the bounds; it then records that
    #[arg(long)]
    force: bool,
    /// Accepted for earlier scripts, without effect: any size that the model can make is taken.
    #[arg(long, hide = true)]
    allow_any_size: bool,
    /// How a frame with another aspect ratio is fitted to the size of the pictures
    #[arg(long, value_enum, default_value_t)]
    fit: FitName,
    /// Threads [default: all of the machine's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    #[command(flatten)]
    video: VideoArgs,
    /// Print JSON lines instead of a bar and a table: events start, notice, picture, quality, done, error
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) fn run(args: &Args) -> Result {
    let interrupt = Interrupt::listen()?;
    let output = output(args)?;
    // Before the work, rather than after it.
    cpu::check_dtype(Dtype::Int8)?;
    let frames = frames(args)?;
    let mut progress = Progress::new(args.json, Some(2 * frames.len() as u64));
    let (calibration, exact) = observe(args, &frames, &mut progress, &interrupt)?;
    let mut options = options(args);
    options.dtype = Dtype::Int8;
    options.calibration = Some(calibration.clone().into());
    let mut engine = Engine::builder().models(source(args)).params(params(args)?).options(options).build()?;
    let pictures = pictures(&mut engine, (&frames, &args.prompts), "int8", &mut progress, &interrupt)?;
    let quality = compare(&exact, &pictures)?;
    progress.report(
        || report(&calibration, quality),
        || {
            let (layers, kept) = calibration.layers();
            let Quality { ssim_mean, ssim_worst, psnr_mean, psnr_worst, .. } = quality;
            json!({
                "event": "quality", "layers": layers, "kept": kept, "ssim_mean": rounded(ssim_mean),
                "ssim_worst": rounded(ssim_worst), "psnr_mean": rounded(psnr_mean), "psnr_worst": rounded(psnr_worst),
                "good": below(quality).is_empty(),
            })
        },
    )?;
    let calibration = with_quality(calibration, quality, args.force)?;
    interrupt.check()?;
    write(&output, &calibration)?;
    progress.done(&output.display().to_string())
}

fn source(args: &Args) -> ModelSource {
    ModelSource::from(args.model.as_str())
}

fn options(args: &Args) -> EngineOptions {
    let mut options = EngineOptions::default();
    options.dtype = Dtype::F32;
    options.fit = args.fit.into();
    options.output = PixelFormat::Rgb8;
    options.threads = args.threads.map(usize::from);
    // Packed weights are not reused here.
    options.packed_cache = PackedCache::Off;
    options
}

/// Every frame must go through the networks.
fn params(args: &Args) -> Result<StreamDiffusionParams> {
    let is_demo = source(args) == ModelSource::Demo;
    let base = if is_demo { StreamDiffusionParams::demo() } else { StreamDiffusionParams::default() };
    let mut params = match &args.params {
        Some(path) => read_params(path, &base)?.0,
        None => base,
    };
    if let Some(prompt) = args.prompts.first() {
        params.prompt = prompt.as_str().into();
    }
    params.enable_similar_image_filter = false;
    params.skip_diffusion = false;
    Ok(params)
}

/// The file to write, determined before the work.
fn output(args: &Args) -> Result<PathBuf> {
    let nowhere = || Failure::Usage("the embedded model has no folder: set the file with --output".into());
    let beside = || match source(args) {
        ModelSource::Folder(path) if path.exists() => Checkpoint::folder(path)?.calibration_path().ok_or_else(nowhere),
        ModelSource::Folder(path) => {
            let text = format!("{} does not exist", path.display());
            Err(Failure::from(Error::new(ErrorKind::NotFound, text)))
        }
        ModelSource::Demo | ModelSource::Cache(_) | ModelSource::Random(_) | _ => Err(nowhere()),
    };
    args.output.clone().map_or_else(beside, Ok)
}

fn frames(args: &Args) -> Result<Vec<Frame>> {
    let mut reader = media::open(&args.frames, args.video.max_video_side).map_err(super::process::usage)?;
    let mut frames = Vec::new();
    while frames.len() < args.max_frames as usize
        && let Some(frame) = reader.next()?
    {
        frames.push(frame);
    }
    if frames.is_empty() {
        let text = format!("no frames in {}", args.frames.display());
        return Err(Failure::from(Error::new(ErrorKind::InvalidArgument, text)));
    }
    Ok(frames)
}

/// Runs all frames in `f32`: activations of the layers, and the pictures.
fn observe(
    args: &Args,
    frames: &[Frame],
    progress: &mut Progress,
    interrupt: &Interrupt,
) -> Result<(Calibration, Vec<Frame>)> {
    let builder = Engine::builder().models(source(args)).params(params(args)?).options(options(args));
    let mut engine = builder.observing().build()?;
    let title = format!("{} with frames of {} on {}", engine.model(), args.frames.display(), engine.device());
    let (width, height) = engine.size();
    let facts = json!({
        "model": engine.model(), "threads": engine.threads(), "width": width, "height": height,
        "frames": frames.len(),
    });
    progress.start(&title, facts)?;
    for notice in engine.notices() {
        progress.notice(&notice.to_string())?;
    }
    let exact = pictures(&mut engine, (frames, &args.prompts), "f32", progress, interrupt)?;
    Ok((engine.calibration()?, exact))
}

/// The picture of each call; both engines give them equally late. The prompts, if there are several, take the frames in
/// turn.
fn pictures(
    engine: &mut Engine,
    (frames, prompts): (&[Frame], &[String]),
    kind: &str,
    progress: &mut Progress,
    interrupt: &Interrupt,
) -> Result<Vec<Frame>> {
    let mut pictures = Vec::with_capacity(frames.len());
    for (frame, number) in frames.iter().zip(0..) {
        interrupt.check()?;
        if let ([_, _, ..], Some(prompt)) = (prompts, prompts.iter().cycle().nth(pictures.len())) {
            engine.edit(|params| params.prompt = prompt.as_str().into())?;
        }
        let started = Instant::now();
        pictures.push(engine.process(&frame.view())?.frame);
        progress.picture(number, kind, started.elapsed())?;
    }
    Ok(pictures)
}

/// How the pictures of a clip compare with the exact ones.
fn compare(exact: &[Frame], pictures: &[Frame]) -> Result<Quality> {
    let over = |measure: fn(&Frame, &Frame) -> dreamframe::Result<f64>| -> Result<(f64, f64)> {
        let mut all = Vec::with_capacity(exact.len());
        for (a, b) in exact.iter().zip(pictures) {
            all.push(measure(a, b)?);
        }
        let worst = all.iter().copied().fold(f64::INFINITY, f64::min);
        Ok((all.iter().sum::<f64>() / all.len() as f64, worst))
    };
    let ((ssim_mean, ssim_worst), (psnr_mean, psnr_worst)) = (over(ssim)?, over(psnr)?);
    Ok(Quality { ssim_mean, ssim_worst, psnr_mean, psnr_worst, forced: false })
}

/// Adds the quality to the calibration, if it is sufficient or forced.
fn with_quality(calibration: Calibration, quality: Quality, force: bool) -> Result<Calibration> {
    let below = below(quality);
    if !below.is_empty() && !force {
        let text = below.join(", ");
        let text = format!("quality of pictures in int8 too low: {text}; --force writes the file nevertheless");
        return Err(Failure::from(Error::new(ErrorKind::Unsupported, text)));
    }
    Ok(calibration.with_quality(Quality { forced: !below.is_empty(), ..quality }))
}

/// The measures, with their bounds, that are not good enough.
fn below(quality: Quality) -> Vec<String> {
    let all = [
        ("mean SSIM", quality.ssim_mean, LEAST.ssim_mean),
        ("worst SSIM", quality.ssim_worst, LEAST.ssim_worst),
        ("mean PSNR", quality.psnr_mean, LEAST.psnr_mean),
        ("worst PSNR", quality.psnr_worst, LEAST.psnr_worst),
    ];
    // NaN is below the bounds as well.
    let bad = all.into_iter().filter(|(_, found, least)| found.is_nan() || found < least);
    bad.map(|(name, found, least)| format!("{name}: got {found:.3}, expected at least {least}")).collect()
}

fn report(calibration: &Calibration, quality: Quality) -> String {
    let (layers, kept) = calibration.layers();
    let kept_lines: String = calibration.kept().map(|(name, reason)| format!("  {name}: {reason}\n")).collect();
    format!(
        "int8 layers: {layers}; not quantized: {kept}\n{kept_lines}\
         against f32: SSIM {:.4} on average, {:.4} at worst; PSNR {:.2} dB on average, {:.2} dB at worst\n",
        quality.ssim_mean, quality.ssim_worst, quality.psnr_mean, quality.psnr_worst
    )
}

fn write(path: &Path, calibration: &Calibration) -> Result {
    let mut file = PendingFile::create(path)?;
    let text = calibration.to_json()?;
    file.write_all(text.as_bytes()).map_err(|error| Error::io(path, "write", error))?;
    Ok(file.commit()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(value: impl Fn(u32) -> u8) -> Frame {
        let pixels = (0..32 * 32).flat_map(|i| [value(i); 3]).collect();
        Frame::from_packed(PixelFormat::Rgb8, 32, 32, pixels).unwrap()
    }

    #[test]
    fn one_bad_picture_is_below_the_bounds_despite_a_good_mean() {
        let good = |i| (i * 37 % 200) as u8;
        let bad = frame(|i| good(i) ^ ((i % 3) * 24) as u8);
        let clip = || -> Vec<Frame> { (0..40).map(|_| frame(good)).collect() };
        let (exact, mut pictures) = (clip(), clip());
        assert_eq!(below(compare(&exact, &pictures).unwrap()), Vec::<String>::new());
        pictures[7] = bad;
        let quality = compare(&exact, &pictures).unwrap();
        let below = below(quality);
        assert!(quality.ssim_mean > LEAST.ssim_mean && quality.psnr_mean > LEAST.psnr_mean, "{quality:?}");
        assert!(below.iter().any(|text| text.starts_with("worst PSNR: got ")), "{below:?}");
        assert!(below.iter().all(|text| text.starts_with("worst")), "{below:?}");
    }

    #[test]
    fn insufficient_quality_is_rejected_unless_forced() {
        let calibration = || {
            let text = r#"{"dreamframe_int8": 1, "model": "m", "fingerprint": "f", "frames": 1, "layers": {}, "kept": {},
                "quality": null}"#;
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("calibration.json");
            std::fs::write(&path, text).unwrap();
            Calibration::read(&path).unwrap()
        };
        let poor = Quality { psnr_worst: LEAST.psnr_worst - 0.5, ..LEAST };
        let Err(Failure::Library(refused)) = with_quality(calibration(), poor, false) else { panic!("not refused") };
        assert_eq!(refused.kind(), ErrorKind::Unsupported);
        assert!(refused.to_string().contains("worst PSNR: got 25.5"), "{refused}");
        assert!(with_quality(calibration(), poor, true).unwrap().quality().unwrap().forced);
        assert!(!with_quality(calibration(), LEAST, false).unwrap().quality().unwrap().forced);
    }

    #[test]
    fn nan_is_below_every_bound() {
        let nothing = f64::NAN;
        let quality =
            Quality { ssim_mean: nothing, ssim_worst: nothing, psnr_mean: nothing, psnr_worst: nothing, forced: false };
        assert_eq!(below(quality).len(), 4);
        assert!(below(LEAST).is_empty());
    }
}
