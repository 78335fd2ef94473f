//! How steady pictures come while parameters change: times between two pictures of the demo model at a steady pace.
//!
//! `cargo bench -p dreamframe-tests --bench gaps [-- --provider cuda [--cuda-graphs]]`: on the CPU, or on a provider of ONNX
//! Runtime.

#![allow(clippy::print_stdout, reason = "a bench prints its table")]

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use dreamframe::{
    Cost, Dtype, Engine, ExecutorKind, FrameView, OnnxOptions, Outcome, ParamsPatch, PixelFormat, Result,
    SessionHandle, SessionOptions, StreamDiffusionParams,
};
use dreamframe_tests::frames::moving_disc;
use dreamframe_tests::kit::Kit;

/// Longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(120);

/// The networks that the most expensive of the changes loads.
const FIVE: &str = r#"{"controlnets": [{"model_id": "net-a", "preprocessor": "canny"}, {"model_id": "net-b"},
    {"model_id": "net-c"}, {"model_id": "net-d"}, {"model_id": "net-e", "preprocessor": "soft_edge"}]}"#;

/// Returns the provider that the command line names, which runs networks instead of the CPU.
fn provider() -> Option<OnnxOptions> {
    let name = std::env::args().skip_while(|argument| argument != "--provider").nth(1)?;
    let graphs = std::env::args().any(|argument| argument == "--cuda-graphs");
    let provider = name.parse().expect("--provider names a provider");
    Some(OnnxOptions::default().with_provider(provider).with_cuda_graphs(graphs))
}

/// The demo model at `side`.
fn engine(kit: &Kit, side: u32) -> Result<Engine> {
    let params = StreamDiffusionParams {
        model_id: "first-demo".into(),
        width: side,
        height: side,
        ..StreamDiffusionParams::demo()
    };
    // One core is the host's.
    let cores = thread::available_parallelism().map_or(1, |cores| (cores.get() - 1).max(1));
    kit.engine(params, |options| {
        options.threads = Some(cores);
        if let Some(onnx) = provider() {
            (options.executor, options.onnx, options.dtype) = (ExecutorKind::Onnx, onnx, Dtype::Auto);
        }
    })
}

/// A change that is made while frames are processed, and the larger of the sides before and after.
struct Scenario {
    what: &'static str,
    patch: &'static str,
    side: u32,
}

fn main() -> Result<()> {
    const SCENARIOS: [Scenario; 6] = [
        Scenario { what: "nothing", patch: "{}", side: 256 },
        Scenario { what: "another prompt", patch: r#"{"prompt": "moonlit night"}"#, side: 256 },
        Scenario { what: "another number of rows", patch: r#"{"t_index_list": [30, 38, 44]}"#, side: 256 },
        Scenario { what: "another model", patch: r#"{"model_id": "second-demo"}"#, side: 256 },
        Scenario { what: "another size", patch: r#"{"width": 320, "height": 320}"#, side: 320 },
        Scenario { what: "five ControlNets", patch: FIVE, side: 256 },
    ];
    let kit = Kit::new(env!("CARGO_TARGET_TMPDIR"), "gaps");
    println!("gaps between pictures of the demo model, in frame intervals (asked: longest 2)");
    println!(
        "{:<26} {:>8} {:>8} {:>7} {:>7} {:>7} {:>7} {:>8} {:>8}",
        "change", "cost", "interval", "<1.25", "<1.5", "<2", "more", "longest", "ready in"
    );
    SCENARIOS.iter().try_for_each(|scenario| gap(&kit, scenario))
}

fn gap(kit: &Kit, scenario: &Scenario) -> Result<()> {
    const BEFORE: u32 = 40;
    const AFTER: u32 = 120;

    let moments = Arc::new(Mutex::new(Vec::new()));
    let noted = moments.clone();
    let mut options = SessionOptions::default();
    options.on_picture = Some(Box::new(move |handle, _| {
        drop(handle.poll());
        if let Ok(mut moments) = noted.lock() {
            moments.push(Instant::now());
        }
    }));
    let interval = sustained(kit, scenario)?;
    let session = engine(kit, 256)?.start(options)?;
    let handle = session.handle();
    let source = moving_disc(3, 256, 256);
    let view = FrameView::packed(PixelFormat::Rgba8, 256, 256, &source)?;
    pace(&handle, &view, interval, BEFORE)?;
    let start = Instant::now();
    let ticket = handle.update(&ParamsPatch::from_json(scenario.patch)?)?;
    let mut ready = None;
    let mut left = AFTER;
    while left > 0 {
        pace(&handle, &view, interval, 1)?;
        // At least half of the frames are after the change.
        left -= u32::from(ready.is_some() || left > AFTER / 2);
        if ready.is_none() && matches!(handle.wait_for(&ticket, Duration::ZERO), Ok(Outcome::Applied)) {
            ready = Some(start.elapsed());
        }
    }
    drop(session.stop(LIMIT)?);
    let moments = moments.lock().map(|moments| moments.clone()).unwrap_or_default();
    // The first pictures warm caches.
    let gaps = moments.iter().skip(10).zip(moments.iter().skip(11));
    let gaps: Vec<f64> = gaps.map(|(a, b)| (*b - *a).as_secs_f64() / interval.as_secs_f64()).collect();
    let within = |low: f64, high: f64| gaps.iter().filter(|gap| (low..high).contains(*gap)).count();
    println!(
        "{:<26} {:>8} {:>6.1}ms {:>7} {:>7} {:>7} {:>7} {:>8.2} {:>6.0}ms",
        scenario.what,
        ticket.cost.map_or("", Cost::name),
        interval.as_secs_f64() * 1e3,
        within(0.0, 1.25),
        within(1.25, 1.5),
        within(1.5, 2.0),
        within(2.0, f64::INFINITY),
        gaps.iter().copied().fold(0.0, f64::max),
        ready.unwrap_or_default().as_secs_f64() * 1e3,
    );
    Ok(())
}

/// Submits `count` frames, one every `interval`.
fn pace(handle: &SessionHandle, view: &FrameView<'_>, interval: Duration, count: u32) -> Result<()> {
    for _ in 0..count {
        let start = Instant::now();
        handle.submit(view)?;
        thread::sleep(interval.saturating_sub(start.elapsed()));
    }
    Ok(())
}

/// A pace that the machine holds before and after the change, with a third to spare.
fn sustained(kit: &Kit, scenario: &Scenario) -> Result<Duration> {
    let mut engine = engine(kit, scenario.side)?;
    if scenario.side == 256 {
        engine.update(&ParamsPatch::from_json(scenario.patch)?)?;
    }
    let source = moving_disc(3, 256, 256);
    let view = FrameView::packed(PixelFormat::Rgba8, 256, 256, &source)?;
    let mut times = Vec::new();
    for _ in 0..30 {
        let start = Instant::now();
        engine.process(&view)?;
        times.push(start.elapsed());
    }
    times.sort();
    Ok(times[times.len() / 2] * 4 / 3)
}
