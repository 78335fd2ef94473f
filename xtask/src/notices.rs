//! The licences of the crates that are linked into a library: most require that their notice is distributed with it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::tools::{cargo, output};

/// The prefixes of the names of licence files.
const BEGINNINGS: [&str; 5] = ["LICENSE", "LICENCE", "COPYING", "NOTICE", "UNLICENSE"];

/// Returns the crates that `package` is built from with `features` for `target` (`None` for this system), and the texts
/// of their licences without duplicates.
///
/// # Errors
///
/// If they cannot be listed or read.
pub(crate) fn of(package: &str, features: &str, target: Option<&str>) -> Result<String, String> {
    let mut tree = cargo();
    tree.args(["tree", "--package", package, "--features", features]);
    tree.args(target.iter().flat_map(|target| ["--target", target]));
    tree.args(["--edges", "normal", "--prefix", "none", "--format", "{p}|{l}|{r}"]);
    let tree = output(&mut tree)?;
    // A repeated crate is marked with a star; those of the workspace have a folder in brackets.
    let crates: BTreeSet<&str> =
        tree.lines().map(|l| l.trim_end_matches(" (*)")).filter(|l| !l.contains(" (")).collect();
    let mut list = String::from("dreamframe is built with these crates. Their licences follow.\n\n");
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in crates {
        let mut fields = line.splitn(3, '|');
        let mut next = || fields.next().unwrap_or_default();
        let (name, licence, address) = (next().replacen(" v", " ", 1), next(), next());
        let _ = writeln!(list, "{name}: {licence}, {address}");
        for text in licences(&name)? {
            texts.entry(text).or_default().push(name.clone());
        }
    }
    for (text, names) in texts {
        let _ = write!(list, "\n{}\n{}:\n\n{}\n", "-".repeat(80), names.join(", "), text.trim_end());
    }
    Ok(list)
}

/// Returns the licence texts of the crate `name`, such as `libc 0.2.1`.
fn licences(name: &str) -> Result<Vec<String>, String> {
    let folder = source(&name.replace(' ', "-"))?;
    let files = folder.read_dir().map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut paths: Vec<PathBuf> = files.flatten().map(|file| file.path()).filter(|path| is_licence(path)).collect();
    paths.sort();
    let read = |path: &PathBuf| std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()));
    paths.iter().map(read).map(|text| text.map(|text| text.replace("\r\n", "\n"))).collect()
}

fn is_licence(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().to_uppercase()).unwrap_or_default();
    path.is_file() && BEGINNINGS.iter().any(|beginning| name.starts_with(beginning))
}

/// Returns the folder of the sources of `name-version`.
fn source(name: &str) -> Result<PathBuf, String> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo"))).unwrap_or_default();
    let registries = home.join("registry/src");
    let folders = registries.read_dir().map_err(|error| format!("{}: {error}", registries.display()))?;
    let mut places = folders.flatten().map(|folder| folder.path().join(name));
    places.find(|place| place.is_dir()).ok_or_else(|| format!("no source of {name} in {}", registries.display()))
}
