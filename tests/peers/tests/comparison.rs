//! A whole comparison, with sides that need only this crate: a batch against single rows, at a tiny size.
#![cfg(target_os = "linux")]

use std::process::{Command, Output};

use serde_json::Value;

fn peers(arguments: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dreamframe-peers"))
        .args(arguments.split(' '))
        .env_remove("DREAMFRAME_PEERS_PYTHON")
        .output()
        .unwrap()
}

#[test]
fn a_batch_is_compared_with_single_rows() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("figures.json");
    // Tests run concurrently with others on a busy machine: any control is accepted.
    let case = "--model taesd --peer single --rows 2 --size 16 --threads 1 --rounds 2 --tolerance 1e9";
    let done = peers(&format!("{case} --json {}", file.display()));
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}");
    let table = String::from_utf8(done.stdout).unwrap();
    assert!(table.starts_with("taesd 16x16, 2 rows, f32, 1 thread, against single;"), "{table}");
    assert!(table.contains("2 quiet rounds, 0 disturbed"), "{table}");

    let figures: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let figure = &figures[0];
    let number = |value: &Value| value.as_f64().unwrap();
    let [ours, peer] = ["ours", "peer_side"].map(|side| number(&figure[side]["ms"]["median"]));
    assert!((number(&figure["ratio"]) - peer / ours).abs() < 1e-9, "{figure}");
    assert!(number(&figure["ours"]["peak_memory_mb"]) > 0.0, "{figure}");
    assert_eq!(figure["rounds"].as_array().unwrap().len(), 2);
}

#[test]
fn unmeasurable_figure_fails_with_the_reason() {
    let done = peers("--model demo --peer torch --threads 1 --rounds 1");
    assert!(!done.status.success());
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(
        said.contains("FAILED demo 512x512, 1 row, f32, 1 thread, against torch: DREAMFRAME_PEERS_PYTHON"),
        "{said}"
    );
}
