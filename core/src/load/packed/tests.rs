use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::super::weights::WeightFiles;
use super::*;
use crate::net::{WeightSource, WeightSpec};

fn layout() -> PackedLayout {
    PackedLayout { name: "portable.f32".into(), version: 1 }
}

fn serial(count: usize, piece: &(dyn Fn(usize) + Sync)) {
    (0..count).for_each(piece);
}

/// A component of one weight in a folder, and the cache in another.
struct Setting {
    model: tempfile::TempDir,
    cache: tempfile::TempDir,
}

impl Setting {
    fn new() -> Self {
        let setting = Self { model: tempfile::tempdir().unwrap(), cache: tempfile::tempdir().unwrap() };
        fs::write(setting.model.path().join("config.json"), r#"{"_class_name": "AutoencoderTiny"}"#).unwrap();
        setting.write_weights("F32", 1.5);
        setting
    }

    fn weights(&self) -> PathBuf {
        self.model.path().join("diffusion_pytorch_model.safetensors")
    }

    fn write_weights(&self, dtype: &str, number: f32) {
        let header = format!(r#"{{"w":{{"dtype":"{dtype}","shape":[1],"data_offsets":[0,4]}}}}"#);
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.bytes());
        bytes.extend(number.to_le_bytes());
        fs::write(self.weights(), bytes).unwrap();
        // Ensures another modification time, regardless of the clock's resolution.
        let file = fs::File::options().write(true).open(self.weights()).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_millis(number.to_bits().into())).unwrap();
    }

    fn files(&self) -> PackedFiles {
        let cache = PackedCache::Folder(self.cache.path().to_owned());
        PackedFiles::of_component(&Component::folder(self.model.path()).unwrap(), &cache).unwrap()
    }

    fn path(&self) -> PathBuf {
        let files = self.files();
        files.path(&files.folders[0], &layout())
    }
}

/// Saves four bytes, where that is worth a file of five.
fn save(files: &PackedFiles) -> Vec<String> {
    files.save(&layout(), &[("w", vec![&[1, 2, 3, 4]])], 5)
}

#[test]
fn sections_come_back_in_another_process() {
    let setting = Setting::new();
    assert_eq!(save(&setting.files()), [""; 0]);
    let (sections, notices) = setting.files().load(&layout(), &serial);
    assert_eq!((&*sections["w"][0], notices), (&[1, 2, 3, 4][..], vec![]));
}

#[test]
fn nothing_kept_yet_is_not_worth_a_word() {
    let (sections, notices) = Setting::new().files().load(&layout(), &serial);
    assert!(sections.is_empty() && notices.is_empty());
}

#[test]
fn changed_weights_make_a_file_stale_and_saving_makes_it_good_again() {
    let setting = Setting::new();
    save(&setting.files());
    setting.write_weights("F32", 2.5);
    let (sections, notices) = setting.files().load(&layout(), &serial);
    assert!(sections.is_empty());
    assert!(notices.len() == 1 && notices[0].ends_with("written for other weights; the file is written again"));
    save(&setting.files());
    assert_eq!(setting.files().load(&layout(), &serial).0.len(), 1);
}

#[test]
fn a_fingerprint_follows_name_size_time_and_header() {
    let setting = Setting::new();
    let print = || Component::folder(setting.model.path()).unwrap().weights.fingerprint().unwrap();
    let first = print();
    assert_eq!(print(), first);
    setting.write_weights("F32", 2.5);
    let later = print();
    let changed = fs::metadata(setting.weights()).unwrap().modified().unwrap();
    // Another header of the same length, at the same time.
    let text = fs::read(setting.weights()).unwrap();
    let renamed: Vec<u8> = text.iter().map(|&byte| if byte == b'w' { b'v' } else { byte }).collect();
    fs::write(setting.weights(), renamed).unwrap();
    fs::File::options().write(true).open(setting.weights()).unwrap().set_modified(changed).unwrap();
    let other_header = print();
    fs::rename(setting.weights(), setting.model.path().join("model.safetensors")).unwrap();
    let prints = [first, later, other_header, print()];
    for (i, print) in prints.iter().enumerate() {
        assert!(!prints[..i].contains(print), "{i}");
    }
}

#[test]
fn invalid_file_is_reported_with_path_and_reason() {
    let setting = Setting::new();
    save(&setting.files());
    let whole = fs::read(setting.path()).unwrap();
    for (bytes, why) in [(&whole[..40], "length: got 40 bytes, expected"), (b"hello", "not a file of packed weights")] {
        fs::write(setting.path(), bytes).unwrap();
        let (sections, notices) = setting.files().load(&layout(), &serial);
        assert!(sections.is_empty() && notices[0].contains(why), "{notices:?}");
        assert!(notices[0].contains(&*setting.path().to_string_lossy()));
    }
}

#[test]
fn unwritable_folder_falls_back_to_the_next() {
    let setting = Setting::new();
    // A file in the place of a folder fails for every user; permissions would not stop root.
    let blocked = setting.cache.path().join("blocked");
    fs::write(&blocked, "").unwrap();
    let second = setting.cache.path().join("second");
    let files = |folders: Vec<PathBuf>| PackedFiles { folders, ..setting.files() };
    let both = files(vec![blocked.join("in it"), second.clone()]);
    assert_eq!(save(&both), [""; 0]);
    assert_eq!(both.load(&layout(), &serial).0.len(), 1);
    assert!(second.join("weights.portable.f32.packed").is_file());
    let notices = save(&files(vec![blocked.join("in it")]));
    assert!(notices.len() == 1 && notices[0].starts_with("packed weights cannot be stored"), "{notices:?}");
}

