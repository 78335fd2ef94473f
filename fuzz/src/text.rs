//! Targets that read text.

use dreamframe::params::{ParamsPatch, StreamDiffusionParams};
use dreamframe::transport::sdp::{Candidate, Description, Fragment};

/// Any text as parameters and as a patch: it is refused with violations, or what it makes can be written and read again.
pub fn params_json(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(patch) = ParamsPatch::from_json(text) else { return };
    let again = ParamsPatch::from_json(&patch.to_json()).expect("a patch that was accepted is accepted again");
    assert_eq!(patch, again);
    let Ok((params, _)) = patch.merge(&StreamDiffusionParams::default()) else { return };
    params.validate().expect("a merge gives valid parameters");
    let (again, _) = StreamDiffusionParams::from_json(&params.to_json()).expect("valid parameters are read again");
    assert_eq!(params, again);
}

/// Any bytes as the body of a request: it is rejected, or the parameters that result are shown.
pub fn request_body(bytes: &[u8]) {
    dreamframe_server::fuzz_api::request_body(bytes);
}

/// Any text as a description, a fragment and a candidate: it is refused, or what it makes keeps its bounds.
pub fn sdp(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(description) = Description::parse(text) {
        for section in description.live() {
            assert!(section.ufrag.is_some() && section.pwd.is_some() && section.fingerprint.is_some());
        }
    }
    if let Ok(fragment) = Fragment::parse(text) {
        for usable in fragment.candidates.iter().filter_map(Candidate::usable) {
            let again = Candidate { text: usable.clone(), ..Candidate::default() };
            assert_eq!(again.usable(), Some(usable), "the one form is stable");
        }
    }
}
