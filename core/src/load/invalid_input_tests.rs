//! Every file under `tests/bad/weights`, `tests/bad/pickle`, `tests/bad/lora` and `tests/bad/config` is rejected with the expected error.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::bytes::Bytes;
use super::{Checkpoint, Component, LoraFile, WeightFiles};
use crate::error::{Error, ErrorKind, Result};
use crate::models::UnetConfig;
use crate::net::WeightSource;

fn bad(folder: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "../tests/bad", folder].iter().collect()
}

/// Calls `read` for each file in `folder`, and compares the errors with `expected.json`.
fn check(folder: &str, except: &[&str], read: impl Fn(&Path) -> Result<()>) -> usize {
    let folder = bad(folder);
    let expected = std::fs::read_to_string(folder.join("expected.json")).unwrap();
    let expected: BTreeMap<String, String> = serde_json::from_str(&expected).unwrap();
    let there: BTreeSet<String> =
        folder.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let named: BTreeSet<String> =
        expected.keys().cloned().chain(except.iter().chain(&["expected.json"]).map(|&name| name.to_owned())).collect();
    assert_eq!(there, named, "each file has its words, and the other way round");
    for (name, words) in &expected {
        let Err(error) = read(&folder.join(name)) else { panic!("{name} is not refused") };
        assert!(format!("{error:#}").contains(words), "{name}: {error:#}");
        let kinds = [ErrorKind::BadModel, ErrorKind::Unsupported, ErrorKind::NotFound];
        assert!(kinds.contains(&error.kind()), "{name}: {:?}", error.kind());
    }
    expected.len()
}

fn read_all(weights: &WeightFiles) -> Result<()> {
    for name in weights.names() {
        let shape = weights.shape(name).ok_or_else(|| Error::new(ErrorKind::Internal, "a name without a shape"))?;
        weights.read(name, &shape)?;
    }
    Ok(())
}

#[test]
fn broken_weights_are_refused_with_their_reason() {
    let count = check("weights", &[], |path| {
        let weights = if path.is_dir() {
            Component::folder(path)?.weights
        } else {
            WeightFiles::single(path.display().to_string(), Bytes::open(path)?)?.into()
        };
        read_all(&weights)
    });
    assert!(count >= 20);
}

#[test]
fn hostile_pickles_are_refused_with_their_reason() {
    let count = check("pickle", &[], |path| {
        let weights = WeightFiles::single(path.display().to_string(), Bytes::open(path)?)?;
        read_all(&weights)
    });
    assert!(count >= 40);
}

#[test]
fn broken_loras_are_refused_with_their_reason() {
    let count = check("lora", &[], |path| LoraFile::read(path).map(drop));
    assert!(count >= 20);
}

#[test]
fn broken_configs_are_refused_with_their_reason() {
    let count = check("config", &["unet"], |path| {
        let is_component = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("config_"));
        if is_component {
            Component::folder(path)?;
        } else {
            Checkpoint::folder(path)?;
        }
        Ok(())
    });
    assert!(count >= 8);
}

#[test]
fn a_config_of_more_than_a_megabyte_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let config = format!("{{\"_class_name\": \"X\", \"a\": \"{}\"}}", "x".repeat(1 << 20));
    std::fs::write(folder.path().join("config.json"), config).unwrap();
    let error = Component::folder(folder.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadModel);
    assert!(error.to_string().contains("got more than 1048576 bytes"), "{error}");
}

#[test]
fn more_tensors_than_the_limit_are_refused() {
    let entries: Vec<String> =
        (0..70_000).map(|i| format!("\"t{i}\":{{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}")).collect();
    let header = format!("{{{}}}", entries.join(","));
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.bytes());
    let error = WeightFiles::from_bytes("many", file).unwrap_err();
    assert!(error.to_string().contains("tensor count: got more than 65536"), "{error}");
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(header in "\\PC{0,80}", data in proptest::collection::vec(0_u8.., 0..40)) {
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.bytes().chain(data));
        let _ = WeightFiles::from_bytes("file", file).and_then(|weights| read_all(&weights));
    }

    #[test]
    fn a_changed_byte_never_makes_the_reader_panic(place in 0_usize.., value: u8) {
        let mut file = std::fs::read(bad("weights/data_left_over.safetensors")).unwrap();
        let place = place % file.len();
        file[place] = value;
        let _ = WeightFiles::from_bytes("file", file).and_then(|weights| read_all(&weights));
    }
}

#[test]
fn impossible_unet_configs_are_refused_with_their_reason() {
    let count = check("config/unet", &[], |path| {
        let text = std::fs::read_to_string(path).map_err(|error| Error::io(path, "read", error))?;
        UnetConfig::from_json(&text).map(drop)
    });
    assert_eq!(count, 8);
}
