//! The packages for crates.io: made, checked for size, and used by a project of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::install::VERSION;
use crate::report::Outcome;
use crate::tools::{cargo, output, root, succeed, target};

/// The largest package that crates.io accepts, in bytes.
const MAX_SIZE: u64 = 10 << 20;

/// The licences, of which each package has a copy; git ignores these copies.
const LICENCES: [&str; 2] = ["LICENSE-MIT", "LICENSE-APACHE"];

/// A picture for the project.
const FRAME: &str = "tests/golden/ip_adapter/style.png";

/// A package that is published.
struct Published {
    name: String,
    /// The folder of its manifest.
    folder: PathBuf,
}

impl Published {
    /// Returns the archive that cargo makes.
    fn archive(&self) -> PathBuf {
        build_folder().join("package").join(format!("{}-{VERSION}.crate", self.name))
    }
}

/// Returns the folder that all steps build in.
fn build_folder() -> PathBuf {
    target().join("crates/build")
}

/// Returns the packages of the workspace whose manifests have `publish = true`.
///
/// # Errors
///
/// If cargo cannot list them.
fn published() -> Result<Vec<Published>, String> {
    let metadata = output(cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: Value = serde_json::from_str(&metadata).map_err(|error| format!("cargo metadata: {error}"))?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let of = |package: &Value| {
        let manifest = Path::new(package["manifest_path"].as_str()?);
        // An empty list of registries is `publish = false`.
        let is_published = package["publish"].is_null();
        let name = package["name"].as_str()?.to_owned();
        is_published.then(|| Published { name, folder: manifest.parent().unwrap_or(manifest).to_owned() })
    };
    Ok(packages.filter_map(of).collect())
}

/// Makes the packages, each of which cargo then unpacks and builds without this repository.
pub(crate) fn make() -> Outcome {
    with_all("package").into()
}

/// Publishes the packages on crates.io, in the order of their dependencies.
pub(crate) fn publish() -> Outcome {
    with_all("publish").into()
}

/// Runs a subcommand of cargo for all packages, which have copies of the licences then.
fn with_all(subcommand: &str) -> Result<(), String> {
    let mut command = cargo();
    // The copied licences are not committed.
    command.args([subcommand, "--locked", "--allow-dirty", "--quiet", "--target-dir"]).arg(build_folder());
    for Published { name, folder } in published()? {
        for licence in LICENCES {
            let failed = |error| format!("{}: {error}", folder.join(licence).display());
            fs::copy(root().join(licence), folder.join(licence)).map_err(failed)?;
        }
        command.args(["--package", &name]);
    }
    succeed(&mut command)
}

/// Compares the sizes of the packages with the limit of crates.io.
pub(crate) fn sizes() -> Outcome {
    let check = || {
        for package in published()? {
            let file = package.archive();
            let size = fs::metadata(&file).map_err(|error| format!("{}: {error}", file.display()))?.len();
            eprintln!("   {}: {size} bytes", package.name);
            if size > MAX_SIZE {
                return Err(format!("{}: got {size} bytes, expected at most {MAX_SIZE}", package.name));
            }
        }
        Ok(())
    };
    Outcome::from(check())
}

/// Builds the example `hello` in a project that has the unpacked packages alone, and makes a picture with it.
pub(crate) fn outside() -> Outcome {
    let build = || {
        let project = target().join("crates/project");
        let _ = fs::remove_dir_all(&project);
        let write = |name: &str, text: String| {
            let file = project.join(name);
            fs::create_dir_all(file.parent().unwrap_or(&file))
                .and_then(|()| fs::write(&file, text))
                .map_err(|error| format!("{}: {error}", file.display()))
        };
        let hello = root().join("examples/rust/src/bin/hello.rs");
        write("src/main.rs", fs::read_to_string(&hello).map_err(|error| format!("{}: {error}", hello.display()))?)?;
        let mut manifest = format!(
            "[package]\nname = \"outside\"\nversion = \"1.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n\
             [dependencies]\ndreamframe = \"{VERSION}\"\nimage = {{ version = \"0.25\", default-features = false, \
             features = [\"png\"] }}\n\n[patch.crates-io]\n"
        );
        let packages = published()?;
        for package in packages.iter().filter(|package| is_library(package)) {
            succeed(Command::new("tar").arg("-xzf").arg(package.archive()).arg("-C").arg(&project))?;
            manifest += &format!("{0} = {{ path = \"{0}-{VERSION}\" }}\n", package.name);
        }
        write("Cargo.toml", manifest)?;
        // The same versions of other packages as the workspace, as far as they are needed.
        let lock = project.join("Cargo.lock");
        fs::copy(root().join("Cargo.lock"), &lock).map_err(|error| format!("{}: {error}", lock.display()))?;
        picture(&project)
    };
    Outcome::from(build())
}

/// Returns whether other packages can depend on `package`.
fn is_library(package: &Published) -> bool {
    package.folder.join("src/lib.rs").is_file()
}

/// Runs the project on a picture; it must write one of the demo model's size.
fn picture(project: &Path) -> Result<(), String> {
    let (frame, result) = (project.join("frame.png"), project.join("picture.png"));
    fs::copy(root().join(FRAME), &frame).map_err(|error| format!("{FRAME}: {error}"))?;
    let mut run = cargo();
    run.args(["run", "--release", "--quiet", "--manifest-path"]).arg(project.join("Cargo.toml"));
    run.arg("--target-dir").arg(build_folder());
    succeed(run.arg("--").arg(&frame).arg(&result))?;
    let bytes = fs::read(&result).map_err(|error| format!("{}: {error}", result.display()))?;
    // Width and height in the header.
    let size =
        |at: usize| bytes.get(at..at + 4).map(|side| side.iter().fold(0, |all, &byte| all << 8 | u32::from(byte)));
    match (size(16), size(20)) {
        (Some(512), Some(512)) => Ok(()),
        other => Err(format!("picture: got {other:?}, expected 512x512 pixels")),
    }
}
