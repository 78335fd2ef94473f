//! Installation of small wheels that the tests write.

use std::io::Write as _;

use sha2::{Digest as _, Sha256};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::*;

/// A folder for the installation, and one with wheels.
struct Place {
    root: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("wheels")).unwrap();
        Self { root }
    }

    fn folder(&self) -> PathBuf {
        self.root.path().join("cache/onnxruntime")
    }

    /// Writes a wheel of the package `name` with the library `lib/{name}.so` and further entries; returns its row.
    fn wheel(&self, name: &str, version: &str, entries: &[&str]) -> Wheel {
        let file = format!("{name}-{version}-py3-none-any.whl");
        let path = self.root.path().join("wheels").join(&file);
        let mut writer = ZipWriter::new(fs::File::create(&path).unwrap());
        let libraries = [format!("lib/{name}.so")];
        for entry in libraries.iter().map(String::as_str).chain(["dist-info/LICENSE"]).chain(entries.iter().copied()) {
            writer.start_file(entry, SimpleFileOptions::default()).unwrap();
            writer.write_all(format!("{entry} {version}").as_bytes()).unwrap();
        }
        writer.finish().unwrap();
        let digest = Sha256::digest(fs::read(&path).unwrap());
        let row = json!({
            "package": name, "version": version, "platform": "any", "file": file, "licence": "MIT",
            "sha256": digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
            "bytes": 1, "unpacked_bytes": 1, "libraries": libraries, "documents": ["dist-info/LICENSE"],
            "links": [[format!("{name}.so.1"), format!("{name}.so")]],
        });
        serde_json::from_value(row).unwrap()
    }

    fn install(&self, wheels: &[Wheel]) -> Result {
        self.install_with(wheels, &mut || Ok(()))
    }

    fn install_with(&self, wheels: &[Wheel], check: &mut dyn FnMut() -> Result) -> Result {
        let from = self.root.path().join("wheels");
        install(&self.folder(), wheels, &mut |wheel, _| Ok(from.join(&wheel.file)), check)
    }

    fn refusal(&self, wheels: &[Wheel]) -> (ErrorKind, String) {
        match self.install(wheels) {
            Err(Failure::Library(error)) => (error.kind(), format!("{error:#}")),
            other => panic!("{other:?}"),
        }
    }

    /// Every file below the root but the wheels, sorted.
    fn files(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![self.root.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(self.root.path()).unwrap().to_str().unwrap();
                let name = name.replace(std::path::MAIN_SEPARATOR, "/");
                if path.is_dir() {
                    folders.push(path);
                } else if !name.starts_with("wheels/") {
                    found.push(name);
                }
            }
        }
        found.sort_unstable();
        found
    }
}

#[test]
fn libraries_are_unpacked_into_one_folder_with_their_links_and_licences() {
    let place = Place::new();
    let wheels = [place.wheel("a", "1", &[]), place.wheel("b", "2", &["b/large.py"])];
    place.install(&wheels).unwrap();
    let folder = "cache/onnxruntime";
    let names = ["a.so", "a.so.1", "b.so", "b.so.1", "licences/a/LICENSE", "licences/b/LICENSE"];
    let mut expected = vec!["cache/onnxruntime.lock".to_owned()];
    expected.extend(names.iter().map(|name| format!("{folder}/{name}")));
    assert_eq!(place.files(), expected);
    assert_eq!(fs::read_to_string(place.folder().join("b.so.1")).unwrap(), "lib/b.so 2");
}

#[test]
fn a_second_installation_replaces_the_first() {
    let place = Place::new();
    place.install(&[place.wheel("a", "1", &[]), place.wheel("b", "1", &[])]).unwrap();
    place.install(&[place.wheel("a", "2", &[])]).unwrap();
    assert_eq!(fs::read_to_string(place.folder().join("a.so")).unwrap(), "lib/a.so 2");
    assert!(!place.folder().join("b.so").exists());
}

