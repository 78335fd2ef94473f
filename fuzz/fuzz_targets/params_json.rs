//! Any text as parameters and as a patch: it is refused with violations, or what it makes can be written and read again.

#![no_main]

use dreamframe::params::{ParamsPatch, StreamDiffusionParams};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(patch) = ParamsPatch::from_json(text) else { return };
    let again = ParamsPatch::from_json(&patch.to_json()).expect("a patch that was accepted is accepted again");
    assert_eq!(patch, again);
    let Ok((params, _)) = patch.merge(&StreamDiffusionParams::default()) else { return };
    params.validate().expect("a merge gives valid parameters");
    let (again, _) = StreamDiffusionParams::from_json(&params.to_json()).expect("valid parameters are read again");
    assert_eq!(params, again);
});
