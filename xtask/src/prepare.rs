//! Packages from npm and PyPI that tests need, installed under `target/tools`.
//!
//! Installing mostly waits for the network, so `cargo xtask test` runs it in a separate process while it compiles. The
//! tests request the same environments by `cargo xtask prepare NAME`, which returns immediately if they are complete.

use std::fs;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::report::Outcome;
use crate::tools::{output, root, succeed, works};

/// The environments of tests, with the sources of their package lists.
const ENVIRONMENTS: [(&str, Source); 5] = [
    ("page", Source::Npm("tests/page")),
    ("clients-node", Source::Npm("tests/clients")),
    ("clients-python", Source::PyPi(&["tests/clients/requirements.txt"])),
    (ONNX_RUNTIME, Source::PyPi(&["tests/onnxruntime/requirements.txt"])),
    (PYTHON, Source::PyPi(&["python/requirements/test.txt", "python/requirements/typing.txt"])),
];

/// The environment with ONNX Runtime's library.
const ONNX_RUNTIME: &str = "onnxruntime";

/// The environment of the Python package's own tests.
pub(crate) const PYTHON: &str = "python";

/// A file that is written when an environment is complete, with its lists of packages.
const STAMP: &str = ".complete";

/// The output of the installers.
const LOG: &str = "target/xtask/prepare.log";

enum Source {
    /// A folder with `package.json` and `package-lock.json`.
    Npm(&'static str),
    /// Requirements files.
    PyPi(&'static [&'static str]),
}

/// The environments that are being installed by another process.
#[derive(Debug)]
pub(crate) struct Preparation(Result<Child, String>);

impl Preparation {
    /// Starts to install everything.
    pub(crate) fn start() -> Self {
        let start = || {
            fs::create_dir_all("target/xtask")?;
            let log = File::create(LOG)?;
            let mut prepare = Command::new(std::env::current_exe()?);
            prepare.arg("prepare").args(ENVIRONMENTS.map(|(name, _)| name));
            prepare.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()
        };
        Self(start().map_err(|error: std::io::Error| error.to_string()))
    }

    /// Waits until everything is installed.
    pub(crate) fn finish(self) -> Outcome {
        let status = match self.0.and_then(|mut child| child.wait().map_err(|error| error.to_string())) {
            Ok(status) => status,
            Err(why) => return Outcome::NotRun(why),
        };
        if status.success() {
            return Outcome::Passed;
        }
        // Without npm or a network, the tests that need the packages print a notice and pass.
        Outcome::NotRun(fs::read_to_string(LOG).unwrap_or_default().trim_end().replace('\n', "\n   "))
    }
}

/// Installs the environments `names`, all that can be installed.
///
/// # Errors
///
/// If some cannot be installed.
pub(crate) fn all(names: &[&str]) -> Result<(), String> {
    let failures: Vec<String> = names.iter().filter_map(|name| environment(name).err()).collect();
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
}

/// Installs the environment `name`, unless it is complete; returns its folder.
///
/// # Errors
///
/// If it cannot be installed.
pub(crate) fn environment(name: &str) -> Result<PathBuf, String> {
    let known = ENVIRONMENTS.iter().find(|(known, _)| *known == name);
    let (_, source) = known.ok_or_else(|| format!("{name}: no such environment"))?;
    let folder = root().join("target/tools").join(name);
    match source {
        Source::Npm(from) => npm(&root().join(from), &folder),
        Source::PyPi(requirements) => {
            let requirements: Vec<PathBuf> = requirements.iter().map(|path| root().join(path)).collect();
            pip(Path::new("python3"), &requirements, &folder).map(drop)
        }
    }
    .map_err(|why| format!("{name}: {why}"))?;
    Ok(folder)
}

/// Returns ONNX Runtime's library, if its environment is complete.
pub(crate) fn onnx_library() -> Option<PathBuf> {
    let folder = environment(ONNX_RUNTIME).ok()?;
    let ask = "import importlib.util; print(importlib.util.find_spec('onnxruntime').submodule_search_locations[0])";
    let package = output(Command::new(interpreter(&folder)).args(["-I", "-c", ask])).ok()?;
    let files = fs::read_dir(Path::new(package.trim()).join("capi")).ok()?;
    let is_library = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name == "onnxruntime.dll" || name.starts_with("libonnxruntime.")
    };
    files.flatten().map(|file| file.path()).find(is_library).and_then(|path| std::path::absolute(path).ok())
}

