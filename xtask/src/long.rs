//! The long steps of `cargo xtask test --full`: the release build, and the soak test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::report::Outcome;
use crate::tools::{cargo, commit, succeed, target, works};

/// The README's first command without a browser: the release build, and the demo on the bundled clip.
pub(crate) fn demo() -> Outcome {
    let folder = target().join("xtask/demo");
    let demo = || {
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        succeed(Command::new(program()?).arg("demo").current_dir(&folder))?;
        for file in ["demo.mp4", "demo.png"] {
            let size = fs::metadata(folder.join(file)).map(|file| file.len());
            if size.map_err(|error| format!("{file}: {error}"))? == 0 {
                return Err(format!("{file}: got 0 bytes, expected a picture"));
            }
        }
        Ok(())
    };
    Outcome::from(demo())
}

/// Runs streams for some minutes, of a gateway and two workers where Redis is installed, otherwise of one server; fails if
/// the rules of `soak` are violated. With a folder, it continues the streams of the runs before with the same folder, and adds
/// what it measures to their record there.
pub(crate) fn soak(minutes: u32, keep: Option<&Path>) -> Outcome {
    let soak = |program: PathBuf| {
        let mut command = test_program("soak");
        command.args(["--minutes", &minutes.to_string(), "--commit", &commit(None)?, "--server"]).arg(program);
        if works(Command::new("redis-server").arg("--version")) {
            command.arg("--scale-out");
        }
        if let Some(folder) = keep {
            fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
            command.arg("--record").arg(folder.join("soak.jsonl")).arg("--keep").arg(folder);
        }
        succeed(&mut command)
    };
    program().and_then(soak).into()
}

/// Returns a command that builds and runs a program of the tests; arguments are the program's.
pub(crate) fn test_program(name: &str) -> Command {
    let mut command = cargo();
    command.args(["run", "--release", "--quiet", "--package", "dreamframe-tests", "--features", "transport"]);
    command.args(["--bin", name, "--"]);
    command
}

/// Builds the program as the README does; returns its absolute path.
pub(crate) fn program() -> Result<PathBuf, String> {
    succeed(cargo().args(["build", "--release", "--quiet", "--package", "dreamframe-server"]))?;
    let program = target().join("release").join(format!("dreamframe{}", std::env::consts::EXE_SUFFIX));
    std::path::absolute(&program).map_err(|error| format!("{}: {error}", program.display()))
}
