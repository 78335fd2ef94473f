//! Where ONNX Runtime's library and those of its execution providers are.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::cache::own_cache;
use crate::error::{Error, ErrorKind, Result};

/// The libraries of an installation of ONNX Runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnnxRuntimeFiles {
    library: PathBuf,
}

impl OnnxRuntimeFiles {
    /// The environment variable that names ONNX Runtime's library, or a folder with it.
    pub const VARIABLE: &str = "DREAMFRAME_ONNXRUNTIME";

    /// Finds ONNX Runtime: `named`, or what the environment variable `DREAMFRAME_ONNXRUNTIME` names, or the library in
    /// [`install_folder`](Self::install_folder). A name is that of the library, or of a folder with it: an unpacked
    /// release, the Python package `onnxruntime`, or a folder of Python packages.
    ///
    /// # Errors
    ///
    /// `NotFound` with the places that were searched.
    pub fn find(named: Option<&Path>) -> Result<Self> {
        Self::find_with(named, |name| std::env::var_os(name))
    }

    fn find_with(named: Option<&Path>, variable: impl Fn(&str) -> Option<OsString>) -> Result<Self> {
        let from_environment = || variable(Self::VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(named) = named.map(Path::to_owned).or_else(from_environment) {
            return library_in(&named).map(|library| Self { library }).ok_or_else(|| {
                let text = format!(
                    "ONNX Runtime: got no library at {}, expected the library or a folder with it",
                    named.display()
                );
                Error::new(ErrorKind::NotFound, text)
            });
        }
        let installed = install_folder(&variable);
        let library = installed.as_deref().and_then(library_in);
        library.map(|library| Self { library }).ok_or_else(|| {
            let searched = installed.map_or("no folder".to_owned(), |folder| folder.display().to_string());
            let text = format!(
                "ONNX Runtime: got no library in {searched}, expected one there, or its path in {}: \
                 `dreamframe gpu install` installs it",
                Self::VARIABLE
            );
            Error::new(ErrorKind::NotFound, text)
        })
    }

    /// Returns the folder of `dreamframe gpu install`: `dreamframe/onnxruntime` in the user's cache (`XDG_CACHE_HOME`,
    /// or else `~/.cache`, on Windows `%LOCALAPPDATA%`, on macOS `~/Library/Caches`). `None` if there is no home folder.
    pub fn install_folder() -> Option<PathBuf> {
        install_folder(|name| std::env::var_os(name))
    }

    /// Returns the path of ONNX Runtime's library.
    pub fn library(&self) -> &Path {
        &self.library
    }

    /// Returns the path of the library `file` of an execution provider: next to ONNX Runtime, or in the Python package
    /// `package` of the same installation.
    pub fn provider(&self, file: &str, package: Option<&str>) -> Option<PathBuf> {
        let folder = self.library.parent()?;
        // A Python package has its library in `onnxruntime/capi`.
        let packages = folder.parent().and_then(Path::parent);
        let in_package = packages.zip(package).map(|(packages, package)| packages.join(package).join(file));
        std::iter::once(folder.join(file)).chain(in_package).find(|path| path.is_file())
    }

    /// Returns the paths of libraries that those of an execution provider depend on, in the order of `names`: next to the
    /// plug-in or ONNX Runtime, or in NVIDIA's Python packages of the same installation. Those that are elsewhere are left
    /// out.
    pub(crate) fn dependencies(&self, names: &[&str], plug_in: Option<&Path>) -> Vec<PathBuf> {
        if names.is_empty() {
            return Vec::new();
        }
        let folder = self.library.parent();
        let packages = folder.and_then(Path::parent).and_then(Path::parent).map(nvidia_folders).unwrap_or_default();
        let adjacent = plug_in.and_then(Path::parent).into_iter().chain(folder).map(Path::to_owned);
        let folders: Vec<PathBuf> = adjacent.chain(packages).collect();
        names.iter().filter_map(|name| folders.iter().find_map(|folder| named(folder, name))).collect()
    }
}

/// Returns the library `name` in `folder`, with or without a further version: `libcudart.so.13.4.36` for `libcudart.so.13`.
fn named(folder: &Path, name: &str) -> Option<PathBuf> {
    let exact = folder.join(name);
    if exact.is_file() {
        return Some(exact);
    }
    let entries = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    let is_version = |path: &PathBuf| {
        let rest = path.file_name().and_then(|file| file.to_str()).and_then(|file| file.strip_prefix(name));
        rest.is_some_and(|rest| rest.starts_with('.')) && path.is_file()
    };
    entries.filter(is_version).max()
}

/// Returns the folders of NVIDIA's Python packages with libraries, in a folder of Python packages.
fn nvidia_folders(packages: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(packages.join("nvidia")).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> =
        entries.flat_map(|entry| ["lib", "bin", "bin/x86_64"].map(|folder| entry.path().join(folder))).collect();
    folders.sort_unstable();
    folders
}

fn install_folder(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    Some(own_cache(variable)?.join("onnxruntime"))
}

/// Returns the library that `path` is, or that is in that folder.
fn library_in(path: &Path) -> Option<PathBuf> {
    if path.is_file() {
        return std::path::absolute(path).ok();
    }
    let folders = ["", "lib", "capi", "onnxruntime/capi"].map(|folder| path.join(folder));
    let library = folders.iter().find_map(|folder| {
        let mut libraries: Vec<PathBuf> = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).collect();
        libraries
            .retain(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(is_library) && path.is_file());
        // The last of several versions.
        libraries.into_iter().max()
    });
    library.and_then(|library| std::path::absolute(library).ok())
}

