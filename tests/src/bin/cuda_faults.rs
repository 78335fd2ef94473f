//! Faults of a CUDA device under sessions whose parameters change: `cuda_faults memory|captures|changes [--rounds 12]
//! [--cuda-graphs]`, with `DREAMFRAME_ONNXRUNTIME`. For a machine with a GPU; run manually.
//!
//! - `memory` fills the memory of the device up to some MB, in which updates load networks. Each must be applied or rejected
//!   with an error, and pictures must continue. With the memory back, each must be applied.
//! - `captures` changes the parameters of two sessions that capture CUDA graphs, so that one captures while the other loads.
//!   No frame and no update may fail.
//! - `changes` changes those of one session, and prints the longest time between two pictures.

use std::error::Error;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use dreamframe::exec::Provider;
use dreamframe::frame::FrameMemory;
use dreamframe::{
    Engine, Event, Events, ExecutorKind, FrameView, OnnxOptions, Outcome, ParamsPatch, PixelFormat, Session,
    SessionHandle, SessionOptions, StreamDiffusionParams,
};
use dreamframe_tests::device_memory::DeviceBytes;
use dreamframe_tests::frames::moving_disc;
use dreamframe_tests::kit::Kit;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const SIDE: u32 = 256;
const LIMIT: Duration = Duration::from_secs(60);
/// Pictures after each update that show that the session continues.
const PICTURES: usize = 20;
const MIB: usize = 1 << 20;

/// Changes that load networks.
const CHANGES: [(&str, &str); 4] = [
    ("number of rows", r#"{"t_index_list": [30, 38, 44]}"#),
    ("model", r#"{"model_id": "second-demo"}"#),
    ("size", r#"{"width": 512, "height": 512}"#),
    (
        "five ControlNets",
        r#"{"controlnets": [{"model_id": "net-a", "preprocessor": "canny"}, {"model_id": "net-b"}, {"model_id": "net-c"},
            {"model_id": "net-d"}, {"model_id": "net-e"}]}"#,
    ),
];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let after = |name: &str| arguments.iter().skip_while(|argument| *argument != name).nth(1);
    let rounds = after("--rounds").map_or(Ok(12), |rounds| rounds.parse())?;
    let graphs = arguments.iter().any(|argument| argument == "--cuda-graphs");
    let folder = tempfile::tempdir()?;
    let kit = Kit::new(&folder.path().to_string_lossy(), "cuda-faults");
    let failures = match arguments.first().map(String::as_str) {
        Some("memory") => memory(&kit, graphs)?,
        Some("captures") => captures(&kit, rounds)?,
        Some("changes") => changes(&kit, rounds, graphs)?,
        _ => return Err("usage: cuda_faults memory|captures|changes [--rounds 12] [--cuda-graphs]".into()),
    };
    if failures == 0 { Ok(()) } else { Err(format!("failures: {failures}").into()) }
}

fn engine(kit: &Kit, graphs: bool) -> Result<Engine> {
    let params = StreamDiffusionParams {
        model_id: "first-demo".into(),
        width: SIDE,
        height: SIDE,
        ..StreamDiffusionParams::demo()
    };
    Ok(kit.engine(params, |options| {
        options.executor = ExecutorKind::Onnx;
        options.onnx = OnnxOptions::default().with_provider(Provider::Cuda).with_cuda_graphs(graphs);
    })?)
}

/// A session with frames that flow.
struct Stream {
    session: Session,
    events: Events,
    pictures: Arc<Mutex<Vec<Instant>>>,
    is_ending: Arc<AtomicBool>,
    frames: Option<JoinHandle<()>>,
}

impl Stream {
    fn start(engine: Engine) -> Result<Self> {
        let pictures = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&pictures);
        let mut options = SessionOptions::default();
        options.on_picture = Some(Box::new(move |handle, _| {
            drop(handle.poll());
            noted.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
        }));
        let session = engine.start(options)?;
        let (handle, is_ending) = (session.handle(), Arc::new(AtomicBool::new(false)));
        let (events, ends) = (handle.events(), Arc::clone(&is_ending));
        let frames = thread::spawn(move || submit_until(&handle, &ends));
        Ok(Self { session, events, pictures, is_ending, frames: Some(frames) })
    }

    fn count(&self) -> usize {
        self.pictures.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Waits for more pictures, and returns whether they were made.
    fn continues(&self) -> bool {
        let (before, start) = (self.count(), Instant::now());
        while start.elapsed() < LIMIT {
            if self.count() >= before + PICTURES {
                return true;
            }
            thread::sleep(Duration::from_millis(2));
        }
        false
    }

    /// Makes a change, and prints what becomes of it. Returns its outcome and the number of failures: frames that failed or
    /// pictures that ended.
    fn change(&self, name: &str, patch: &ParamsPatch) -> Result<(Outcome, usize)> {
        let (handle, start, before) = (self.session.handle(), Instant::now(), self.count());
        let ticket = handle.update(patch)?;
        let outcome = handle.wait_for(&ticket, LIMIT)?;
        let time = start.elapsed();
        let continues = self.continues();
        let failed: Vec<String> = self.events.try_iter().filter_map(failure).collect();
        let moments = self.pictures.lock().unwrap_or_else(PoisonError::into_inner);
        let gaps = moments.iter().zip(moments.iter().skip(1)).skip(before.saturating_sub(1));
        let longest = gaps.map(|(a, b)| *b - *a).max().unwrap_or_default();
        let text = if let Outcome::Rejected(error) = &outcome {
            format!("rejected: {}", described(error))
        } else {
            format!("{outcome:?}")
        };
        let frames =
            if failed.is_empty() { String::new() } else { format!(", {} frames failed: {}", failed.len(), failed[0]) };
        let pictures = if continues { "" } else { ", PICTURES END" };
        writeln!(std::io::stdout(), "  {name}: {text}, after {time:.0?}, longest gap {longest:.0?}{frames}{pictures}")?;
        Ok((outcome, failed.len() + usize::from(!continues)))
    }

    /// Changes the parameters back.
    fn reset(&self, params: &StreamDiffusionParams) -> Result<()> {
        let handle = self.session.handle();
        let ticket = handle.edit(|current| current.clone_from(params))?;
        if let Outcome::Rejected(error) = handle.wait_for(&ticket, LIMIT)? {
            return Err(format!("the previous parameters: {}", described(&error)).into());
        }
        Ok(())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.is_ending.store(true, Ordering::Relaxed);
        if let Some(frames) = self.frames.take() {
            let _ = frames.join();
        }
    }
}

