//! X.509 certificates (RFC 5280): the fields that an owner needs, and the device that the subject names.

use std::net::{Ipv4Addr, Ipv6Addr};

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use x509_cert::{
    certificate::{CertificateInner, Raw},
    der::{self, Decode, asn1::ObjectIdentifier},
    ext::pkix::{SubjectAltName, name::GeneralName},
    name::Name,
    spki::SubjectPublicKeyInfoOwned,
};

use super::certificate_subject;
use crate::model::{Certificate, IdentifyMethod, PortIdentification, one_line};

/// The extension with the names that a certificate is for (RFC 5280 4.2.1.6).
const SUBJECT_ALT_NAME: &str = "2.5.29.17";

/// The names of a certificate that are kept.
const SANS_MAX: usize = 16;

/// The longest subject, issuer or name, in characters; a host's name has at most 253.
const NAME_MAX: usize = 253;

pub(super) fn identify(der: &[u8], time: Timestamp) -> Option<PortIdentification> {
    let certificate = read(der)?;
    let found = certificate_subject::parse(&certificate.subject);
    let found = found.or(certificate_subject::parse(&certificate.issuer));
    let said = format!("subject {}; issuer {}", certificate.subject, certificate.issuer);
    let found = found.at_port(None, IdentifyMethod::Tls, &said, time);
    Some(PortIdentification { tls: true, certificate: Some(certificate), ..found })
}

/// Does not check the rules that devices break (`Raw`): long, negative and absent serial numbers are common.
fn read(der: &[u8]) -> Option<Certificate> {
    let certificate = CertificateInner::<Raw>::from_der(der).ok()?;
    let signed = certificate.tbs_certificate();
    let (subject, issuer) = (name(signed.subject()), name(signed.issuer()));
    let end = signed.validity().not_after.to_unix_duration().as_secs();
    Some(Certificate {
        self_signed: signed.subject() == signed.issuer(),
        sans: sans(signed.extensions().map(Vec::as_slice).unwrap_or_default()),
        not_after: Timestamp::from_second(i64::try_from(end).ok()?).ok()?,
        key: key(signed.subject_public_key_info()),
        signature: signature(certificate.signature_algorithm().oid).to_owned(),
        fingerprint: Sha256::digest(der).iter().map(|byte| format!("{byte:02x}")).collect(),
        subject,
        issuer,
    })
}

fn name(name: &Name) -> String {
    one_line(&name.to_string(), NAME_MAX)
}

fn sans(extensions: &[x509_cert::ext::Extension]) -> Vec<String> {
    let wanted = ObjectIdentifier::new_unwrap(SUBJECT_ALT_NAME);
    let names = extensions
        .iter()
        .find(|extension| extension.extn_id == wanted)
        .and_then(|extension| SubjectAltName::from_der(extension.extn_value.as_bytes()).ok());
    let names = names.map(|names| names.0).unwrap_or_default();
    names.iter().filter_map(san).take(SANS_MAX).map(|name| one_line(&name, NAME_MAX)).collect()
}

fn san(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(name.to_string()),
        GeneralName::IpAddress(address) => {
            let bytes = address.as_bytes();
            let v4 = <[u8; 4]>::try_from(bytes).map(|bytes| Ipv4Addr::from(bytes).to_string());
            v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(|bytes| Ipv6Addr::from(bytes).to_string())).ok()
        }
        _ => None,
    }
}

/// The kind of a key and its size (RFC 3279 2.3, RFC 5480 2.1.1.1, RFC 8410 3).
fn key(key: &SubjectPublicKeyInfoOwned) -> String {
    let kind = key.algorithm.oid.to_string();
    match kind.as_str() {
        "1.2.840.113549.1.1.1" => {
            let bits = key.subject_public_key.as_bytes().and_then(modulus_bits);
            bits.map_or("RSA".to_owned(), |bits| format!("RSA {bits}"))
        }
        "1.2.840.10045.2.1" => {
            let curve = key
                .algorithm
                .parameters
                .as_ref()
                .and_then(|curve| curve.decode_as::<ObjectIdentifier>().ok());
            match curve.map(|curve| curve.to_string()).as_deref() {
                Some("1.2.840.10045.3.1.7") => "EC P-256".to_owned(),
                Some("1.3.132.0.34") => "EC P-384".to_owned(),
                Some("1.3.132.0.35") => "EC P-521".to_owned(),
                _ => "EC".to_owned(),
            }
        }
        "1.3.101.112" => "Ed25519".to_owned(),
        "1.3.101.113" => "Ed448".to_owned(),
        "1.2.840.10040.4.1" => "DSA".to_owned(),
        _ => String::new(),
    }
}

