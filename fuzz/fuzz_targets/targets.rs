//! Runs the target that `DREAMFRAME_FUZZ_TARGET` names with the inputs of libFuzzer. One program for all of them is
//! built once.

#![no_main]

use std::sync::OnceLock;

use dreamframe_fuzz::Target;

static TARGET: OnceLock<Target> = OnceLock::new();

/// Returns the target that is named, and ends the process if there is none.
fn named_target() -> Target {
    let name = std::env::var("DREAMFRAME_FUZZ_TARGET").unwrap_or_default();
    dreamframe_fuzz::target(&name).unwrap_or_else(|error| {
        eprintln!("DREAMFRAME_FUZZ_TARGET: {error}");
        std::process::exit(2)
    })
}

libfuzzer_sys::fuzz_target!(
    init: {
        TARGET.get_or_init(named_target);
    },
    |bytes: &[u8]| TARGET.get_or_init(named_target)(bytes)
);
