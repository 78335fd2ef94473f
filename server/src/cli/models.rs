//! `dreamframe models`: lists, checks, recommends, downloads, converts and quantizes models.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use dreamframe::load::{Checkpoint, HubCache, ModelId, is_weights};
use dreamframe::{ComponentReport, ErrorKind, checkpoint_footprint, family_name, verify_checkpoint};
use serde_json::json;

use super::convert;
use super::exit::{Failure, Result};
use super::fetch;
use super::output::Output;
use super::quantize;
use super::recommend;
use super::table::Table;

/// Lists, checks, recommends, fetches and converts models, and quantizes them to int8
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Lists the embedded model, those in a directory and those in the Hugging Face cache, with the memory that each takes on
    /// a GPU: in half precision, for one row of 512x512, estimated
    List {
        /// A directory of diffusers folders and of checkpoints in .safetensors or pickled files, or in the layout of the
        /// Hugging Face cache
        #[arg(long, value_name = "FOLDER")]
        models: Option<PathBuf>,
        /// Print one JSON object a model
        #[arg(long)]
        json: bool,
    },
    /// Downloads models from the Hugging Face hub into its cache, and prints their paths; resumes interrupted downloads
    #[command(
        after_help = "HF_ENDPOINT, HF_HUB_OFFLINE, HF_TOKEN, HF_HOME and HF_HUB_CACHE count as they do elsewhere."
    )]
    Fetch(fetch::Args),
    /// Lists the models that this machine can run, with estimated pictures per second, memory, download size, licence and
    /// the command that downloads each; measures the machine for about a second, and needs no model
    Recommend(recommend::Args),
    Convert(convert::Args),
    Quantize(quantize::Args),
    /// Checks a model without running it: layout, configs, missing, misshapen and unused weights, sizes
    Verify {
        /// A diffusers folder, a checkpoint in a .safetensors or pickled file, or demo
        model: String,
        /// Print one JSON object a component
        #[arg(long)]
        json: bool,
    },
}

impl Args {
    /// Whether a failure is reported in JSON too.
    pub(super) fn json(&self) -> bool {
        match self.action {
            Action::List { json, .. } | Action::Verify { json, .. } => json,
            Action::Fetch(ref args) => args.json,
            Action::Recommend(ref args) => args.json,
            Action::Convert(ref args) => args.json,
            Action::Quantize(ref args) => args.json,
        }
    }
}

pub(super) fn run(args: &Args) -> Result {
    match &args.action {
        Action::List { models, json } => list(models.as_deref(), *json),
        Action::Fetch(args) => fetch::run(args),
        Action::Recommend(args) => recommend::run(args),
        Action::Convert(args) => convert::run(args),
        Action::Quantize(args) => quantize::run(args),
        Action::Verify { model, json } => check(model, *json),
    }
}

/// A model that was found.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    id: String,
    from: &'static str,
    /// `None` for the one in this program.
    path: Option<PathBuf>,
}

fn list(folder: Option<&Path>, json: bool) -> Result {
    let mut models = Vec::new();
    if dreamframe::FEATURES.contains(&"demo-model") {
        models.push(Found { id: "demo".into(), from: "built in", path: None });
    }
    if let Some(folder) = folder {
        models.extend(in_folder(folder)?);
    }
    if let Some(cache) = HubCache::from_env() {
        models.extend(in_cache(&cache, "hub cache"));
    }
    let mut out = Output::new();
    let mut table = Table::new(&["model", "from", "kind", "MB", "GPU MB", "path"]);
    for Found { id, from, path } in models {
        let checkpoint = path.as_ref().map_or_else(Checkpoint::demo, Checkpoint::folder);
        let kind = kind(&checkpoint);
        let bytes = path.as_deref().map(|path| weight_bytes(path, 0));
        let gpu_bytes = checkpoint.ok().and_then(|checkpoint| gpu_bytes(&checkpoint));
        if json {
            out.line(&json!({
                "id": id, "from": from, "kind": kind, "bytes": bytes, "gpu_bytes": gpu_bytes, "path": path,
            }))?;
            continue;
        }
        let mb = |bytes: Option<u64>| bytes.map_or_else(String::new, |bytes| format!("{:.0}", bytes as f64 / 1e6));
        let path = path.map_or_else(String::new, |path| path.display().to_string());
        table.row([id, from.to_owned(), kind, mb(bytes), mb(gpu_bytes), path]);
    }
    if json { Ok(()) } else { out.text(&table.to_string()) }
}

/// The diffusers folders and checkpoints in single files in `folder`: itself, in it, or one deeper
/// (`organisation/name`); and those in the layout of the cache.
fn in_folder(folder: &Path) -> Result<Vec<Found>> {
    if is_checkpoint(folder) {
        let id = folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy().into_owned();
        return Ok(vec![Found { id, from: "folder", path: Some(folder.to_owned()) }]);
    }
    let mut found = in_cache(&HubCache::at(folder), "folder");
    fs::read_dir(folder).map_err(|error| dreamframe::Error::io(folder, "read", error))?;
    for path in folders(folder) {
        let below = folders(&path);
        for path in std::iter::once(path).chain(below).filter(|path| is_checkpoint(path)) {
            let id = path.strip_prefix(folder).unwrap_or(&path).to_string_lossy().replace('\\', "/");
            found.push(Found { id, from: "folder", path: Some(path) });
        }
    }
    found.extend(single_files(folder));
    Ok(found)
}

