//! Installs the C and C++ library: libraries, headers, CMake package, pkg-config files, licences, examples.
//!
//! Installed files contain no paths outside the prefix, so that the installation can be moved.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::libraries::{System, major_minor};
use crate::notices;
use crate::report::Report;
use crate::tools::{self, cargo, succeed, target};

/// The version of all packages of the workspace.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The templates in `cmake`, and the paths of their results.
const TEMPLATES: [(&str, &str); 4] = [
    ("dreamframeConfig.cmake", "lib/cmake/dreamframe"),
    ("dreamframeConfigVersion.cmake", "lib/cmake/dreamframe"),
    ("dreamframe.pc", "lib/pkgconfig"),
    ("dreamframe-static.pc", "lib/pkgconfig"),
];

/// Files that are copied unchanged.
const FILES: [(&str, &str); 7] = [
    ("include/dreamframe.h", "include"),
    ("include/dreamframe.hpp", "include"),
    ("LICENSE-MIT", "share/doc/dreamframe"),
    ("LICENSE-APACHE", "share/doc/dreamframe"),
    ("core/parameters.md", "share/doc/dreamframe"),
    ("models/demo/CREDITS.md", "share/doc/dreamframe/models/demo"),
    ("models/networks/CREDITS.md", "share/doc/dreamframe/models/networks"),
];

/// Folders that are copied unchanged.
const FOLDERS: [(&str, &str); 4] = [
    ("examples/c", "share/doc/dreamframe/examples/c"),
    ("examples/cpp", "share/doc/dreamframe/examples/cpp"),
    ("models/demo/credits", "share/doc/dreamframe/models/demo/credits"),
    ("models/networks/credits", "share/doc/dreamframe/models/networks/credits"),
];

/// What is installed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wanted<'a> {
    /// Features of the C interface, comma-separated.
    pub(crate) features: &'a str,
    /// The target triple; `None` for this system.
    pub(crate) target: Option<&'a str>,
}

impl<'a> Wanted<'a> {
    /// Reads the flags `--features` and `--target`.
    ///
    /// # Errors
    ///
    /// The flag that is unknown or has no value.
    pub(crate) fn parse(flags: &[&'a str]) -> Result<Self, String> {
        let mut wanted = Self::default();
        for pair in flags.chunks(2) {
            match *pair {
                ["--features", features] => wanted.features = features,
                ["--target", target] => wanted.target = Some(target),
                _ => return Err(format!("flags of install: got {}, expected a known flag with its value", pair[0])),
            }
        }
        Ok(wanted)
    }
}

/// Installs what is `wanted` under `prefix`.
pub(crate) fn run(report: &mut Report, prefix: &Path, wanted: Wanted<'_>) {
    report.step("install", || to(prefix, wanted).into());
}

/// Builds the libraries, and installs everything under `prefix`.
///
/// # Errors
///
/// If a file cannot be built or written.
pub(crate) fn to(prefix: &Path, wanted: Wanted<'_>) -> Result<(), String> {
    let system = System::of(wanted.target)?;
    libraries(system, wanted.target, &build(system, wanted)?, prefix)?;
    for (template, folder) in TEMPLATES {
        let text = fs::read_to_string(format!("cmake/{template}.in")).map_err(|e| format!("{template}: {e}"))?;
        write(&prefix.join(folder).join(template), &filled(&text, system, wanted.features))?;
    }
    for (file, folder) in FILES {
        copy(Path::new(file), &prefix.join(folder))?;
    }
    for (from, folder) in FOLDERS {
        for file in tools::files()?.iter().filter(|file| file.starts_with(from)) {
            copy(file, &prefix.join(folder))?;
        }
    }
    write(
        &prefix.join("share/doc/dreamframe/THIRD-PARTY.txt"),
        &notices::of("dreamframe-ffi", wanted.features, wanted.target)?,
    )
}

/// Builds both libraries with the profile for shipping; returns their folder.
fn build(system: System, wanted: Wanted<'_>) -> Result<PathBuf, String> {
    let mut build = cargo();
    build.args(["rustc", "--profile", "dist", "--quiet", "--package", "dreamframe-ffi", "--lib"]);
    build.args(wanted.target.iter().flat_map(|target| ["--target", target]));
    build.args(["--features", wanted.features, "--", "-C", "strip=symbols"]);
    build.args(system.link_arguments().iter().flat_map(|argument| ["-C".into(), format!("link-arg={argument}")]));
    succeed(&mut build)?;
    Ok(target().join(wanted.target.unwrap_or_default()).join("dist"))
}

/// Installs both libraries, and the links by which linkers and programs find the shared one.
fn libraries(system: System, target: Option<&str>, built: &Path, prefix: &Path) -> Result<(), String> {
    for (name, path) in system.files() {
        copy_as(&built.join(name), &prefix.join(path))?;
    }
    // Rust's standard library contains debug information, which is most of the file.
    if let Some(strip) = system.strip(target) {
        succeed(Command::new(strip).arg("--strip-debug").arg(prefix.join(system.archive())))?;
    }
    let shared = prefix.join(system.shared());
    let shared = shared.file_name().unwrap_or_default().to_string_lossy();
    system.links().iter().try_for_each(|path| link(&shared, &prefix.join(path)))
}

/// Substitutes the variables of `template`, for libraries with `features`.
fn filled(template: &str, system: System, features: &str) -> String {
    let (major, minor) = major_minor();
    let libraries = system.system_libraries(features);
    let flags: Vec<String> = libraries.iter().map(|name| format!("-l{name}")).collect();
    template
        .replace("@VERSION@", VERSION)
        .replace("@MAJOR@", major)
        .replace("@MINOR@", minor)
        .replace("@SHARED@", &system.shared())
        .replace("@STATIC@", system.archive())
        .replace("@LINK_PROPERTY@", &system.cmake_link_property())
        .replace("@SYSTEM_LIBRARIES@", &flags.join(" "))
        .replace("@SYSTEM_LIBRARIES_CMAKE@", &libraries.join(";"))
}

/// Writes a text file; its folder is created.
///
/// # Errors
///
/// The path, and the reason.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), String> {
    parent(path)?;
    fs::write(path, text).map_err(|error| format!("failed to write {}: {error}", path.display()))
}

