//! `dreamframe gpu install`: fetches ONNX Runtime and execution providers, and unpacks them into the user's cache.

use std::fs;
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};

use dreamframe::load::OnnxRuntimeFiles;
use dreamframe::{Error, ErrorKind};
use serde_json::json;

use super::super::exit::{Failure, Result};
use super::super::interrupt::Interrupt;
use super::super::output::Output;
use super::super::table::Table;
use super::adapters::Adapters;
use super::manifest::{Set, Wheel, platform, wheels};
use super::pip::Pip;
use super::staging::Staging;
use super::wheel::unpack;

/// Installs ONNX Runtime with the execution provider of a GPU into the user's cache
#[derive(Debug, clap::Args)]
#[command(
    after_help = "It downloads wheels of Python packages from https://pypi.org with this machine's pip, of exact \
    versions and SHA-256 digests, and unpacks the libraries from them. It shows sizes and licences, and asks. A second \
    installation replaces the first."
)]
pub(super) struct Args {
    /// The set of packages [default: the one for the GPU of this machine]
    #[arg(value_enum, value_name = "SET")]
    set: Option<Set>,
    /// A folder that has the wheels, in place of a download
    #[arg(long, value_name = "FOLDER")]
    from: Option<PathBuf>,
    /// Install without asking
    #[arg(long)]
    yes: bool,
    /// Print JSON lines: events start (set, folder, wheels), progress (file, step), done (path), error; needs --yes
    #[arg(long, requires = "yes")]
    pub(super) json: bool,
}

/// Installs, and returns the folder.
pub(super) fn run(args: &Args) -> Result<PathBuf> {
    let set = args.set.or_else(|| Adapters::gather().set()).ok_or_else(|| {
        Failure::Usage("SET: missing, expected rtx, cuda, webgpu or cpu: no GPU of this machine is known".into())
    })?;
    let wheels = wheels(set, &platform())?;
    let folder = OnnxRuntimeFiles::install_folder()
        .ok_or_else(|| Error::new(ErrorKind::NotFound, "the user's cache: got no home folder, expected one"))?;
    // Before the question, rather than after it.
    let pip = if args.from.is_none() { Some(Pip::find(&wheels)?) } else { None };
    let mut output = Output::new();
    if args.json {
        output.line(&start(set, &folder, &wheels))?;
    } else {
        eprint!("{}", summary(set, &folder, &wheels, pip.is_some()));
    }
    if !args.yes && !confirmed()? {
        return Err(Failure::Interrupted);
    }
    let interrupt = Interrupt::listen()?;
    let mut report = |wheel: &Wheel, step: &str| {
        if args.json {
            return output.line(&json!({"event": "progress", "file": wheel.file, "step": step}));
        }
        eprintln!("dreamframe: {step} {}", wheel.file);
        Ok(())
    };
    let mut source = |wheel: &Wheel, downloads: &Path| -> Result<PathBuf> {
        let Some(pip) = &pip else { return Ok(args.from.clone().unwrap_or_default().join(&wheel.file)) };
        report(wheel, "download")?;
        let downloaded = pip.download(wheel, downloads, args.json);
        // Ctrl-C ends pip as well.
        interrupt.check()?;
        Ok(downloaded?)
    };
    install(&folder, &wheels, &mut source, &mut || interrupt.check())?;
    if args.json {
        output.line(&json!({"event": "done", "path": folder}))?;
    }
    Ok(folder)
}

/// Installs `wheels` into `folder`, in place of what is there. `source` returns the path of a wheel, and may write it
/// into the folder that it is given. `check` fails if the work is to end.
///
/// # Errors
///
/// Those of `source`, of `check` and of unpacking; the folder is then as before.
fn install(
    folder: &Path,
    wheels: &[Wheel],
    source: &mut dyn FnMut(&Wheel, &Path) -> Result<PathBuf>,
    check: &mut dyn FnMut() -> Result,
) -> Result {
    let staging = Staging::create(folder)?;
    for wheel in wheels {
        check()?;
        let path = source(wheel, &staging.downloads())?;
        unpack(wheel, &path, &staging.files(), check).map_err(|failure| with_page(failure, wheel))?;
        // The largest are as large as all libraries.
        let _ = fs::remove_file(staging.downloads().join(&wheel.file));
    }
    check()?;
    Ok(staging.commit()?)
}

/// Adds to the error of a missing wheel where it is.
fn with_page(failure: Failure, wheel: &Wheel) -> Failure {
    match failure {
        Failure::Library(error) if error.kind() == ErrorKind::NotFound => {
            Failure::Library(error.within(format!("{} is at {}", wheel.file, wheel.page())))
        }
        other @ (Failure::Library(_) | Failure::Usage(_) | Failure::Interrupted | Failure::Unread) => other,
    }
}

/// Asks the person; false unless the answer is yes.
fn confirmed() -> Result<bool> {
    if !io::stdin().is_terminal() {
        return Err(Failure::Usage("--yes: missing, expected if standard input is not a terminal".into()));
    }
    eprint!("Install? [y/N] ");
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(|error| Error::io("standard input", "read", error))?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

fn total(wheels: &[Wheel], size: impl Fn(&Wheel) -> u64) -> u64 {
    wheels.iter().map(size).sum()
}

fn megabytes(bytes: u64) -> String {
    format!("{:.0}", (bytes as f64 / 1e6).max(1.0))
}

/// Returns what will be installed, for a person.
fn summary(set: Set, folder: &Path, wheels: &[Wheel], is_download: bool) -> String {
    let mut table = Table::new(&["package", "version", "MB", "licence"]);
    for wheel in wheels {
        table.row([wheel.package.clone(), wheel.version.clone(), megabytes(wheel.bytes), wheel.licence.clone()]);
    }
    let [bytes, unpacked] = [total(wheels, |wheel| wheel.bytes), total(wheels, |wheel| wheel.unpacked_bytes)];
    let source = if is_download { "to download from https://pypi.org" } else { "in wheels" };
    format!(
        "dreamframe: installing the set {} into {}\n\n{table}\n{} MB {source}, {} MB unpacked. By installing a package you accept its licence.\n",
        set.name(),
        folder.display(),
        megabytes(bytes),
        megabytes(unpacked),
    )
}

/// Returns the same for programs.
fn start(set: Set, folder: &Path, wheels: &[Wheel]) -> serde_json::Value {
    let wheels: Vec<_> = wheels
        .iter()
        .map(|wheel| {
            json!({
                "package": wheel.package, "version": wheel.version, "file": wheel.file, "sha256": wheel.sha256,
                "bytes": wheel.bytes, "unpacked_bytes": wheel.unpacked_bytes, "licence": wheel.licence,
            })
        })
        .collect();
    json!({"event": "start", "set": set.name(), "folder": folder, "wheels": wheels})
}

#[cfg(test)]
mod tests;
