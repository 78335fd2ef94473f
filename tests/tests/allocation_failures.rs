//! Large allocations that fail are errors, and change nothing.
//!
//! `DREAMFRAME_FULL` lets each of them fail; otherwise one of some. Arguments: of how many allocations one fails, the first
//! one, and what the name of the calls begins with. `DREAMFRAME_TRACE_ALLOCATION` prints the call stack of each failure.

#![allow(unsafe_code, reason = "the functions of the C interface are unsafe")]

use std::ffi::CStr;
use std::ptr::null_mut;

use dreamframe::{Error, ErrorKind, Result};
use dreamframe_fuzz_ffi::engine::{
    dreamframe_engine_create, dreamframe_engine_free, dreamframe_engine_process, dreamframe_engine_t,
    dreamframe_engine_update,
};
use dreamframe_fuzz_ffi::frame::{dreamframe_frame_packed, dreamframe_frame_t};
use dreamframe_fuzz_ffi::guard::dreamframe_last_error;
use dreamframe_fuzz_ffi::options::dreamframe_options_t;
use dreamframe_fuzz_ffi::status::{DREAMFRAME_ERROR_OUT_OF_MEMORY, DREAMFRAME_OK, dreamframe_status_t};
use dreamframe_tests::allocations::{FailingAllocator, LargeAllocations, run};
use dreamframe_tests::injection::{Injector, Options};
use dreamframe_tests::kit::{Kit, SIDE};
use dreamframe_tests::native::is_full;

#[global_allocator]
static ALLOCATOR: FailingAllocator = FailingAllocator;

/// The format RGBA8.
const RGBA8: u32 = 1;

/// Without a harness: the allocations of other tests would be counted.
fn main() -> Result<()> {
    let number = |argument: Option<String>| argument.and_then(|text| text.parse().ok());
    let mut arguments = std::env::args().skip(1);
    let every = number(arguments.next()).unwrap_or(if is_full() { 1 } else { 7 });
    let first = number(arguments.next()).unwrap_or(1);
    let mut injector = Injector::new(&LargeAllocations, Options { every, first, only: arguments.next(), prints: true });
    let kit = Kit::new(env!("CARGO_TARGET_TMPDIR"), "allocation-failures");
    run(&mut injector, &kit)?;
    c_interface(&mut injector)?;
    injector.finish();
    Ok(())
}

/// Across the C interface, it is a status, and an engine that could not be changed still makes pictures.
fn c_interface(injector: &mut Injector<'_, LargeAllocations>) -> Result<()> {
    let mut engine = null_mut();
    injector.each("C, create", create, |created, _| {
        if let Ok(created) = created {
            // SAFETY: handles are checked.
            unsafe { dreamframe_engine_free(engine) };
            engine = created;
        }
    });
    // The second patch of each pair undoes the first.
    for [patch, undo] in [
        [c"{\"prompt\": \"snow\"}", c"{\"prompt\": \"fog\"}"],
        [c"{\"cached_attention\": {\"enabled\": true}}", c"{\"cached_attention\": {\"enabled\": false}}"],
        [c"{\"t_index_list\": [38, 43, 47]}", c"{\"t_index_list\": [41]}"],
    ] {
        // SAFETY: all arguments are valid during the call.
        let apply = |patch: &CStr| unsafe { dreamframe_engine_update(engine, patch.as_ptr(), null_mut(), null_mut()) };
        injector.each(
            &format!("C, update {}", patch.to_string_lossy()),
            || checked(apply(patch)),
            |result, has_failed| {
                process(engine).expect("an engine makes pictures after a failure");
                if result.is_ok() && has_failed {
                    checked(apply(undo)).expect("the update is undone");
                }
            },
        );
    }
    injector.each("C, process", || process(engine), |_, _| ());
    // SAFETY: handles are checked.
    unsafe { dreamframe_engine_free(engine) };
    Ok(())
}

fn create() -> Result<*mut dreamframe_engine_t> {
    // SAFETY: zeros are valid for each field.
    let options: dreamframe_options_t = unsafe { std::mem::zeroed() };
    let params = c"{\"width\": 64, \"height\": 64, \"model_id\": \"demo\", \"use_lcm_lora\": false}";
    let struct_size = size_of::<dreamframe_options_t>();
    let options = dreamframe_options_t { struct_size, params_json: params.as_ptr(), dtype: 1, threads: 2, ..options };
    let mut engine = null_mut();
    // SAFETY: all arguments are valid during the call.
    checked(unsafe { dreamframe_engine_create(&raw const options, &raw mut engine) })?;
    Ok(engine)
}

/// Processes a frame.
fn process(engine: *mut dreamframe_engine_t) -> Result<()> {
    let [mut input, mut output] = [(); 2].map(|()| vec![0; (SIDE * SIDE * 4) as usize]);
    let [from, to] = [&mut input, &mut output].map(|pixels| {
        // SAFETY: zeros are valid for each field.
        let frame: dreamframe_frame_t = unsafe { std::mem::zeroed() };
        let mut frame = dreamframe_frame_t { struct_size: size_of::<dreamframe_frame_t>(), ..frame };
        // SAFETY: the pixels outlive the frame.
        let status =
            unsafe { dreamframe_frame_packed(RGBA8, SIDE, SIDE, pixels.as_mut_ptr(), pixels.len(), &raw mut frame) };
        assert_eq!(status, DREAMFRAME_OK);
        frame
    });
    // SAFETY: both frames are valid during the call.
    checked(unsafe { dreamframe_engine_process(engine, &raw const from, &raw const to, null_mut()) })
}

/// Returns the error of a status.
fn checked(status: dreamframe_status_t) -> Result<()> {
    if status == DREAMFRAME_OK {
        return Ok(());
    }
    // SAFETY: valid until the next call that fails.
    let text = unsafe { CStr::from_ptr(dreamframe_last_error()) }.to_string_lossy();
    let is_memory = status == DREAMFRAME_ERROR_OUT_OF_MEMORY;
    Err(Error::new(if is_memory { ErrorKind::OutOfMemory } else { ErrorKind::Internal }, text))
}
