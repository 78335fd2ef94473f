//! All commands: exit codes, what goes to which output, and that nothing half-written stays.

use std::path::Path;
use std::process::Output;

fn dreamframe(arguments: &[&str]) -> Output {
    crate::dreamframe().args(arguments).output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn out(output: &Output) -> &str {
    str::from_utf8(&output.stdout).unwrap()
}

fn err(output: &Output) -> &str {
    str::from_utf8(&output.stderr).unwrap()
}

fn file(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn help_names_every_command_and_the_exit_codes() {
    let output = dreamframe(&["--help"]);
    assert_eq!(code(&output), 0);
    for word in ["demo", "serve", "process", "params", "models", "bench", "doctor", "3 invalid parameters"] {
        assert!(out(&output).contains(word), "{word} is missing in {}", out(&output));
    }
}

#[test]
fn wrong_usage_exits_with_2_without_standard_output() {
    for arguments in [&[][..], &["destroy"], &["params", "check"], &["bench", "--rows", "none"], &["doctor", "--jsn"]] {
        let output = dreamframe(arguments);
        assert_eq!(code(&output), 2, "{arguments:?}: {}", err(&output));
        assert!(out(&output).is_empty() && !err(&output).is_empty(), "{arguments:?}");
    }
}

#[test]
fn every_violation_of_the_parameters_is_a_line_and_the_exit_code_is_3() {
    let folder = tempfile::tempdir().unwrap();
    let bad = file(folder.path(), "bad.json", r#"{"delta": -1, "width": 65, "t_index_list": []}"#);
    let output = dreamframe(&["params", "check", &bad]);
    assert_eq!(code(&output), 3);
    assert!(out(&output).is_empty());
    for path in ["delta", "width", "t_index_list"] {
        assert_eq!(err(&output).lines().filter(|line| line.contains(path)).count(), 1, "{}", err(&output));
    }
}

#[test]
fn violations_are_machine_readable() {
    let folder = tempfile::tempdir().unwrap();
    let bad = file(folder.path(), "bad.json", r#"{"delta": -1}"#);
    let output = dreamframe(&["params", "check", "--json", &bad]);
    assert_eq!(code(&output), 3);
    let event: serde_json::Value = serde_json::from_str(out(&output)).unwrap();
    assert_eq!(event["kind"], "invalid_params");
    assert_eq!(event["violations"][0]["path"], "delta");
}

#[test]
fn a_misspelt_parameter_is_refused_with_the_name_that_was_meant() {
    let folder = tempfile::tempdir().unwrap();
    let bad = file(folder.path(), "bad.json", r#"{"promt": "snow"}"#);
    let output = dreamframe(&["params", "check", &bad]);
    assert_eq!(code(&output), 3);
    assert!(err(&output).contains("prompt"), "{}", err(&output));
}

#[test]
fn a_missing_file_exits_with_1_and_is_named() {
    let output = dreamframe(&["params", "check", "no/such/file.json"]);
    assert_eq!(code(&output), 1);
    assert!(err(&output).contains("no/such/file.json"), "{}", err(&output));
}

#[test]
fn good_parameters_pass() {
    let folder = tempfile::tempdir().unwrap();
    let good = file(folder.path(), "good.json", r#"{"prompt": "snow", "t_index_list": [41, 46]}"#);
    let output = dreamframe(&["params", "check", &good]);
    assert_eq!(code(&output), 0, "{}", err(&output));
}

#[test]
fn diff_names_what_changes_and_what_it_costs() {
    let folder = tempfile::tempdir().unwrap();
    let old = file(folder.path(), "old.json", r#"{"delta": 0.7}"#);
    let new = file(folder.path(), "new.json", r#"{"delta": 0.5, "prompt": "snow"}"#);
    let output = dreamframe(&["params", "diff", &old, &new]);
    assert_eq!(code(&output), 0, "{}", err(&output));
    assert!(out(&output).contains("delta") && out(&output).contains("prompt"), "{}", out(&output));
    let output = dreamframe(&["params", "diff", "--json", &old, &new]);
    let diff: serde_json::Value = serde_json::from_str(out(&output)).unwrap();
    assert_eq!(diff["cost"], "recompute");
    let costs: Vec<_> =
        diff["changes"].as_array().unwrap().iter().map(|change| (&change["path"], &change["cost"])).collect();
    assert!(costs.contains(&(&"delta".into(), &"hot".into())), "{costs:?}");
}

#[test]
fn the_schema_is_json() {
    let output = dreamframe(&["params", "schema"]);
    assert_eq!(code(&output), 0);
    let schema: serde_json::Value = serde_json::from_str(out(&output)).unwrap();
    assert!(schema["properties"]["prompt"].is_object());
}

#[test]
fn doctor_reports_processor_and_cache() {
    let output = dreamframe(&["doctor", "--json"]);
    assert_eq!(code(&output), 0);
    let facts: serde_json::Value = serde_json::from_str(out(&output)).unwrap();
    assert!(facts["processor_features"]["avx2"].is_boolean());
    assert!(facts["executor"].is_string());
    assert!(facts["threads"].as_u64().is_some_and(|threads| threads > 0));
}
