//! Layer 2: what people should know of an open port, and whether it is all right.
//!
//! `ports.txt` beside this file has all texts, for people to edit; its first lines explain how. This module selects
//! among them and does no I/O. The file stays text in the binary. From the first lookup on, the positions of its
//! fields are kept in memory, some 40 KB; the texts themselves are read in place.
//!
//! # What advice rests on
//! A number says only what *usually* listens there. So, by the number alone, the level is at most `look`, except for
//! the ports with an `always`, which says why they are dangerous whatever listens. The maker of the device's network
//! interface and the names that the device has on the network make another use *probable*. These are claims that any
//! device can make, so a name never lowers the level. There is no score, no guess at vulnerabilities, and no password
//! is tried.
//!
//! An identification is *certain* if the service has spoken its protocol: its name then replaces the usual one, and
//! `identified.txt` has the advice on it. An announcement is only probable, because any device can forge another's,
//! and it never lowers the level. The version is shown but never judged: distributions fix faults without changing
//! it. An expired certificate raises the level of any service.

mod file;
mod identified;

use std::{fmt, time::Duration};

pub use file::{AdviceText, PortUse};
use jiff::Timestamp;

use crate::model::{AdviceLevel, Certificate, PortIdentification, Protocol, strip_prefix_ignoring_case};

/// What is known of an open port and its device.
#[derive(Clone, Copy, Debug)]
pub struct PortFacts<'a> {
    /// The port's protocol.
    pub protocol: Protocol,
    /// 0 to 65535.
    pub port: u16,
    /// The maker of the device's network interface, as [`crate::vendor::vendor`] spells it.
    pub vendor: Option<&'a str>,
    /// The names that the device has on the network, by multicast DNS or a name server. Names that its owner chose
    /// do not belong here: they say nothing about what the device is.
    pub host_names: &'a [String],
    /// What the service has said of itself.
    pub found: Option<&'a PortIdentification>,
    /// The time by which a certificate has expired.
    pub now: Timestamp,
}

/// The advice on an open port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    /// How much it matters.
    pub level: AdviceLevel,
    /// What listens there, and how certain that is.
    pub what: What,
    /// What can go wrong, or why nothing does: the reason of the level, in whole sentences.
    pub why: String,
    /// How to close or to secure it, in whole sentences.
    pub remedy: AdviceText,
}

/// What listens on a port, as `usually AirPlay` or `is OpenSSH 9.2p1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct What {
    /// How certain it is.
    pub certainty: Certainty,
    /// What people call it, or what it calls itself: a stranger's words, on one line.
    pub name: String,
}

/// How certain it is what listens on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certainty {
    /// By the port's number alone.
    Usual,
    /// The number fits the device's maker or name, or the device announces it.
    Probable,
    /// The service has said so itself.
    Identified,
}

impl Certainty {
    /// The word before the name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Usual => "usually",
            Self::Probable => "probably",
            Self::Identified => "is",
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.certainty.as_str(), self.name)
    }
}

/// How long before its end a certificate needs renewal: three weeks, which leave the owner enough time.
/// Those that renew themselves do so earlier, Let's Encrypt's 30 days before.
const RENEWAL: Duration = Duration::from_secs(21 * 24 * 3600);

/// Returns the advice for an open port; `None` if nothing is known about the port.
pub fn advise(evidence: &PortFacts<'_>) -> Option<Advice> {
    let by_number = by_number(evidence);
    let advice = match evidence.found.and_then(|found| by_service(found, by_number.as_ref())) {
        Some(identified) => identified,
        None => by_number?,
    };
    let certificate = evidence.found.and_then(|found| found.certificate.as_ref());
    Some(
        certificate
            .and_then(|certificate| of_certificate(&advice, certificate, evidence.now))
            .unwrap_or(advice),
    )
}

/// Returns the advice by the port's number, the device's maker and its names.
fn by_number(evidence: &PortFacts<'_>) -> Option<Advice> {
    let uses = || file::uses_of(evidence.protocol, evidence.port);
    let probable = uses().find(|known| fits(known, evidence)).map(|known| (Certainty::Probable, known));
    let usual = || Some((Certainty::Usual, uses().find(|known| known.is_general())?));
    let (certainty, known) = probable.or_else(usual)?;
    Some(Advice {
        level: known.level,
        what: What { certainty, name: known.name.to_string() },
        why: known.why.to_string(),
        remedy: known.remedy,
    })
}

/// Returns the advice by the identification. If the maker or the names make a use of the same web page probable, the
/// remedy is that of this use, and its level counts if it is worse.
fn by_service(found: &PortIdentification, by_number: Option<&Advice>) -> Option<Advice> {
    let is_certain = found.evidence.method.is_proof();
    let (said, called) = match identified::of_service(found) {
        Some(said) => (said, said.name.to_string()),
        // Many announcements are of services that no number is usual for; where one is, its paragraph says more.
        None if !is_certain && by_number.is_some() => return None,
        None => (identified::named("*")?, found.service.clone()?),
    };
    let certainty = if is_certain { Certainty::Identified } else { Certainty::Probable };
    let name = name_of(found).unwrap_or(called);
    let what = What { certainty, name };
    let probable = by_number.filter(|known| known.what.certainty == Certainty::Probable);
    let is_page = found.service.as_deref().is_some_and(|service| service.starts_with("http"));
    match probable.filter(|known| is_page && known.level >= said.level) {
        Some(known) => Some(Advice { what, ..known.clone() }),
        None => {
            // A claim alone makes nothing look milder.
            let least = by_number.filter(|_| !is_certain).map_or(said.level, |known| known.level);
            Some(Advice {
                level: said.level.max(least),
                what,
                why: said.why.to_string(),
                remedy: said.remedy,
            })
        }
    }
}

/// `OpenSSH 9.2p1`
fn name_of(found: &PortIdentification) -> Option<String> {
    let product = found.product.as_ref()?;
    Some(match &found.version {
        Some(version) => format!("{product} {version}"),
        None => product.clone(),
    })
}

/// Returns what a certificate that has expired, or expires soon, adds to the advice.
fn of_certificate(advice: &Advice, certificate: &Certificate, now: Timestamp) -> Option<Advice> {
    let (rule, verb) = match certificate.not_after {
        end if end < now => ("expired", "expired"),
        end if end < now.checked_add(RENEWAL).ok()? => ("expires", "expires"),
        _ => return None,
    };
    let said = identified::named(rule)?;
    if advice.level > said.level {
        return None;
    }
    let day = certificate.not_after.strftime("%Y-%m-%d");
    let why = format!("Its certificate {verb} on {day}. {}", said.why);
    Some(Advice { level: said.level, what: advice.what.clone(), why, remedy: said.remedy })
}

/// Returns everything that is known of a port: the general use first, then those on devices of certain kinds.
pub fn uses(protocol: Protocol, port: u16) -> impl Iterator<Item = &'static PortUse> {
    let all = |is_general| {
        file::uses_of(protocol, port).filter(move |known: &&PortUse| known.is_general() == is_general)
    };
    all(true).chain(all(false))
}

/// Whether the device's maker or one of its names hints at this use.
fn fits(known: &PortUse, evidence: &PortFacts<'_>) -> bool {
    let begins = |text: &str, hint: &str| strip_prefix_ignoring_case(text, hint).is_some();
    known.vendors().any(|hint| evidence.vendor.is_some_and(|vendor| begins(vendor, hint)))
        || known.host_names().any(|hint| evidence.host_names.iter().any(|name| begins(name, hint)))
}

#[cfg(test)]
mod tests;
