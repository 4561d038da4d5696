//! Which of this machine's networks can be searched for devices, and which of them the user chooses.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::SetupError;
use crate::{
    config::Discover,
    net::{LanCandidate, LanError},
    service::discovery::MOST_UNNAMED,
};

/// The shortest prefix that discovery takes: 65,536 addresses.
const SHORTEST_PREFIX: u8 = 16;

/// An interface, as it is offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Offer {
    pub(super) interface: String,
    nets: Vec<Ipv4Net>,
    /// What the file would say under `discover`; empty: it cannot be chosen.
    entries: Vec<String>,
    /// What speaks against it.
    remark: Option<String>,
}

impl Offer {
    pub(super) fn of(candidate: &LanCandidate) -> Self {
        let LanCandidate { interface, nets, obstacle, is_virtual } = candidate;
        // DHCP may give it an address later.
        let entries = if nets.is_empty() { vec![interface.clone()] } else { entries(interface, nets) };
        let remark = match obstacle {
            Some(LanError::NotEthernet(_)) => Some("no Ethernet: hosts there have no MAC".to_owned()),
            Some(LanError::Down(_)) => Some("down".to_owned()),
            Some(LanError::NoCarrier(_)) => Some("no carrier".to_owned()),
            Some(LanError::NoAddress(_)) => Some("no IPv4 address".to_owned()),
            Some(other) => Some(other.to_string()),
            None if entries.is_empty() => Some(unsuitable(nets).to_owned()),
            None if *is_virtual => Some("for containers or virtual machines".to_owned()),
            None => None,
        };
        let can_be_chosen = !matches!(obstacle, Some(LanError::NotEthernet(_)));
        let entries = if can_be_chosen { entries } else { Vec::new() };
        Self { interface: interface.clone(), nets: nets.clone(), entries, remark }
    }

    fn can_be_chosen(&self) -> bool {
        !self.entries.is_empty()
    }

    /// Whether it is chosen unless the user says otherwise.
    fn is_default(&self) -> bool {
        self.can_be_chosen() && self.remark.is_none()
    }

    /// `eth0  192.168.1.7/24  (down)`
    fn line(&self) -> String {
        let nets: Vec<String> = self.nets.iter().map(ToString::to_string).collect();
        let mut line = format!("{:<15} {:<18}", self.interface, nets.join(", "));
        if let Some(remark) = &self.remark {
            line += &format!(" ({remark})");
        }
        line.trim_end().to_owned()
    }
}

/// Returns what `discover` says to have the private subnets of an interface searched, and no others. A subnet that is
/// larger than those which an interface's name stands for is named itself; of one that is too large to be searched,
/// only the owner knows which part is in use.
fn entries(interface: &str, nets: &[Ipv4Net]) -> Vec<String> {
    let is_private = |net: &&Ipv4Net| net.addr().is_private() && net.prefix_len() < 32;
    let private: Vec<&Ipv4Net> = nets.iter().filter(is_private).collect();
    let is_small = |net: &&Ipv4Net| net.hosts().count() <= MOST_UNNAMED;
    if private.len() == nets.len() && !nets.is_empty() && private.iter().all(is_small) {
        return vec![interface.to_owned()];
    }
    let named = private.iter().filter(|net| net.prefix_len() >= SHORTEST_PREFIX);
    named.map(|net| format!("{interface} {}", net.trunc())).collect()
}

fn unsuitable(nets: &[Ipv4Net]) -> &'static str {
    let is_public = |address: Ipv4Addr| !address.is_private();
    match nets.iter().all(|net| is_public(net.addr())) {
        true => "not a private network",
        false => "more than 65,536 addresses: name the part in use",
    }
}

/// Lists the offers; those that can be chosen have numbers.
pub(super) fn list(offers: &[Offer]) -> String {
    let mut number = 0;
    let lines = offers.iter().map(|offer| {
        if !offer.can_be_chosen() {
            return format!("   - {}\n", offer.line());
        }
        number += 1;
        format!("{number:>4} {}\n", offer.line())
    });
    lines.collect()
}

/// Returns what `discover` says by default.
pub(super) fn defaults(offers: &[Offer]) -> Vec<String> {
    offers.iter().filter(|offer| offer.is_default()).flat_map(|offer| offer.entries.clone()).collect()
}

/// The default as it would be typed: `1, 3`.
pub(super) fn default_numbers(offers: &[Offer]) -> String {
    let choices = offers.iter().filter(|offer| offer.can_be_chosen()).enumerate();
    let numbers = choices.filter(|(_, offer)| offer.is_default()).map(|(index, _)| (index + 1).to_string());
    numbers.collect::<Vec<_>>().join(", ")
}

