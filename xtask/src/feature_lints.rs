//! Lints the core with other features than those of the workspace, against the dependencies that are compiled for its tests.
//!
//! Cargo resolves features for each selection of packages, and would check almost all dependencies again, which takes
//! most of the time. A dependency compiled with more features serves as well.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::report::{Outcome, run};
use crate::tools::{cargo, clippy, output, target, workspace};

/// The package of the core.
const PACKAGE: &str = "dreamframe";

/// Lints the core with its default features and without features, at the same time.
pub(crate) fn lint_core() -> Outcome {
    let Some(clippy) = clippy() else { return Outcome::NotRun("Clippy is not installed".into()) };
    match commands(clippy) {
        Ok([mut default, mut without]) => std::thread::scope(|scope| {
            let default = scope.spawn(move || run(&mut default));
            let without = run(&mut without);
            let default = default.join().unwrap_or_else(|_| Outcome::Failed("the lints panicked".into()));
            if default == Outcome::Passed { without } else { default }
        }),
        Err(why) => Outcome::Failed(why),
    }
}

/// Returns the compiler's commands: with the default features, and without features.
fn commands(clippy: &Path) -> Result<[Command; 2], String> {
    let messages = output(workspace("test").args(["--quiet", "--no-run", "--message-format=json"]))?;
    let built = Built::read(&messages)?;
    let metadata = output(cargo().args(["metadata", "--format-version", "1"]))?;
    let metadata: Value = serde_json::from_str(&metadata).map_err(|error| format!("cargo metadata: {error}"))?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let package = packages.into_iter().find(|package| package["name"] == PACKAGE);
    let package = package.ok_or_else(|| format!("no package {PACKAGE}"))?;
    let dependencies = built.dependencies(&metadata, package["id"].as_str().unwrap_or_default())?;
    let default = command(clippy, package, &built, &dependencies, &default_features(&package["features"]))?;
    Ok([default, command(clippy, package, &built, &dependencies, &BTreeSet::new())?])
}

/// Returns the compiler's command for the features `features`.
fn command(
    clippy: &Path,
    package: &Value,
    built: &Built,
    dependencies: &[(String, PathBuf)],
    features: &BTreeSet<String>,
) -> Result<Command, String> {
    let text = |name: &str| package[name].as_str().unwrap_or_default();
    let folder = Path::new(text("manifest_path")).parent().unwrap_or(Path::new("."));
    let made = target().join("xtask/feature-lints").join(if features.is_empty() { "none" } else { "default" });
    std::fs::create_dir_all(&made).map_err(|error| format!("{}: {error}", made.display()))?;

    let mut command = Command::new(clippy);
    command.args(["--crate-name", PACKAGE, "--crate-type", "lib", "--emit=metadata", "-Dwarnings"]);
    command.arg(format!("--edition={}", text("edition"))).arg(folder.join("src/lib.rs")).arg("--out-dir").arg(made);
    command.arg("-L").arg(format!("dependency={}", built.folder().display()));
    for (name, library) in dependencies {
        command.arg("--extern").arg(format!("{name}={}", library.display()));
    }
    command.args(features.iter().flat_map(|name| ["--cfg".to_owned(), format!("feature={name:?}")]));
    command.env("OUT_DIR", &built.out_dir).env("CARGO_MANIFEST_DIR", folder);
    command.env("CARGO_PKG_NAME", PACKAGE).env("CARGO_PKG_VERSION", text("version"));
    Ok(command)
}

/// Returns the default features and those that they enable.
fn default_features(features: &Value) -> BTreeSet<String> {
    let mut enabled = BTreeSet::from(["default".to_owned()]);
    let mut waiting = vec!["default".to_owned()];
    while let Some(name) = waiting.pop() {
        for further in features[&name].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if features.get(further).is_some() && enabled.insert(further.to_owned()) {
                waiting.push(further.to_owned());
            }
        }
    }
    enabled
}

/// What the tests were compiled with.
struct Built {
    /// The identifiers of packages with their libraries.
    libraries: Vec<(String, PathBuf)>,
    /// The core's library.
    core: PathBuf,
    /// The folder of files that the core's build script wrote.
    out_dir: PathBuf,
}

