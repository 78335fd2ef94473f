//! Selection of the files of a repository to download: those that this crate reads, without second copies of weights.

use std::path::Path;

use super::collections::{Part, parts};
use crate::error::{Error, ErrorKind, Result};
use crate::load::ModelId;
use crate::load::component::{PICKLED_ENDING, PICKLED_NAMES, WEIGHT_NAMES};
use crate::load::lora;
use crate::load::portable_names::unportable_part;
use crate::load::weight_names::{PICKLED, SAFETENSORS, alternatives, is_weights};

/// Parts of a pipeline that are read.
const PARTS: [&str; 7] = ["unet", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler"];
/// The half-precision copy first: it is the intended format, and half the download.
const VARIANTS: [&str; 3] = [".fp16", ".bf16", ""];

/// The endings of weights.
const ENDINGS: &str = ".safetensors, .bin, .pth, .pt, .ckpt or .pkl";
/// Most names of files in an error.
const MAX_LISTED: usize = 20;

/// Returns the files to download, of all files in `repository`: those at the path `inside` it, or those that this crate
/// reads.
pub(super) fn needed<'a>(files: &'a [String], repository: &ModelId, inside: Option<&str>) -> Result<Vec<&'a str>> {
    if let Some(file) = files.iter().find(|file| !is_safe(file)) {
        let what = format!("file of the repository: got {file:?}, expected a path inside its folder");
        return Err(Error::new(ErrorKind::BadModel, what));
    }
    let parts = parts(repository.as_str());
    let chosen = match inside {
        Some(path) => match weights_at(files, path) {
            Some(file) => with_peft_config(files, file),
            None => folder(files, &format!("{path}/"), &parts),
        },
        None => folder(files, "", &parts),
    };
    if let Some(part) = chosen.iter().find_map(|file| unportable_part(file)) {
        let what = format!("file of the repository: got the name {part:?}, expected one that Windows has, too");
        return Err(Error::new(ErrorKind::BadModel, what));
    }
    if chosen.iter().any(|file| is_weights(Path::new(file))) {
        return Ok(chosen);
    }
    let place = inside.map_or_else(|| repository.to_string(), |path| format!("{repository}/{path}"));
    Err(nothing_chosen(files, repository, &place))
}

/// Returns the error for a place without an unambiguous set of weights.
fn nothing_chosen(files: &[String], repository: &ModelId, place: &str) -> Error {
    let weights: Vec<&str> = files.iter().map(String::as_str).filter(|file| is_weights(Path::new(file))).collect();
    let more = weights.len().saturating_sub(MAX_LISTED);
    let listed = weights.iter().take(MAX_LISTED).copied().collect::<Vec<_>>().join(", ");
    let Some(first) = weights.first() else {
        let count = files.len();
        let text = format!("{place}: got {count} files without weights, expected {ENDINGS}");
        return Error::new(ErrorKind::NotFound, text);
    };
    let rest = if more == 0 { String::new() } else { format!(", and {more} more") };
    let text = format!(
        "{place}: got no files of one model, expected a path to them, such as {repository}/{first}; weights in the \
         repository: {listed}{rest}"
    );
    Error::new(ErrorKind::NotFound, text)
}

/// Returns the files of a model or network in `folder`, which is empty or ends with a slash.
fn model<'a>(files: &'a [String], folder: &str) -> Vec<&'a str> {
    let mut chosen: Vec<&str> = Vec::new();
    let index = format!("{folder}model_index.json");
    match files.iter().find(|file| **file == index) {
        Some(index) => {
            chosen.push(index);
            for part in PARTS {
                choose(files, &format!("{folder}{part}/"), &mut chosen);
            }
        }
        None => choose(files, folder, &mut chosen),
    }
    chosen
}

/// Returns the files of `parts` in the folder `path`, or of the model in it if there is none. `path` is empty or ends with a
/// slash.
fn folder<'a>(files: &'a [String], path: &str, parts: &[Part]) -> Vec<&'a str> {
    let mut inside = parts.iter().filter(|part| part.path().starts_with(path)).peekable();
    if inside.peek().is_none() {
        return model(files, path);
    }
    let mut chosen = Vec::new();
    for part in inside {
        match part {
            Part::File(file) => chosen.extend(weights_at(files, file)),
            Part::Network(folder) => choose(files, &format!("{folder}/"), &mut chosen),
        }
    }
    chosen
}