/// Reads an answer: numbers and names of interfaces, separated by commas or spaces.
pub(super) fn answered(answer: &str, offers: &[Offer]) -> Result<Vec<String>, SetupError> {
    let mut chosen = Vec::new();
    for word in answer.split([',', ' ']).filter(|word| !word.is_empty()) {
        let by_number = word.parse::<usize>().ok().and_then(|number| {
            offers.iter().filter(|offer| offer.can_be_chosen()).nth(number.checked_sub(1)?)
        });
        let name = by_number.map_or(word, |offer| &offer.interface);
        chosen.extend(named(name, offers)?);
    }
    chosen.dedup();
    Ok(chosen)
}

/// Reads `eth0`, or `eth0 10.0.0.0/16` for a part of a network.
pub(super) fn named(text: &str, offers: &[Offer]) -> Result<Vec<String>, SetupError> {
    let (name, net) = match text.trim().split_once(' ') {
        Some((name, net)) => (name, Some(net.trim())),
        None => (text.trim(), None),
    };
    let offer = offers.iter().find(|offer| offer.interface == name).ok_or_else(|| {
        let there = offers.iter().map(|offer| offer.interface.clone()).collect();
        SetupError::UnknownInterface { name: name.to_owned(), there }
    })?;
    if let Some(net) = net {
        let net = Discover::net(net).map_err(SetupError::Malformed)?;
        return Ok(vec![Discover { interface: name.to_owned(), net: Some(net) }.to_string()]);
    }
    match offer.can_be_chosen() {
        true => Ok(offer.entries.clone()),
        false => {
            Err(SetupError::Unusable { name: name.to_owned(), why: offer.remark.clone().unwrap_or_default() })
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::cli) fn candidate(
        interface: &str,
        nets: &[&str],
        obstacle: Option<LanError>,
    ) -> LanCandidate {
        let nets = nets.iter().map(|net| net.parse().unwrap()).collect();
        let is_virtual = interface.starts_with("docker");
        LanCandidate { interface: interface.to_owned(), nets, obstacle, is_virtual }
    }

    pub(in crate::cli) fn offers() -> Vec<Offer> {
        [
            candidate("eth0", &["192.168.1.7/24"], None),
            candidate("wlan0", &[], Some(LanError::Down("wlan0".to_owned()))),
            candidate("docker0", &["172.17.0.1/16"], None),
            candidate("wg0", &["10.8.0.2/24"], Some(LanError::NotEthernet("wg0".to_owned()))),
            candidate("eth1", &["203.0.113.4/24"], None),
            candidate("eth2", &["203.0.113.9/24", "10.0.0.9/22", "10.1.0.9/20"], None),
            candidate("eth3", &["10.9.0.9/8"], None),
            candidate("eth4", &["192.168.4.4/24"], Some(LanError::NoCarrier("eth4".to_owned()))),
        ]
        .iter()
        .map(Offer::of)
        .collect()
    }

    #[test]
    fn lists_every_interface_and_says_why_some_cannot_be_chosen() {
        insta::assert_snapshot!("setup_networks", list(&offers()));
        let expected = ["eth0", "eth2 10.0.0.0/22", "eth2 10.1.0.0/20"];
        assert_eq!(defaults(&offers()), expected);
        assert_eq!(default_numbers(&offers()), "1, 4");
    }

    #[test]
    fn takes_numbers_and_names() {
        for (answer, chosen) in [
            ("1", Ok(vec!["eth0"])),
            ("eth0", Ok(vec!["eth0"])),
            ("1, eth0", Ok(vec!["eth0"])),
            ("eth0 5", Ok(vec!["eth0", "eth4"])),
            ("2", Ok(vec!["wlan0"])),
            ("3", Ok(vec!["docker0 172.17.0.0/16"])),
            ("4", Ok(vec!["eth2 10.0.0.0/22", "eth2 10.1.0.0/20"])),
            ("eth7", Err("there is no interface eth7; there are eth0, wlan0")),
            ("9", Err("there is no interface 9")),
            ("0", Err("there is no interface 0")),
            ("eth1", Err("eth1 cannot be searched: not a private network")),
            ("wg0", Err("wg0 cannot be searched: no Ethernet")),
            ("eth3", Err("more than 65,536 addresses: name the part in use")),
        ] {
            match (answered(answer, &offers()), chosen) {
                (Ok(found), Ok(chosen)) => assert_eq!(found, chosen, "{answer}"),
                (Err(error), Err(why)) => assert!(error.to_string().contains(why), "{answer}: {error}"),
                (found, _) => panic!("{answer}: {found:?}"),
            }
        }
    }

    #[test]
    fn takes_a_part_of_a_network() {
        assert_eq!(named("eth3 10.9.1.7/24", &offers()).unwrap(), ["eth3 10.9.1.0/24"]);
        assert!(named("eth3 10.0.0.0/8", &offers()).unwrap_err().to_string().contains("65,536"));
    }
}
