//! Layer 2: what people should know of an open port, and whether it is all right.
//!
//! `ports.txt` beside this file has all texts, for people to edit; its first lines explain how. This module selects
//! among them and does no I/O. The file stays text in the binary. What is kept of it in memory, from the first question
//! on, are the places of its fields, some 40 KB; the texts themselves are read where they lie.
//!
//! # What advice rests on
//! A number says only what *usually* listens there. So, by the number alone, the level is at most `look`, except for
//! the ports with an `always`, which says why they are dangerous whatever listens. The maker of the device's network
//! interface and the names that the device has on the network make another use *probable*. These are claims that any
//! device can make, so a name never lowers the level. There is no score, no guess at vulnerabilities, and no password
//! is tried.
//!
//! Other evidence becomes another field of [`PortFacts`] and another hint in the file: what a greeting identifies, a
//! certificate, the type of the device. What was identified is certain, and becomes another [`Certainty`].

mod file;

use std::fmt;

pub use file::{AdviceText, PortUse};

use crate::model::{AdviceLevel, Protocol};

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
}

/// What to say of an open port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advice {
    /// How much it matters.
    pub level: AdviceLevel,
    /// What listens there, and how certain that is.
    pub what: What,
    /// What can go wrong, or why nothing does: the reason of the level, in whole sentences.
    pub why: AdviceText,
    /// How to close or to secure it, in whole sentences.
    pub remedy: AdviceText,
}

/// What listens on a port, as `usually AirPlay`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct What {
    /// How certain it is.
    pub certainty: Certainty,
    /// What people call it.
    pub name: AdviceText,
}

/// How certain it is what listens on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certainty {
    /// By the port's number alone.
    Usual,
    /// The number fits the device's maker or name.
    Probable,
}

impl Certainty {
    /// The word before the name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Usual => "usually",
            Self::Probable => "probably",
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.certainty.as_str(), self.name)
    }
}

/// Returns the advice for an open port; `None` if nothing is known about the port.
pub fn advise(evidence: &PortFacts<'_>) -> Option<Advice> {
    let uses = || file::uses_of(evidence.protocol, evidence.port);
    let probable = uses().find(|known| fits(known, evidence)).map(|known| (Certainty::Probable, known));
    let usual = || Some((Certainty::Usual, uses().find(|known| known.is_general())?));
    let (certainty, known) = probable.or_else(usual)?;
    Some(Advice {
        level: known.level,
        what: What { certainty, name: known.name },
        why: known.why,
        remedy: known.remedy,
    })
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
    let begins = |text: &str, hint: &str| {
        text.get(..hint.len()).is_some_and(|beginning| beginning.eq_ignore_ascii_case(hint))
    };
    known.vendors().any(|hint| evidence.vendor.is_some_and(|vendor| begins(vendor, hint)))
        || known.host_names().any(|hint| evidence.host_names.iter().any(|name| begins(name, hint)))
}

#[cfg(test)]
mod tests;