/// Copies `file` into `folder`, which is created; returns the path of the copy.
///
/// # Errors
///
/// The paths, and the reason.
pub(crate) fn copy(file: &Path, folder: &Path) -> Result<PathBuf, String> {
    let name = file
        .file_name()
        .ok_or_else(|| format!("path: got {}, expected one that ends in a file name", file.display()))?;
    let to = folder.join(name);
    copy_as(file, &to).map(|()| to)
}

/// Copies a file, and replaces an older copy; its folder is created.
///
/// # Errors
///
/// The paths, and the reason.
pub(crate) fn copy_as(from: &Path, to: &Path) -> Result<(), String> {
    parent(to)?;
    // Removed first, so that running programs keep the old file.
    let _ = fs::remove_file(to);
    let copied = fs::copy(from, to);
    copied.map(drop).map_err(|error| format!("failed to copy {} to {}: {error}", from.display(), to.display()))
}

#[cfg(unix)]
fn link(to: &str, path: &Path) -> Result<(), String> {
    let _ = fs::remove_file(path);
    std::os::unix::fs::symlink(to, path).map_err(|error| format!("failed to link {}: {error}", path.display()))
}

#[cfg(not(unix))]
fn link(to: &str, path: &Path) -> Result<(), String> {
    Err(format!("failed to link {} to {to}", path.display()))
}

fn parent(path: &Path) -> Result<(), String> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).map_err(|error| format!("failed to create {}: {error}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_in_any_order_and_unknown_ones_are_refused() {
        let wanted = Wanted::parse(&["--target", "x86_64-pc-windows-gnu", "--features", "hub"]).unwrap();
        assert_eq!((wanted.features, wanted.target), ("hub", Some("x86_64-pc-windows-gnu")));
        assert!(Wanted::parse(&["--target"]).unwrap_err().contains("got --target"));
        assert!(Wanted::parse(&["--quick", "x"]).unwrap_err().contains("got --quick"));
    }

    #[test]
    fn templates_are_filled_completely_on_every_system() {
        for (template, _) in TEMPLATES {
            let text = fs::read_to_string(tools::root().join(format!("cmake/{template}.in"))).unwrap();
            for system in [System::Linux, System::MacOs, System::WindowsGnu, System::WindowsMsvc] {
                let filled = filled(&text, system, "transport");
                // But for `@rpath`, which the loader of macOS reads.
                let is_variable = |rest: &str| rest.starts_with(|c: char| c.is_ascii_uppercase());
                assert!(!filled.split('@').skip(1).any(is_variable), "{template}, {system:?}: {filled}");
            }
        }
    }
}