/// Installs the packages of a lock file. The scripts of `from` are copied, since node resolves packages from a script's
/// own folder.
fn npm(from: &Path, folder: &Path) -> Result<(), String> {
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let files = fs::read_dir(from).map_err(|error| format!("{}: {error}", from.display()))?;
    for file in files.flatten().map(|file| file.path()) {
        if file.extension().is_some_and(|extension| extension == "mjs" || extension == "json") {
            let copy = folder.join(file.file_name().unwrap_or_default());
            fs::copy(&file, copy).map_err(|error| format!("{}: {error}", file.display()))?;
        }
    }
    let lock = read(&from.join("package-lock.json"))?;
    if is_complete(folder, &lock) {
        return Ok(());
    }
    let mut npm = Command::new("npm");
    succeed(npm.args(["ci", "--no-audit", "--no-fund", "--loglevel=error"]).current_dir(folder))?;
    complete(folder, &lock)
}

/// Creates an environment of `python` with `requirements`; returns its interpreter.
///
/// uv installs it, in a tenth of the processor time; pip does where uv fails, as with an index that only pip's own
/// configuration names.
///
/// # Errors
///
/// If it cannot be created.
pub(crate) fn pip(python: &Path, requirements: &[PathBuf], folder: &Path) -> Result<PathBuf, String> {
    let interpreter = interpreter(folder);
    let mut wanted = String::new();
    for path in requirements {
        wanted += &read(path)?;
    }
    let starts = works(Command::new(&interpreter).arg("--version"));
    if starts && is_complete(folder, &wanted) {
        return Ok(interpreter);
    }
    if let Err(why) = with_uv(python, requirements, folder) {
        eprintln!("{}: uv: {why}; continues with pip", folder.display());
        with_pip(python, requirements, folder)?;
    }
    complete(folder, &wanted)?;
    Ok(interpreter)
}

fn with_uv(python: &Path, requirements: &[PathBuf], folder: &Path) -> Result<(), String> {
    let uv = uv()?;
    succeed(Command::new(&uv).args(["venv", "--quiet", "--clear", "--python"]).args([python, folder]))?;
    let mut install = Command::new(&uv);
    install.args(["pip", "install", "--quiet", "--python"]).arg(interpreter(folder));
    install.args(requirements.iter().flat_map(|path| [Path::new("--requirement"), path]));
    succeed(&mut install)
}

/// Returns the program uv: the one on the path, or else one that pip installs.
fn uv() -> Result<PathBuf, String> {
    let on_path = PathBuf::from("uv");
    if works(Command::new(&on_path).arg("--version")) {
        return Ok(on_path);
    }
    let folder = root().join("target/tools/uv");
    let requirements = root().join("xtask/uv.txt");
    let wanted = read(&requirements)?;
    let installed = interpreter(&folder).with_file_name("uv");
    if !is_complete(&folder, &wanted) {
        with_pip(Path::new("python3"), &[requirements], &folder)?;
        complete(&folder, &wanted)?;
    }
    Ok(installed)
}

fn with_pip(python: &Path, requirements: &[PathBuf], folder: &Path) -> Result<(), String> {
    succeed(Command::new(python).args(["-m", "venv", "--clear"]).arg(folder))?;
    let mut install = Command::new(interpreter(folder));
    // Compiling all modules takes a third of the time; most are never imported.
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]);
    install.args(requirements.iter().flat_map(|path| [Path::new("--requirement"), path]));
    succeed(&mut install)
}

/// Returns the interpreter of an environment.
pub(crate) fn interpreter(folder: &Path) -> PathBuf {
    folder.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" })
}

fn is_complete(folder: &Path, wanted: &str) -> bool {
    fs::read_to_string(folder.join(STAMP)).is_ok_and(|there| there == wanted)
}

fn complete(folder: &Path, wanted: &str) -> Result<(), String> {
    fs::write(folder.join(STAMP), wanted).map_err(|error| format!("{}: {error}", folder.display()))
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}
