//! The endings of files of weights.

use std::path::{Path, PathBuf};

/// The ending of safetensors files, which are preferred.
pub(super) const SAFETENSORS: &str = "safetensors";
/// The endings of pickled files, in order of preference.
pub(super) const PICKLED: [&str; 5] = ["bin", "pth", "pt", "ckpt", "pkl"];

/// The id of a folder, and a file of weights in it.
pub(crate) type WeightFile<'a> = (&'a str, &'a str);

/// Returns true if a file's name ends as those of weights do: `.safetensors`, or one of the endings of pickled files.
pub fn is_weights(name: &Path) -> bool {
    let known = |ending: &str| ending == SAFETENSORS || PICKLED.contains(&ending);
    name.extension().and_then(|ending| ending.to_str()).is_some_and(known)
}

/// Returns the names of the safetensors file `path`, and of pickled files in its place, in order of preference.
pub(super) fn alternatives(path: &Path) -> impl Iterator<Item = PathBuf> {
    let pickled = PICKLED.iter().map(|ending| path.with_extension(ending));
    std::iter::once(path.to_owned()).chain(pickled)
}

/// Returns the safetensors file `path`, or a pickled one with its name; `None` if there is neither.
pub(super) fn existing(path: &Path) -> Option<PathBuf> {
    alternatives(path).find(|path| path.is_file())
}

/// Returns the safetensors files of `files`, or else the pickled ones.
pub(super) fn preferred(files: Vec<PathBuf>) -> Vec<PathBuf> {
    let (safe, others): (Vec<_>, Vec<_>) = files
        .into_iter()
        .filter(|path| is_weights(path))
        .partition(|path| path.extension().is_some_and(|own| own == SAFETENSORS));
    if safe.is_empty() { others } else { safe }
}
