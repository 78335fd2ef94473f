//! A folder that is replaced as a whole, or not at all.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use dreamframe::load::rename;
use dreamframe::{Error, ErrorKind, Result};

/// The future contents of a folder, in a temporary one next to it, which is removed with this value.
#[derive(Debug)]
pub(super) struct Staging {
    folder: PathBuf,
    /// Locked as long as it is open.
    _lock: File,
}

impl Staging {
    /// Creates the temporary folder, and removes what an interrupted installation left.
    ///
    /// # Errors
    ///
    /// `Io` if another process installs, or a folder cannot be created.
    pub(super) fn create(folder: &Path) -> Result<Self> {
        let parent = folder.parent().unwrap_or_else(|| Path::new("."));
        fs::create_dir_all(parent).map_err(|error| Error::io(parent, "create", error))?;
        let path = with_suffix(folder, "lock");
        let lock = File::create(&path).map_err(|error| Error::io(&path, "create", error))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => {
                let text = format!("{}: another process installs into this folder", folder.display());
                Error::new(ErrorKind::Io, text)
            }
            TryLockError::Error(error) => Error::io(&path, "lock", error),
        })?;
        let staging = Self { folder: folder.to_owned(), _lock: lock };
        staging.recover()?;
        for created in [staging.downloads(), staging.files()] {
            fs::create_dir_all(&created).map_err(|error| Error::io(&created, "create", error))?;
        }
        Ok(staging)
    }

    /// Returns the folder for files that are not kept.
    pub(super) fn downloads(&self) -> PathBuf {
        self.temporary().join("downloads")
    }

    /// Returns the folder for the future contents.
    pub(super) fn files(&self) -> PathBuf {
        self.temporary().join("files")
    }

    /// Replaces the folder.
    ///
    /// # Errors
    ///
    /// `Io`; the folder is then as before.
    pub(super) fn commit(self) -> Result<()> {
        let (folder, former) = (&self.folder, self.former());
        let replaces = folder.exists();
        if replaces {
            rename(folder, &former).map_err(|error| Error::io(folder, "replace", error))?;
        }
        if let Err(error) = rename(&self.files(), folder) {
            if replaces {
                rename(&former, folder).map_err(|error| Error::io(folder, "restore", error))?;
            }
            return Err(Error::io(folder, "create", error));
        }
        remove(&former)
    }

    /// Completes or undoes what an interrupted installation did.
    fn recover(&self) -> Result<()> {
        let former = self.former();
        if former.exists() && !self.folder.exists() {
            rename(&former, &self.folder).map_err(|error| Error::io(&self.folder, "restore", error))?;
        }
        remove(&former)?;
        remove(&self.temporary())
    }

    fn temporary(&self) -> PathBuf {
        with_suffix(&self.folder, "new")
    }

    /// The name of the replaced folder until it is removed.
    fn former(&self) -> PathBuf {
        with_suffix(&self.folder, "old")
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // What cannot be removed now, the next installation removes.
        let _ = fs::remove_dir_all(self.temporary());
    }
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io(folder, "remove", error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn with_suffix(folder: &Path, suffix: &str) -> PathBuf {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    folder.with_file_name(format!("{name}.{suffix}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn the_folder_is_replaced_as_a_whole_and_nothing_else_stays() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("a/libraries");
        for name in ["first", "second"] {
            let staging = Staging::create(&folder).unwrap();
            fs::write(staging.files().join(name), name).unwrap();
            fs::write(staging.downloads().join("wheel"), "").unwrap();
            staging.commit().unwrap();
            assert_eq!(contents(&folder), [name]);
        }
        assert_eq!(contents(folder.parent().unwrap()), ["libraries", "libraries.lock"]);
    }

    #[test]
    fn without_a_commit_the_folder_is_as_before() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("libraries");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("kept"), "").unwrap();
        let staging = Staging::create(&folder).unwrap();
        fs::write(staging.files().join("new"), "").unwrap();
        drop(staging);
        assert_eq!(contents(&folder), ["kept"]);
        assert_eq!(contents(parent.path()), ["libraries", "libraries.lock"]);
    }

    #[test]
    fn leftovers_of_a_process_that_ended_are_removed_and_the_former_folder_is_restored() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("libraries");
        for left in ["libraries.new/files/half", "libraries.old/kept"] {
            let path = parent.path().join(left);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let staging = Staging::create(&folder).unwrap();
        assert_eq!(contents(&folder), ["kept"]);
        assert_eq!(contents(&staging.files()), Vec::<String>::new());
    }

    #[test]
    fn two_installations_at_once_are_refused() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("libraries");
        let first = Staging::create(&folder).unwrap();
        let refused = Staging::create(&folder).unwrap_err();
        assert!(refused.to_string().contains("another process installs"), "{refused}");
        assert!(first.files().is_dir());
    }
}
