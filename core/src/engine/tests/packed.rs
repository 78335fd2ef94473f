//! Engines with packed weights on disk: the next one starts from them, and an invalid file is replaced.

use std::fs;
use std::path::{Path, PathBuf};

use crate::engine::{Engine, EngineOptions};
use crate::frame::{FrameView, PixelFormat};
use crate::load::{ModelSource, PackedCache};
use crate::params::StreamDiffusionParams;

const SIDE: u32 = 64;

/// Copies a folder with everything in it.
pub(super) fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &to);
        } else {
            assert!(fs::copy(entry.path(), to).is_ok());
        }
    }
}

/// Writes the demo model as a folder.
pub(super) fn demo_folder(folder: &Path) {
    copy_folder(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../models/demo/dreamframe-tiny")), folder);
}

/// Writes the demo model to a separate folder in `folder`.
fn model(folder: &Path) -> PathBuf {
    let model = folder.join("demo");
    demo_folder(&model);
    model
}

/// Builds an engine; returns its notices about packed weights, and the pixels of a picture.
fn picture(model: &Path, cache: PackedCache) -> (Vec<String>, Vec<u8>) {
    let options =
        EngineOptions { dtype: crate::Dtype::F32, threads: Some(2), packed_cache: cache, ..EngineOptions::default() };
    let mut params = StreamDiffusionParams::demo();
    params.model_id = "demo".into();
    (params.width, params.height) = (SIDE, SIDE);
    let builder = Engine::builder().models(ModelSource::folder(model)).params(params).options(options);
    let mut engine = builder.build().unwrap();
    let notices = engine.notices().iter().filter(|notice| notice.path == "packed_cache");
    let notices = notices.map(|notice| notice.message.clone()).collect();
    let pixels: Vec<u8> = (0..SIDE * SIDE * 4).map(|i| (i * 7) as u8).collect();
    let mut out = vec![0; pixels.len()];
    let frame = FrameView::packed(PixelFormat::Rgba8, SIDE, SIDE, &pixels).unwrap();
    let mut view = crate::frame::FrameViewMut::packed(PixelFormat::Rgba8, SIDE, SIDE, &mut out).unwrap();
    engine.process_into(&frame, &mut view).unwrap();
    (notices, out)
}

/// The files in and below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> =
        entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect();
    files.sort();
    files
}

#[test]
fn the_second_engine_reads_packed_weights_and_not_the_model_s() {
    let folder = tempfile::tempdir().unwrap();
    let (model, cache) = (model(folder.path()), folder.path().join("kept"));
    let kept = || PackedCache::Folder(cache.clone());
    let (notices, first) = picture(&model, kept());
    assert_eq!(notices, [""; 0]);
    // Those of three networks, and the secret.
    assert_eq!(files(&cache).len(), 4, "{:?}", files(&cache));
    // Changes that neither header nor modification time shows are not noticed.
    for path in ["unet", "vae"].map(|part| model.join(part).join("diffusion_pytorch_model.safetensors")) {
        let changed = fs::metadata(&path).unwrap().modified().unwrap();
        let mut bytes = fs::read(&path).unwrap();
        let end = bytes.len();
        bytes[end - 40_000..].fill(0);
        fs::write(&path, bytes).unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_modified(changed).unwrap();
    }
    assert_eq!(picture(&model, kept()), (vec![], first.clone()));
    assert_ne!(picture(&model, PackedCache::Off).1, first);
}

#[test]
fn truncated_or_altered_file_is_reported_and_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let (model, cache) = (model(folder.path()), folder.path().join("kept"));
    let kept = || PackedCache::Folder(cache.clone());
    let (_, first) = picture(&model, kept());
    let path = files(&cache).into_iter().find(|path| path.file_name().unwrap().to_str().unwrap().starts_with("unet"));
    let path = path.unwrap();
    let good = fs::read(&path).unwrap();
    let spoilt: [fn(&mut Vec<u8>); 3] = [
        |bytes| bytes.truncate(bytes.len() / 2),
        |bytes| bytes.clear(),
        |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        },
    ];
    for spoil in spoilt {
        let mut bad = good.clone();
        spoil(&mut bad);
        fs::write(&path, bad).unwrap();
        let (notices, again) = picture(&model, kept());
        assert!(notices.len() == 1 && notices[0].ends_with("the file is written again"), "{notices:?}");
        assert!(again == first && fs::read(&path).unwrap() == good);
    }
    assert_eq!(picture(&model, kept()).0, [""; 0]);
}

#[test]
fn small_model_is_not_stored_packed() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path());
    let before = files(&model);
    assert_eq!(picture(&model, PackedCache::Beside).0, [""; 0]);
    assert_eq!(files(&model), before);
}
