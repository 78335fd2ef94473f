//! `dreamframe demo`: restyles the embedded clip with the embedded model, by several prompts.

use std::cell::RefCell;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use dreamframe::load::ModelSource;
use dreamframe::params::{ParamsPatch, StreamDiffusionParams};
use dreamframe::telemetry::Timings;
use dreamframe::{Engine, Error};
use serde_json::json;

use super::contact_sheet::ContactSheet;
use super::exit::Result;
use super::interrupt::Interrupt;
use super::options::{EngineArgs, Runs, Size};
use super::output::Output;
use super::progress::Progress;
use super::table::Table;
use super::timeline::Timeline;
use super::video::VideoLoop;
use crate::adapt::{Level, choose, measure};
use crate::media;

/// The prompts without `--prompt`: one for each column of the contact sheet.
const DEFAULT_PROMPTS: [&str; 6] = [
    "stained glass window",
    "ink line art",
    "cyberpunk city, neon lights",
    "a blueprint",
    "a linocut print",
    "an oil painting",
];

/// Restyles the embedded clip with the embedded model, and reports the time of each stage
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The folder for demo.mp4 and demo.png
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    out: PathBuf,
    /// The prompt; with several, the clip is divided among them
    #[arg(long, value_name = "TEXT", default_values = DEFAULT_PROMPTS)]
    prompt: Vec<String>,
    /// The largest number of frames of the clip
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    frames: Option<u64>,
    /// The size of the pictures: one side, or WIDTHxHEIGHT [default: 640x384, or on a slower machine the largest with the same
    /// aspect ratio at which it makes 12 pictures per second or more]
    #[arg(long, value_name = "SIZE")]
    size: Option<Size>,
    /// Accepted for earlier scripts, without effect: any size that the model can make is taken.
    #[arg(long, hide = true)]
    allow_any_size: bool,
    /// Print JSON lines instead of a bar and a table
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    engine: EngineArgs,
}

/// The largest size without `--size`.
const WHOLE: Size = Size { width: 640, height: 384 };

/// The files that it writes.
const FILM: &str = "demo.mp4";
const SHEET: &str = "demo.png";

pub(super) fn run(args: &Args) -> Result {
    let interrupt = Interrupt::listen()?;
    std::fs::create_dir_all(&args.out).map_err(|error| Error::io(&args.out, "create", error))?;
    let mut reader = media::open_mp4(media::CLIP)?;
    let frames = reader.len().map_or(u64::MAX, |frames| frames as u64).min(args.frames.unwrap_or(u64::MAX));
    let (params, timeline) = script(args, frames)?;
    let mut engine = engine(args, params)?;
    let (width, height) = engine.size();
    let film = args.out.join(FILM);
    let rate = reader.rate().unwrap_or_default();
    let mut writer =
        media::create(&film, media::Output { width, height, rate, pictures: usize::try_from(frames).ok() })?;
    let mut progress = Progress::new(args.json, Some(frames));
    let Runs { executor, provider, dtype, threads } = Runs::of(&engine);
    let title = format!("{frames} frames at {width}x{height} on {}", engine.device());
    let facts = json!({
        "executor": executor, "provider": provider, "dtype": dtype, "threads": threads, "model": engine.model(),
        "frames": frames, "width": width, "height": height,
    });
    progress.start(&title, facts)?;
    let sheet = RefCell::new(ContactSheet::new(frames, Size { width, height })?);
    let mut read = 0;
    let started = Instant::now();
    let spent = VideoLoop::new(&mut engine, timeline, &mut progress, &interrupt).run(
        || {
            let frame = if read < frames { reader.next()? } else { None };
            if let Some(frame) = &frame {
                sheet.borrow_mut().frame(read, frame)?;
                read += 1;
            }
            Ok(frame)
        },
        |number, picture| {
            sheet.borrow_mut().picture(number, picture)?;
            writer.write(picture, None)
        },
    )?;
    let elapsed = started.elapsed();
    interrupt.check()?;
    writer.finish()?;
    let sheet_path = args.out.join(SHEET);
    sheet.into_inner().write(&sheet_path)?;
    progress.done(&format!("{}, {}", film.display(), sheet_path.display()))?;
    if args.json { Ok(()) } else { Output::new().text(&where_time_went(&spent, read, elapsed)) }
}

