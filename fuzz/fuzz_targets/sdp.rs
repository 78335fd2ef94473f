//! Any text as a description, a fragment and a candidate: it is refused, or what it makes keeps its bounds.

#![no_main]

use dreamframe::transport::sdp::{Candidate, Description, Fragment};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
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
});
