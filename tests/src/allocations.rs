//! Allocations that fail: the n-th large one, for every n.
//!
//! Small allocations end the process if they fail, as in the standard library. Large ones, of weights, of the memory of
//! programs and of frames, must not. The pictures are so small that embeddings and the images of processors are small
//! allocations, too.

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::cell::RefCell;
use std::io::{Write as _, stderr, stdout};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use dreamframe::{
    Engine, Error, ErrorKind, FrameView, Outcome, ParamsPatch, PixelFormat, Result, SessionOptions,
    StreamDiffusionParams,
};
use serde_json::{Value, json};

use crate::frames::{moving_disc, pictures};
use crate::kit::{Kit, SIDE};

/// The smallest allocation that may fail, in bytes: more than the tables of a tokenizer and of its regular expressions.
pub const LARGE: usize = 384 << 10;
/// How long an update may take.
const LIMIT: Duration = Duration::from_secs(60);
/// Names an environment variable; if it is set, the failing allocation's call stack is printed.
const TRACE: &str = "DREAMFRAME_TRACE_ALLOCATION";

/// Large allocations of all threads.
static COUNT: AtomicUsize = AtomicUsize::new(0);
/// The one of them that fails; none if it is 0.
static FAILING: AtomicUsize = AtomicUsize::new(0);
static TRACES: AtomicBool = AtomicBool::new(false);

/// The system's allocator, of which one large allocation fails.
#[derive(Debug, Clone, Copy)]
pub struct FailingAllocator;

impl FailingAllocator {
    /// Counts an allocation of `size` bytes; returns whether it fails.
    fn fails(size: usize) -> bool {
        let fails = size >= LARGE && COUNT.fetch_add(1, Ordering::Relaxed) + 1 == FAILING.load(Ordering::Relaxed);
        if fails && TRACES.load(Ordering::Relaxed) {
            let _ = writeln!(stderr(), "{size} bytes\n{}", Backtrace::force_capture());
        }
        fails
    }
}

#[allow(
    unsafe_code,
    reason = "a global allocator is unsafe to implement; each call is passed to the system's, or fails"
)]
// SAFETY: every method returns null, as an allocator may, or what the system's allocator returns for the same arguments.
unsafe impl GlobalAlloc for FailingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps `alloc`'s contract.
        if Self::fails(layout.size()) { null_mut() } else { unsafe { System.alloc(layout) } }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps `alloc_zeroed`'s contract.
        if Self::fails(layout.size()) { null_mut() } else { unsafe { System.alloc_zeroed(layout) } }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps `dealloc`'s contract.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller keeps `realloc`'s contract.
        if Self::fails(size) { null_mut() } else { unsafe { System.realloc(pointer, layout, size) } }
    }
}

/// Which allocations fail.
#[derive(Debug, Clone)]
pub struct Options {
    /// Of this many allocations in succession, one fails.
    pub every: usize,
    /// The first one that fails, from 1.
    pub first: usize,
    /// Only calls whose name begins with it.
    pub only: Option<String>,
}

/// What was run.
#[derive(Debug, Default, Clone, Copy)]
pub struct Report {
    /// Allocations that failed.
    pub failed: usize,
    /// Those after which the call returned `OutOfMemory`; the others succeeded without the memory.
    pub reported: usize,
}

/// Lets allocations fail one after another.
#[derive(Debug)]
pub struct Injector {
    options: Options,
    report: Report,
}

impl Injector {
    /// Returns one that has not failed an allocation.
    pub fn new(options: Options) -> Self {
        TRACES.store(std::env::var_os(TRACE).is_some(), Ordering::Relaxed);
        Self { options, report: Report::default() }
    }

    /// Returns what was run until now.
    pub fn report(&self) -> Report {
        self.report
    }

