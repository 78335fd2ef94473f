//! Installs the C and C++ library: libraries, headers, CMake package, pkg-config files, licences, examples.
//!
//! Installed files contain no paths outside the prefix, so that the installation can be moved.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::notices;
use crate::report::Report;
use crate::tools::{self, cargo, succeed, target};

/// The version of all packages of the workspace.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The system's libraries that a static link needs.
pub(crate) const SYSTEM_LIBRARIES: [&str; 7] = ["gcc_s", "util", "rt", "pthread", "m", "dl", "c"];

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

/// The additional library that a static link needs first, for the codec of the feature `transport`.
const CODEC_LIBRARY: &str = "stdc++";

/// Installs libraries with `features` of the C interface under `prefix`.
pub(crate) fn run(report: &mut Report, prefix: &Path, features: &str) {
    report.step("install", || to(prefix, features).into());
}

/// Builds the libraries with the comma-separated `features`, and installs everything under `prefix`.
///
/// # Errors
///
/// If a file cannot be built or written.
pub(crate) fn to(prefix: &Path, features: &str) -> Result<(), String> {
    if !cfg!(target_os = "linux") {
        return Err("written for Linux only so far".into());
    }
    libraries(&build(features)?, &prefix.join("lib"))?;
    for (template, folder) in TEMPLATES {
        let text = fs::read_to_string(format!("cmake/{template}.in")).map_err(|e| format!("{template}: {e}"))?;
        write(&prefix.join(folder).join(template), &filled(&text, features))?;
    }
    for (file, folder) in FILES {
        copy(Path::new(file), &prefix.join(folder))?;
    }
    for (from, folder) in FOLDERS {
        for file in tools::files()?.iter().filter(|file| file.starts_with(from)) {
            copy(file, &prefix.join(folder))?;
        }
    }
    write(&prefix.join("share/doc/dreamframe/THIRD-PARTY.txt"), &notices::of("dreamframe-ffi", features)?)
}

/// Returns the SONAME, which versions with the same binary interface share. Below 1.0, each minor version has its own.
fn soname() -> String {
    let (major, minor) = major_minor();
    if major == "0" { format!("libdreamframe.so.0.{minor}") } else { format!("libdreamframe.so.{major}") }
}

fn major_minor() -> (&'static str, &'static str) {
    let mut parts = VERSION.split('.');
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
}

/// Builds both libraries with the profile for shipping; returns their folder.
fn build(features: &str) -> Result<PathBuf, String> {
    let mut build = cargo();
    build.args(["rustc", "--profile", "dist", "--quiet", "--package", "dreamframe-ffi", "--lib"]);
    build.args(["--features", features, "--"]);
    build.args(["-C", &format!("link-arg=-Wl,-soname,{}", soname()), "-C", "strip=symbols"]);
    succeed(&mut build)?;
    Ok(target().join("dist"))
}

/// Installs both libraries, and the links by which linkers and programs find the shared one.
fn libraries(built: &Path, lib: &Path) -> Result<(), String> {
    copy(&built.join("libdreamframe.a"), lib)?;
    // Rust's standard library contains debug information, which is most of the file.
    succeed(Command::new("strip").arg("--strip-debug").arg(lib.join("libdreamframe.a")))?;
    let shared = format!("libdreamframe.so.{VERSION}");
    copy_as(&built.join("libdreamframe.so"), &lib.join(&shared))?;
    for name in [soname(), "libdreamframe.so".to_owned()] {
        link(&shared, &lib.join(name))?;
    }
    Ok(())
}

/// Substitutes the variables of `template`, for libraries with `features`.
fn filled(template: &str, features: &str) -> String {
    let (major, minor) = major_minor();
    let codec = features.split(',').any(|feature| feature == "transport").then_some(CODEC_LIBRARY);
    let libraries: Vec<&str> = codec.into_iter().chain(SYSTEM_LIBRARIES).collect();
    let flags: Vec<String> = libraries.iter().map(|name| format!("-l{name}")).collect();
    template
        .replace("@VERSION@", VERSION)
        .replace("@MAJOR@", major)
        .replace("@MINOR@", minor)
        .replace("@SONAME@", &soname())
        .replace("@SYSTEM_LIBRARIES@", &flags.join(" "))
        .replace("@SYSTEM_LIBRARIES_CMAKE@", &libraries.join(";"))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    parent(path)?;
    fs::write(path, text).map_err(|error| format!("failed to write {}: {error}", path.display()))
}

/// Copies `file` into `folder`, which is created.
fn copy(file: &Path, folder: &Path) -> Result<(), String> {
    let name = file
        .file_name()
        .ok_or_else(|| format!("path: got {}, expected one that ends in a file name", file.display()))?;
    copy_as(file, &folder.join(name))
}

fn copy_as(from: &Path, to: &Path) -> Result<(), String> {
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
