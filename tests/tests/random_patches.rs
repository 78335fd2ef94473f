//! Patches at random, valid and not, while frames flow: nothing stops, nothing is lost, memory stays flat, and what is left
//! is what the parameters say.
//!
//! `DREAMFRAME_PATCHES` is their number (small by default).

use dreamframe_tests::kit::Kit;
use dreamframe_tests::updates::{Chains, Options, run};

#[test]
fn random_updates_never_stop_the_picture_and_have_the_effect_of_the_model() {
    let updates = std::env::var("DREAMFRAME_PATCHES").ok().map_or(400, |count| count.parse().expect("a number"));
    let kit = Kit::new(env!("CARGO_TARGET_TMPDIR"), "random-patches");
    for chains in [Chains::Stamps, Chains::StampsAmongOthers, Chains::Others] {
        let options = Options { chains, updates: updates / 3, seed: 7, burst: 7, limit: None };
        let report = run(&kit, &options, |_| ()).unwrap();
        assert!(report.faults.is_empty(), "{:#?}", report.faults);
        assert!(0 < report.refused && report.refused < report.updates && 0 < report.applied, "{report:?}");
        assert!(report.stamped > 0 || chains == Chains::Others, "{report:?}");
    }
}
