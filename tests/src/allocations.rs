//! Allocations that fail: the n-th large one, for every n.
//!
//! Small allocations end the process if they fail, as in the standard library. Large ones, of weights, of the memory of
//! programs and of frames, must not. The pictures are so small that embeddings and the images of processors are small
//! allocations, too.

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::cell::RefCell;
use std::io::{Write as _, stderr};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use dreamframe::{Engine, ErrorKind, FrameView, PixelFormat, Result, StreamDiffusionParams};

use crate::frames::{moving_disc, picture, pictures};
use crate::injection::{Faults, Injector};
use crate::kit::{Kit, SIDE};

/// The smallest allocation that may fail, in bytes: more than the tables of a tokenizer and of its regular expressions.
pub const LARGE: usize = 384 << 10;
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

/// Large allocations of this process.
#[derive(Debug, Clone, Copy)]
pub struct LargeAllocations;

impl Faults for LargeAllocations {
    const KINDS: &'static [ErrorKind] = &[ErrorKind::OutOfMemory];
    const MAY_DROP_FRAMES: bool = false;

    fn start(&self, n: usize) {
        TRACES.store(std::env::var_os(TRACE).is_some(), Ordering::Relaxed);
        FAILING.store(COUNT.load(Ordering::SeqCst) + n, Ordering::SeqCst);
    }

    fn end(&self) -> bool {
        let at = FAILING.swap(0, Ordering::SeqCst);
        COUNT.load(Ordering::SeqCst) >= at
    }

    fn engine(&self, kit: &Kit, params: StreamDiffusionParams) -> Result<Engine> {
        kit.engine(params, |_| ())
    }
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
pub fn run(injector: &mut Injector<'_, LargeAllocations>, kit: &Kit) -> Result<()> {
    injector.builds_and_updates(kit)?;
    injector.each("load of the built-in model", || demo(SIDE), |_, _| ());
    frames(injector, kit)?;
    first_picture(injector)
}

/// Builds an engine of the built-in model for square pictures.
fn demo(side: u32) -> Result<Engine> {
    let params = StreamDiffusionParams { width: side, height: side, ..StreamDiffusionParams::demo() };
    Engine::builder().params(params).build()
}

/// A frame that fails leaves nothing behind: the next picture is that of an engine which did not get it.
fn frames(injector: &mut Injector<'_, LargeAllocations>, kit: &Kit) -> Result<()> {
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

/// The memory of a picture is allocated when it is collected, if the host has none to return. If there is none, the frame is
/// lost, and the next one has a picture.
fn first_picture(injector: &mut Injector<'_, LargeAllocations>) -> Result<()> {
    const LARGE_SIDE: u32 = 384;
    let engine = RefCell::new(demo(LARGE_SIDE)?);
    let pixels = moving_disc(1, LARGE_SIDE, LARGE_SIDE);
    let frame = FrameView::packed(PixelFormat::Rgba8, LARGE_SIDE, LARGE_SIDE, &pixels)?;
    injector.each(
        "first picture",
        || engine.borrow_mut().process(&frame).map(drop),
        |result, has_failed| {
            assert_eq!(result.is_err(), has_failed);
            picture(&mut engine.borrow_mut(), 2);
        },
    );
    Ok(())
}
