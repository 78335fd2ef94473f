//! Archives that are released: `.zip` on Windows, which unpacks nothing else by itself, and `.tar.gz` on others.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::tools::succeed;

/// Returns the path of the archive `name` in `folder`.
pub(crate) fn path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.{}", if cfg!(windows) { "zip" } else { "tar.gz" }))
}

/// Packs the folder `name` in `from` to `archive`. On Linux the same files result in the same bytes.
///
/// # Errors
///
/// If tar fails.
pub(crate) fn pack(archive: &Path, from: &Path, name: &str) -> Result<(), String> {
    let mut pack = Command::new("tar");
    if cfg!(target_os = "linux") {
        pack.args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mtime=@0"]);
    }
    // The format follows from the ending; tar of Windows writes zip.
    succeed(pack.arg("-acf").arg(archive).arg("-C").arg(from).arg(name))
}

/// Unpacks `archive` to the folder `to`, which is created empty.
///
/// # Errors
///
/// If the folder cannot be created, or tar fails.
pub(crate) fn unpack(archive: &Path, to: &Path) -> Result<(), String> {
    let _ = fs::remove_dir_all(to);
    fs::create_dir_all(to).map_err(|error| format!("{}: {error}", to.display()))?;
    succeed(Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(to))
}