#[test]
fn a_wheel_with_another_digest_is_refused_with_both() {
    let place = Place::new();
    let wheel = place.wheel("a", "1", &[]);
    let path = place.root.path().join("wheels").join(&wheel.file);
    let mut bytes = fs::read(&path).unwrap();
    bytes[40] ^= 1;
    fs::write(&path, bytes).unwrap();
    let (kind, text) = place.refusal(std::slice::from_ref(&wheel));
    assert_eq!(kind, ErrorKind::BadModel);
    assert!(text.contains("got the SHA-256 digest ") && text.contains(&wheel.sha256), "{text}");
    assert_eq!(place.files(), ["cache/onnxruntime.lock"]);
}

#[test]
fn a_missing_wheel_or_entry_is_named() {
    let place = Place::new();
    let mut wheel = place.wheel("a", "1", &[]);
    wheel.libraries.push("lib/more.so".into());
    let (kind, text) = place.refusal(std::slice::from_ref(&wheel));
    assert!(kind == ErrorKind::BadModel && text.contains("lib/more.so: missing, expected a file"), "{text}");
    fs::remove_file(place.root.path().join("wheels").join(&wheel.file)).unwrap();
    let (kind, text) = place.refusal(std::slice::from_ref(&wheel));
    assert!(kind == ErrorKind::NotFound && text.contains("https://pypi.org/project/a/1/#files"), "{text}");
    assert_eq!(place.files(), ["cache/onnxruntime.lock"]);
}

#[test]
fn no_entry_of_a_wheel_is_written_outside_of_the_folder() {
    let place = Place::new();
    let mut wheel = place.wheel("a", "1", &["../../escaped.so", "/absolute.so"]);
    place.install(std::slice::from_ref(&wheel)).unwrap();
    assert!(place.files().iter().all(|name| !name.contains("escaped") && !name.contains("absolute")));
    // Not even if the list names it.
    wheel.libraries = vec!["../../escaped.so".into()];
    wheel.links.clear();
    // Either it is refused, or it is in the folder.
    let _ = place.install(std::slice::from_ref(&wheel));
    assert!(place.files().iter().all(|name| name.starts_with("cache/onnxruntime")), "{:?}", place.files());
    wheel.libraries = vec!["..".into()];
    assert_eq!(place.refusal(std::slice::from_ref(&wheel)).0, ErrorKind::BadModel);
}

#[test]
fn an_interrupted_installation_leaves_the_former_one() {
    let place = Place::new();
    place.install(&[place.wheel("a", "1", &[])]).unwrap();
    let before = place.files();
    let wheels = [place.wheel("a", "2", &[]), place.wheel("b", "2", &[])];
    let mut calls = 0;
    place
        .install_with(&wheels, &mut || {
            calls += 1;
            Ok(())
        })
        .unwrap();
    place.install(&[place.wheel("a", "1", &[])]).unwrap();
    // At every point at which it can be interrupted.
    for last in 0..calls {
        let mut left = last;
        let interrupted = place.install_with(&[place.wheel("a", "2", &[]), place.wheel("b", "2", &[])], &mut || {
            if left == 0 {
                Err(Failure::Interrupted)
            } else {
                left -= 1;
                Ok(())
            }
        });
        assert!(matches!(interrupted, Err(Failure::Interrupted)), "{last}: {interrupted:?}");
        assert_eq!(place.files(), before);
        assert_eq!(fs::read_to_string(place.folder().join("a.so")).unwrap(), "lib/a.so 1");
    }
}

#[test]
fn sizes_and_licences_are_shown_before_anything_is_downloaded() {
    let wheels = wheels(Set::Rtx, "linux-x86_64").unwrap();
    let text = summary(Set::Rtx, Path::new("cache/onnxruntime"), &wheels, true);
    for part in [
        "onnxruntime-ep-nv-tensorrt-rtx-cu13",
        "0.5.0",
        "146",
        "NVIDIA's licence",
        "MB to download",
        "cache/onnxruntime",
    ] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    let event = start(Set::Rtx, Path::new("cache/onnxruntime"), &wheels);
    assert_eq!(event["wheels"][1]["bytes"], 146_476_965);
}