/// Like an archive that contains `.dreamframe` with manipulated values for its own weights.
#[test]
fn a_file_that_another_user_wrote_is_neither_believed_nor_overwritten() {
    let setting = Setting::new();
    let others = tempfile::tempdir().unwrap();
    let [beside, cache] = ["beside", "cache"].map(|name| setting.cache.path().join(name));
    let files = |folders: Vec<PathBuf>, secret: &Path| PackedFiles {
        folders,
        secret: Some(secret.to_owned()),
        ..setting.files()
    };
    let foreign = files(vec![beside.clone()], others.path());
    assert_eq!(foreign.save(&layout(), &[("w", vec![&[9, 9, 9, 9]])], 0), [""; 0]);
    let own = files(vec![beside.clone(), cache], setting.cache.path());
    // Before this user has a secret, and after.
    for _ in 0..2 {
        let (sections, notices) = own.load(&layout(), &serial);
        assert!(sections.is_empty());
        assert!(notices.len() == 1 && notices[0].contains("not written by this user"), "{notices:?}");
        Secret::read_or_make(setting.cache.path()).unwrap();
    }
    assert_eq!(save(&own), [""; 0]);
    assert_eq!(&*own.load(&layout(), &serial).0["w"][0], [1, 2, 3, 4]);
    assert_eq!(&*foreign.load(&layout(), &serial).0["w"][0], [9, 9, 9, 9]);
    // If no other location is available, it is replaced.
    let only = files(vec![beside], setting.cache.path());
    assert_eq!(save(&only), [""; 0]);
    assert_eq!(&*only.load(&layout(), &serial).0["w"][0], [1, 2, 3, 4]);
}

#[test]
fn without_a_folder_for_the_secret_nothing_is_stored_and_a_notice_reports_it() {
    let setting = Setting::new();
    let files = PackedFiles { secret: None, ..setting.files() };
    let notices = save(&files);
    assert!(notices.len() == 1 && notices[0].contains("XDG_CACHE_HOME"), "{notices:?}");
    assert!(files.load(&layout(), &serial).0.is_empty());
}

#[cfg(unix)]
#[test]
fn a_folder_that_is_a_symbolic_link_is_neither_read_nor_written() {
    let setting = Setting::new();
    let [target, link, second] = ["target", "link", "second"].map(|name| setting.cache.path().join(name));
    fs::create_dir(&target).unwrap();
    std::os::unix::fs::symlink(&target, &link).unwrap();
    let old = target.join("somebody.else.tmp");
    fs::write(&old, "kept").unwrap();
    fs::File::options().write(true).open(&old).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    let files = |folders: Vec<PathBuf>| PackedFiles { folders, ..setting.files() };
    assert_eq!(save(&files(vec![link.clone(), second.clone()])), [""; 0]);
    assert_eq!(fs::read_dir(&target).unwrap().count(), 1, "nothing is written or removed where the link leads");
    assert!(second.join("weights.portable.f32.packed").is_file());
    save(&files(vec![target]));
    assert!(files(vec![link]).load(&layout(), &serial).0.is_empty());
}

#[test]
fn a_good_file_further_on_makes_up_for_a_bad_one() {
    let setting = Setting::new();
    let [first, second] = ["first", "second"].map(|name| setting.cache.path().join(name));
    let files = PackedFiles { folders: vec![first.clone(), second.clone()], ..setting.files() };
    save(&PackedFiles { folders: vec![second], ..setting.files() });
    fs::create_dir_all(&first).unwrap();
    fs::write(files.path(&first, &layout()), "bad").unwrap();
    let (sections, notices) = files.load(&layout(), &serial);
    assert!(sections.len() == 1 && notices.is_empty());
}

#[test]
fn small_networks_are_kept_in_a_named_folder_only() {
    let setting = Setting::new();
    let component = Component::folder(setting.model.path()).unwrap();
    let beside = PackedFiles::of_component(&component, &PackedCache::Beside).unwrap();
    assert_eq!(save(&beside), [""; 0]);
    assert!(!beside.folders[0].exists());
    assert!(PackedFiles::of_component(&component, &PackedCache::Off).is_none());
}

#[test]
fn weights_in_memory_and_random_ones_elsewhere_are_not_kept() {
    let setting = Setting::new();
    let bytes = fs::read(setting.weights()).unwrap();
    let weights = WeightFiles::from_bytes("w", bytes).unwrap();
    assert_eq!(weights.read("w", &[1]).unwrap(), [1.5]);
    let component = Component { weights: Arc::new(weights), ..Component::folder(setting.model.path()).unwrap() };
    let named = PackedCache::Folder(setting.cache.path().to_owned());
    assert!(PackedFiles::of_component(&component, &named).is_none());

    let spec = WeightSpec { name: "w".into(), shape: vec![1] };
    let random = |seed| RandomWeights::new(seed, [&spec]);
    assert!(PackedFiles::of_random(&random(1), "sd-turbo-random", "unet", &PackedCache::Beside).is_none());
    save(&PackedFiles::of_random(&random(1), "sd-turbo-random", "unet", &named).unwrap());
    let of = |seed| PackedFiles::of_random(&random(seed), "sd-turbo-random", "unet", &named).unwrap();
    assert_eq!(of(1).load(&layout(), &serial).0.len(), 1);
    assert!(of(2).load(&layout(), &serial).1[0].contains("written for other weights"));
}

#[test]
fn what_a_fuzzer_makes_is_read_as_a_file() {
    let sealed = sealed(b"table", b"data").unwrap();
    assert!(matches!(check_bytes(sealed), Err(PackedError::Damaged(_))));
    // Computed by another program, according to the format.
    let small = include_bytes!("../../../../fuzz/seeds/packed_weights/small.packed");
    let read = check_bytes(small.to_vec());
    assert!(if cfg!(target_endian = "little") { read.unwrap() == 96 } else { read.is_err() });
}
