//! Renaming of files that other programs may have open.

use std::path::Path;
use std::time::Duration;
use std::{fs, io, thread};

/// How often a rename is tried.
const TRIES: u32 = 20;

/// The pause before the next try: a scanner or an indexer reads a new file for some milliseconds.
const PAUSE: Duration = Duration::from_millis(10);

/// Renames a file or a folder, and replaces the file `to`. On Windows, where that fails while another program has the
/// file open, it is tried again for at most 0.2 s.
///
/// # Errors
///
/// Those of [`fs::rename`].
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    retried(|| fs::rename(from, to), || thread::sleep(PAUSE))
}

/// Repeats `rename`, with a `pause` before each repetition, while it fails because a file is open.
fn retried(mut rename: impl FnMut() -> io::Result<()>, pause: impl Fn()) -> io::Result<()> {
    let mut tries = 1;
    loop {
        match rename() {
            Err(error) if tries < TRIES && is_open_elsewhere(&error) => pause(),
            done => return done,
        }
        tries += 1;
    }
}

/// Returns whether an error may be that of a file that another program has open. Only Windows has such an error, and it
/// has the same one for missing rights.
#[cfg(windows)]
fn is_open_elsewhere(error: &io::Error) -> bool {
    /// `ERROR_SHARING_VIOLATION`.
    const IN_USE: i32 = 32;
    error.kind() == io::ErrorKind::PermissionDenied || error.raw_os_error() == Some(IN_USE)
}

#[cfg(not(windows))]
fn is_open_elsewhere(_: &io::Error) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// The result of a rename that fails `failures` times with `kind`, and how often it was called.
    fn of_failing(failures: u32, kind: io::ErrorKind) -> (io::Result<()>, u32, u32) {
        let (calls, pauses) = (Cell::new(0), Cell::new(0));
        let rename = || {
            calls.set(calls.get() + 1);
            if calls.get() > failures { Ok(()) } else { Err(kind.into()) }
        };
        let result = retried(rename, || pauses.set(pauses.get() + 1));
        (result, calls.get(), pauses.get())
    }

    #[test]
    fn only_a_file_that_is_open_on_windows_is_waited_for() {
        let (result, calls, pauses) = of_failing(3, io::ErrorKind::PermissionDenied);
        let expected = if cfg!(windows) { (true, 4, 3) } else { (false, 1, 0) };
        assert_eq!((result.is_ok(), calls, pauses), expected);
        let (result, calls, _) = of_failing(3, io::ErrorKind::NotFound);
        assert_eq!((result.unwrap_err().kind(), calls), (io::ErrorKind::NotFound, 1));
    }

    #[test]
    fn a_file_that_stays_open_is_an_error_in_the_end() {
        let (result, calls, pauses) = of_failing(u32::MAX, io::ErrorKind::PermissionDenied);
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert_eq!((calls, pauses), if cfg!(windows) { (TRIES, TRIES - 1) } else { (1, 0) });
    }

    #[test]
    fn a_file_takes_the_place_of_another() {
        let folder = tempfile::tempdir().unwrap();
        let [from, to] = ["from", "to"].map(|name| folder.path().join(name));
        fs::write(&from, "new").unwrap();
        fs::write(&to, "old").unwrap();
        rename(&from, &to).unwrap();
        assert_eq!((fs::read_to_string(&to).unwrap().as_str(), from.exists()), ("new", false));
    }
}
