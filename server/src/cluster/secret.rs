//! The secret that gateways and workers share, and signatures made with it (HMAC-SHA256).

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use dreamframe::{Error, ErrorKind, Result};
use ring::hmac;
use subtle::ConstantTimeEq as _;

use crate::auth::hex;

/// A shorter secret could be guessed from one signature.
const SHORTEST: usize = 32;
/// A longer file is no secret, but the wrong file.
const LONGEST: usize = 4096;

/// The shared secret of the members of a cluster.
#[derive(Clone)]
pub(crate) struct Secret {
    key: hmac::Key,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Secret {
    /// Takes a secret of 32 to 4096 bytes.
    ///
    /// # Errors
    ///
    /// The length, and the minimum length, in bytes.
    pub(crate) fn new(bytes: &[u8]) -> std::result::Result<Self, String> {
        match bytes.len() {
            SHORTEST..=LONGEST => Ok(Self { key: hmac::Key::new(hmac::HMAC_SHA256, bytes) }),
            length if length < SHORTEST => Err(format!("got {length} bytes, expected at least {SHORTEST}")),
            _ => Err(format!("got more than {LONGEST} bytes, expected at most {LONGEST}")),
        }
    }

    /// Reads the secret in a file. Ends of lines at its end do not belong to it.
    ///
    /// # Errors
    ///
    /// `Io` if it cannot be read; `InvalidArgument` if it is too short or too long, or where (on Unix) every user
    /// of the machine may read or write it.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|error| Error::io(path, "open", error))?;
        let wrong = |text: String| Error::new(ErrorKind::InvalidArgument, format!("{}: {text}", path.display()));
        // Of the open file, which cannot be replaced.
        let metadata = file.metadata().map_err(|error| Error::io(path, "read", error))?;
        check_mode(&metadata).map_err(wrong)?;
        let mut bytes = Vec::new();
        file.take(LONGEST as u64 + 3).read_to_end(&mut bytes).map_err(|error| Error::io(path, "read", error))?;
        while bytes.last().is_some_and(|byte| matches!(byte, b'\r' | b'\n')) {
            bytes.pop();
        }
        Self::new(&bytes).map_err(wrong)
    }

    /// Signs `fields` for one `purpose`; the signature is 64 hexadecimal digits.
    pub(crate) fn sign(&self, purpose: &str, fields: &[&[u8]]) -> String {
        hex(hmac::sign(&self.key, &message(purpose, fields)).as_ref())
    }

    /// Returns true if `signature` is that of `fields` for `purpose`, in constant time.
    pub(crate) fn is_signed(&self, purpose: &str, fields: &[&[u8]], signature: &str) -> bool {
        self.sign(purpose, fields).as_bytes().ct_eq(signature.as_bytes()).into()
    }
}

/// Concatenates fields, each with its length before it (4 bytes, most significant first), so that no two lists of
/// fields have the same encoding.
fn message(purpose: &str, fields: &[&[u8]]) -> Vec<u8> {
    let mut message = Vec::new();
    for field in std::iter::once(purpose.as_bytes()).chain(fields.iter().copied()) {
        // A field is a part of a head or an entry, both of which are bounded far below.
        message.extend(u32::try_from(field.len()).unwrap_or(u32::MAX).to_be_bytes());
        message.extend(field);
    }
    message
}

/// A group may read it, since some systems pass secrets to a user in that way.
#[cfg(unix)]
fn check_mode(metadata: &std::fs::Metadata) -> std::result::Result<(), String> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o006 == 0 {
        return Ok(());
    }
    Err(format!("got mode {mode:o}, which lets every user read or write the secret, expected 600 or 640"))
}

#[cfg(not(unix))]
fn check_mode(_: &std::fs::Metadata) -> std::result::Result<(), String> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secret() -> Secret {
        Secret::new(&[7; 32]).unwrap()
    }

    #[test]
    fn a_secret_has_a_length_and_is_in_no_debug_output() {
        assert_eq!(Secret::new(&[1; 31]).unwrap_err(), "got 31 bytes, expected at least 32");
        assert!(Secret::new(&[1; 4097]).unwrap_err().contains("at most 4096"));
        assert_eq!(format!("{:?}", Secret::new(&[b'x'; 4096]).unwrap()), "Secret(…)");
    }

    #[test]
    fn the_end_of_a_line_does_not_belong_to_a_secret() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [[7; 32].as_slice(), b"\r\n"].concat()).unwrap();
        let signature = Secret::read(file.path()).unwrap().sign("a", &[b"b"]);
        assert!(secret().is_signed("a", &[b"b"], &signature));
        std::fs::write(file.path(), [[7; 31].as_slice(), b"\n"].concat()).unwrap();
        assert!(Secret::read(file.path()).unwrap_err().to_string().contains("got 31 bytes"));
    }

    #[cfg(unix)]
    #[test]
    fn a_secret_that_every_user_reads_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [7; 32]).unwrap();
        for (mode, is_read) in
            [(0o600, true), (0o440, true), (0o400, true), (0o644, false), (0o604, false), (0o602, false)]
        {
            std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
            let read = Secret::read(file.path());
            assert_eq!(read.is_ok(), is_read, "{mode:o}");
            if let Err(error) = read {
                assert!(error.to_string().contains(&format!("got mode {mode:o}")), "{error}");
            }
        }
    }

    fn fields() -> impl Strategy<Value = Vec<Vec<u8>>> {
        proptest::collection::vec(proptest::collection::vec(0_u8..4, 0..4), 0..4)
    }

    proptest! {
        #[test]
        fn no_two_lists_of_fields_have_one_form(one in fields(), two in fields()) {
            let form = |fields: &[Vec<u8>]| message("x", &fields.iter().map(Vec::as_slice).collect::<Vec<_>>());
            prop_assert_eq!(one == two, form(&one) == form(&two));
        }

        #[test]
        fn a_signature_is_of_one_list_for_one_purpose(one in fields(), two in fields()) {
            let [a, b] = [&one, &two].map(|fields| fields.iter().map(Vec::as_slice).collect::<Vec<_>>());
            let signature = secret().sign("x", &a);
            prop_assert_eq!(secret().is_signed("x", &b, &signature), one == two);
            prop_assert!(!secret().is_signed("y", &a, &signature));
            prop_assert!(!Secret::new(&[8; 32]).unwrap().is_signed("x", &a, &signature));
            prop_assert!(!secret().is_signed("x", &a, &signature[..63]) && !secret().is_signed("x", &a, ""));
        }
    }
}
