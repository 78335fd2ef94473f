//! Selection of the files of a repository to download: those that this crate reads, without second copies of weights.

use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::load::component::{PICKLED_ENDING, PICKLED_NAMES, WEIGHT_NAMES};
use crate::load::lora;
use crate::load::weight_names::{PICKLED, SAFETENSORS};

/// Parts of a pipeline that are read.
const PARTS: [&str; 7] = ["unet", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler"];
/// The half-precision copy first: it is the intended format, and half the download.
const VARIANTS: [&str; 3] = [".fp16", ".bf16", ""];

/// Returns the files to download, of all files in a repository.
pub(super) fn needed(files: &[String]) -> Result<Vec<&str>> {
    if let Some(file) = files.iter().find(|file| !is_safe(file)) {
        let what = format!("file of the repository: got {file:?}, expected a path inside its folder");
        return Err(Error::new(ErrorKind::BadModel, what));
    }
    let mut chosen: Vec<&str> = Vec::new();
    if files.iter().any(|file| file == "model_index.json") {
        chosen.push("model_index.json");
        for part in PARTS {
            choose(files, &format!("{part}/"), &mut chosen)?;
        }
    } else {
        choose(files, "", &mut chosen)?;
    }
    Ok(chosen)
}

/// Selects the configs in `folder`, and one set of weights if there are any.
fn choose<'a>(files: &'a [String], folder: &str, chosen: &mut Vec<&'a str>) -> Result<()> {
    let inside: Vec<(&'a str, &'a str)> = files
        .iter()
        .filter_map(|file| Some((file.as_str(), file.strip_prefix(folder)?)))
        .filter(|(_, name)| !name.contains('/'))
        .collect();
    let settings = |name: &str| (name.ends_with(".json") && !name.contains(".index.")) || name == "merges.txt";
    chosen.extend(inside.iter().filter(|(_, name)| settings(name)).map(|(file, _)| *file));
    chosen.extend(safetensors(&inside, folder).or_else(|| pickled(&inside, folder)).unwrap_or_default());
    Ok(())
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
    set.or_else(|| PICKLED.iter().find_map(|ending| alone(inside, folder, &lora, ending)))
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
        let mut chosen = needed(&files).unwrap();
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
        let chosen = needed(&files(&names)).unwrap().len();
        assert_eq!(chosen, 4);
    }

    #[test]
    fn a_lora_is_fetched_and_pickled_files_are_only_without_safetensors() {
        for name in ["pytorch_lora_weights.safetensors", "adapter_model.safetensors", "my-style.safetensors"] {
            assert_eq!(needed(&files(&["README.md", name])).unwrap(), [name]);
        }
        assert_eq!(needed(&files(&["one.safetensors", "two.safetensors"])).unwrap(), [""; 0]);
        for name in ["diffusion_pytorch_model.bin", "pytorch_model.fp16.bin", "pytorch_lora_weights.bin", "style.pt"] {
            assert_eq!(needed(&files(&["README.md", name])).unwrap(), [name]);
            assert_eq!(needed(&files(&[name, "model.safetensors"])).unwrap(), ["model.safetensors"]);
        }
    }

    #[test]
    fn a_path_out_of_the_folder_is_refused() {
        for path in ["../x.json", "unet/../../x", "/etc/passwd", "a\\b", "C:x", "unet//x", ""] {
            let error = needed(&files(&["model_index.json", path])).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BadModel, "{path}");
        }
    }
}
