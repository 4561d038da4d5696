//! Layer 1: which certificates the clients of TLS trust, and which they present, in one place.
//!
//! By default these are the authorities that the machine trusts, including those that its owner has added; a machine
//! without any gets Mozilla's. A file of authorities replaces them all, like curl's `--cacert`.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use hyper_rustls::ConfigBuilderExt;
use jiff::Timestamp;
use tokio_rustls::rustls::{
    ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use x509_cert::{
    certificate::{CertificateInner, Raw},
    der::Decode,
};

/// The longest file of authorities, in bytes: those of a distribution have some 200 KB.
const LONGEST: u64 = 1 << 20;

/// The settings of a client that presents a certificate.
#[derive(Clone, Debug)]
pub struct ClientCredentials {
    /// The settings. They trust the given authority alone.
    pub config: Arc<ClientConfig>,
    /// When the certificate ends.
    pub not_after: Timestamp,
}

/// Why a client's credentials cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", .file.display())]
pub struct CredentialsError {
    /// Which file is at fault.
    pub file: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// Makes the settings of a client; it reads the machine's authorities, or those of this file (PEM).
///
/// # Errors
/// As [`read_authorities`].
pub fn client_config(ca_file: Option<&Path>) -> io::Result<Arc<ClientConfig>> {
    let config = match ca_file {
        Some(file) => builder()?.with_root_certificates(read_authorities(file)?),
        None => match builder()?.with_native_roots() {
            Ok(config) => config,
            Err(_) => builder()?.with_webpki_roots(),
        },
    };
    Ok(Arc::new(config.with_no_client_auth()))
}

fn builder() -> io::Result<ConfigBuilder<ClientConfig, WantsVerifier>> {
    let versions = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    versions.with_safe_default_protocol_versions().map_err(io::Error::other)
}

/// Makes the settings of a client that trusts the authorities of one file and presents a certificate (all PEM).
///
/// # Errors
/// A file cannot be read, is longer than 1 MiB or damaged, or the key is not the certificate's.
pub fn client_credentials(
    ca_file: &Path,
    certificate_file: &Path,
    key_file: &Path,
) -> Result<ClientCredentials, CredentialsError> {
    let at = |file: &Path| {
        let file = file.to_owned();
        move |source| CredentialsError { file, source }
    };
    let authorities = read_authorities(ca_file).map_err(at(ca_file))?;
    let certificate = read_certificate(certificate_file).map_err(at(certificate_file))?;
    let not_after = end(&certificate).map_err(at(certificate_file))?;
    let key = read_key(key_file).map_err(at(key_file))?;
    let builder = builder().map_err(at(ca_file))?.with_root_certificates(authorities);
    let config = builder.with_client_auth_cert(vec![certificate], key);
    let config =
        config.map_err(|error| bad(format!("it is not the key of {}: {error}", certificate_file.display())));
    Ok(ClientCredentials { config: Arc::new(config.map_err(at(key_file))?), not_after })
}

fn read_certificate(file: &Path) -> io::Result<CertificateDer<'static>> {
    CertificateDer::from_pem_slice(&read(file)?).map_err(|error| {
        bad(format!("it holds no certificate in PEM (-----BEGIN CERTIFICATE-----): {error}"))
    })
}

fn read_key(file: &Path) -> io::Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_slice(&read(file)?)
        .map_err(|error| bad(format!("it holds no key in PEM (-----BEGIN PRIVATE KEY-----): {error}")))
}

/// The moment from which on a certificate is no longer valid.
fn end(certificate: &CertificateDer<'_>) -> io::Result<Timestamp> {
    let certificate = CertificateInner::<Raw>::from_der(certificate);
    let certificate = certificate.map_err(|error| bad(format!("it is damaged: {error}")))?;
    let end = certificate.tbs_certificate().validity().not_after.to_unix_duration().as_secs();
    let end = i64::try_from(end).ok().and_then(|end| Timestamp::from_second(end).ok());
    end.ok_or_else(|| bad("it has no valid end".to_owned()))
}

/// Reads the authorities of a file (PEM).
///
/// # Errors
/// Fails if the file cannot be read, is longer than 1 MiB, or holds no certificate or one that is damaged.
pub fn read_authorities(file: &Path) -> io::Result<RootCertStore> {
    let text = read(file)?;
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

fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(file)?.take(LONGEST + 1).read_to_end(&mut text)?;
    match text.len() as u64 > LONGEST {
        true => Err(bad(format!("it is longer than {LONGEST} bytes"))),
        false => Ok(text),
    }
}

fn bad(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
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

    #[test]
    fn the_file_at_fault_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| dir.path().join(name);
        let made = rcgen::generate_simple_self_signed(vec!["site".to_owned()]).unwrap();
        fs::write(file("crt"), made.cert.pem()).unwrap();
        fs::write(file("key"), made.signing_key.serialize_pem()).unwrap();
        fs::write(file("other"), rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
        fs::write(file("text"), "hello").unwrap();
        let read = |ca: &str, crt: &str, key: &str| client_credentials(&file(ca), &file(crt), &file(key));
        let read_well = read("crt", "crt", "key").unwrap();
        assert_eq!(read_well.not_after.to_string(), "4096-01-01T00:00:00Z");
        for (ca, crt, key, faulty) in [
            ("none", "crt", "key", "none"),
            ("crt", "text", "key", "text"),
            ("crt", "key", "key", "key"),
            ("crt", "crt", "crt", "crt"),
            ("crt", "crt", "none", "none"),
            ("crt", "crt", "other", "other"),
        ] {
            assert_eq!(read(ca, crt, key).unwrap_err().file, file(faulty), "{ca} {crt} {key}");
        }
    }
}
