//! `dreamframe models recommend`, as a shell sees it.

use std::process::Output;

use serde_json::Value;

fn recommend(arguments: &[&str]) -> Output {
    crate::dreamframe().args(["models", "recommend"]).args(arguments).output().unwrap()
}

#[test]
fn every_model_is_a_line_of_json_and_the_last_one_has_the_rates() {
    let output = recommend(&["--threads", "1", "--size", "256,512x384", "--json"]);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let summary = lines.pop().unwrap();
    assert_eq!((&summary["summary"], &summary["threads"]), (&true.into(), &1.into()));
    assert!(summary["convolution_gflops"].as_f64().unwrap() > 0.0, "{summary}");
    let size = |line: &Value| [line["width"].as_u64().unwrap(), line["height"].as_u64().unwrap()];
    for name in ["demo", "sdxs", "sd-turbo", "vega-rt"] {
        let of: Vec<&Value> = lines.iter().filter(|line| line["model"] == name).collect();
        assert_eq!(of.len(), 2, "{name}: {text}");
        assert!(of.iter().any(|line| size(line) == [256, 256]) && of.iter().any(|line| size(line) == [512, 384]));
        assert!(of.iter().all(|line| line["pictures_per_second"].as_f64().unwrap() > 0.0));
        assert!(of.iter().all(|line| line["licence"].is_string() && line["memory_bytes"].as_u64().unwrap() > 0));
    }
    let rates: Vec<(bool, f64)> = lines
        .iter()
        .map(|line| (line["fits"] == Value::Bool(false), -line["pictures_per_second"].as_f64().unwrap()))
        .collect();
    assert!(rates.is_sorted_by(|a, b| a <= b), "{text}");
}

#[test]
fn people_get_a_table_with_the_command_of_each_model() {
    let output = recommend(&["--threads", "1", "--size", "256"]);
    assert!(output.status.success(), "{output:?}");
    let (text, said) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(said.contains("measuring this machine"), "{said}");
    let heading = text.lines().next().unwrap();
    for column in ["model", "size", "pictures/s", "memory MB", "download MB", "licence", "command"] {
        assert!(heading.contains(column), "{heading}");
    }
    let turbo = text.lines().find(|line| line.starts_with("sd-turbo ")).unwrap();
    assert!(turbo.contains("256x256") && turbo.ends_with("dreamframe models fetch sd-turbo"), "{turbo}");
    assert!(text.contains("1 thread,"), "{text}");
}

#[test]
fn a_size_that_no_model_makes_is_refused() {
    let output = recommend(&["--threads", "1", "--size", "100", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("100x100"), "{output:?}");
}
