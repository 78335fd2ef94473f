//! What a session adds to an engine.
//!
//! `cargo bench -p dreamframe --features internals --bench session -- [calls|latency|rate|update]...`
//!
//! Without arguments, all four:
//! - `calls`: how long `submit` (without the copy) and `poll` take while the engine is busy with the demo model;
//! - `latency`: from `submit` to the picture, with networks that do nothing;
//! - `rate`: frames per second through session, filter and conversion, with networks that do nothing;
//! - `update`: how long `update` takes to accept a change of one number while a style image of 8 MiB is set, and how much
//!   the process allocates until the change is applied.

#![allow(clippy::print_stdout, reason = "a bench prints its table")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use dreamframe::exec::null::NullExecutor;
use dreamframe::frame::FramePool;
use dreamframe::{
    Engine, EngineOptions, FrameView, ParamsPatch, PixelFormat, Result, SessionOptions, StreamDiffusionParams,
};

/// Longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(120);

/// Counts the bytes that all threads allocate.
struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

#[allow(unsafe_code, reason = "a global allocator is unsafe to implement; each call is passed to the system's")]
// SAFETY: every method passes its arguments to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps `dealloc`'s contract.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATED.fetch_add(size, Ordering::Relaxed);
        // SAFETY: the caller keeps `realloc`'s contract.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() -> Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let wants = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    if wants("calls") {
        calls()?;
    }
    if wants("latency") {
        latency()?;
    }
    if wants("rate") {
        rate()?;
    }
    if wants("update") {
        update()?;
    }
    Ok(())
}

/// The demo model at `side`, or nothing in its place.
fn engine(side: u32, null: bool, change: impl FnOnce(&mut StreamDiffusionParams)) -> Result<Engine> {
    let mut params = StreamDiffusionParams { width: side, height: side, ..StreamDiffusionParams::demo() };
    change(&mut params);
    let mut options = EngineOptions::default();
    options.dtype = dreamframe::Dtype::F32;
    // One core is the host's.
    options.threads = Some(thread::available_parallelism().map_or(1, |cores| (cores.get() - 1).max(1)));
    let builder = Engine::builder().params(params).options(options);
    if null { builder.executor(Arc::new(NullExecutor)) } else { builder }.build()
}

/// Noise, another one for every `index`.
fn pixels(side: u32, index: u32) -> Vec<u8> {
    let mut state = index.wrapping_mul(2_654_435_761) | 1;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..side * side * 4).map(|_| next()).collect()
}

/// The values at the middle, at 99 of 100, and the largest.
fn spread(mut times: Vec<Duration>) -> [Duration; 3] {
    times.sort_unstable();
    let at = |part: f64| times.get(((times.len() as f64 - 1.0) * part).round() as usize).copied().unwrap_or_default();
    [at(0.5), at(0.99), at(1.0)]
}

fn print_spread(what: &str, times: Vec<Duration>) {
    let n = times.len();
    let [p50, p99, most] = spread(times).map(|time| time.as_secs_f64() * 1e6);
    println!("{what:<44} {p50:>10.1} {p99:>10.1} {most:>10.1} {n:>8}");
}

fn head(what: &str) {
    println!("\n{what:<44} {:>10} {:>10} {:>10} {:>8}", "p50 us", "p99 us", "most us", "n");
}

fn calls() -> Result<()> {
    const CALLS: u32 = 3000;

    let session = engine(512, false, |_| ())?.start(SessionOptions::default())?;
    let handle = session.handle();
    let (pool, source) = (FramePool::new(4), pixels(512, 1));
    let view = FrameView::packed(PixelFormat::Rgba8, 512, 512, &source)?;
    let (mut copies, mut submits, mut polls) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..CALLS {
        let start = Instant::now();
        let frame = pool.copy(&view)?;
        copies.push(start.elapsed());
        let start = Instant::now();
        handle.submit_frame(frame)?;
        submits.push(start.elapsed());
        let start = Instant::now();
        let picture = handle.poll();
        polls.push(start.elapsed());
        drop(picture);
        thread::sleep(Duration::from_millis(2));
    }
    head("calls, engine busy with the demo model at 512");
    print_spread("submit, besides the copy (asked: p99 50)", submits);
    print_spread("poll (asked: p99 50)", polls);
    print_spread("the copy of a frame", copies);
    println!("pictures made meanwhile: {}", handle.stats().computed.total);
    session.stop(LIMIT).map(drop)
}