/// Returns the file of weights `path`, or else a pickled one with its name.
fn weights_at<'a>(files: &'a [String], path: &str) -> Option<&'a str> {
    let path = Path::new(path);
    is_weights(path)
        .then(|| alternatives(path).find_map(|path| files.iter().find(|file| Path::new(file) == path)))
        .flatten()
        .map(String::as_str)
}

/// Returns a file of weights, and PEFT's config if it is a LoRA of PEFT.
fn with_peft_config<'a>(files: &'a [String], file: &'a str) -> Vec<&'a str> {
    let config = Path::new(file).with_file_name("adapter_config.json");
    let is_peft = Path::new(file).file_stem().is_some_and(|stem| stem == "adapter_model");
    let config = files.iter().find(|file| is_peft && Path::new(file) == config);
    std::iter::once(file).chain(config.map(String::as_str)).collect()
}

/// Selects the configs in `folder`, and one set of weights if there are any.
fn choose<'a>(files: &'a [String], folder: &str, chosen: &mut Vec<&'a str>) {
    let inside: Vec<(&'a str, &'a str)> = files
        .iter()
        .filter_map(|file| Some((file.as_str(), file.strip_prefix(folder)?)))
        .filter(|(_, name)| !name.contains('/'))
        .collect();
    let settings = |name: &str| (name.ends_with(".json") && !name.contains(".index.")) || name == "merges.txt";
    chosen.extend(inside.iter().filter(|(_, name)| settings(name)).map(|(file, _)| *file));
    chosen.extend(safetensors(&inside, folder).or_else(|| pickled(&inside, folder)).unwrap_or_default());
}

/// Returns one set of weights in safetensors files.
fn safetensors<'a>(inside: &[(&'a str, &'a str)], folder: &str) -> Option<Vec<&'a str>> {
    let lora = |name: &str| lora::NAMES.contains(&name);
    one_set(inside, WEIGHT_NAMES, SAFETENSORS).or_else(|| alone(inside, folder, &lora, SAFETENSORS))
}

/// Returns one set of weights in pickled files.
fn pickled<'a>(inside: &[(&'a str, &'a str)], folder: &str) -> Option<Vec<&'a str>> {
    let stem = |name: &str| Path::new(name).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
    let lora = |name: &str| lora::NAMES.iter().any(|known| stem(known) == stem(name));
    let set = one_set(inside, PICKLED_NAMES, PICKLED_ENDING);
    let is_safe = |name: &str| Path::new(name).extension().is_some_and(|own| own == SAFETENSORS);
    // One pickled file among several models in safetensors files is not the model of the repository.
    let is_only = !inside.iter().any(|(_, name)| is_safe(name));
    set.or_else(|| PICKLED.iter().filter(|_| is_only).find_map(|ending| alone(inside, folder, &lora, ending)))
}

/// Returns the first variant of the files with one of `names` and `ending`.
fn one_set<'a>(inside: &[(&'a str, &'a str)], names: [&str; 2], ending: &str) -> Option<Vec<&'a str>> {
    let all = VARIANTS.iter().flat_map(|variant| names.map(|name| weight_files(inside, name, variant, ending)));
    all.into_iter().find(|files| !files.is_empty())
}

/// Returns a LoRA, or the only file with `ending` in the repository's own folder.
fn alone<'a>(
    inside: &[(&'a str, &'a str)],
    folder: &str,
    lora: &dyn Fn(&str) -> bool,
    ending: &str,
) -> Option<Vec<&'a str>> {
    let ends = |name: &str| Path::new(name).extension().is_some_and(|own| own == ending);
    let mut files = inside.iter().filter(|(_, name)| ends(name));
    let known = files.clone().find(|(_, name)| lora(name));
    let only = || files.next().filter(|_| folder.is_empty() && files.next().is_none());
    known.or_else(only).map(|(file, _)| vec![*file])
}

/// Returns the weights named `name` in one variant: a file, or an index with its shards.
fn weight_files<'a>(inside: &[(&'a str, &'a str)], name: &str, variant: &str, ending: &str) -> Vec<&'a str> {
    let called = |wanted: String| inside.iter().find(|(_, name)| *name == wanted).map(|(file, _)| *file);
    if let Some(file) = called(format!("{name}{variant}.{ending}")) {
        return vec![file];
    }
    let index = called(format!("{name}{variant}.{ending}.index.json"))
        .or_else(|| called(format!("{name}.{ending}.index{variant}.json")));
    let Some(index) = index else { return Vec::new() };
    let is_shard = |file: &str| {
        let rest = file.strip_prefix(name).and_then(|rest| rest.strip_suffix(&format!(".{ending}")));
        let number = rest.and_then(|rest| rest.strip_prefix(variant).or_else(|| rest.strip_suffix(variant)));
        number.is_some_and(|number| number.starts_with('-') && number.contains("-of-") && !number.contains('.'))
    };
    let shards = inside.iter().filter(|(_, name)| is_shard(name)).map(|(file, _)| *file);
    std::iter::once(index).chain(shards).collect()
}

