//! Tests of the Python package: with the module of the other tests in `cargo xtask test`, and with the wheel in empty
//! environments in `cargo xtask test --full`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::prepare;
use crate::report::Outcome;
use crate::suite::Context;
use crate::tools::{self, output, succeed, target};
use crate::wheel;

/// The requirements of the tests in addition to the package.
const REQUIREMENTS: &str = "python/requirements/test.txt";
/// The folder of the Rust examples with whose pictures the tests compare theirs.
const RUST_EXAMPLES: &str = "DREAMFRAME_RUST_EXAMPLES";
/// The marker of the tests that the short run leaves out.
const ONLY_FULL: &str = "only_full";
/// The newest minor version of Python 3 that is searched for.
const NEWEST: u32 = 20;

/// Runs the tests, unless they ran together with those of Rust.
pub(crate) fn test_development(context: &mut Context) -> Outcome {
    context.python_tests.take().unwrap_or_else(|| tests().and_then(|mut tests| succeed(&mut tests)).into())
}

/// Returns the command that runs the tests with the module that was compiled with the other tests.
///
/// # Errors
///
/// If they cannot run.
pub(crate) fn tests() -> Result<Command, String> {
    development().map(|python| {
        let mut tests = pytest(&python);
        tests.args(["-m", &format!("not {ONLY_FULL}")]);
        tests
    })
}

/// Checks types, the stub of the native module, and style.
pub(crate) fn types() -> Outcome {
    development().and_then(|python| check_types(&python)).into()
}

/// Runs the tests with the installed wheel on the oldest Python of this machine that the wheel is for.
pub(crate) fn test_oldest(wheel: &Path) -> Outcome {
    ends().and_then(|(oldest, _)| oldest.test(wheel)).into()
}

/// Runs the tests with the installed wheel on the newest Python of this machine.
pub(crate) fn test_newest(wheel: &Path) -> Outcome {
    match ends() {
        Ok((oldest, newest)) if oldest.minor == newest.minor => {
            Outcome::NotRun(format!("3.{} is the only version here", oldest.minor))
        }
        Ok((_, newest)) => newest.test(wheel).into(),
        Err(why) => Outcome::Failed(why),
    }
}

/// Makes a picture with the installed wheel on every Python of this machine that the wheel is for, and prints the versions.
pub(crate) fn first_pictures(wheel: &Path) -> Outcome {
    let oldest = match stable_interface() {
        Ok(oldest) => oldest,
        Err(why) => return Outcome::Failed(why),
    };
    let pythons = interpreters(oldest);
    if pythons.is_empty() {
        return Outcome::NotRun(format!("no Python from 3.{oldest} on that can make environments"));
    }
    let each = pythons.iter().try_for_each(|python| {
        eprintln!("   Python 3.{}: {}", python.minor, python.path.display());
        python.first_picture(wheel).map(drop)
    });
    each.into()
}

/// Builds the wheel for the oldest Python that the package supports, which is older than the stable interface that the
/// module uses, and runs the tests with it.
pub(crate) fn test_before_stable() -> Outcome {
    let versions = requires_python("python/pyproject.toml").and_then(|oldest| Ok((oldest, stable_interface()?)));
    let (oldest, stable) = match versions {
        Ok(versions) => versions,
        Err(why) => return Outcome::Failed(why),
    };
    let python = interpreters(oldest).into_iter().find(|python| python.minor < stable);
    let Some(python) = python else { return Outcome::NotRun(format!("no Python from 3.{oldest} to 3.{}", stable - 1)) };
    wheel::build(Some(&python.path)).and_then(|wheel| python.test(&wheel)).into()
}

/// Returns the oldest and the newest Python of this machine that the wheel is for.
fn ends() -> Result<(Interpreter, Interpreter), String> {
    let oldest = stable_interface()?;
    let mut pythons = interpreters(oldest).into_iter();
    let first = pythons.next().ok_or_else(|| format!("no Python from 3.{oldest} on that can make environments"))?;
    let last = pythons.next_back().unwrap_or_else(|| first.clone());
    Ok((first, last))
}