fn latency() -> Result<()> {
    const FRAMES: u32 = 1500;

    let session = engine(512, true, |_| ())?.start(SessionOptions::default())?;
    let handle = session.handle();
    let sources: Vec<_> = (0..4).map(|index| pixels(512, index)).collect();
    head("from submit to picture, networks that do nothing, 512x512");
    for (what, pause) in [("one after the other (asked: p99 5000)", 0), ("60 a second (asked: p99 5000)", 16)] {
        let mut times = Vec::new();
        for source in sources.iter().cycle().take(FRAMES as usize) {
            let start = Instant::now();
            handle.submit(&FrameView::packed(PixelFormat::Rgba8, 512, 512, source)?)?;
            drop(handle.wait(LIMIT));
            times.push(start.elapsed());
            thread::sleep(Duration::from_millis(pause));
        }
        print_spread(what, times);
    }
    session.stop(LIMIT).map(drop)
}

fn rate() -> Result<()> {
    const SECONDS: u64 = 5;

    // The filter compares every frame and, at this threshold, skips none.
    let engine = engine(512, true, |params| {
        params.enable_similar_image_filter = true;
        params.similar_image_filter_threshold = 1.0;
    })?;
    let session = engine.start(SessionOptions::default())?;
    let handle = session.handle();
    let sources: Vec<_> = (0..4).map(|index| pixels(512, index)).collect();
    let start = Instant::now();
    let mut pictures = 0_u32;
    for (source, index) in sources.iter().cycle().zip(0_u32..) {
        handle.submit(&FrameView::packed(PixelFormat::Rgba8, 512, 512, source)?)?;
        // Two are on their way, so that one is copied while the other is processed; now and then one is replaced.
        if !index.is_multiple_of(64) {
            pictures += u32::from(handle.wait(LIMIT).is_some());
        }
        if start.elapsed().as_secs() >= SECONDS {
            break;
        }
    }
    let stats = handle.stats();
    let rate = stats.computed.total as f64 / start.elapsed().as_secs_f64();
    println!("\nframes a second, networks that do nothing, filter on, 512x512 (asked: 1000): {rate:.0}");
    println!("submitted {}, dropped {}, pictures taken {pictures}", stats.submitted.total, stats.dropped.total);
    for stage in stats.stages {
        println!("  {:<12} p50 {:>8.0} us, p95 {:>8.0} us", stage.name, stage.micros.median, stage.micros.p95);
    }
    session.stop(LIMIT).map(drop)
}

fn update() -> Result<()> {
    const UPDATES: u32 = 300;
    const HEAD: &str = "data:image/png;base64,";

    let image = format!("{HEAD}{}", "A".repeat((8 << 20) - HEAD.len()));
    let session =
        engine(64, true, |params| params.ip_adapter_style_image_url = image.into())?.start(SessionOptions::default())?;
    let handle = session.handle();
    // An update is applied before a frame.
    let source = pixels(64, 1);
    let view = FrameView::packed(PixelFormat::Rgba8, 64, 64, &source)?;
    let (mut accepted, mut applied, mut most) = (Vec::new(), Vec::new(), 0);
    for index in 0..UPDATES {
        let patch = ParamsPatch::from_json(&format!(r#"{{"delta": {}}}"#, f64::from(index % 100) / 100.0))?;
        let (before, start) = (ALLOCATED.load(Ordering::Relaxed), Instant::now());
        let ticket = handle.update(&patch)?;
        accepted.push(start.elapsed());
        handle.submit(&view)?;
        handle.wait_for(&ticket, LIMIT)?;
        applied.push(start.elapsed());
        most = most.max(ALLOCATED.load(Ordering::Relaxed) - before);
        drop(handle.wait(LIMIT));
    }
    head("one number changes, a style image of 8 MiB is set");
    print_spread("update accepted (asked: p50 50)", accepted);
    print_spread("update applied", applied);
    println!("most bytes allocated from update to applied (asked: below {}): {most}", 8 << 20);
    session.stop(LIMIT).map(drop)
}
