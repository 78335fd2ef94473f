//! The Python package, as its users have it: the wheel, installed into empty environments.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::report::{Outcome, Report, run};
use crate::wheel;

const REQUIREMENTS: &str = "python/requirements";
/// Where tests find the Rust programs whose pictures theirs must equal.
const RUST_EXAMPLES: &str = "DREAMFRAME_RUST_EXAMPLES";
/// The newest version of Python 3 that is looked for.
const NEWEST: u32 = 20;

/// The wheel, its tests on the oldest and the newest Python of this machine, and the types.
pub(crate) fn all(report: &mut Report) {
    let Some(wheel) = wheel::all(report) else { return };
    let oldest = match requires_python("python/pyproject.toml") {
        Ok(oldest) => oldest,
        Err(why) => return report.step("Python: versions", || Outcome::Failed(why)),
    };
    let pythons = interpreters(oldest);
    let (Some(first), Some(last)) = (pythons.first(), pythons.last()) else {
        let why = format!("no Python from 3.{oldest} on that can make environments");
        return report.step("Python: versions", || Outcome::Failed(why));
    };
    let versions: Vec<String> = pythons.iter().map(|python| format!("3.{}", python.minor)).collect();
    eprintln!("   of Python {}, the oldest and the newest are used", versions.join(", "));
    let ends = if first.minor == last.minor { vec![last] } else { vec![first, last] };
    for python in ends {
        let name = format!("Python 3.{}: tests of the installed wheel", python.minor);
        report.step(&name, || all_passed(python.tests(&wheel)));
    }
    report.step("Python: types and lint", || all_passed(last.types(&wheel)));
}

fn all_passed(result: Result<(), String>) -> Outcome {
    result.map_or_else(Outcome::Failed, |()| Outcome::Passed)
}

/// The least minor version that `pyproject` asks for.
fn requires_python(pyproject: &str) -> Result<u32, String> {
    let text = std::fs::read_to_string(pyproject).map_err(|error| format!("{pyproject}: {error}"))?;
    let wanted = text.lines().find_map(|line| line.strip_prefix("requires-python")?.split_once(">=3."));
    let digits = wanted.and_then(|(_, rest)| rest.split(|c: char| !c.is_ascii_digit()).next());
    digits
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| format!("{pyproject} has no line such as `requires-python = \">=3.11\"`"))
}

/// One Python of this machine.
#[derive(Debug, PartialEq, Eq)]
struct Interpreter {
    path: PathBuf,
    minor: u32,
}

/// Every Python from 3.`oldest` on, oldest first, each version once: those on the path, and pyenv's.
fn interpreters(oldest: u32) -> Vec<Interpreter> {
    let named = (oldest..=NEWEST).map(|minor| PathBuf::from(format!("python3.{minor}")));
    let candidates = [PathBuf::from("python3")].into_iter().chain(named).chain(pyenv());
    let mut found: Vec<Interpreter> = candidates.filter_map(Interpreter::at).collect();
    found.retain(|python| python.minor >= oldest);
    found.sort_by_key(|python| python.minor);
    found.dedup_by_key(|python| python.minor);
    found
}

/// The interpreters that pyenv has, whether switched on or not.
fn pyenv() -> Vec<PathBuf> {
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".pyenv"));
    let root = std::env::var_os("PYENV_ROOT").map(PathBuf::from).or_else(home);
    let versions = root.and_then(|root| std::fs::read_dir(root.join("versions")).ok());
    versions.into_iter().flatten().filter_map(|version| Some(version.ok()?.path().join("bin/python3"))).collect()
}

impl Interpreter {
    /// The one that `path` starts, if it can make environments.
    fn at(path: PathBuf) -> Option<Self> {
        const ASK: &str = "import ensurepip, venv, sys; assert sys.version_info[0] == 3; print(sys.version_info[1])";
        let answer = Command::new(&path).args(["-I", "-c", ASK]).output().ok().filter(|answer| answer.status.success());
        let minor = String::from_utf8(answer?.stdout).ok()?.trim().parse().ok()?;
        Some(Self { path, minor })
    }

    /// Makes an empty environment and installs `wheel` into it; its interpreter.
    fn environment(&self, purpose: &str, wheel: &Path) -> Result<PathBuf, String> {
        let home = Path::new("target/tools").join(format!("python-3.{}-{purpose}", self.minor));
        let _ = std::fs::remove_dir_all(&home);
        done(Command::new(&self.path).args(["-m", "venv"]).arg(&home))?;
        let python = std::path::absolute(home.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" }));
        let python = python.map_err(|error| error.to_string())?;
        install(&python, &[wheel])?;
        // With what it declares and nothing else, it imports, and makes a picture.
        let first = "import dreamframe, numpy; dreamframe.StreamDiffusion()(numpy.zeros((512, 512, 3), 'uint8'))";
        done(Command::new(&python).args(["-I", "-c", first]))?;
        install(&python, &[Path::new("--requirement"), &Path::new(REQUIREMENTS).join(format!("{purpose}.txt"))])?;
        Ok(python)
    }

    fn tests(&self, wheel: &Path) -> Result<(), String> {
        let python = self.environment("test", wheel)?;
        let mut tests = Command::new(python);
        // Isolated, so that the package comes from the environment and not from the sources.
        tests.args(["-I", "-m", "pytest", "--quiet", "-p", "no:cacheprovider", "python/tests"]);
        let xtask = std::env::current_exe().map_err(|error| error.to_string())?;
        tests.env(RUST_EXAMPLES, xtask.parent().unwrap_or(&xtask)).env("JUPYTER_PLATFORM_DIRS", "1");
        done(&mut tests)
    }

    fn types(&self, wheel: &Path) -> Result<(), String> {
        let python = self.environment("typing", wheel)?;
        let module = |name: &str| {
            let mut command = Command::new(&python);
            command.args(["-I", "-m", name]);
            command
        };
        done(module("pyright").args(["--project", "python/pyrightconfig.json", "--pythonpath"]).arg(&python))?;
        done(module("mypy.stubtest").args([
            "dreamframe._dreamframe",
            "--concise",
            "--allowlist",
            "python/stubtest.txt",
        ]))?;
        done(module("ruff").args(["check", "--no-cache", "--config", "python/ruff.toml", "python", "examples/python"]))
    }
}

fn install(python: &Path, what: &[&Path]) -> Result<(), String> {
    let mut pip = Command::new(python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(what);
    done(&mut pip)
}

fn done(command: &mut Command) -> Result<(), String> {
    match run(command) {
        Outcome::Passed => Ok(()),
        Outcome::Failed(why) | Outcome::NotRun(why) => Err(why),
    }
}