/// The bits of an RSA key's modulus: the first of two integers (RFC 8017 A.1.1).
fn modulus_bits(key: &[u8]) -> Option<u32> {
    let numbers = Vec::<der::asn1::Uint>::from_der(key).ok()?;
    let modulus = numbers.first()?.as_bytes();
    let top = modulus.first()?.leading_zeros();
    u32::try_from(modulus.len()).ok()?.checked_mul(8)?.checked_sub(top)
}

/// The algorithms of signatures (RFC 3279 2.2, RFC 4055 5, RFC 5758 3, RFC 8410 3).
fn signature(algorithm: ObjectIdentifier) -> &'static str {
    match algorithm.to_string().as_str() {
        "1.2.840.113549.1.1.4" => "MD5-RSA",
        "1.2.840.113549.1.1.5" => "SHA1-RSA",
        "1.2.840.113549.1.1.10" => "RSA-PSS",
        "1.2.840.113549.1.1.11" => "SHA256-RSA",
        "1.2.840.113549.1.1.12" => "SHA384-RSA",
        "1.2.840.113549.1.1.13" => "SHA512-RSA",
        "1.2.840.10045.4.1" => "ECDSA-SHA1",
        "1.2.840.10045.4.3.2" => "ECDSA-SHA256",
        "1.2.840.10045.4.3.3" => "ECDSA-SHA384",
        "1.2.840.10045.4.3.4" => "ECDSA-SHA512",
        "1.3.101.112" => "Ed25519",
        "1.3.101.113" => "Ed448",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A certificate that `openssl req -x509` wrote for these names.
    const EC: &[u8] = include_bytes!("../../tests/corpus/identify/certificate-ec.der");

    /// Signed by another key with SHA-1, and the serial number is negative, which RFC 5280 forbids.
    const RSA: &[u8] = include_bytes!("../../tests/corpus/identify/certificate-negative-serial.der");

    const ED25519: &[u8] = include_bytes!("../../tests/corpus/identify/certificate-ed25519.der");

    #[test]
    fn reads_what_openssl_says_of_a_self_signed_certificate() {
        let found = identify(EC, Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(found.device.maker.as_deref(), Some("Synology"));
        assert_eq!((found.service, found.tls), (None, true));
        let name = "CN=synology,O=Synology Inc.,L=Taipei,C=TW";
        assert_eq!(found.evidence.text, format!("subject {name}; issuer {name}"));
        let expected = Certificate {
            subject: name.to_owned(),
            sans: ["synology", "nas.lan", "192.0.2.7", "2001:db8::7"].map(str::to_owned).to_vec(),
            issuer: name.to_owned(),
            not_after: "2036-11-27T01:31:04Z".parse().unwrap(),
            self_signed: true,
            key: "EC P-256".to_owned(),
            signature: "ECDSA-SHA256".to_owned(),
            fingerprint: "6102023964b89a2f29fd1353c1e41e6018e22ef6c98cad2423b26dcd77aa9a9f".to_owned(),
        };
        assert_eq!(found.certificate, Some(expected));
    }

    #[test]
    fn reads_certificates_that_break_the_rules() {
        let certificate = read(RSA).unwrap();
        assert_eq!(certificate.subject, "CN=a\\+b,O=Shed\\, Inc.");
        assert_eq!((certificate.issuer.as_str(), certificate.self_signed), ("O=Shed CA", false));
        assert_eq!((certificate.key.as_str(), certificate.signature.as_str()), ("RSA 2048", "SHA1-RSA"));
        assert!(certificate.sans.is_empty());
    }

    #[test]
    fn names_ed25519() {
        let certificate = read(ED25519).unwrap();
        assert_eq!((certificate.key.as_str(), certificate.signature.as_str()), ("Ed25519", "Ed25519"));
    }

    #[test]
    fn other_bytes_are_no_certificate() {
        for der in [
            b"".as_slice(),
            b"\x30",
            b"\x30\x82\xff\xff",
            &EC[..EC.len() - 1],
            b"-----BEGIN CERTIFICATE-----",
        ] {
            assert!(identify(der, Timestamp::UNIX_EPOCH).is_none());
        }
    }
}