impl Built {
    /// Reads cargo's messages.
    fn read(messages: &str) -> Result<Self, String> {
        let (mut libraries, mut core, mut out_dir) = (Vec::new(), None, None);
        for message in messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            let id = message["package_id"].as_str().unwrap_or_default();
            let is_core = id.contains("/core#");
            if is_core && message["reason"] == "build-script-executed" {
                out_dir = message["out_dir"].as_str().map(PathBuf::from);
            }
            if message["reason"] != "compiler-artifact" || message["profile"]["test"] == true {
                continue;
            }
            let files = message["filenames"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let is_library = |file: &&str| file.ends_with(".rmeta") || file.ends_with(std::env::consts::DLL_SUFFIX);
            for file in files.filter(is_library) {
                if is_core && message["target"]["name"] == PACKAGE {
                    core = Some(PathBuf::from(file));
                }
                libraries.push((id.to_owned(), PathBuf::from(file)));
            }
        }
        let (core, out_dir) = core.zip(out_dir).ok_or("cargo compiled no library of the core")?;
        Ok(Self { libraries, core, out_dir })
    }

    /// Returns the folder of the libraries.
    fn folder(&self) -> &Path {
        self.core.parent().unwrap_or(Path::new("."))
    }

    /// Returns the core's dependencies, the names that it has for them and their libraries: of several builds of a
    /// package, those that the core was compiled with.
    fn dependencies(&self, metadata: &Value, core: &str) -> Result<Vec<(String, PathBuf)>, String> {
        // The compiler lists the libraries that a library was compiled with, with this flag only.
        let mut list = Command::new("rustc");
        list.arg("-Zls=root").arg(&self.core).env("RUSTC_BOOTSTRAP", "1");
        let list = output(&mut list)?;
        let used: BTreeSet<String> =
            list.lines().filter_map(|line| Some(format!("lib{}", line.split(' ').nth(1)?))).collect();
        let nodes = metadata["resolve"]["nodes"].as_array();
        let node = nodes.into_iter().flatten().find(|node| node["id"] == core).ok_or("no node of the core")?;
        let mut found = Vec::new();
        for dependency in node["deps"].as_array().into_iter().flatten() {
            let is_used = |(id, file): &&(String, PathBuf)| {
                let stem = file.file_stem().unwrap_or_default().to_string_lossy();
                dependency["pkg"] == id.as_str() && used.contains(&*stem)
            };
            let name = dependency["name"].as_str().unwrap_or_default();
            // A dependency of other systems or of tests has no library.
            found.extend(self.libraries.iter().find(is_used).map(|(_, file)| (name.to_owned(), file.clone())));
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn default_features_include_those_that_they_enable() {
        let features = json!({"default": ["a", "dep:x"], "a": ["b", "y/z"], "b": [], "c": []});
        assert_eq!(default_features(&features).into_iter().collect::<Vec<_>>(), ["a", "b", "default"]);
    }

    #[test]
    fn messages_of_cargo_have_the_libraries_without_those_of_tests() {
        let artifact = |id: &str, name: &str, file: &str, test: bool| {
            json!({"reason": "compiler-artifact", "package_id": id, "target": {"name": name}, "profile": {"test": test},
                   "filenames": [format!("/deps/{file}.rlib"), format!("/deps/{file}.rmeta")]})
        };
        let core = "path+file:///a/core#dreamframe@0.1.0";
        let messages = [
            artifact("registry#half@2.0.0", "half", "libhalf-1", false),
            artifact(core, PACKAGE, "libdreamframe-2", true),
            artifact(core, PACKAGE, "libdreamframe-1", false),
            json!({"reason": "build-script-executed", "package_id": core, "out_dir": "/out"}),
        ];
        let text: Vec<String> = messages.iter().map(Value::to_string).collect();
        let built = Built::read(&text.join("\n")).unwrap();
        assert_eq!((built.core.to_str(), built.out_dir.to_str()), (Some("/deps/libdreamframe-1.rmeta"), Some("/out")));
        assert_eq!(built.libraries[0], ("registry#half@2.0.0".to_owned(), PathBuf::from("/deps/libhalf-1.rmeta")));
        assert!(Built::read("").is_err());
    }
}