/// The checkpoints in `folder` that are one file each; LoRAs and the like are none.
fn single_files(folder: &Path) -> impl Iterator<Item = Found> {
    let mut files: Vec<PathBuf> = entries(folder).filter(|path| is_weights(path) && path.is_file()).collect();
    files.sort_unstable();
    files.into_iter().filter(|path| Checkpoint::folder(path).is_ok()).map(|path| {
        let id = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Found { id, from: "file", path: Some(path) }
    })
}

fn in_cache(cache: &HubCache, from: &'static str) -> Vec<Found> {
    let found = folders(cache.root()).into_iter().filter_map(|path| {
        let id: ModelId = path.file_name()?.to_str()?.strip_prefix("models--")?.replace("--", "/").parse().ok()?;
        let path = cache.snapshot(&id).filter(|path| is_checkpoint(path))?;
        Some(Found { id: id.as_str().to_owned(), from, path: Some(path) })
    });
    found.collect()
}

/// The folders in `path`, sorted; none where it cannot be read.
fn folders(path: &Path) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = entries(path).filter(|path| path.is_dir()).collect();
    folders.sort_unstable();
    folders
}

/// The contents of the folder `path`; empty if it cannot be read.
fn entries(path: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn is_checkpoint(path: &Path) -> bool {
    path.join("model_index.json").is_file()
}

/// The model family by its UNet, or the reason why it is unknown.
fn kind(checkpoint: &dreamframe::Result<Checkpoint>) -> String {
    let failed = |error: &dreamframe::Error| format!("{}: {error}", error.kind());
    match checkpoint.as_ref().map(family_name) {
        Ok(Ok(family)) => family.to_owned(),
        Ok(Err(error)) => failed(&error),
        Err(error) => failed(error),
    }
}

/// The memory that a stream of pictures of 512 x 512, with one row, takes on a GPU in half precision, as estimated from
/// the networks; `None` for a model that cannot be used.
fn gpu_bytes(checkpoint: &Checkpoint) -> Option<u64> {
    Some(checkpoint_footprint(checkpoint, (512, 512), 1).ok()?.bytes(2))
}

/// The bytes of all weight files in and below `path`, or of the one that it is.
fn weight_bytes(path: &Path, depth: u32) -> u64 {
    const DEEPEST: u32 = 3;
    if !path.is_dir() {
        return if is_weights(path) { fs::metadata(path).map_or(0, |file| file.len()) } else { 0 };
    }
    if depth > DEEPEST { 0 } else { entries(path).map(|path| weight_bytes(&path, depth + 1)).sum() }
}

fn check(model: &str, json: bool) -> Result {
    let checkpoint = if model == "demo" { Checkpoint::demo() } else { Checkpoint::folder(model) }?;
    report(&checkpoint, json)
}

/// Checks `checkpoint`, and prints the result; fails if it cannot be used.
pub(super) fn report(checkpoint: &Checkpoint, json: bool) -> Result {
    let reports = verify_checkpoint(checkpoint);
    let mut out = Output::new();
    let mut table = Table::new(&["component", "class", "parameters", "missing", "misshapen", "unused", "verdict"]);
    let mut details = String::new();
    for ComponentReport { name, class, parameters, check, problem, .. } in &reports {
        let problem = problem.as_ref().map(|problem| format!("{problem:#}"));
        if json {
            out.line(&json!({
                "component": name, "class": class, "parameters": parameters, "missing": check.missing,
                "misshapen": check.misshapen, "unused": check.unused, "problem": problem,
            }))?;
            continue;
        }
        let count = |names: &[String]| names.len().to_string();
        let verdict = if problem.is_some() { "broken" } else { "good" }.to_owned();
        let [missing, misshapen, unused] = [&check.missing, &check.misshapen, &check.unused].map(|names| count(names));
        let parameters = parameters.map_or_else(String::new, |count| format!("{:.2} M", count as f64 / 1e6));
        table.row([name.clone(), class.clone(), parameters, missing, misshapen, unused, verdict]);
        for (what, names) in [("missing", &check.missing), ("misshapen", &check.misshapen), ("unused", &check.unused)] {
            details.extend(names.iter().map(|weight| format!("{name}: {what}: {weight}\n")));
        }
        details.extend(problem.map(|problem| format!("{name}: {problem}\n")));
    }
    if !json {
        out.text(&format!("{table}{details}"))?;
    }
    let broken: Vec<&str> = reports.iter().filter(|r| r.problem.is_some()).map(|r| r.name.as_str()).collect();
    if broken.is_empty() {
        return Ok(());
    }
    let text = format!("{}: invalid components: {}", checkpoint.location(), broken.join(", "));
    Err(Failure::from(dreamframe::Error::new(ErrorKind::BadModel, text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(path: &Path) {
        fs::create_dir_all(path).unwrap();
        fs::write(path.join("model_index.json"), "{}").unwrap();
    }

    fn ids(folder: &Path) -> Vec<String> {
        in_folder(folder).unwrap().into_iter().map(|found| found.id).collect()
    }

    #[test]
    fn models_are_found_by_name_by_organisation_and_in_the_layout_of_the_cache() {
        let folder = tempfile::tempdir().unwrap();
        checkpoint(&folder.path().join("b"));
        checkpoint(&folder.path().join("org/a"));
        checkpoint(&folder.path().join("models--org--c/snapshots/0123456789abcdef0123456789abcdef01234567"));
        fs::create_dir_all(folder.path().join("no-model")).unwrap();
        assert_eq!(ids(folder.path()), ["org/c", "b", "org/a"]);
        assert_eq!(ids(&folder.path().join("b")), ["b"]);
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error() {
        assert!(matches!(in_folder(Path::new("no/such/folder")), Err(Failure::Library(_))));
    }
}
