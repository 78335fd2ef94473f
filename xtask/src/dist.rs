//! What is released from one machine, in `target/release-files`: the program's archive, the bills of materials, and, with the
//! archives of the C library and the wheel, their checksums.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest as _, Sha256};

use crate::install::{VERSION, copy, copy_as, write};
use crate::report::Outcome;
use crate::tools::{Tool, cargo, output, root, succeed, target};
use crate::{archive, long, notices};

const CARGO_CYCLONEDX: Tool = Tool { name: "cargo-cyclonedx", version: "0.5.7", default_features: false };

/// The package of the program.
const PROGRAM: &str = "dreamframe-server";
/// The packages that are released as binaries.
const BINARIES: [&str; 3] = ["dreamframe-ffi", "dreamframe-python", PROGRAM];
/// Files that the program's archive has in addition to the program and its notices.
const FILES: [&str; 6] = [
    "README.md",
    "CHANGELOG.md",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "models/demo/CREDITS.md",
    "models/networks/CREDITS.md",
];
/// The folders, below the build folder, that the other steps leave their files in.
const MADE: [&str; 5] = ["package", "package-full", "wheels", "program", "bills"];
/// The endings of the files that are released.
const ENDINGS: [&str; 4] = ["gz", "zip", "whl", "json"];

/// The working folder of the program's archive.
fn program_folder() -> PathBuf {
    target().join("program")
}

/// Returns the name of the program's archive, without its ending.
fn program_name() -> String {
    format!("{PROGRAM}-{VERSION}-{}-{}", std::env::consts::ARCH, std::env::consts::OS)
}

/// Builds the program and packs it.
pub(crate) fn program() -> Outcome {
    let make = || {
        let (folder, name) = (program_folder(), program_name());
        let _ = fs::remove_dir_all(&folder);
        let staged = folder.join("staged");
        let program = copy(&long::program()?, &staged.join(&name))?;
        if cfg!(not(windows)) {
            succeed(Command::new("strip").arg(&program))?;
        }
        for file in FILES {
            // Below their folders, since two have the same name.
            let place = Path::new(file).parent().unwrap_or(Path::new(""));
            copy(&root().join(file), &staged.join(&name).join(place))?;
        }
        write(&staged.join(&name).join("THIRD-PARTY.txt"), &notices::of(PROGRAM, "", None)?)?;
        archive::pack(&archive::path(&folder, &name), &staged, &name)
    };
    Outcome::from(make())
}

/// Unpacks the program's archive, and runs the program: its version, and three frames of the demo.
pub(crate) fn used() -> Outcome {
    let check = || {
        let unpacked = program_folder().join("unpacked");
        archive::unpack(&archive::path(&program_folder(), &program_name()), &unpacked)?;
        let program = unpacked.join(program_name()).join(format!("dreamframe{}", std::env::consts::EXE_SUFFIX));
        let program = std::path::absolute(&program).map_err(|error| error.to_string())?;
        let version = output(Command::new(&program).arg("--version"))?;
        if version.split_whitespace().last() != Some(VERSION) {
            return Err(format!("version: got {version:?}, expected {VERSION}"));
        }
        succeed(Command::new(&program).args(["demo", "--frames", "3"]).current_dir(&unpacked))
    };
    Outcome::from(check())
}

