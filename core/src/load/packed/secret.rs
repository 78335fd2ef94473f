//! The user's secret, which distinguishes files of packed weights that this user wrote from those that came with a model.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::super::rename::rename;

/// Bytes of a secret.
const LEN: usize = 32;
/// Bytes of an authentication code.
pub(super) const MAC_LEN: usize = 32;
/// The name of its file.
pub(super) const FILE: &str = "packed.key";

/// A secret key. Anyone who knows it can write files of packed weights that are accepted.
#[derive(Clone)]
pub(super) struct Secret([u8; LEN]);

impl Secret {
    /// A publicly known one, for fuzzing and tests.
    pub(super) const KNOWN: Self = Self([0; LEN]);

    /// Reads the secret in `folder`; `None` if there is none yet.
    ///
    /// # Errors
    ///
    /// Errors of the file system; `InvalidData` for another length, a symbolic link, and a file that every user may
    /// read
    /// or write.
    pub(super) fn read(folder: &Path) -> io::Result<Option<Self>> {
        let path = folder.join(FILE);
        let meta = match fs::symlink_metadata(&path) {
            Ok(meta) => meta,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let invalid = |what: String| Err(io::Error::new(io::ErrorKind::InvalidData, what));
        if !meta.is_file() || meta.len() != LEN as u64 {
            return invalid(format!("{}: expected a file of {LEN} bytes", path.display()));
        }
        if is_open_to_all(&meta) {
            return invalid(format!("{}: every user can read or write it; remove it", path.display()));
        }
        let mut bytes = [0; LEN];
        File::open(&path)?.read_exact(&mut bytes)?;
        Ok(Some(Self(bytes)))
    }

    /// Reads the secret in `folder`, or creates one.
    ///
    /// # Errors
    ///
    /// Those of [`read`](Self::read); errors of the file system.
    pub(super) fn read_or_make(folder: &Path) -> io::Result<Self> {
        if let Some(secret) = Self::read(folder)? {
            return Ok(secret);
        }
        fs::create_dir_all(folder)?;
        let mut bytes = [0; LEN];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        let aside = aside(folder, &bytes)?;
        // Of several concurrent processes, the first one's secret is kept, if the file system supports links.
        let path = folder.join(FILE);
        let linked = fs::hard_link(&aside, &path);
        let placed = match linked {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => rename(&aside, &path),
            Ok(()) | Err(_) => fs::remove_file(&aside),
        };
        placed?;
        Self::read(folder)?.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Returns a message authentication code (HMAC-SHA256) of `bytes`.
    pub(super) fn mac(&self, bytes: &[u8]) -> [u8; MAC_LEN] {
        self.hmac(bytes).finalize().into_bytes().into()
    }

    /// Returns true if `mac` is that of `bytes`.
    pub(super) fn has_made(&self, mac: &[u8], bytes: &[u8]) -> bool {
        self.hmac(bytes).verify_slice(mac).is_ok()
    }

    fn hmac(&self, bytes: &[u8]) -> Hmac<Sha256> {
        // HMAC pads shorter keys with zeros to the length of a block, which is the crate's key type.
        let mut key = hmac::digest::Key::<Hmac<Sha256>>::default();
        key[..LEN].copy_from_slice(&self.0);
        let mut hmac = Hmac::new(&key);
        hmac.update(bytes);
        hmac
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// Writes a file next to the secret that only this user may read.
fn aside(folder: &Path, bytes: &[u8]) -> io::Result<PathBuf> {
    let mut name = format!("{FILE}.{}.", std::process::id());
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    name.extend(random.iter().map(|byte| format!("{byte:02x}")));
    let path = folder.join(name + super::ASIDE);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&path)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).inspect_err(|_| {
        fs::remove_file(&path).ok();
    })?;
    Ok(path)
}

#[cfg(unix)]
fn is_open_to_all(meta: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    meta.mode() & 0o007 != 0
}

#[cfg(not(unix))]
fn is_open_to_all(_: &fs::Metadata) -> bool {
    // On this system, the permissions of a user's folders are inherited.
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_stays_and_differs_from_that_of_another_folder() {
        let [first, second] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        assert!(Secret::read(first.path()).unwrap().is_none());
        let secret = Secret::read_or_make(first.path()).unwrap();
        assert_eq!(secret.0, Secret::read_or_make(first.path()).unwrap().0);
        assert_eq!(secret.0, Secret::read(first.path()).unwrap().unwrap().0);
        assert_ne!(secret.0, Secret::read_or_make(second.path()).unwrap().0);
        assert_eq!(fs::read_dir(first.path()).unwrap().count(), 1);
    }

    #[test]
    fn concurrent_threads_create_the_same_secret() {
        let folder = tempfile::tempdir().unwrap();
        let made = || Secret::read_or_make(folder.path()).unwrap().0;
        let all: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(made)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(all.iter().all(|secret| *secret == all[0]));
    }

    #[cfg(unix)]
    #[test]
    fn readable_or_linked_secret_is_rejected() {
        use std::os::unix::fs::{PermissionsExt as _, symlink};
        let folder = tempfile::tempdir().unwrap();
        Secret::read_or_make(folder.path()).unwrap();
        let path = folder.path().join(FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(Secret::read(folder.path()).unwrap_err().kind(), io::ErrorKind::InvalidData);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let other = tempfile::tempdir().unwrap();
        symlink(&path, other.path().join(FILE)).unwrap();
        assert_eq!(Secret::read(other.path()).unwrap_err().kind(), io::ErrorKind::InvalidData);
        fs::write(&path, "short").unwrap();
        assert_eq!(Secret::read(folder.path()).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    /// Of the HMAC-SHA256 of `what do ya want for nothing?` under the key `Jefe` (RFC 4231, case 2).
    #[test]
    fn exit_codes_match_the_standard() {
        let mut key = [0; LEN];
        key[..4].copy_from_slice(b"Jefe");
        let text = b"what do ya want for nothing?";
        let mac = Secret(key).mac(text);
        assert_eq!(mac[..4], [0x5b, 0xdc, 0xc1, 0x46]);
        assert_eq!(mac[28..], [0x64, 0xec, 0x38, 0x43]);
        assert!(Secret(key).has_made(&mac, text) && !Secret::KNOWN.has_made(&mac, text));
        assert!(!Secret(key).has_made(&mac[..16], text), "no part of a code is enough");
    }
}