/// Returns true if a path stays inside the folder that it is joined to, on every system.
fn is_safe(path: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && part != "."
            && part != ".."
            && !part.contains(|c: char| c.is_control() || matches!(c, '\\' | ':'))
    };
    path.len() <= 1024 && path.split('/').all(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn fetched(files: &[String]) -> Result<Vec<&str>> {
        needed(files, &"org/name".parse().unwrap(), None)
    }

    fn fetched_of<'a>(id: &str, files: &'a [String]) -> Result<Vec<&'a str>> {
        let id: ModelId = id.parse().unwrap();
        match id.in_repository() {
            Some((repository, inside)) => needed(files, &repository, Some(inside)),
            None => needed(files, &id, None),
        }
    }

    #[test]
    fn one_copy_of_the_weights_is_fetched() {
        let files = files(&[
            "README.md",
            "model_index.json",
            "sd_turbo.safetensors",
            "scheduler/scheduler_config.json",
            "text_encoder/config.json",
            "text_encoder/model.fp16.safetensors",
            "text_encoder/model.safetensors",
            "tokenizer/merges.txt",
            "tokenizer/vocab.json",
            "unet/config.json",
            "unet/diffusion_pytorch_model.fp16.safetensors",
            "unet/diffusion_pytorch_model.safetensors",
            "unet/diffusion_pytorch_model.bin",
            "safety_checker/model.safetensors",
        ]);
        let expected = [
            "model_index.json",
            "unet/config.json",
            "unet/diffusion_pytorch_model.fp16.safetensors",
            "text_encoder/config.json",
            "text_encoder/model.fp16.safetensors",
            "tokenizer/merges.txt",
            "tokenizer/vocab.json",
            "scheduler/scheduler_config.json",
        ];
        let mut chosen = fetched(&files).unwrap();
        chosen.sort_by_key(|file| expected.iter().position(|name| name == file));
        assert_eq!(chosen, expected);
    }

    #[test]
    fn a_sharded_network_comes_with_its_index() {
        let names = [
            "config.json",
            "diffusion_pytorch_model-00001-of-00002.safetensors",
            "diffusion_pytorch_model-00002-of-00002.safetensors",
            "diffusion_pytorch_model.fp16-00001-of-00001.safetensors",
            "diffusion_pytorch_model.safetensors.index.json",
        ];
        let chosen = fetched(&files(&names)).unwrap().len();
        assert_eq!(chosen, 4);
    }

    #[test]
    fn a_lora_is_fetched_and_pickled_files_are_only_without_safetensors() {
        for name in ["pytorch_lora_weights.safetensors", "adapter_model.safetensors", "my-style.safetensors"] {
            assert_eq!(fetched(&files(&["README.md", name])).unwrap(), [name]);
        }
        for name in ["diffusion_pytorch_model.bin", "pytorch_model.fp16.bin", "pytorch_lora_weights.bin", "style.pt"] {
            assert_eq!(fetched(&files(&["README.md", name])).unwrap(), [name]);
            assert_eq!(fetched(&files(&[name, "model.safetensors"])).unwrap(), ["model.safetensors"]);
        }
    }

    #[test]
    fn a_path_out_of_the_folder_is_refused() {
        for path in ["../x.json", "unet/../../x", "/etc/passwd", "a\\b", "C:x", "unet//x", ""] {
            let error = fetched(&files(&["model_index.json", path])).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BadModel, "{path}");
        }
    }

    #[test]
    fn a_file_with_a_name_that_windows_reserves_is_refused_if_it_is_needed() {
        let error = fetched(&files(&["config.json", "nul.safetensors"])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadModel);
        let expected = "file of the repository: got the name \"nul.safetensors\", expected one that Windows has, too";
        assert_eq!(error.to_string(), expected);
        assert_eq!(fetched(&files(&["model.safetensors", "con.md"])).unwrap(), ["model.safetensors"]);
    }

    #[test]
    fn a_repository_without_one_model_is_refused_with_its_files() {
        let several = files(&["one.safetensors", "two.safetensors", "three.pth", "README.md"]);
        let error = fetched(&several).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        let expected = "org/name: got no files of one model, expected a path to them, such as org/name/one.safetensors; \
                        weights in the repository: one.safetensors, two.safetensors, three.pth";
        assert_eq!(error.to_string(), expected);
        let none = files(&["README.md", "config.json"]);
        let expected = "org/name: got 2 files without weights, expected .safetensors, .bin, .pth, .pt, .ckpt or .pkl";
        assert_eq!(fetched(&none).unwrap_err().to_string(), expected);
        let many: Vec<String> = (0..25).map(|i| format!("lora{i}.safetensors")).collect();
        assert!(fetched(&many).unwrap_err().to_string().ends_with("lora19.safetensors, and 5 more"));
        let error = fetched_of("org/name/four.safetensors", &several).unwrap_err();
        assert!(error.to_string().starts_with("org/name/four.safetensors: got no files"), "{error}");
    }

    #[test]
    fn a_path_names_a_file_or_a_folder_of_a_repository() {
        let all = files(&[
            "a/config.json",
            "a/diffusion_pytorch_model.safetensors",
            "b/style.safetensors",
            "peft/adapter_config.json",
            "peft/adapter_model.safetensors",
            "pipe/model_index.json",
            "pipe/unet/config.json",
            "pipe/unet/diffusion_pytorch_model.bin",
            "two.pth",
            "three.safetensors",
        ]);
        for (path, expected) in [
            ("a", &["a/config.json", "a/diffusion_pytorch_model.safetensors"][..]),
            ("b/style.safetensors", &["b/style.safetensors"]),
            ("peft/adapter_model.safetensors", &["peft/adapter_model.safetensors", "peft/adapter_config.json"]),
            ("pipe", &["pipe/model_index.json", "pipe/unet/config.json", "pipe/unet/diffusion_pytorch_model.bin"]),
            ("two.pth", &["two.pth"]),
            ("two.safetensors", &["two.pth"]),
        ] {
            assert_eq!(fetched_of(&format!("org/name/{path}"), &all).unwrap(), expected, "{path}");
        }
    }

    #[test]
    fn collections_are_fetched_as_far_as_they_are_read() {
        let adapters = files(&[
            "models/image_encoder/config.json",
            "models/image_encoder/model.safetensors",
            "models/image_encoder/pytorch_model.bin",
            "models/ip-adapter-plus_sd15.safetensors",
            "models/ip-adapter_sd15.bin",
            "models/ip-adapter_sd15.safetensors",
            "sdxl_models/image_encoder/config.json",
            "sdxl_models/image_encoder/model.safetensors",
            "sdxl_models/ip-adapter_sdxl.bin",
        ]);
        let sd15 = [
            "models/ip-adapter_sd15.safetensors",
            "models/image_encoder/config.json",
            "models/image_encoder/model.safetensors",
        ];
        let sdxl = [
            "sdxl_models/ip-adapter_sdxl.bin",
            "sdxl_models/image_encoder/config.json",
            "sdxl_models/image_encoder/model.safetensors",
        ];
        assert_eq!(fetched_of("h94/IP-Adapter", &adapters).unwrap(), [sd15, sdxl].concat());
        assert_eq!(fetched_of("h94/IP-Adapter/models", &adapters).unwrap(), sd15);
        assert_eq!(fetched_of("h94/IP-Adapter/sdxl_models", &adapters).unwrap(), sdxl);
        let plus = "models/ip-adapter-plus_sd15.safetensors";
        assert_eq!(fetched_of(&format!("h94/IP-Adapter/{plus}"), &adapters).unwrap(), [plus]);

        let annotators =
            files(&["ControlNetHED.pth", "body_pose_model.pth", "netG.pth", "sk_model.pth", "sk_model2.pth"]);
        let read = ["ControlNetHED.pth", "sk_model.pth", "sk_model2.pth", "netG.pth"];
        assert_eq!(fetched_of("lllyasviel/Annotators", &annotators).unwrap(), read);
        let faces = files(&["ip-adapter-faceid_sd15.bin", "ip-adapter-faceid_sd15_lora.safetensors"]);
        assert_eq!(fetched_of("h94/IP-Adapter-FaceID", &faces).unwrap(), ["ip-adapter-faceid_sd15.bin"]);
    }
}
