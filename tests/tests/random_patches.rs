//! Patches at random, valid and not, while frames flow: nothing stops, nothing is lost, memory stays flat, and what is left
//! is what the parameters say.
//!
//! `DREAMFRAME_PATCHES` is their number (small by default).

use dreamframe_tests::kit::Kit;
use dreamframe_tests::updates::{Options, run};

#[test]
fn random_updates_never_stop_the_picture_and_have_the_effect_of_the_model() {
    let updates = std::env::var("DREAMFRAME_PATCHES").ok().map_or(400, |count| count.parse().expect("a number"));
    let kit = Kit::new(env!("CARGO_TARGET_TMPDIR"), "random-patches");
    let report = run(&kit, &Options { updates, seed: 7, burst: 7, limit: None }, |_| ()).unwrap();
    assert!(report.faults.is_empty(), "{:#?}", report.faults);
    let [refused, applied, stamped] = [report.refused, report.applied, report.stamped];
    assert!(0 < refused && 0 < applied && 0 < stamped && refused < report.updates, "{report:?}");
}
