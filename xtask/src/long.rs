//! Steps of `cargo xtask test --full` that take long: the release build, and the program for minutes.

use std::fs;
use std::path::Path;

use crate::report::{Outcome, run};
use crate::tools::{cargo, succeed, target};

/// The README's first command without a browser: the release build, and the demo on the bundled clip.
pub(crate) fn demo() -> Outcome {
    let folder = target().join("xtask/demo");
    let demo = || {
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        succeed(cargo().args(["build", "--release", "--quiet", "--package", "dreamframe-server"]))?;
        let mut demo = std::process::Command::new(program());
        succeed(demo.arg("demo").current_dir(&folder))?;
        for file in ["demo.mp4", "demo.png"] {
            let size = fs::metadata(folder.join(file)).map(|file| file.len());
            let size = size.map_err(|error| format!("{file}: {error}"))?;
            if size == 0 {
                return Err(format!("{file}: got 0 bytes, expected a picture"));
            }
        }
        Ok(())
    };
    Outcome::from(demo())
}

/// Streams of the server for ten minutes; fails where its memory grows or a stream stops.
pub(crate) fn soak() -> Outcome {
    let build = cargo().args(["build", "--release", "--quiet", "--package", "dreamframe-server"]).status();
    if !build.is_ok_and(|status| status.success()) {
        return Outcome::Failed("the program cannot be built".into());
    }
    let mut soak = cargo();
    soak.args(["run", "--release", "--quiet", "--package", "dreamframe-tests", "--features", "transport"]);
    run(soak.args(["--bin", "soak", "--", "--minutes", "10", "--server"]).arg(program()))
}

fn program() -> std::path::PathBuf {
    let folder = Path::new(&target()).join("release");
    std::path::absolute(folder.join(format!("dreamframe{}", std::env::consts::EXE_SUFFIX))).unwrap_or(folder)
}
