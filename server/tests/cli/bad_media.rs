//! Every file under `tests/bad/media` is refused for its own reason, and nothing comes of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use dreamframe::Error;
use dreamframe_server::media::{Output, create, open};
use serde::Deserialize;

/// What the error of a file must be.
#[derive(Deserialize)]
struct Expected {
    kind: String,
    says: String,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/bad/media")
}

/// Reads to the end and writes what comes, as the command line does.
fn process(input: &Path, output: &Path) -> Result<(), Error> {
    let mut reader = open(input, 1920)?;
    let (width, height) = reader.size();
    let rate = reader.rate().unwrap_or_default();
    let mut writer = create(output, Output { width, height, rate, pictures: reader.len() })?;
    while let Some(frame) = reader.next()? {
        writer.write(&frame, None)?;
    }
    writer.finish()
}

#[test]
fn every_bad_file_is_refused_for_its_reason_and_leaves_nothing() {
    let expected = fs::read_to_string(folder().join("expected.json")).unwrap();
    let expected: BTreeMap<String, Expected> = serde_json::from_str(&expected).unwrap();
    let there = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut there: Vec<_> = there.filter(|name| name != "expected.json").collect();
    there.sort();
    assert!(there.iter().eq(expected.keys()), "{there:?} lie there, but other files are expected");
    let place = tempfile::tempdir().unwrap();
    let mut wrong = Vec::new();
    for (name, Expected { kind, says }) in &expected {
        match process(&folder().join(name), &place.path().join("out.y4m")) {
            Ok(()) => wrong.push(format!("{name} was read")),
            Err(error) if error.kind().name() != kind || !error.to_string().contains(says.as_str()) => {
                wrong.push(format!("{name} is {}: {error:#}", error.kind()));
            }
            Err(_) => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0, "something stayed behind");
}
