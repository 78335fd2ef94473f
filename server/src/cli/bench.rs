//! `dreamframe bench`: measures the stages of a frame on this machine.

use std::time::{Duration, Instant};

use dreamframe::frame::{FrameView, PixelFormat};
use dreamframe::load::ModelSource;
use dreamframe::params::{Notice, ParamsPatch, StreamDiffusionParams};
use dreamframe::telemetry::{Samples, Summary, Timings};
use dreamframe::{Engine, EngineBuilder, Picture};
use serde_json::{Value, json};

use super::exit::Result;
use super::interrupt::Interrupt;
use super::machine;
use super::options::{EngineArgs, Runs, Size};
use super::output::Output;
use super::progress::{milliseconds, rounded};
use super::table::Table;

/// Pictures before the measured ones, to fill caches and reach the CPU's steady clock rate.
const WARM_UP: u32 = 2;

/// Times each stage of a frame, with a real model or with random weights of full size
///
/// With several sizes, each is measured with an engine of its own, one after the other, and the report is a table with a
/// line for each. The peak memory is known of the whole process only, so this table does not have it, and `peak_rss_mb` is
/// null.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// demo, a diffusers folder, a checkpoint in a .safetensors file, or random weights: sd-turbo-random,
    /// sdxl-turbo-random, sdxs-random, sdxs-dreamshaper-random, ssd-1b-random, segmind-vega-random, bk-sdm-tiny-random
    #[arg(long, value_name = "MODEL", default_value = "demo")]
    model: String,
    /// The size of the pictures: one side, or WIDTHxHEIGHT; any that the model can make. Several, separated by commas or
    /// in options of their own, are compared in a table
    #[arg(long = "size", value_name = "SIZE", default_value = "512", value_delimiter = ',')]
    sizes: Vec<Size>,
    /// Rows of the stream batch: denoising steps of each frame
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16))]
    rows: u32,
    /// Pictures to measure of each size
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    frames: u32,
    /// Print one JSON object a stage, and one that sums up, for each size, which is their key `size`, such as "512x512"
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    engine: EngineArgs,
}

pub(super) fn run(args: &Args) -> Result {
    let interrupt = Interrupt::listen()?;
    let options = args.engine.options()?;
    // Of all sizes, so that one out of bounds is reported before others are measured.
    let params = args.sizes.iter().map(|&size| params(args.rows, size)).collect::<Result<Vec<_>>>()?;
    let (mut out, mut measured, mut reported) = (Output::new(), Vec::new(), Vec::new());
    for (&size, params) in args.sizes.iter().zip(params) {
        let builder = Engine::builder().models(source(&args.model)).params(params).options(options.clone());
        let mut result = measure(builder, size, args.frames, &interrupt, &mut reported)?;
        if args.sizes.len() > 1 {
            result.peak_rss_mb = None;
        }
        if args.json {
            result.lines().iter().try_for_each(|line| out.line(line))?;
        }
        measured.push(result);
    }
    match measured.as_slice() {
        _ if args.json => Ok(()),
        [one] => out.text(&one.report()),
        several => out.text(&comparison(several)),
    }
}

fn source(model: &str) -> ModelSource {
    if model.ends_with("-random") { ModelSource::Random(model.to_owned()) } else { ModelSource::from(model) }
}

/// Timesteps spread over the grid: the cost of a step does not depend on its timestep.
fn params(rows: u32, size: Size) -> Result<StreamDiffusionParams> {
    let mut params = StreamDiffusionParams::demo();
    let grid = params.num_inference_steps;
    params.t_index_list = (1..=rows).map(|row| grid * row / (rows + 1)).collect();
    (params.width, params.height) = (size.width, size.height);
    // By the rules of parameters, so that a size out of bounds is reported as such.
    Ok(ParamsPatch::default().merge(&params)?.0)
}

/// Builds an engine and measures it. Notices of the engine that are not among those `reported` are written and added.
fn measure(
    builder: EngineBuilder,
    size: Size,
    count: u32,
    interrupt: &Interrupt,
    reported: &mut Vec<Notice>,
) -> Result<Measured> {
    interrupt.check()?;
    let started = Instant::now();
    let mut engine = builder.build()?;
    for notice in engine.notices() {
        if !reported.contains(notice) {
            eprintln!("dreamframe: note: {notice}");
            reported.push(notice.clone());
        }
    }
    let mut frames = TestFrames::new(size);
    frames.process(&mut engine)?;
    let first_picture = started.elapsed();
    for _ in 0..WARM_UP {
        interrupt.check()?;
        frames.process(&mut engine)?;
    }
    let mut stages = Stages::new(count);
    let started = Instant::now();
    for _ in 0..count {
        interrupt.check()?;
        stages.push(&frames.process(&mut engine)?.timings);
    }
    Ok(Measured {
        size,
        model: engine.model().to_owned(),
        stages,
        fps: f64::from(count) / started.elapsed().as_secs_f64(),
        peak_rss_mb: machine::peak_rss_mb(),
        networks_mb: engine.footprint().bytes(engine.options().dtype.bytes()) / 1_000_000,
        first_picture,
        evaluations: engine.evaluations_per_frame(),
        runs: Runs::of(&engine),
    })
}

