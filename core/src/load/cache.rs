//! The Hugging Face cache on disk, read without network.
//!
//! Layout: `models--ORG--NAME/refs/REVISION` holds a commit, `snapshots/COMMIT/…` the files of that commit, which link
//! to `blobs/…`.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::ModelId;

/// The default revision.
pub(super) const MAIN: &str = "main";

/// A folder in the layout of the Hugging Face cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubCache {
    root: PathBuf,
}

impl HubCache {
    /// Returns the cache at `root`.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Returns the cache that the environment names: `HF_HUB_CACHE`, `HF_HOME`, `XDG_CACHE_HOME`, or the user's own
    /// `~/.cache/huggingface/hub`; `None` if `HOME` is not set either.
    pub fn from_env() -> Option<Self> {
        Self::from_variables(|name| std::env::var_os(name))
    }

    fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> Option<Self> {
        let folder = |name: &str| folder(&variable, name);
        let huggingface = || Some(user_cache(&variable)?.join("huggingface"));
        let root = folder("HF_HUB_CACHE")
            .or_else(|| folder("HUGGINGFACE_HUB_CACHE"))
            .or_else(|| Some(folder("HF_HOME").or_else(huggingface)?.join("hub")))?;
        Some(Self { root })
    }

    /// Returns the path of the folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the folder that all revisions of a model share.
    pub(super) fn repository(&self, id: &ModelId) -> PathBuf {
        self.root.join(format!("models--{}", id.as_str().replace('/', "--")))
    }

    /// Returns the snapshot of `id`, or an existing path inside the snapshot of a repository, for `organisation/name/path`.
    pub(super) fn find(&self, id: &ModelId) -> Option<PathBuf> {
        let inside = || {
            let (repository, path) = id.in_repository()?;
            Some(self.snapshot(&repository)?.join(path)).filter(|path| path.exists())
        };
        self.snapshot(id).or_else(inside)
    }

    /// Returns the folder with the files of a model's main revision; `None` if it was not downloaded.
    pub fn snapshot(&self, id: &ModelId) -> Option<PathBuf> {
        let repository = self.repository(id);
        let snapshots = repository.join("snapshots");
        let commit = fs::read_to_string(repository.join("refs").join(MAIN)).ok();
        if let Some(commit) = commit.as_deref().map(str::trim).filter(|commit| is_commit(commit)) {
            return Some(snapshots.join(commit)).filter(|folder| folder.is_dir());
        }
        // A folder that was copied manually often lacks the refs; a single snapshot is unambiguous.
        let mut folders =
            fs::read_dir(snapshots).ok()?.flatten().map(|entry| entry.path()).filter(|path| path.is_dir());
        folders.next().filter(|_| folders.next().is_none())
    }
}

/// Returns the folder for caches of programs that use the same one on all systems, as the hub's library does:
/// `XDG_CACHE_HOME`, or `.cache` in the user's home.
fn user_cache(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    folder(&variable, "XDG_CACHE_HOME").or_else(|| Some(home(&variable)?.join(".cache")))
}

/// Returns this crate's own folder in the user's cache: `dreamframe` in `XDG_CACHE_HOME`, if that is set, or else in
/// the folder that the system has for caches: `LOCALAPPDATA` on Windows, `~/Library/Caches` on macOS, `~/.cache` on others.
pub(super) fn own_cache(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    own_cache_on(std::env::consts::OS, variable)
}

fn own_cache_on(system: &str, variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let of_system = || match system {
        "windows" => folder(&variable, "LOCALAPPDATA"),
        "macos" => Some(home(&variable)?.join("Library").join("Caches")),
        _ => None,
    };
    let named = folder(&variable, "XDG_CACHE_HOME");
    let caches = named.or_else(of_system).or_else(|| user_cache(&variable));
    Some(caches?.join("dreamframe"))
}

/// Returns the user's home.
fn home(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    // On Windows, `HOME` is set by some shells alone, to another folder.
    let names = if cfg!(windows) { ["USERPROFILE", "HOME"] } else { ["HOME", "USERPROFILE"] };
    names.iter().find_map(|name| folder(&variable, name))
}

/// Returns the folder that a variable names, if it is set.
fn folder(variable: impl Fn(&str) -> Option<OsString>, name: &str) -> Option<PathBuf> {
    variable(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// Returns true if `text` is a commit: forty hexadecimal digits. It becomes part of a path, so nothing else may.
pub(super) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(variables: &[(&str, &str)]) -> Option<PathBuf> {
        let variable = |name: &str| Some(variables.iter().find(|(key, _)| *key == name)?.1.into());
        HubCache::from_variables(variable).map(|cache| cache.root)
    }

    #[test]
    fn the_most_special_variable_names_the_cache() {
        let mut variables = vec![("HOME", "/h"), ("XDG_CACHE_HOME", "/x"), ("HF_HOME", "/f"), ("HF_HUB_CACHE", "/c")];
        assert_eq!(root(&variables), Some("/c".into()));
        variables.pop();
        assert_eq!(root(&variables), Some("/f/hub".into()));
        variables.pop();
        assert_eq!(root(&variables), Some("/x/huggingface/hub".into()));
        variables.pop();
        assert_eq!(root(&variables), Some("/h/.cache/huggingface/hub".into()));
        assert_eq!(root(&[]), None);
        assert_eq!(root(&[("HF_HUB_CACHE", ""), ("HOME", "/h")]), Some("/h/.cache/huggingface/hub".into()));
    }

    #[test]
    fn each_system_has_its_own_folder_for_caches() {
        let all = [("HOME", "/h"), ("LOCALAPPDATA", "/l")];
        let on = |system, variables: &[(&str, &str)]| {
            own_cache_on(system, |name| Some(variables.iter().find(|(key, _)| *key == name)?.1.into()))
        };
        assert_eq!(on("linux", &all), Some("/h/.cache/dreamframe".into()));
        assert_eq!(on("windows", &all), Some("/l/dreamframe".into()));
        assert_eq!(on("windows", &all[..1]), Some("/h/.cache/dreamframe".into()));
        assert_eq!(on("macos", &all), Some("/h/Library/Caches/dreamframe".into()));
        for system in ["linux", "macos", "windows"] {
            assert_eq!(on(system, &[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")]), Some("/x/dreamframe".into()));
            assert_eq!(on(system, &[]), None);
        }
    }

    #[test]
    fn a_reference_that_is_no_commit_leads_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        let cache = HubCache::at(folder.path());
        let id: ModelId = "org/name".parse().unwrap();
        let repository = cache.repository(&id);
        fs::create_dir_all(repository.join("refs")).unwrap();
        fs::create_dir_all(repository.join("snapshots")).unwrap();
        fs::write(repository.join("refs/main"), "../../../etc").unwrap();
        assert_eq!(cache.snapshot(&id), None);
        let commit = "0123456789abcdef0123456789abcdef01234567";
        fs::create_dir_all(repository.join("snapshots").join(commit)).unwrap();
        fs::write(repository.join("refs/main"), format!("{commit}\n")).unwrap();
        assert_eq!(cache.snapshot(&id), Some(repository.join("snapshots").join(commit)));
    }
}