/// Returns true for the library's file name, with or without a version: `libonnxruntime.so.1.32.0`.
fn is_library(name: &str) -> bool {
    let (prefix, suffix) = (std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let Some(rest) = name.strip_prefix(prefix).and_then(|name| name.strip_prefix("onnxruntime")) else { return false };
    let is_version = |text: &str| text.bytes().all(|byte| byte == b'.' || byte.is_ascii_digit());
    // Linux has the version after the suffix, macOS before it.
    rest.split_once(suffix).is_some_and(|(before, after)| is_version(before) && is_version(after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(folder: &Path, name: &str) -> PathBuf {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, b"").unwrap();
        path
    }

    fn name(base: &str) -> String {
        format!("{}{base}{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX)
    }

    #[test]
    fn a_library_is_found_by_its_path_its_folder_or_its_python_package() {
        let folder = tempfile::tempdir().unwrap();
        let none = |_: &str| None;
        let missing = OnnxRuntimeFiles::find_with(Some(folder.path()), none).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        assert!(missing.to_string().contains(&folder.path().display().to_string()), "{missing}");
        let library = file(folder.path(), &format!("onnxruntime/capi/{}", name("onnxruntime")));
        file(folder.path(), &format!("onnxruntime/capi/{}", name("onnxruntime_providers_shared")));
        for named in [&library, &folder.path().to_owned(), &folder.path().join("onnxruntime")] {
            assert_eq!(OnnxRuntimeFiles::find_with(Some(named), none).unwrap().library(), library);
        }
    }

    #[test]
    fn without_a_name_it_is_in_the_environment_or_in_the_cache() {
        let folder = tempfile::tempdir().unwrap();
        let cache = |name: &str| (name == "XDG_CACHE_HOME").then(|| folder.path().as_os_str().to_owned());
        let missing = OnnxRuntimeFiles::find_with(None, cache).unwrap_err().to_string();
        assert!(
            missing.contains("dreamframe gpu install") && missing.contains(OnnxRuntimeFiles::VARIABLE),
            "{missing}"
        );
        let installed = file(folder.path(), &format!("dreamframe/onnxruntime/{}", name("onnxruntime")));
        assert_eq!(OnnxRuntimeFiles::find_with(None, cache).unwrap().library(), installed);
        let other = file(folder.path(), &name("onnxruntime"));
        let both =
            |name: &str| if name == OnnxRuntimeFiles::VARIABLE { Some(other.clone().into()) } else { cache(name) };
        assert_eq!(OnnxRuntimeFiles::find_with(None, both).unwrap().library(), other);
    }

    #[test]
    fn providers_are_next_to_the_library_or_in_their_own_package() {
        let folder = tempfile::tempdir().unwrap();
        let library = file(folder.path(), &format!("onnxruntime/capi/{}", name("onnxruntime")));
        let files = OnnxRuntimeFiles { library };
        assert_eq!(files.provider("a.so", Some("onnxruntime_ep_a")), None);
        let packaged = file(folder.path(), "onnxruntime_ep_a/a.so");
        assert_eq!(files.provider("a.so", Some("onnxruntime_ep_a")), Some(packaged));
        let next_to_it = file(folder.path(), "onnxruntime/capi/a.so");
        assert_eq!(files.provider("a.so", Some("onnxruntime_ep_a")), Some(next_to_it));
    }

    #[test]
    fn dependencies_are_next_to_the_plug_in_or_in_packages_of_nvidia() {
        let folder = tempfile::tempdir().unwrap();
        let library = file(folder.path(), &format!("onnxruntime/capi/{}", name("onnxruntime")));
        let plug_in = file(folder.path(), "onnxruntime_ep_a/a.so");
        let names = ["libcudart.so.13", "libcublas.so.13", "libmissing.so.1"];
        let files = OnnxRuntimeFiles { library };
        assert_eq!(files.dependencies(&names, Some(&plug_in)), Vec::<PathBuf>::new());
        let blas = file(folder.path(), "nvidia/cu13/lib/libcublas.so.13");
        file(folder.path(), "nvidia/cu13/lib/libcudart.so.13");
        file(folder.path(), "onnxruntime_ep_a/libcudart.so.130");
        let runtime = file(folder.path(), "onnxruntime_ep_a/libcudart.so.13.4.36");
        assert_eq!(files.dependencies(&names, Some(&plug_in)), [runtime, blas]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn versions_of_the_library_are_known_and_other_libraries_are_not() {
        assert!(["libonnxruntime.so", "libonnxruntime.so.1", "libonnxruntime.so.1.32.0"].into_iter().all(is_library));
        let others = ["libonnxruntime_providers_cuda.so", "libonnxruntime.a", "onnxruntime.so", "libonnxruntime.so.gz"];
        assert!(!others.into_iter().any(is_library));
    }
}
