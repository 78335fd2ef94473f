//! `dreamframe gpu`, `dreamframe gpu install` and the options of executors, without a GPU and without a network.

use std::fs;
use std::path::Path;
use std::process::Output;

use crate::{dreamframe, lines, text, words};

/// Runs the program with `cache` as the user's cache.
fn run(cache: &Path, arguments: &[&str]) -> Output {
    dreamframe().args(arguments).env("XDG_CACHE_HOME", cache).output().unwrap()
}

#[test]
fn without_onnx_runtime_the_report_says_so_and_auto_is_the_cpu() {
    let cache = tempfile::tempdir().unwrap();
    let output = run(cache.path(), &["gpu"]);
    assert_eq!(output.status.code(), Some(0), "{}", words(&output));
    assert!(text(&output).contains("not installed") && text(&output).contains("cpu"), "{}", text(&output));
    let output = run(cache.path(), &["gpu", "--json"]);
    let report = &lines(&output)[0];
    assert_eq!((&report["library"], &report["executor"]), (&serde_json::Value::Null, &"cpu".into()));
    assert_eq!(report["install_folder"], cache.path().join("dreamframe").join("onnxruntime").to_str().unwrap());
}

#[test]
fn reports_of_a_run_name_executor_provider_and_dtype() {
    let cache = tempfile::tempdir().unwrap();
    let output = run(cache.path(), &["bench", "--size", "64", "--frames", "1", "--dtype", "f32", "--json"]);
    let lines = lines(&output);
    let summary = lines.last().unwrap();
    assert_eq!((&summary["executor"], &summary["dtype"]), (&"cpu".into(), &"f32".into()), "{}", words(&output));
    assert!(summary["provider"].is_null() && summary.as_object().unwrap().contains_key("provider"));
}

#[test]
fn executor_onnx_without_its_library_fails_with_the_command_that_installs_it() {
    let cache = tempfile::tempdir().unwrap();
    let output = run(cache.path(), &["bench", "--size", "64", "--frames", "1", "--executor", "onnx"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(words(&output).contains("dreamframe gpu install"), "{}", words(&output));
    let other = cache.path().join("no-such-folder");
    let named = ["bench", "--executor", "auto", "--onnxruntime", other.to_str().unwrap()];
    let output = run(cache.path(), &named);
    assert_eq!(output.status.code(), Some(1));
    assert!(words(&output).contains("no-such-folder"), "{}", words(&output));
}

#[test]
fn installing_needs_consent() {
    let cache = tempfile::tempdir().unwrap();
    let output = run(cache.path(), &["gpu", "install", "cpu", "--from", "."]);
    assert_eq!(output.status.code(), Some(2), "{}", words(&output));
    assert!(words(&output).contains("--yes: missing") && words(&output).contains("licence"), "{}", words(&output));
    assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 0);
}

#[test]
fn a_file_that_is_not_the_listed_wheel_is_not_installed() {
    let cache = tempfile::tempdir().unwrap();
    let wheels = tempfile::tempdir().unwrap();
    let from = wheels.path().to_str().unwrap();
    let install = ["gpu", "install", "cpu", "--yes", "--json", "--from", from];
    let output = run(cache.path(), &install);
    assert_eq!(output.status.code(), Some(1));
    let missing = lines(&output);
    assert_eq!((&missing[0]["event"], &missing[1]["kind"]), (&"start".into(), &"not_found".into()), "{missing:?}");
    let file = missing[0]["wheels"][0]["file"].as_str().unwrap();
    fs::write(wheels.path().join(file), "another file").unwrap();
    let output = run(cache.path(), &install);
    let message = lines(&output)[1]["message"].as_str().unwrap().to_owned();
    assert!(output.status.code() == Some(1) && message.contains("SHA-256"), "{message}");
    assert!(!cache.path().join("dreamframe/onnxruntime").exists());
}
