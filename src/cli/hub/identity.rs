//! The name by which the broker knows a certificate.
//!
//! Each certificate has its own, as its only DNS name, and the broker has a user of that name: so a certificate is revoked
//! by removing the user, without a list of revoked certificates, and a site can have two while one replaces the other.
//! The broker looks for e-mail addresses first, then for DNS names, then for the subject; the last differs between
//! versions in the order of its parts. Nothing ever looks the name up.

use std::fmt;

use crate::fleet::{SiteName, WorkerName};

/// The end of every identity: no registered domain, and no name of a host.
const SUFFIX: &str = ".portscan";

/// A certificate's identity: a random number, which is its serial number, too, and its holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// The certificate's serial number.
    pub(super) serial: [u8; 8],
    /// What presents it.
    pub(super) holder: Holder,
}

/// What presents a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// The hub.
    Hub,
    /// A site.
    Site(SiteName),
    /// A worker.
    Worker(WorkerName),
}

impl Holder {
    /// What a person calls it; the hub has no name.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Hub => "hub",
            Self::Site(site) => site.as_str(),
            Self::Worker(worker) => worker.as_str(),
        }
    }
}

impl Identity {
    /// A new one.
    ///
    /// # Errors
    /// The machine gives no random numbers.
    pub(super) fn generate(holder: Holder) -> Result<Self, getrandom::Error> {
        Ok(Self { serial: random_serial()?, holder })
    }

    /// Parses what [`fmt::Display`] has written.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (serial, holder) = text.strip_suffix(SUFFIX)?.split_once('.')?;
        let holder = match holder {
            "hub" => Holder::Hub,
            member => match member.rsplit_once('.')? {
                (site, "site") => Holder::Site(site.parse().ok()?),
                (worker, "worker") => Holder::Worker(worker.parse().ok()?),
                _ => return None,
            },
        };
        let is_hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        if serial.len() != 16 || !serial.chars().all(is_hex) {
            return None;
        }
        Some(Self { serial: u64::from_str_radix(serial, 16).ok()?.to_be_bytes(), holder })
    }

    /// The serial number as `openssl x509 -serial` shows it, in lower case.
    pub(super) fn serial_text(&self) -> String {
        format!("{:016x}", u64::from_be_bytes(self.serial))
    }
}

/// A serial number: positive, as RFC 5280 4.1.2.2 wants it, and always of 16 hexadecimal digits.
pub(super) fn random_serial() -> Result<[u8; 8], getrandom::Error> {
    let mut serial = [0; 8];
    getrandom::fill(&mut serial)?;
    serial[0] = serial[0] & 0x3f | 0x40;
    Ok(serial)
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.holder {
            Holder::Hub => write!(f, "{}.hub{SUFFIX}", self.serial_text()),
            Holder::Site(site) => write!(f, "{}.{site}.site{SUFFIX}", self.serial_text()),
            Holder::Worker(worker) => write!(f, "{}.{worker}.worker{SUFFIX}", self.serial_text()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_read_as_it_was_written() {
        for holder in [
            Holder::Hub,
            Holder::Site("hub".parse().unwrap()),
            Holder::Site("worker".parse().unwrap()),
            Holder::Worker("house-3".parse().unwrap()),
        ] {
            let identity = Identity::generate(holder).unwrap();
            assert_eq!(Identity::parse(&identity.to_string()), Some(identity));
        }
        for text in [
            "0123456789abcdef.house-3.site",
            "0123456789abcdef.House.site.portscan",
            "0123456789ABCDEF.house-3.site.portscan",
            "+123456789abcdef.house-3.site.portscan",
            "0123456789abcde.house-3.site.portscan",
            "0123456789abcdef.house-3.portscan",
            "0123456789abcdef.a.b.site.portscan",
            "",
        ] {
            assert_eq!(Identity::parse(text), None, "{text}");
        }
    }
}
