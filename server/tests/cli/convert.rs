//! `models convert`, and checkpoints in one file in `models list` and `verify`, as a shell sees them.

use std::fs;
use std::path::Path;
use std::process::Output;

use dreamframe::load::WeightFiles;
use dreamframe::net::WeightSource as _;
use dreamframe_tests::Single;
use dreamframe_tests::pickled::pickle;

use crate::{dreamframe, lines, text, words};

fn models(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = dreamframe();
    command.current_dir(folder).env("HF_HUB_CACHE", folder.join("cache"));
    command.arg("models").args(arguments).output().unwrap()
}

#[test]
fn a_file_is_listed_checked_converted_and_the_folder_checked() {
    let folder = tempfile::tempdir().unwrap();
    Single::of_words("sdxl", 64).write_file(&folder.path().join("model.safetensors"));
    let listed = lines(&models(folder.path(), &["list", "--models", ".", "--json"]));
    let file = listed.iter().find(|model| model["id"] == "model").unwrap();
    assert!(file["from"] == "file" && file["kind"] == "sdxl" && file["bytes"].as_u64() > Some(1 << 16), "{file}");
    let verified = models(folder.path(), &["verify", "model.safetensors"]);
    assert!(verified.status.success(), "{}", text(&verified));
    // Nothing but the first encoder's last layer, which SDXL does not look at.
    let unused = text(&verified).lines().filter(|line| line.contains("unused:")).map(str::to_owned).collect::<Vec<_>>();
    assert!(unused.iter().all(|line| line.starts_with("text_encoder: unused: text_model.")), "{unused:?}");

    let converted = models(folder.path(), &["convert", "model.safetensors", "out", "--json"]);
    assert_eq!(converted.status.code(), Some(0), "{}", words(&converted));
    let events = lines(&converted);
    let told = |event: &str| events.iter().filter(|line| line["event"] == event).count();
    assert!(told("progress") > 10 && told("done") == 1);
    let done = events.iter().find(|line| line["event"] == "done").unwrap();
    assert!(done["family"] == "sdxl" && done["path"] == "out", "{done}");
    let parts: Vec<&str> = events.iter().filter_map(|line| line["component"].as_str()).collect();
    for component in ["scheduler", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "unet", "vae"] {
        assert!(parts.contains(&component), "{component}");
        assert!(folder.path().join("out").join(component).is_dir(), "{component}");
    }
    assert!(events.iter().all(|line| line["problem"].is_null()));

    let again = models(folder.path(), &["convert", "model.safetensors", "out"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(words(&again).contains("out already exists"), "{}", words(&again));
    let forced = models(folder.path(), &["convert", "model.safetensors", "out", "--force", "--dtype", "bf16"]);
    assert!(forced.status.success() && text(&forced).contains("of the family sdxl"), "{}", words(&forced));
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
fn failed_conversion_is_reported_and_leaves_no_files() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("old.ckpt"), b"PK\x03\x04").unwrap();
    let mut single = Single::of_words("sd15", 64);
    single.file.remove("model.diffusion_model.middle_block.0.in_layers.0.bias");
    single.write_file(&folder.path().join("broken.safetensors"));
    for (name, part) in [
        ("old.ckpt", "old.ckpt: pickled file"),
        ("broken.safetensors", "mid_block.resnets.0.norm1.bias"),
        ("missing.safetensors", "missing.safetensors"),
        ("demo", "demo"),
    ] {
        let refused = models(folder.path(), &["convert", name, "out", "--json"]);
        assert_eq!(refused.status.code(), Some(1), "{name}");
        assert!(words(&refused).contains(part), "{name}: {}", words(&refused));
        assert_eq!(lines(&refused).last().unwrap()["event"], "error");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn assumed_properties_are_reported() {
    let folder = tempfile::tempdir().unwrap();
    Single::of_words("sd21", 64).write_file(&folder.path().join("model.safetensors"));
    let converted = models(folder.path(), &["convert", "model.safetensors", "out"]);
    assert!(converted.status.success() && words(&converted).contains("v_prediction"), "{}", words(&converted));
    let converted = models(folder.path(), &["convert", "model.safetensors", "other", "--json"]);
    assert_eq!(lines(&converted)[0]["event"], "notice");
}

#[test]
fn a_pickled_file_is_converted_to_safetensors() {
    let folder = tempfile::tempdir().unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/pickle");
    fs::copy(golden.join("lora.bin"), folder.path().join("lora.bin")).unwrap();
    let converted = models(folder.path(), &["convert", "lora.bin", "lora.safetensors", "--json"]);
    assert_eq!(converted.status.code(), Some(0), "{}", words(&converted));
    assert!(lines(&converted).iter().any(|line| line["event"] == "done" && line["path"] == "lora.safetensors"));
    let read = |path: &Path| {
        let file = WeightFiles::from_bytes("lora", fs::read(path).unwrap()).unwrap();
        let tensor = |name: &str| {
            let shape = file.shape(name).unwrap();
            (name.to_owned(), file.read(name, &shape).unwrap(), shape)
        };
        let mut tensors: Vec<_> = file.names().map(tensor).collect();
        tensors.sort_by(|a, b| a.0.cmp(&b.0));
        tensors
    };
    assert_eq!(read(&folder.path().join("lora.safetensors")), read(&golden.join("lora.bin.safetensors")));
    let again = models(folder.path(), &["convert", "lora.bin", "lora.safetensors"]);
    assert!(!again.status.success() && words(&again).contains("already exists"), "{}", words(&again));
}

#[test]
fn a_pickled_checkpoint_is_listed_and_checked() {
    let folder = tempfile::tempdir().unwrap();
    let safe = folder.path().join("safe.safetensors");
    Single::of_words("sd21", 64).write_file(&safe);
    pickle(&safe, &folder.path().join("model.ckpt"));
    let listed = lines(&models(folder.path(), &["list", "--models", ".", "--json"]));
    let found = |id: &str| listed.iter().find(|model| model["id"] == id).unwrap().clone();
    assert_eq!(found("model")["kind"], found("safe")["kind"]);
    assert!(found("model")["bytes"].as_u64() > Some(1 << 16));
    let verified = models(folder.path(), &["verify", "model.ckpt"]);
    assert!(verified.status.success(), "{}", words(&verified));
}
