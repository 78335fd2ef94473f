use std::fs;

use super::*;

/// A folder that is recognized as a checkpoint.
fn make_checkpoint(path: &Path) {
    fs::create_dir_all(path).unwrap();
    fs::write(path.join("model_index.json"), r#"{"unet": ["diffusers", "UNet2DConditionModel"]}"#).unwrap();
}

fn id(text: &str) -> ModelId {
    text.parse().unwrap()
}

#[test]
fn ids_never_lead_out_of_a_folder() {
    for text in ["demo", "stabilityai/sd-turbo", "name", "a/b/c", "models with blanks"] {
        assert_eq!(id(text).as_str(), text);
    }
    for text in ["", "/etc", "../x", "a/../b", "a//b", "a/", ".hidden", "a\\b", "C:x", "a\0b", &"x".repeat(300)] {
        let error = text.parse::<ModelId>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{text}");
    }
}

#[test]
fn ids_with_names_that_windows_reserves_are_refused_with_the_part() {
    for (text, part) in [("org/NUL", "NUL"), ("com1.v2/name", "com1.v2"), ("org/name.", "name."), ("org /x", "org ")] {
        let error = text.parse::<ModelId>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        let expected =
            format!("model id: got {part:?} in {text:?}, expected parts that are file names on Windows, too");
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn a_directory_of_models_is_looked_through_in_four_ways() {
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let snapshot = format!("models--org--name/snapshots/{commit}");
    for place in ["org/name", "org--name", &snapshot, "name"] {
        let folder = tempfile::tempdir().unwrap();
        make_checkpoint(&folder.path().join(place));
        let found = ModelSource::folder(folder.path()).base(&id("org/name")).unwrap();
        assert_eq!(Path::new(&found.checkpoint.location()), folder.path().join(place));
        assert_eq!(found.notice, None);
    }
}

#[test]
fn single_checkpoint_is_the_base_model_for_every_id() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("mine");
    make_checkpoint(&model);
    let source = ModelSource::folder(&model);
    let found = source.base(&id("stabilityai/sd-turbo")).unwrap();
    assert_eq!(found.checkpoint.location(), model.display().to_string());
    assert!(found.notice.unwrap().contains("stabilityai/sd-turbo is ignored"));
    assert_eq!(source.base(&id("org/mine")).unwrap().notice, None);
}

#[test]
fn an_id_names_nothing_outside_the_folder_or_file_of_a_single_model() {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().join("base");
    make_checkpoint(&base);
    fs::create_dir_all(folder.path().join("thibaud/canny")).unwrap();
    fs::create_dir_all(base.join("thibaud/depth")).unwrap();
    fs::write(folder.path().join("style.safetensors"), "").unwrap();
    fs::write(folder.path().join("base.safetensors"), "").unwrap();
    for source in [ModelSource::folder(&base), ModelSource::folder(folder.path().join("base.safetensors"))] {
        assert_eq!(source.find(&id("thibaud/canny")).unwrap_err().kind(), ErrorKind::NotFound, "{source:?}");
        assert_eq!(source.lora(&id("style")).unwrap_err().kind(), ErrorKind::NotFound, "{source:?}");
    }
    assert_eq!(ModelSource::folder(&base).find(&id("thibaud/depth")).unwrap(), base.join("thibaud/depth"));
}

#[test]
fn missing_files_are_reported_with_searched_locations() {
    let folder = tempfile::tempdir().unwrap();
    let error = ModelSource::folder(folder.path()).base(&id("org/name")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    for place in ["org/name", "org--name", "models--org--name", "name"] {
        assert!(error.to_string().contains(&folder.path().join(place).display().to_string()), "{error}");
    }
    let error = ModelSource::Cache(HubCache::at(folder.path())).base(&id("org/name")).unwrap_err();
    assert!(error.to_string().contains("models--org--name"), "{error}");
    let error = ModelSource::Demo.find(&id("org/name")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[cfg(feature = "demo-model")]
#[test]
fn the_demo_model_needs_no_folder() {
    let found = ModelSource::from("demo").base(&id("demo")).unwrap();
    assert_eq!((found.checkpoint.location().as_str(), found.notice), ("demo", None));
    let found = ModelSource::Demo.base(&id("stabilityai/sd-turbo")).unwrap();
    assert!(found.notice.unwrap().contains("the demo model is used"));
    let elsewhere = tempfile::tempdir().unwrap();
    let found = ModelSource::folder(elsewhere.path()).base(&id("demo")).unwrap();
    assert_eq!(found.checkpoint.location(), "demo");
}

#[test]
fn half_precision_copies_and_shards_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/demo/dreamframe-tiny/vae/");
    let weights = format!("{model}diffusion_pytorch_model.safetensors");
    fs::copy(format!("{model}config.json"), folder.path().join("config.json")).unwrap();
    let half = folder.path().join("diffusion_pytorch_model.fp16.safetensors");
    fs::copy(&weights, &half).unwrap();
    let open = || Component::folder(folder.path()).unwrap().weights.names().count();
    let expected = Component::folder(model).unwrap().weights.names().count();
    assert_eq!(open(), expected);
    let shard = "diffusion_pytorch_model.fp16-00001-of-00001.safetensors";
    fs::rename(half, folder.path().join(shard)).unwrap();
    let map = format!(r#"{{"weight_map": {{"decoder.layers.0.bias": "{shard}"}}}}"#);
    for index in ["diffusion_pytorch_model.fp16.safetensors.index.json", "model.safetensors.index.fp16.json"] {
        let index = folder.path().join(index);
        fs::write(&index, &map).unwrap();
        assert_eq!(open(), expected);
        fs::remove_file(index).unwrap();
    }
}
