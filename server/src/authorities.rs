//! Certificates of authorities, from files.

use std::path::Path;

use dreamframe::{Error, ErrorKind, Result};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// Adds the certificates of a file in PEM form, which `setting` names, to `roots`.
///
/// # Errors
///
/// `InvalidArgument` for a file that cannot be read, or that has no certificate.
pub(crate) fn add(setting: &str, path: &Path, roots: &mut RootCertStore) -> Result<()> {
    let wrong = |text: String| Error::new(ErrorKind::InvalidArgument, format!("{setting}: {}: {text}", path.display()));
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))?;
    let before = roots.len();
    for certificate in certificates {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    if roots.len() == before {
        return Err(wrong("got no certificate, expected one or more in PEM form".to_owned()));
    }
    Ok(())
}