/// Submits a frame every 5 ms.
fn submit_until(handle: &SessionHandle, is_ending: &AtomicBool) {
    for index in 0.. {
        if is_ending.load(Ordering::Relaxed) {
            return;
        }
        let pixels = moving_disc(index, SIDE, SIDE);
        let view = FrameView::packed(PixelFormat::Rgba8, SIDE, SIDE, &pixels).expect("the pixels have the size");
        let _ = handle.submit(&view);
        thread::sleep(Duration::from_millis(5));
    }
}

/// Returns the text of an event that is a failure of frames.
fn failure(event: Event) -> Option<String> {
    if let Event::FrameFailed { error, .. } = event { Some(described(&error)) } else { None }
}

/// Returns the kind and the last part of the text of an error: that of ONNX Runtime begins with the names of functions.
fn described(error: &dreamframe::Error) -> String {
    let text = format!("{error:#}").replace('\n', " ");
    let start = text.char_indices().rev().nth(200).map_or(0, |(index, _)| index);
    format!("{:?} … {}", error.kind(), text[start..].trim())
}

fn patch(json: &str) -> Result<ParamsPatch> {
    Ok(ParamsPatch::from_json(json)?)
}

/// Allocates the memory of the device but for `left` bytes.
fn fill(device: u32, left: usize) -> Vec<DeviceBytes> {
    let room = (left > 0).then(|| DeviceBytes::allocate(device, left));
    let mut filled = Vec::new();
    for len in [1024 * MIB, 128 * MIB, 16 * MIB, 2 * MIB, MIB / 4] {
        filled.extend(std::iter::from_fn(|| DeviceBytes::allocate(device, len)));
    }
    drop(room);
    filled
}

fn memory(kit: &Kit, graphs: bool) -> Result<usize> {
    let engine = engine(kit, graphs)?;
    let Some(FrameMemory::Cuda { device }) = engine.frame_memory() else {
        return Err("the engine has no memory of CUDA".into());
    };
    let params = engine.params().clone();
    let stream = Stream::start(engine)?;
    let mut failures = usize::from(!stream.continues());
    let mut out = std::io::stdout();
    for left in [0, 16, 64, 256] {
        let filled = fill(device, left * MIB);
        writeln!(out, "{left} MiB are left")?;
        failures += usize::from(!stream.continues());
        for (name, json) in CHANGES {
            let (outcome, failed) = stream.change(name, &patch(json)?)?;
            failures += failed;
            if !matches!(outcome, Outcome::Rejected(_)) {
                stream.reset(&params)?;
            }
        }
        drop(filled);
    }
    writeln!(out, "the memory is free")?;
    for (name, json) in CHANGES {
        let (outcome, failed) = stream.change(name, &patch(json)?)?;
        failures += failed + usize::from(!matches!(outcome, Outcome::Applied));
        stream.reset(&params)?;
    }
    Ok(failures)
}

fn changes(kit: &Kit, rounds: usize, graphs: bool) -> Result<usize> {
    let engine = engine(kit, graphs)?;
    let params = engine.params().clone();
    let stream = Stream::start(engine)?;
    let mut failures = usize::from(!stream.continues());
    for round in 0..rounds {
        let (name, json) = CHANGES[round % CHANGES.len()];
        let (outcome, failed) = stream.change(name, &patch(json)?)?;
        failures += failed + usize::from(!matches!(outcome, Outcome::Applied));
        stream.reset(&params)?;
        stream.continues();
    }
    Ok(failures)
}

fn captures(kit: &Kit, rounds: usize) -> Result<usize> {
    let streams = [engine(kit, true)?, engine(kit, true)?];
    let params = streams[0].params().clone();
    let change = |stream: &Stream, first: usize| -> Result<usize> {
        let mut failures = 0;
        for round in 0..rounds {
            let (name, json) = CHANGES[(first + round) % CHANGES.len()];
            let (outcome, failed) = stream.change(name, &patch(json)?)?;
            failures += failed + usize::from(!matches!(outcome, Outcome::Applied));
            if let Err(error) = stream.reset(&params) {
                writeln!(std::io::stdout(), "  {error}")?;
                failures += 1;
            }
        }
        Ok(failures)
    };
    let [first, second] = streams.map(Stream::start);
    let (first, second) = (first?, second?);
    let failures = thread::scope(|scope| {
        let others = scope.spawn(|| change(&second, 2));
        let own = change(&first, 0);
        (own, others.join())
    });
    match failures {
        (Ok(first), Ok(Ok(second))) => Ok(first + second),
        (Err(error), _) | (_, Ok(Err(error))) => Err(error),
        (_, Err(_)) => Err("a thread panicked".into()),
    }
}
