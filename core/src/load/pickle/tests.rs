//! Files that torch wrote, hostile files, and files cut and changed everywhere.

use std::path::PathBuf;

use super::super::weights::WeightFiles;
use super::*;
use crate::error::{ErrorKind, Result};
use crate::net::WeightSource as _;

fn folder(path: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "../tests", path].iter().collect()
}

fn load(name: &str) -> Result<WeightFiles> {
    let path = folder("golden/pickle").join(name);
    WeightFiles::single(path.display().to_string(), Bytes::open(&path)?)
}

fn read_all(weights: &WeightFiles) -> Result<()> {
    for name in weights.names() {
        weights.read_stored(name)?;
    }
    Ok(())
}

/// Returns the names of the pickled files.
fn names() -> Vec<String> {
    let files =
        folder("golden/pickle").read_dir().unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = files.filter(|name| !name.ends_with(".safetensors")).collect();
    names.sort_unstable();
    names
}

#[test]
fn files_that_torch_wrote_have_the_bytes_of_their_safetensors_form() {
    let names = names();
    assert!(names.len() >= 13, "{names:?}");
    for file in names {
        let (pickled, safe) = (load(&file).unwrap(), load(&format!("{file}.safetensors")).unwrap());
        let sorted = |weights: &WeightFiles| {
            let mut names: Vec<String> = weights.names().map(str::to_owned).collect();
            names.sort_unstable();
            names
        };
        assert_eq!(sorted(&pickled), sorted(&safe), "{file}");
        for name in safe.names() {
            assert_eq!(pickled.read_stored(name).unwrap(), safe.read_stored(name).unwrap(), "{file}: {name}");
            let shape = safe.shape(name).unwrap();
            match (pickled.read(name, &shape), safe.read(name, &shape)) {
                (Ok(own), Ok(other)) => assert_eq!(own, other, "{file}: {name}"),
                (Err(own), Err(other)) => assert_eq!(own.kind(), other.kind(), "{file}: {name}"),
                (own, other) => panic!("{file}: {name}: {own:?} {other:?}"),
            }
        }
        assert!(pickled.notice().unwrap().contains(&file) && safe.notice().is_none());
        assert_ne!(pickled.fingerprint().unwrap(), safe.fingerprint().unwrap());
        assert_eq!(pickled.fingerprint(), load(&file).unwrap().fingerprint());
    }
}

#[test]
fn a_pickled_file_in_memory_is_read_as_one_on_disk() {
    let weights = WeightFiles::from_bytes("toy", toy_file().to_vec()).unwrap();
    assert!(weights.metadata().unwrap().is_empty());
    assert_eq!(weights.read("scalar", &[]).unwrap(), [2.5]);
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    for file in ["zip.pt", "legacy.pt", "views.pth"] {
        let bytes = std::fs::read(folder("golden/pickle").join(file)).unwrap();
        for len in (0..bytes.len()).step_by(3) {
            let error = WeightFiles::from_bytes(file, bytes[..len].to_vec()).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::BadModel | ErrorKind::Unsupported), "{file}, {len}: {error:#}");
        }
    }
}

#[test]
fn a_changed_byte_is_refused_or_changes_numbers_only() {
    for file in ["zip.pt", "legacy_views.pth", "legacy_protocol_4.pt"] {
        let bytes = std::fs::read(folder("golden/pickle").join(file)).unwrap();
        // Other changes are made by the fuzz target.
        for (at, change) in (0..bytes.len()).zip([1, 0x80, 0xff].into_iter().cycle()) {
            let mut bytes = bytes.clone();
            bytes[at] ^= change;
            let _ = WeightFiles::from_bytes(file, bytes).and_then(|weights| read_all(&weights));
        }
    }
}

#[test]
fn a_header_that_begins_like_an_archive_is_a_header() {
    assert!(is_pickled(b"PK\x03\x04rest") && is_pickled(b"\x80\x02\x8a\x0a") && !is_pickled(b"\x10\0\0\0\0\0\0\0"));
}

proptest::proptest! {
    #[test]
    fn no_opcodes_make_the_machine_panic(opcodes in proptest::collection::vec(0_u8.., 0..200)) {
        let bytes = Bytes::Owned([b"\x80\x02", &opcodes[..]].concat().into());
        let mut stream = Stream::new(&bytes, 0, bytes.len());
        let _ = machine::run(&mut stream, &mut Heap::default());
    }
}
