//! Downloads wheels with the user's pip, which has the user's settings for indexes, proxies and certificates.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use dreamframe::{Error, ErrorKind, Result};

use super::manifest::Wheel;

/// Names of the interpreter.
const INTERPRETERS: [&str; 2] = ["python3", "python"];
/// The Python version of the wheels; only that of ONNX Runtime depends on it, and not the libraries in it.
const PYTHON_VERSION: &str = "3.12";

/// A Python interpreter that has pip.
#[derive(Debug)]
pub(super) struct Pip {
    interpreter: &'static str,
}

impl Pip {
    /// Finds an interpreter by name.
    ///
    /// # Errors
    ///
    /// `NotFound`, with where `wheels` are for a download in another way.
    pub(super) fn find(wheels: &[Wheel]) -> Result<Self> {
        let has_pip = |interpreter: &&str| {
            let mut command = Command::new(interpreter);
            command.args(["-m", "pip", "--version"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        };
        INTERPRETERS.into_iter().find(has_pip).map(|interpreter| Self { interpreter }).ok_or_else(|| missing(wheels))
    }

    /// Downloads `wheel` into `folder`, and returns its path. pip writes its progress to standard error, unless `quiet`.
    ///
    /// # Errors
    ///
    /// `Io` if pip fails.
    pub(super) fn download(&self, wheel: &Wheel, folder: &Path, quiet: bool) -> Result<PathBuf> {
        let requirements = folder.join("requirements.txt");
        fs::write(&requirements, wheel.requirement()).map_err(|error| Error::io(&requirements, "write", error))?;
        let mut command = Command::new(self.interpreter);
        command.args(["-m", "pip", "download", "--disable-pip-version-check", "--no-deps", "--require-hashes"]);
        command.args(["--only-binary", ":all:", "--implementation", "cp", "--python-version", PYTHON_VERSION]);
        wheel.tags().for_each(|tag| _ = command.args(["--platform", tag]));
        command.arg("--dest").arg(folder).arg("--requirement").arg(&requirements);
        command.stdin(Stdio::null());
        if quiet {
            command.arg("--quiet").stdout(Stdio::null());
        } else {
            command.stdout(io::stderr());
        }
        let status = command.status().map_err(|error| Error::io(self.interpreter, "start", error))?;
        if status.success() {
            return Ok(folder.join(&wheel.file));
        }
        let text = format!("pip download of {}: got {status}, expected success", wheel.file);
        Err(Error::new(ErrorKind::Io, text))
    }
}

fn missing(wheels: &[Wheel]) -> Error {
    let files: Vec<String> = wheels.iter().map(|wheel| format!("\n  {} from {}", wheel.file, wheel.page())).collect();
    let names = INTERPRETERS.join(" or ");
    let text = format!(
        "Python with pip: got none as {names}, expected one. Without it, download these files and name their folder \
         with --from:{}",
        files.concat()
    );
    Error::new(ErrorKind::NotFound, text)
}

#[cfg(test)]
mod tests {
    use super::super::manifest::{Set, wheels};
    use super::*;

    #[test]
    fn without_python_the_error_has_every_file_and_its_page() {
        let wheels = wheels(Set::Webgpu, "linux-x86_64").unwrap();
        let text = missing(&wheels).to_string();
        assert!(text.contains("--from") && wheels.iter().all(|wheel| text.contains(&wheel.file)), "{text}");
        assert!(text.contains("https://pypi.org/project/onnxruntime-ep-webgpu/0.4.0/#files"), "{text}");
    }
}
