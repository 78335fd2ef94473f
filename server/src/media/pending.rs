//! A file that gets its name only when it is complete.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use dreamframe::load::rename;
use dreamframe::{Error, Result};

use super::misused;

/// The end of temporary names.
const PART: &str = ".part";

/// Returns the final name of the file with the temporary name `name`; `None` for other names.
pub(crate) fn final_name(name: &str) -> Option<&str> {
    let (name, process) = name.strip_prefix('.')?.strip_suffix(PART)?.rsplit_once('.')?;
    process.parse::<u32>().is_ok().then_some(name)
}

/// A file under a temporary name in the folder of its final one; removed if it is dropped before [`commit`](Self::commit).
#[derive(Debug)]
pub(crate) struct PendingFile {
    // Dropped first: Windows removes and renames a file only when it is closed.
    file: File,
    name: PendingName,
}

/// The names of the file.
#[derive(Debug)]
struct PendingName {
    temporary: PathBuf,
    path: PathBuf,
    whole: bool,
}

impl PendingFile {
    /// Creates the temporary file. The folder must be there.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let Some(name) = path.file_name() else {
            return Err(misused(format!("path: got {}, expected one that ends in a file name", path.display())));
        };
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}{PART}", std::process::id()));
        let temporary = path.with_file_name(hidden);
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(&temporary);
        let file = file.map_err(|error| Error::io(path, "create", error))?;
        Ok(Self { file, name: PendingName { temporary, path: path.to_path_buf(), whole: false } })
    }

    /// Renames the file to its final name. A full disk is reported here at the latest.
    pub(crate) fn commit(self) -> Result<()> {
        let Self { file, mut name } = self;
        let written = file.sync_all();
        drop(file);
        let renamed = written.and_then(|()| rename(&name.temporary, &name.path));
        renamed.map_err(|error| Error::io(&name.path, "write", error))?;
        name.whole = true;
        Ok(())
    }
}

impl Write for PendingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for PendingFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

impl Drop for PendingName {
    fn drop(&mut self) {
        if !self.whole {
            // An error cannot be reported here; the file that stays is hidden and named as a part.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}
