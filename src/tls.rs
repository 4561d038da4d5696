//! Layer 1: which certificates the clients of TLS trust, for every channel in one place.
//!
//! By default these are the authorities that the machine trusts, including those that its owner has added; a machine
//! without any gets Mozilla's. A file of authorities replaces them all, like curl's `--cacert`.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
    sync::Arc,
};

use hyper_rustls::ConfigBuilderExt;
use tokio_rustls::rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};

/// The longest file of authorities, in bytes: those of a distribution have some 200 KB.
const LONGEST: u64 = 1 << 20;

/// Makes the settings of a client; it reads the machine's authorities, or those of this file (PEM).
///
/// # Errors
/// As [`read_authorities`].
pub fn client_config(ca_file: Option<&Path>) -> io::Result<Arc<ClientConfig>> {
    let builder = || {
        let versions = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        versions.with_safe_default_protocol_versions().map_err(io::Error::other)
    };
    let config = match ca_file {
        Some(file) => builder()?.with_root_certificates(read_authorities(file)?),
        None => match builder()?.with_native_roots() {
            Ok(config) => config,
            Err(_) => builder()?.with_webpki_roots(),
        },
    };
    Ok(Arc::new(config.with_no_client_auth()))
}

/// Reads the authorities of a file (PEM).
///
/// # Errors
/// Fails if the file cannot be read, is longer than 1 MiB, or holds no certificate or one that is damaged.
pub fn read_authorities(file: &Path) -> io::Result<RootCertStore> {
    let bad = |text: String| io::Error::new(io::ErrorKind::InvalidData, text);
    let mut text = Vec::new();
    File::open(file)?.take(LONGEST + 1).read_to_end(&mut text)?;
    if text.len() as u64 > LONGEST {
        return Err(bad(format!("it is longer than {LONGEST} bytes")));
    }
    let mut authorities = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| bad(format!("it is damaged: {error}")))?;
        authorities
            .add(certificate)
            .map_err(|error| bad(format!("it holds no usable certificate: {error}")))?;
    }
    match authorities.is_empty() {
        true => Err(bad("it holds no certificate in PEM (-----BEGIN CERTIFICATE-----)".to_owned())),
        false => Ok(authorities),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_without_a_certificate_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ca.pem");
        for text in ["", "hello", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            fs::write(&file, text).unwrap();
            assert_eq!(read_authorities(&file).unwrap_err().kind(), io::ErrorKind::InvalidData, "{text}");
        }
        assert!(client_config(Some(&dir.path().join("none"))).is_err());
        assert!(client_config(None).is_ok());
    }
}
