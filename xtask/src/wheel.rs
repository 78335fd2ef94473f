//! The wheel of the Python package: build and checks.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::notices;
use crate::prepare::pip;
use crate::report::{Outcome, run};
use crate::suite::Context;
use crate::tools::{self, output, works};

const REQUIREMENTS: &str = "python/requirements/wheel.txt";
/// The output folder.
const FOLDER: &str = "target/wheels";
/// The licences of the linked crates and embedded models, which are part of the wheel.
const NOTICES: &str = "python/dreamframe/THIRD-PARTY.txt";
/// The credits of the embedded models.
const CREDITS: [&str; 4] =
    ["models/demo/CREDITS.md", "models/demo/credits", "models/networks/CREDITS.md", "models/networks/credits"];
/// Maximum size of the wheel in bytes, including the demo model.
const MAX_SIZE: u64 = 25_000_000;
/// The libraries of every Linux system. Others would have to be installed with the wheel.
const SYSTEM_LIBRARIES: [&str; 8] =
    ["libc.so", "libm.so", "libgcc_s.so", "libpthread.so", "libdl.so", "librt.so", "ld-linux", "libstdc++.so"];
/// Required contents of the package: types, their marker, the module for the original's scripts,
/// licences.
const PARTS: [&str; 5] = [
    "dreamframe/__init__.py",
    "dreamframe/_dreamframe.pyi",
    "dreamframe/py.typed",
    "dreamframe/compat.py",
    "dreamframe/THIRD-PARTY.txt",
];

/// Builds the wheel.
pub(crate) fn make(context: &mut Context) -> Outcome {
    build(None).map(|wheel| context.wheel = Some(wheel)).into()
}

/// Runs a step on the wheel.
pub(crate) fn with(context: &Context, step: impl FnOnce(&Path) -> Outcome) -> Outcome {
    match &context.wheel {
        Some(wheel) => step(wheel),
        None => Outcome::NotRun("no wheel".into()),
    }
}

/// Returns the Python of an environment with maturin and twine.
fn tools_of_wheels() -> Result<PathBuf, String> {
    pip(Path::new("python3"), &[REQUIREMENTS.into()], &tools::root().join("target/tools/wheel"))
}

/// Checks the metadata of the wheel as PyPI does before it accepts one.
pub(crate) fn metadata(wheel: &Path) -> Outcome {
    match tools_of_wheels() {
        Ok(python) => run(Command::new(python).args(["-m", "twine", "check", "--strict"]).arg(wheel)),
        Err(why) => Outcome::Failed(why),
    }
}

/// Builds the wheel for `interpreter`; without one, that for all versions from the stable interface on.
///
/// # Errors
///
/// If it cannot be built.
pub(crate) fn build(interpreter: Option<&Path>) -> Result<PathBuf, String> {
    let python = tools_of_wheels()?;
    let _ = std::fs::remove_dir_all(FOLDER);
    std::fs::write(NOTICES, notices()?).map_err(|error| format!("{NOTICES}: {error}"))?;
    let mut maturin = Command::new(&python);
    maturin.args(["-m", "maturin", "build", "--locked", "--quiet"]);
    maturin.args(["--manifest-path", "python/Cargo.toml", "--out", FOLDER]);
    match interpreter {
        Some(path) => maturin.arg("--interpreter").arg(path),
        None => maturin.args(["--features", "abi3,extension-module"]),
    };
    match run(&mut maturin) {
        Outcome::Passed => {}
        Outcome::Failed(why) | Outcome::NotRun(why) => return Err(why),
    }
    let files = std::fs::read_dir(FOLDER).map_err(|error| format!("{FOLDER}: {error}"))?;
    let wheels: Vec<PathBuf> = files.filter_map(|file| Some(file.ok()?.path())).collect();
    match <[PathBuf; 1]>::try_from(wheels) {
        Ok([wheel]) => Ok(wheel),
        Err(wheels) => Err(format!("wheels in {FOLDER}: got {wheels:?}, expected one")),
    }
}