    /// Calls `work` with its `n`-th large allocation failing, for one `n` after another, until it has fewer. After each call,
    /// `check` gets what it returned, and whether an allocation failed; it has to undo what `work` did then.
    ///
    /// # Panics
    ///
    /// If `work` returns another error than `OutOfMemory`, or one without a failure.
    pub fn each<T>(&mut self, name: &str, mut work: impl FnMut() -> Result<T>, mut check: impl FnMut(Result<T>, bool)) {
        if self.options.only.as_ref().is_some_and(|only| !name.starts_with(only)) {
            check(work(), false);
            return;
        }
        print(format_args!("{name}:"));
        for n in (self.options.first..).step_by(self.options.every) {
            // The last one that is seen belongs to the call whose allocation aborts the process.
            print(format_args!(" {n}"));
            let at = COUNT.load(Ordering::SeqCst) + n;
            FAILING.store(at, Ordering::SeqCst);
            let result = work();
            FAILING.store(0, Ordering::SeqCst);
            let has_failed = COUNT.load(Ordering::SeqCst) >= at;
            match &result {
                Err(error) if has_failed => {
                    assert_eq!(error.kind(), ErrorKind::OutOfMemory, "{name}, allocation {n}: {error}");
                    self.report.reported += 1;
                }
                Err(error) => panic!("{name}, without a failure: {error}"),
                Ok(_) => {}
            }
            check(result, has_failed);
            if !has_failed {
                break;
            }
            self.report.failed += 1;
        }
        print(format_args!("\n"));
    }
}

fn print(text: std::fmt::Arguments<'_>) {
    let mut out = stdout().lock();
    let _ = out.write_fmt(text).and_then(|()| out.flush());
}

/// Lets large allocations fail while engines are built and changed, in frames, and in a session.
///
/// # Errors
///
/// If an engine cannot be built without a failure.
///
/// # Panics
///
/// If a failed allocation has another effect than an error or a success. The process is aborted if it is not checked.
pub fn run(injector: &mut Injector, kit: &Kit) -> Result<()> {
    load(injector, kit)?;
    update(injector, kit)?;
    frames(injector, kit)?;
    session(injector, kit)
}

/// Engines are built or report it, and those that are built make the same pictures.
fn load(injector: &mut Injector, kit: &Kit) -> Result<()> {
    let expected = pictures(&mut kit.engine(Kit::params(), |_| ())?, 2);
    let check = |engine: Result<Engine>, _| {
        if let Ok(mut engine) = engine {
            assert_eq!(pictures(&mut engine, 2), expected);
        }
    };
    injector.each("load", || kit.engine(Kit::params(), |_| ()), check);
    let demo = || {
        let params = StreamDiffusionParams { width: SIDE, height: SIDE, ..StreamDiffusionParams::demo() };
        Engine::builder().params(params).build()
    };
    injector.each("load of the built-in model", demo, |_, _| ());
    Ok(())
}

/// Changes of everything that allocates.
fn patches() -> Vec<Value> {
    vec![
        json!({"prompt": "moonlit night", "negative_prompt": "rain"}),
        json!({"width": 96, "height": 96}),
        json!({"t_index_list": [38, 43, 47], "cfg_type": "full"}),
        json!({"lora_dict": {"lora-a": 1, "lora-b": -0.5}}),
        json!({"controlnets": [{"model_id": "net-c", "preprocessor": "soft_edge"}, {"model_id": "net-a"}]}),
        json!({"ip_adapter_style_image_url": Kit::other_style(), "ip_adapter": {"scale": 0.9}}),
        json!({"cached_attention": {"enabled": true, "max_frames": 4}}),
        json!({"feature_reuse": {"interval": 3}}),
        json!({"image_preprocessing": [{"type": "canny"}, {"type": "sharpen"}], "image_postprocessing": []}),
        json!({"model_id": "second-demo", "width": 64, "height": 64}),
        json!({"interpolation": {"factor": 2, "model_id": crate::controlnets::RIFE[0]}}),
    ]
}

/// Returns the names of the fields of a patch, and the patch that gives them the values of `params`.
fn undo(patch: &ParamsPatch, params: &StreamDiffusionParams) -> Result<(String, ParamsPatch)> {
    let (patch, values) = (patch.to_value(), params.to_value());
    let names: Vec<&String> = patch.as_object().into_iter().flat_map(|fields| fields.keys()).collect();
    let fields = names.iter().map(|&name| (name.clone(), values[name].clone())).collect();
    let undo = ParamsPatch::from_json(&Value::Object(fields).to_string())?;
    Ok((names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", "), undo))
}