/// Writes a bill of materials (CycloneDX) of each package that is released as a binary.
pub(crate) fn bills() -> Outcome {
    let write_all = || {
        let folder = target().join("bills");
        let _ = fs::remove_dir_all(&folder);
        let tool = CARGO_CYCLONEDX.path()?;
        // It writes one file next to every manifest of the workspace, whichever package it is started for.
        let name = "dreamframe-bill";
        let mut run = Command::new(tool);
        run.args(["cyclonedx", "--format", "json", "--spec-version", "1.5", "--override-filename", name, "--quiet"]);
        let written = succeed(run.arg("--manifest-path").arg(root().join("Cargo.toml")));
        let metadata = output(cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
        let metadata: serde_json::Value =
            serde_json::from_str(&metadata).map_err(|error| format!("cargo metadata: {error}"))?;
        for package in metadata["packages"].as_array().into_iter().flatten() {
            let manifest = Path::new(package["manifest_path"].as_str().unwrap_or_default());
            let bill = manifest.with_file_name(format!("{name}.json"));
            let package = package["name"].as_str().unwrap_or_default();
            if written.is_ok() && BINARIES.contains(&package) {
                copy_as(&bill, &folder.join(format!("{package}-{VERSION}.cdx.json")))?;
            }
            let _ = fs::remove_file(bill);
        }
        written
    };
    Outcome::from(write_all())
}

/// Copies what the other steps made to `target/release-files`, and writes `SHA256SUMS` in the form of `sha256sum`.
pub(crate) fn collect() -> Outcome {
    let collect = || {
        let dist = target().join("release-files");
        let _ = fs::remove_dir_all(&dist);
        let mut sums = String::new();
        for folder in MADE.map(|name| target().join(name)) {
            let failed = |error| format!("{}: {error}", folder.display());
            let mut files = Vec::new();
            for entry in fs::read_dir(&folder).map_err(failed)? {
                let path = entry.map_err(failed)?.path();
                if path.is_file() && path.extension().is_some_and(|end| ENDINGS.iter().any(|ending| end == *ending)) {
                    files.push(path);
                }
            }
            if files.is_empty() {
                return Err(format!("{}: got no file, expected one to release", folder.display()));
            }
            files.sort();
            for file in files {
                let copied = copy(&file, &dist)?;
                let bytes = fs::read(&copied).map_err(|error| format!("{}: {error}", copied.display()))?;
                let name = copied.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
                eprintln!("   {name}: {} bytes", bytes.len());
                // Writing to a `String` cannot fail.
                let _ = writeln!(sums, "{digest}  {name}");
            }
        }
        write(&dist.join("SHA256SUMS"), &sums)
    };
    Outcome::from(collect())
}

/// Compares a tag of git, `v` and a version, with the version of the workspace, and checks that the changelog describes
/// it.
pub(crate) fn tag(tag: &str) -> Result<(), String> {
    let changelog =
        fs::read_to_string(root().join("CHANGELOG.md")).map_err(|error| format!("CHANGELOG.md: {error}"))?;
    is_release(tag, VERSION, &changelog)
}

fn is_release(tag: &str, version: &str, changelog: &str) -> Result<(), String> {
    if tag.strip_prefix('v') != Some(version) {
        return Err(format!("tag: got {tag}, expected v{version}, the version in Cargo.toml"));
    }
    let heading = changelog.lines().find(|line| line.strip_prefix("## ").is_some_and(|rest| rest.starts_with(version)));
    match heading {
        None => Err(format!("CHANGELOG.md: got no heading for {version}, expected \"## {version} (DATE)\"")),
        Some(line) if line.contains("unreleased") => {
            Err(format!("CHANGELOG.md: got {line:?}, expected the date of the release in place of \"unreleased\""))
        }
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_tag_of_this_version_with_a_dated_section_is_released() {
        let dated = "# Changelog\n\n## 0.2.0 (2027-01-31)\n\n## 0.1.0 (2026-12-01)\n";
        assert_eq!(is_release("v0.2.0", "0.2.0", dated), Ok(()));
        let text = |tag, changelog| is_release(tag, "0.2.0", changelog).unwrap_err();
        assert_eq!(text("0.2.0", dated), "tag: got 0.2.0, expected v0.2.0, the version in Cargo.toml");
        assert!(text("v0.3.0", dated).contains("got v0.3.0"));
        assert!(text("v0.2.0", "## 0.2.0 (unreleased)").contains("expected the date"));
        assert!(text("v0.2.0", "## 0.1.0 (2026-12-01)").contains("got no heading"));
    }
}
