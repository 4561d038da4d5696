//! The fleet's authority: it signs the certificates of the broker, the hub and the sites, by ECDSA with P-256.
//!
//! Every certificate begins in 1970: a Raspberry Pi has no battery-backed clock and may connect before its clock is set,
//! and neither the broker nor rustls takes a certificate that begins in the future. An end in the past of a wrong clock is
//! no such fault. So what limits a stolen key is its removal from the broker's users, which counts at once, and not a
//! short validity, which would take unattended sites off the fleet on the same day.

use std::net::IpAddr;

use jiff::civil::Date;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType, SerialNumber, date_time_ymd,
};

use super::{
    HubError,
    identity::{Holder, Identity, random_serial},
};

/// The validity of the authority, the broker and the hub: their keys lie in one directory, so an earlier end of the
/// latter two would protect nothing. In years.
pub(super) const HUB_YEARS: i16 = 20;

/// A site's, in years.
pub(super) const SITE_YEARS: i16 = 10;

/// The authority's name. It is the same in every fleet: what counts is the key.
const NAME: &str = "portscan fleet";

/// The authority, with its key.
pub(super) struct FleetAuthority(Issuer<'static, KeyPair>);

/// A certificate and its key, as PEM.
pub(super) struct Issued {
    pub(super) certificate: String,
    pub(super) key: String,
}

impl FleetAuthority {
    /// Makes a new one; returns it with its certificate.
    pub(super) fn generate(today: Date) -> Result<(Self, Issued), HubError> {
        let key = KeyPair::generate()?;
        let mut params = authority_params();
        set_validity(&mut params, today, HUB_YEARS);
        params.serial_number = Some(SerialNumber::from_slice(&random_serial()?));
        let certificate = params.self_signed(&key)?;
        let issued = issued(&certificate, &key);
        Ok((Self(Issuer::new(params, key)), issued))
    }

    /// The authority with this key (PEM). Of its certificate only the name goes into those that it signs, and that is
    /// constant.
    pub(super) fn with_key(key: &str) -> Result<Self, HubError> {
        Ok(Self(Issuer::new(authority_params(), KeyPair::from_pem(key)?)))
    }

    /// Makes a certificate by which a client is known to the broker.
    pub(super) fn issue_client(&self, identity: &Identity, today: Date) -> Result<Issued, HubError> {
        let years = match &identity.holder {
            Holder::Hub => HUB_YEARS,
            Holder::Site(_) | Holder::Worker(_) => SITE_YEARS,
        };
        let mut params =
            leaf_params(identity.holder.name(), ExtendedKeyUsagePurpose::ClientAuth, identity.serial);
        params.subject_alt_names = vec![SanType::DnsName(identity.to_string().try_into()?)];
        set_validity(&mut params, today, years);
        self.issue(&params)
    }

    /// Makes the broker's certificate for these names and addresses.
    pub(super) fn issue_broker(&self, names: &[String], today: Date) -> Result<Issued, HubError> {
        let mut params = leaf_params("broker", ExtendedKeyUsagePurpose::ServerAuth, random_serial()?);
        for name in names {
            params.subject_alt_names.push(match name.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(name.as_str().try_into()?),
            });
        }
        set_validity(&mut params, today, HUB_YEARS);
        self.issue(&params)
    }

    fn issue(&self, params: &CertificateParams) -> Result<Issued, HubError> {
        let key = KeyPair::generate()?;
        Ok(issued(&params.signed_by(&key, &self.0)?, &key))
    }
}

fn issued(certificate: &Certificate, key: &KeyPair) -> Issued {
    Issued { certificate: certificate.pem(), key: key.serialize_pem() }
}

fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(NAME);
    // It signs no other authority.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

/// The purpose keeps the broker's certificate from logging in, and a site's from passing for the broker.
fn leaf_params(name: &str, purpose: ExtendedKeyUsagePurpose, serial: [u8; 8]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(name);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![purpose];
    params.use_authority_key_identifier_extension = true;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params
}

fn named(name: &str) -> DistinguishedName {
    let mut named = DistinguishedName::new();
    named.push(DnType::CommonName, name);
    named
}

fn set_validity(params: &mut CertificateParams, today: Date, years: i16) {
    // The 28th stands for the end of a month: not every year has the 29th of February.
    let day = today.day().min(28).unsigned_abs();
    params.not_before = date_time_ymd(1970, 1, 1);
    params.not_after = date_time_ymd(i32::from(today.year() + years), today.month().unsigned_abs(), day);
}