/// The licences of the crates and models in the module.
fn notices() -> Result<String, String> {
    let mut text = notices::of("dreamframe-python", "", None)?;
    for file in tools::files()?.iter().filter(|file| CREDITS.iter().any(|credits| file.starts_with(credits))) {
        let credits = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        text += &format!("\n{}\n\n{credits}", file.display());
    }
    Ok(text)
}

/// Checks size, name and files, and what the native module is linked to.
pub(crate) fn contents(wheel: &Path) -> Outcome {
    match problems(wheel) {
        Ok(problems) if problems.is_empty() => Outcome::Passed,
        Ok(problems) => Outcome::Failed(problems.join("\n   ")),
        Err(why) => Outcome::Failed(why),
    }
}

fn problems(wheel: &Path) -> Result<Vec<String>, String> {
    let mut problems = Vec::new();
    let name = wheel.file_name().unwrap_or_default().to_string_lossy();
    let size = std::fs::metadata(wheel).map_err(|error| format!("{name}: {error}"))?.len();
    eprintln!("   {name}: {size} bytes");
    if size > MAX_SIZE {
        problems.push(format!("{name}: got {size} bytes, expected at most {MAX_SIZE}"));
    }
    let tag = if cfg!(target_os = "linux") { "-abi3-manylinux" } else { "-abi3-" };
    if !name.contains(tag) {
        problems.push(format!("name of the wheel: got {name}, expected one with {tag:?}"));
    }

    let unpacked = wheel.with_extension("content");
    let mut unzip = Command::new("python3");
    unzip.args(["-m", "zipfile", "-e"]).args([wheel, &unpacked]);
    output(&mut unzip)?;
    let files = files_below(&unpacked).map_err(|error| format!("{}: {error}", unpacked.display()))?;
    let inside = |file: &PathBuf| file.strip_prefix(&unpacked).unwrap_or(file).to_string_lossy().replace('\\', "/");
    let names: Vec<String> = files.iter().map(inside).collect();
    for part in PARTS {
        if !names.iter().any(|name| name.contains(part)) {
            problems.push(format!("no {part} in the wheel"));
        }
    }
    let strays = names.iter().filter(|name| !name.starts_with("dreamframe/") && !name.contains(".dist-info/"));
    problems.extend(strays.map(|name| format!("{name} has no place in the wheel")));
    if cfg!(target_os = "linux") {
        for library in files.iter().filter(|file| file.to_string_lossy().ends_with(".so")) {
            problems.extend(foreign_libraries(library)?);
        }
    }
    let _ = std::fs::remove_dir_all(unpacked);
    Ok(problems)
}

fn files_below(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(files_below(&path)?);
        } else {
            files.push(path);
        }
    }
    Ok(files)
}

/// Returns the libraries that `library` needs in addition to the system's.
fn foreign_libraries(library: &Path) -> Result<Vec<String>, String> {
    if !works(Command::new("readelf").arg("--version")) {
        return Err("no readelf, which lists the libraries that a library needs; install the package binutils".into());
    }
    let dynamic = output(Command::new("readelf").args(["--dynamic", "--wide"]).arg(library))?;
    let name = library.file_name().unwrap_or_default().to_string_lossy();
    Ok(needed(&dynamic)
        .inspect(|needed| eprintln!("   {name} needs {needed}"))
        .filter(|needed| !SYSTEM_LIBRARIES.iter().any(|known| needed.starts_with(known)))
        .map(|needed| format!("{name} needs {needed}, which is not a library of the system"))
        .collect())
}

/// Returns the libraries in a dynamic section as printed by readelf.
fn needed(dynamic: &str) -> impl Iterator<Item = &str> {
    let lines = dynamic.lines().filter(|line| line.contains("(NEEDED)"));
    lines.filter_map(|line| line.split_once('[')?.1.split_once(']')).map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_libraries_that_are_needed_are_read_from_the_dynamic_section() {
        let dynamic = " 0x0000000000000001 (NEEDED)             Shared library: [libgcc_s.so.1]\n\
            0x000000000000000e (SONAME)             Library soname: [lib_dreamframe.so]\n\
            0x0000000000000001 (NEEDED)             Shared library: [libc.so.6]\n";
        assert_eq!(needed(dynamic).collect::<Vec<_>>(), ["libgcc_s.so.1", "libc.so.6"]);
    }
}