/// A pattern that moves, so that no frame is like another.
#[derive(Debug)]
struct TestFrames {
    size: Size,
    pixels: Vec<u8>,
    number: u32,
}

impl TestFrames {
    fn new(size: Size) -> Self {
        Self { size, pixels: vec![0; 4 * size.width as usize * size.height as usize], number: 0 }
    }

    fn process(&mut self, engine: &mut Engine) -> Result<Picture> {
        let Size { width, height } = self.size;
        let shift = 3 * self.number;
        for (row, y) in self.pixels.chunks_exact_mut(4 * width as usize).zip(0u32..) {
            for (pixel, x) in row.chunks_exact_mut(4).zip(0u32..) {
                let [r, g, b] = [x.wrapping_add(shift), y.wrapping_add(shift), x ^ y].map(|value| value as u8);
                pixel.copy_from_slice(&[r, g, b, u8::MAX]);
            }
        }
        self.number += 1;
        Ok(engine.process(&FrameView::packed(PixelFormat::Rgba8, width, height, &self.pixels)?)?)
    }
}

/// The times of each stage, in milliseconds.
#[derive(Debug)]
struct Stages(Vec<(&'static str, Samples)>);

impl Stages {
    fn new(frames: u32) -> Self {
        Self(Timings::default().stages().map(|(name, _)| (name, Samples::new(frames as usize))).into())
    }

    fn push(&mut self, timings: &Timings) {
        for ((_, samples), (_, micros)) in self.0.iter_mut().zip(timings.stages()) {
            samples.push(micros as f64 / 1e3);
        }
    }

    fn summaries(&self) -> impl Iterator<Item = (&'static str, Summary)> {
        self.0.iter().filter_map(|(name, samples)| Some((*name, samples.summary()?)))
    }
}

/// The figures of one size.
#[derive(Debug)]
struct Measured {
    size: Size,
    /// The location of the model.
    model: String,
    stages: Stages,
    fps: f64,
    /// The peak memory of the process until then.
    peak_rss_mb: Option<u64>,
    networks_mb: u64,
    first_picture: Duration,
    evaluations: usize,
    runs: Runs,
}

impl Measured {
    /// Every figure that is not of a stage.
    fn facts(&self) -> [(&'static str, Value); 9] {
        let Runs { executor, provider, dtype, threads } = self.runs;
        [
            ("fps", rounded(self.fps).into()),
            ("peak_rss_mb", self.peak_rss_mb.into()),
            ("networks_mb", self.networks_mb.into()),
            ("first_picture_ms", milliseconds(self.first_picture).into()),
            ("evaluations_per_frame", self.evaluations.into()),
            ("executor", executor.into()),
            ("provider", provider.into()),
            ("dtype", dtype.into()),
            ("threads", threads.into()),
        ]
    }

    /// The lines of `--json`: one a stage, and the summary.
    fn lines(&self) -> Vec<Value> {
        let size = self.size.to_string();
        let stages = self.stages.summaries().map(|(stage, Summary { median, p95, n, .. })| {
            json!({"size": size, "stage": stage, "median_ms": rounded(median), "p95_ms": rounded(p95), "n": n})
        });
        let head = [("size", size.as_str().into()), ("summary", true.into())];
        let summary = head.into_iter().chain(self.facts()).map(|(name, value)| (name.to_owned(), value));
        stages.chain([Value::Object(summary.collect())]).collect()
    }

    /// A table of the stages, and one of the other figures.
    fn report(&self) -> String {
        let mut stages = Table::new(&["stage", "median ms", "p95 ms"]);
        for (stage, Summary { median, p95, .. }) in self.stages.summaries() {
            stages.row([stage.to_owned(), format!("{median:.2}"), format!("{p95:.2}")]);
        }
        let mut table = Table::new(&["model", &self.model]);
        for (name, value) in self.facts() {
            table.row(cells(name, &value));
        }
        format!("{stages}\n{table}")
    }
}

/// The line of a figure in a table.
fn cells(name: &str, value: &Value) -> [String; 2] {
    [name.replace('_', " "), value.as_str().map_or_else(|| value.to_string(), str::to_owned)]
}

/// A table with a line for each size, and one of what all sizes have in common.
fn comparison(measured: &[Measured]) -> String {
    const COMMON: [&str; 5] = ["evaluations_per_frame", "executor", "provider", "dtype", "threads"];

    let heading = ["size", "fps", "frame ms", "p95 ms", "unet ms", "encode ms", "decode ms", "networks MB", "first ms"];
    let mut sizes = Table::new(&heading);
    for one in measured {
        let time = |name: &str, of: fn(Summary) -> f64| {
            let stage = one.stages.summaries().find(|(stage, _)| *stage == name);
            stage.map_or_else(String::new, |(_, summary)| format!("{:.2}", of(summary)))
        };
        let median = |name| time(name, |summary| summary.median);
        sizes.row([
            one.size.to_string(),
            format!("{:.2}", one.fps),
            median("frame"),
            time("frame", |summary| summary.p95),
            median("unet"),
            median("encode"),
            median("decode"),
            one.networks_mb.to_string(),
            format!("{:.0}", one.first_picture.as_secs_f64() * 1e3),
        ]);
    }
    let Some(first) = measured.first() else { return sizes.to_string() };
    let mut common = Table::new(&["model", &first.model]);
    for (name, value) in first.facts().iter().filter(|(name, _)| COMMON.contains(name)) {
        common.row(cells(name, value));
    }
    format!("{sizes}\n{common}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_a_name_of_random_weights_or_a_place() {
        assert_eq!(source("sd-turbo-random"), ModelSource::Random("sd-turbo-random".into()));
        assert_eq!(source("demo"), ModelSource::Demo);
        assert_eq!(source("a/folder"), ModelSource::folder("a/folder"));
    }

    fn stages(times: &[(u64, u64)]) -> Stages {
        let mut stages = Stages::new(times.len() as u32);
        for &(unet, total) in times {
            let mut timings = Timings::default();
            (timings.unet, timings.total) = (unet, total);
            stages.push(&timings);
        }
        stages
    }

    #[test]
    fn every_stage_of_a_frame_has_a_summary() {
        let stages = stages(&[(2000, 3000), (4000, 5000)]);
        let names: Vec<&str> = stages.summaries().map(|(name, _)| name).collect();
        assert_eq!(names, ["preprocess", "encode", "control", "unet", "decode", "postprocess", "frame"]);
        let unet = stages.summaries().find(|(name, _)| *name == "unet").unwrap().1;
        assert_eq!((unet.median, unet.n), (3.0, 2));
    }

    #[derive(clap::Parser)]
    struct Parser {
        #[command(flatten)]
        bench: Args,
    }

    #[test]
    fn sizes_are_separated_by_commas_or_in_options_of_their_own() {
        use clap::Parser as _;
        let sizes = |arguments: &[&str]| {
            let arguments = std::iter::once("dreamframe").chain(arguments.iter().copied());
            Parser::try_parse_from(arguments)
                .map(|parser| parser.bench.sizes.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert_eq!(sizes(&[]).unwrap(), ["512x512"]);
        assert_eq!(sizes(&["--size", "256,640x384", "--size", "64"]).unwrap(), ["256x256", "640x384", "64x64"]);
        for wrong in ["", "256,", "256;384", "256,x"] {
            assert!(sizes(&["--size", wrong]).is_err(), "{wrong}");
        }
    }

    fn measured(size: &str, times: &[(u64, u64)]) -> Measured {
        Measured {
            size: size.parse().unwrap(),
            model: "demo".into(),
            stages: stages(times),
            fps: 12.5,
            peak_rss_mb: None,
            networks_mb: 7,
            first_picture: Duration::from_micros(90_400),
            evaluations: 2,
            runs: Runs { executor: "cpu", provider: None, dtype: "f32", threads: 2 },
        }
    }

    #[test]
    fn sizes_are_compared_in_a_table_without_the_peak_memory() {
        let small = measured("64", &[(2000, 3000), (4000, 5000)]);
        let large = measured("640x384", &[(20_000, 100_000)]);
        let text = comparison(&[small, large]);
        let expected = "\
size     fps    frame ms  p95 ms  unet ms  encode ms  decode ms  networks MB  first ms
64x64    12.50  4.00      4.90    3.00     0.00       0.00       7            90
640x384  12.50  100.00    100.00  20.00    0.00       0.00       7            90

model                  demo
evaluations per frame  2
executor               cpu
provider               null
dtype                  f32
threads                2
";
        assert_eq!(text, expected);
    }

    #[test]
    fn every_line_of_json_has_the_size_and_the_last_one_sums_up() {
        let lines = measured("640x384", &[(2000, 3000)]).lines();
        assert!(lines.iter().all(|line| line["size"] == "640x384"), "{lines:?}");
        let are_stages: Vec<bool> = lines.iter().map(|line| line["stage"].is_string()).collect();
        assert_eq!(are_stages, [[true; 7].as_slice(), &[false]].concat());
        let summary = lines.last().unwrap();
        assert_eq!((&summary["summary"], &summary["fps"]), (&true.into(), &12.5.into()));
        assert!(summary["peak_rss_mb"].is_null());
    }
}