/// Builds the engine: without `--size`, at the best level for this machine.
fn engine(args: &Args, params: StreamDiffusionParams) -> Result<Engine> {
    let options = args.engine.options()?;
    let build = |params| Engine::builder().models(ModelSource::Demo).params(params).options(options.clone()).build();
    if args.size.is_some() {
        return Ok(build(params)?);
    }
    let cheapest = Level::cheapest(&params);
    let time = measure(&mut build(cheapest.apply(&params))?)?;
    Ok(build(choose(&params, cheapest, time).apply(&params))?)
}

/// The initial parameters, and the prompts that replace the first one later.
fn script(args: &Args, frames: u64) -> Result<(StreamDiffusionParams, Timeline)> {
    let patch = |prompt: &String| ParamsPatch::from_value(json!({"prompt": prompt}));
    let mut params = StreamDiffusionParams::demo();
    let size = args.size.unwrap_or(WHOLE);
    (params.width, params.height) = (size.width, size.height);
    let mut patches = Vec::new();
    for (index, prompt) in (0..).zip(&args.prompt) {
        patches.push((frames / args.prompt.len() as u64 * index, patch(prompt)?));
    }
    // The first applies from the start; merging it checks the size too.
    let (params, _) = patches.remove(0).1.merge(&params)?;
    Ok((params, Timeline::of(patches)))
}

/// The stages of a frame, what each took, and its share.
fn where_time_went(spent: &Timings, frames: u64, elapsed: Duration) -> String {
    let mut table = Table::new(&["stage", "ms a frame", "share"]);
    let frames = frames.max(1) as f64;
    for (stage, micros) in spent.stages() {
        let share = 100.0 * micros as f64 / spent.total.max(1) as f64;
        table.row([stage.to_owned(), format!("{:.2}", micros as f64 / 1e3 / frames), format!("{share:.0} %")]);
    }
    format!("{table}\n{:.1} fps, reading and writing included", frames / elapsed.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::timeline::Due;
    use super::*;

    #[derive(clap::Parser)]
    struct Parser {
        #[command(flatten)]
        args: Args,
    }

    fn patch(due: Option<Due>) -> String {
        match due.unwrap() {
            Due::Patch(patch) => patch.to_json(),
            Due::Transition(transition) => panic!("{transition:?}"),
        }
    }

    #[test]
    fn the_prompts_divide_the_clip_among_them() {
        let args = Parser::parse_from(["demo", "--prompt", "a", "--prompt", "b", "--prompt", "c"]).args;
        let (params, mut timeline) = script(&args, 90).unwrap();
        assert_eq!(params.prompt, "a".to_owned().into());
        assert!(timeline.due(29).is_none());
        assert_eq!(patch(timeline.due(30)), r#"{"prompt":"b"}"#);
        assert!(timeline.due(59).is_none());
        assert_eq!(patch(timeline.due(60)), r#"{"prompt":"c"}"#);
    }

    #[test]
    fn a_size_that_no_parameters_have_is_refused() {
        let args = Parser::parse_from(["demo", "--size", "100"]).args;
        assert!(script(&args, 90).is_err());
    }

    #[test]
    fn table_has_the_share_of_each_stage() {
        let mut spent = Timings::default();
        (spent.unet, spent.decode, spent.total) = (75_000, 25_000, 100_000);
        let text = where_time_went(&spent, 10, Duration::from_secs(2));
        assert!(text.contains("unet         7.50        75 %"), "{text}");
        assert!(text.contains("5.0 fps"), "{text}");
    }
}