/// Creates an environment with the requirements of the tests and, in place of an installed wheel, the sources of the
/// package with the module that [`build_libraries`](crate::test::build_libraries) compiled; returns its interpreter.
fn development() -> Result<PathBuf, String> {
    let folder = prepare::environment(prepare::PYTHON)?;
    let python = std::path::absolute(prepare::interpreter(&folder)).map_err(|error| error.to_string())?;
    let ask = "import sysconfig; print(sysconfig.get_path('platlib'))";
    let packages = output(Command::new(&python).args(["-I", "-c", ask]))?;
    let package = Path::new(packages.trim()).join("dreamframe");
    let failed = |error: std::io::Error| format!("{}: {error}", package.display());
    let _ = fs::remove_dir_all(&package);
    fs::create_dir_all(&package).map_err(failed)?;
    for file in tools::files()?.iter().filter(|file| file.starts_with("python/dreamframe")) {
        fs::copy(file, package.join(file.file_name().unwrap_or_default())).map_err(failed)?;
    }
    let (begin, end) = (std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let module = target().join("debug").join(format!("{begin}_dreamframe{end}"));
    let name = if cfg!(windows) { "_dreamframe.pyd" } else { "_dreamframe.abi3.so" };
    fs::copy(&module, package.join(name)).map_err(|error| format!("{}: {error}", module.display()))?;
    Ok(python)
}

/// Returns the command that runs the package's tests in the environment of `python`.
fn pytest(python: &Path) -> Command {
    let mut tests = Command::new(python);
    // Isolated, so that the package comes from the environment and not from the sources.
    tests.args(["-I", "-m", "pytest", "--quiet", "-p", "no:cacheprovider", "python/tests"]);
    tests.env(RUST_EXAMPLES, std::path::absolute(target().join("debug")).unwrap_or_default());
    tests.env("JUPYTER_PLATFORM_DIRS", "1");
    tests
}

fn check_types(python: &Path) -> Result<(), String> {
    let module = |name: &str| {
        let mut command = Command::new(python);
        command.args(["-I", "-m", name]);
        command
    };
    succeed(module("pyright").args(["--project", "python/pyrightconfig.json", "--pythonpath"]).arg(python))?;
    let allowed = ["--concise", "--allowlist", "python/stubtest.txt"];
    succeed(module("mypy.stubtest").arg("dreamframe._dreamframe").args(allowed))?;
    let style = ["check", "--no-cache", "--config", "python/ruff.toml", "python", "examples/python"];
    succeed(module("ruff").args(style))
}

/// Returns the minimum minor version that `pyproject` requires.
fn requires_python(pyproject: &str) -> Result<u32, String> {
    let text = std::fs::read_to_string(pyproject).map_err(|error| format!("{pyproject}: {error}"))?;
    let wanted = text.lines().find_map(|line| line.strip_prefix("requires-python")?.split_once(">=3."));
    let digits = wanted.and_then(|(_, rest)| rest.split(|c: char| !c.is_ascii_digit()).next());
    digits
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| format!("{pyproject} has no line such as `requires-python = \">=3.10\"`"))
}

/// Returns the minor version from which on one module is for all versions: that of the feature `abi3`.
fn stable_interface() -> Result<u32, String> {
    const MANIFEST: &str = "python/Cargo.toml";
    let text = fs::read_to_string(MANIFEST).map_err(|error| format!("{MANIFEST}: {error}"))?;
    let digits = text.lines().find_map(|line| line.split_once("pyo3/abi3-py3")?.1.split('"').next());
    let missing = || format!("{MANIFEST} has no line such as `abi3 = [\"pyo3/abi3-py311\"]`");
    digits.and_then(|digits| digits.parse().ok()).ok_or_else(missing)
}

/// A Python interpreter of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Interpreter {
    path: PathBuf,
    minor: u32,
}

/// Returns every Python from 3.`oldest` on, oldest first, each version once: those in `PATH`, and pyenv's.
fn interpreters(oldest: u32) -> Vec<Interpreter> {
    let named = (oldest..=NEWEST).map(|minor| PathBuf::from(format!("python3.{minor}")));
    let candidates = [PathBuf::from("python3")].into_iter().chain(named).chain(pyenv());
    let mut found: Vec<Interpreter> = candidates.filter_map(Interpreter::at).collect();
    found.retain(|python| python.minor >= oldest);
    found.sort_by_key(|python| python.minor);
    found.dedup_by_key(|python| python.minor);
    found
}

/// Returns all interpreters of pyenv, also inactive ones.
fn pyenv() -> Vec<PathBuf> {
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".pyenv"));
    let root = std::env::var_os("PYENV_ROOT").map(PathBuf::from).or_else(home);
    let versions = root.and_then(|root| std::fs::read_dir(root.join("versions")).ok());
    versions.into_iter().flatten().filter_map(|version| Some(version.ok()?.path().join("bin/python3"))).collect()
}

impl Interpreter {
    /// Returns the interpreter at `path`, if it can create environments and is not free-threaded: before 3.15, extensions
    /// with the stable interface cannot be loaded there.
    fn at(path: PathBuf) -> Option<Self> {
        const ASK: &str = "import ensurepip, venv, sys, sysconfig; assert sys.version_info[0] == 3; \
            assert not sysconfig.get_config_var('Py_GIL_DISABLED'); print(sys.version_info[1])";
        let answer = Command::new(&path).args(["-I", "-c", ASK]).output().ok().filter(|answer| answer.status.success());
        let minor = String::from_utf8(answer?.stdout).ok()?.trim().parse().ok()?;
        Some(Self { path, minor })
    }

    /// Creates an environment of this Python with `wheel` and its declared dependencies alone, and makes a picture there;
    /// returns the environment's interpreter.
    fn first_picture(&self, wheel: &Path) -> Result<PathBuf, String> {
        let home = Path::new("target/tools").join(format!("python-3.{}", self.minor));
        let _ = fs::remove_dir_all(&home);
        succeed(Command::new(&self.path).args(["-m", "venv"]).arg(&home))?;
        let python = std::path::absolute(prepare::interpreter(&home)).map_err(|error| error.to_string())?;
        install(&python, &[wheel])?;
        let first = "import dreamframe, numpy; dreamframe.StreamDiffusion()(numpy.zeros((512, 512, 3), 'uint8'))";
        succeed(Command::new(&python).args(["-I", "-c", first]))?;
        Ok(python)
    }

    /// Runs the tests with `wheel` in an environment of this Python.
    fn test(&self, wheel: &Path) -> Result<(), String> {
        let python = self.first_picture(wheel)?;
        install(&python, &[Path::new("--requirement"), Path::new(REQUIREMENTS)])?;
        succeed(&mut pytest(&python))
    }
}

/// Installs packages into the environment of `python`.
fn install(python: &Path, what: &[&Path]) -> Result<(), String> {
    let mut pip = Command::new(python);
    succeed(pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(what))
}
