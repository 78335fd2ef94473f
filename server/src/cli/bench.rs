//! `dreamframe bench`: measures the stages of a frame on this machine.

use std::time::{Duration, Instant};

use dreamframe::frame::{FrameView, PixelFormat};
use dreamframe::load::ModelSource;
use dreamframe::params::{ParamsPatch, StreamDiffusionParams};
use dreamframe::telemetry::{Samples, Summary, Timings};
use dreamframe::{Engine, Picture};
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
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// demo, a diffusers folder, a checkpoint in a .safetensors file, or random weights: sd-turbo-random,
    /// sdxl-turbo-random, bk-sdm-tiny-random
    #[arg(long, value_name = "MODEL", default_value = "demo")]
    model: String,
    /// The size of the pictures: one side, or WIDTHxHEIGHT; any that the model can make
    #[arg(long, value_name = "SIZE", default_value = "512")]
    size: Size,
    /// Rows of the stream batch: denoising steps of each frame
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16))]
    rows: u32,
    /// Pictures to measure
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    frames: u32,
    /// Print one JSON object a stage, and one that sums up
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    engine: EngineArgs,
}

pub(super) fn run(args: &Args) -> Result {
    let interrupt = Interrupt::listen()?;
    let options = args.engine.options()?;
    let started = Instant::now();
    let mut engine = Engine::builder().models(source(&args.model)).params(params(args)?).options(options).build()?;
    for notice in engine.notices() {
        eprintln!("dreamframe: note: {notice}");
    }
    let mut frames = TestFrames::new(args.size);
    frames.process(&mut engine)?;
    let first_picture = started.elapsed();
    for _ in 0..WARM_UP {
        interrupt.check()?;
        frames.process(&mut engine)?;
    }
    let mut stages = Stages::new(args.frames);
    let started = Instant::now();
    for _ in 0..args.frames {
        interrupt.check()?;
        stages.push(&frames.process(&mut engine)?.timings);
    }
    let fps = f64::from(args.frames) / started.elapsed().as_secs_f64();
    report(args.json, engine.model(), &stages, &summary(&engine, fps, first_picture))
}

fn source(model: &str) -> ModelSource {
    if model.ends_with("-random") { ModelSource::Random(model.to_owned()) } else { ModelSource::from(model) }
}

/// Timesteps spread over the grid: the cost of a step does not depend on its timestep.
fn params(args: &Args) -> Result<StreamDiffusionParams> {
    let mut params = StreamDiffusionParams::demo();
    let grid = params.num_inference_steps;
    params.t_index_list = (1..=args.rows).map(|row| grid * row / (args.rows + 1)).collect();
    (params.width, params.height) = (args.size.width, args.size.height);
    // By the rules of parameters, so that a size out of bounds is reported as such.
    Ok(ParamsPatch::default().merge(&params)?.0)
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

fn summary(engine: &Engine, fps: f64, first_picture: Duration) -> Value {
    let Runs { executor, provider, dtype, threads } = Runs::of(engine);
    json!({
        "summary": true,
        "fps": rounded(fps),
        "peak_rss_mb": machine::peak_rss_mb(),
        "networks_mb": engine.footprint().bytes(engine.options().dtype.bytes()) / 1_000_000,
        "first_picture_ms": milliseconds(first_picture),
        "evaluations_per_frame": engine.evaluations_per_frame(),
        "executor": executor,
        "provider": provider,
        "dtype": dtype,
        "threads": threads,
    })
}

fn report(json: bool, model: &str, stages: &Stages, summary: &Value) -> Result {
    let mut out = Output::new();
    if json {
        for (stage, Summary { median, p95, n, .. }) in stages.summaries() {
            out.line(&json!({"stage": stage, "median_ms": rounded(median), "p95_ms": rounded(p95), "n": n}))?;
        }
        return out.line(summary);
    }
    let mut table = Table::new(&["stage", "median ms", "p95 ms"]);
    for (stage, Summary { median, p95, .. }) in stages.summaries() {
        table.row([stage.to_owned(), format!("{median:.2}"), format!("{p95:.2}")]);
    }
    out.text(&format!("{table}\n"))?;
    let mut table = Table::new(&["model", model]);
    for (name, value) in summary.as_object().into_iter().flatten().filter(|(name, _)| *name != "summary") {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        table.row([name.replace('_', " "), value]);
    }
    out.text(&table.to_string())
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

    #[test]
    fn every_stage_of_a_frame_has_a_summary() {
        let mut stages = Stages::new(2);
        for (unet, total) in [(2000, 3000), (4000, 5000)] {
            let mut timings = Timings::default();
            (timings.unet, timings.total) = (unet, total);
            stages.push(&timings);
        }
        let names: Vec<&str> = stages.summaries().map(|(name, _)| name).collect();
        assert_eq!(names, ["preprocess", "encode", "control", "unet", "decode", "postprocess", "frame"]);
        let unet = stages.summaries().find(|(name, _)| *name == "unet").unwrap().1;
        assert_eq!((unet.median, unet.n), (3.0, 2));
    }
}