/// A failed update changes nothing: the engine's pictures are those of one that did not attempt it.
fn update(injector: &mut Injector, kit: &Kit) -> Result<()> {
    let engines = [kit.engine(Kit::params(), |_| ())?, kit.engine(Kit::params(), |_| ())?];
    let [engine, mut other] = engines;
    let engine = RefCell::new(engine);
    for patch in patches() {
        let patch = ParamsPatch::from_json(&patch.to_string())?;
        let (names, undo) = undo(&patch, other.params())?;
        injector.each(
            &format!("update {names}"),
            || engine.borrow_mut().update(&patch).map(drop),
            |result, has_failed| {
                let mut engine = engine.borrow_mut();
                if result.is_ok() {
                    other.update(&patch).expect("an update without failures is applied");
                }
                assert_eq!(engine.params(), other.params());
                assert_eq!(pictures(&mut engine, 2), pictures(&mut other, 2), "{names}");
                if result.is_ok() && has_failed {
                    for engine in [&mut *engine, &mut other] {
                        engine.update(&undo).expect("the update is undone");
                    }
                }
            },
        );
    }
    Ok(())
}

/// A frame that fails leaves nothing behind: the next picture is that of an engine which did not get it.
fn frames(injector: &mut Injector, kit: &Kit) -> Result<()> {
    let engines = [kit.engine(Kit::params(), |_| ())?, kit.engine(Kit::params(), |_| ())?];
    let [engine, mut other] = engines;
    let engine = RefCell::new(engine);
    for (width, height) in [(SIDE, SIDE), (96, 64), (640, 480), (1920, 1080), (33, 257)] {
        let pixels = moving_disc(1, width, height);
        let frame = FrameView::packed(PixelFormat::Rgba8, width, height, &pixels)?;
        injector.each(
            &format!("frame of {width}x{height}"),
            || engine.borrow_mut().process(&frame).map(|picture| picture.frame.pixels().to_vec()),
            |result, _| {
                if let Ok(pixels) = result {
                    assert_eq!(pixels, other.process(&frame).expect("a frame without failures").frame.pixels());
                }
                assert_eq!(pictures(&mut engine.borrow_mut(), 2), pictures(&mut other, 2));
            },
        );
    }
    Ok(())
}

/// An update of a session is applied or rejected, and pictures follow either.
fn session(injector: &mut Injector, kit: &Kit) -> Result<()> {
    let session = kit.engine(Kit::params(), |_| ())?.start(SessionOptions::default())?;
    let handle = session.handle();
    let pixels = moving_disc(1, SIDE, SIDE);
    let apply = |patch: &ParamsPatch| match handle.wait_for(&handle.update(patch)?, LIMIT)? {
        Outcome::Rejected(error) => Err(Error::new(error.kind(), error.to_string())),
        Outcome::Applied | Outcome::Superseded | _ => Ok(()),
    };
    for patch in patches() {
        let patch = ParamsPatch::from_json(&patch.to_string())?;
        let before = handle.params();
        let (names, undo) = undo(&patch, &before)?;
        let check = |result: Result<()>, has_failed| {
            let frame = FrameView::packed(PixelFormat::Rgba8, SIDE, SIDE, &pixels).expect("the frame is well formed");
            let id = handle.submit(&frame).expect("frames are accepted");
            while handle.wait(LIMIT).expect("a picture follows").id < id {}
            if result.is_ok() && has_failed {
                apply(&undo).expect("the update is undone");
            }
            assert_eq!(handle.params() == before, has_failed, "{names}");
        };
        injector.each(&format!("session, update {names}"), || apply(&patch), check);
    }
    assert_eq!((handle.stats().failed.total, handle.stats().dropped.total), (0, 0));
    session.stop(LIMIT).map(drop)
}
