//! Every file of `tests/bad/params` is refused with the path of the violation.

use std::collections::BTreeMap;
use std::path::Path;

use super::StreamDiffusionParams;
use crate::ErrorKind;

/// The file with a part of the message of each other file.
const EXPECTED: &str = "expected.json";

#[test]
fn every_invalid_file_is_rejected_with_the_path() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/bad/params");
    let expected = std::fs::read_to_string(folder.join(EXPECTED)).unwrap();
    let expected: BTreeMap<String, String> = serde_json::from_str(&expected).unwrap();

    let names = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name != EXPECTED).collect();
    names.sort();
    assert_eq!(names, expected.keys().cloned().collect::<Vec<_>>());

    for (name, part) in expected {
        let text = std::fs::read_to_string(folder.join(&name)).unwrap();
        let error = StreamDiffusionParams::from_json(&text).expect_err(&name);
        assert_eq!(error.kind(), ErrorKind::InvalidParams, "{name}");
        assert!(!error.violations().is_empty(), "{name}");
        assert!(error.to_string().contains(&part), "{name}: {error}");
    }
}
