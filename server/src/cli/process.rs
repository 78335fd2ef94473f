//! `dreamframe process`: restyles pictures, folders and video.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use dreamframe::load::ModelSource;
use dreamframe::params::StreamDiffusionParams;
use dreamframe::{Engine, Error, ErrorKind};
use serde_json::json;

use super::exit::{Failure, Result};
use super::interrupt::Interrupt;
use super::options::{EngineArgs, FitName, Runs, VideoArgs, read_params};
use super::progress::Progress;
use super::timeline::Timeline;
use super::video::VideoLoop;
use crate::media;

/// Restyles a picture, a folder of pictures, an H.264 .mp4, or a YUV4MPEG2 stream: one picture for each frame
#[derive(Debug, clap::Args)]
#[command(after_help = "With --json, standard output has one JSON object a line, distinguished by \"event\":\n  \
    start    executor, provider (null: none), dtype, threads, model, delay, evaluations_per_frame, width, height,\n           frames (null: not known)\n  \
    notice   text: what was accepted and means something else here\n  \
    update   frame, cost: a line of the timeline was applied before this frame\n  \
    picture  frame, kind (new, repeated, passed), ms\n  \
    done     pictures, seconds, fps, output\n  \
    error    kind, message, violations")]
pub(super) struct Args {
    /// A picture, a folder of pictures, an .mp4, a .y4m, or - for YUV4MPEG2 on standard input
    input: PathBuf,
    /// The same for the pictures; a path without ending is a folder, - is standard output
    output: PathBuf,
    /// demo, a diffusers folder, a checkpoint in a .safetensors file, or a directory of them
    #[arg(long, value_name = "FOLDER", default_value = "demo")]
    models: String,
    /// A JSON file of parameters; others have their defaults (with the demo model, those of that model)
    #[arg(long, value_name = "FILE")]
    params: Option<PathBuf>,
    /// JSON lines {"frame": k, "params": {…}}, each applied before frame k; or, instead of "params", "transition":
    /// {"target_prompts", "num_steps", "temporal_interpolation_method"} to begin there, or "keyframe": a prompt that is
    /// reached there
    #[arg(long, value_name = "FILE")]
    timeline: Option<PathBuf>,
    /// Accepted for earlier scripts, without effect: any size that the model can make is taken.
    #[arg(long, hide = true)]
    allow_any_size: bool,
    /// How a frame with another aspect ratio is fitted to the size of the pictures
    #[arg(long, value_enum, default_value_t)]
    fit: FitName,
    /// Print JSON lines instead of a bar
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    video: VideoArgs,
    #[command(flatten)]
    engine: EngineArgs,
}

pub(super) fn run(args: &Args) -> Result {
    let to_stdout = args.output == Path::new("-");
    if args.json && to_stdout {
        return Err(Failure::Usage("--json and an OUTPUT of - exclude each other: both use standard output".into()));
    }
    let interrupt = Interrupt::listen()?;
    // All arguments are checked before the first weight is read.
    let (params, mut notices) = params(args)?;
    let timeline = match &args.timeline {
        Some(path) => Timeline::read(path, &params)?,
        None => Timeline::default(),
    };
    let mut reader = media::open(&args.input, args.video.max_video_side).map_err(usage)?;
    let mut options = args.engine.options()?;
    options.fit = args.fit.into();
    let source = ModelSource::from(args.models.as_str());
    let mut engine = Engine::builder().models(source).params(params).options(options).build()?;
    for notice in engine.notices() {
        if !notices.contains(notice) {
            notices.push(notice.clone());
        }
    }
    let size = engine.size();
    let output = media::Output {
        width: size.0,
        height: size.1,
        rate: reader.rate().unwrap_or_default(),
        pictures: reader.len(),
    };
    let mut writer = media::create(&args.output, output).map_err(usage)?;
    let total = reader.len().map(|frames| frames as u64);
    let mut progress = Progress::new(args.json, total);
    let title = format!("{} with {} on {}", args.input.display(), engine.model(), engine.device());
    progress.start(&title, facts(&engine, size, total))?;
    for notice in &notices {
        progress.notice(&notice.to_string())?;
    }
    // Pictures are some frames late, and have the names of their source frames.
    let names = std::cell::RefCell::new(VecDeque::new());
    VideoLoop::new(&mut engine, timeline, &mut progress, &interrupt).run(
        || {
            let frame = reader.next()?;
            names.borrow_mut().extend(frame.is_some().then(|| reader.name().map(str::to_owned)));
            Ok(frame)
        },
        |_, picture| writer.write(picture, names.borrow_mut().pop_front().flatten().as_deref()),
    )?;
    interrupt.check()?;
    writer.finish()?;
    progress.done(&args.output.display().to_string())
}

fn params(args: &Args) -> Result<(StreamDiffusionParams, Vec<dreamframe::params::Notice>)> {
    let is_demo = ModelSource::from(args.models.as_str()) == ModelSource::Demo;
    let base = if is_demo { StreamDiffusionParams::demo() } else { StreamDiffusionParams::default() };
    match &args.params {
        Some(path) => Ok(read_params(path, &base)?),
        None => Ok((base, Vec::new())),
    }
}

/// A path of an unknown kind is wrong usage.
pub(super) fn usage(error: Error) -> Failure {
    if error.kind() == ErrorKind::InvalidArgument { Failure::Usage(error.to_string()) } else { error.into() }
}

fn facts(engine: &Engine, (width, height): (u32, u32), frames: Option<u64>) -> serde_json::Value {
    let Runs { executor, provider, dtype, threads } = Runs::of(engine);
    json!({
        "executor": executor, "provider": provider, "dtype": dtype, "threads": threads, "model": engine.model(),
        "delay": engine.delay(), "evaluations_per_frame": engine.evaluations_per_frame(),
        "width": width, "height": height, "frames": frames,
    })
}
