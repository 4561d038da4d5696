//! Layer 2: the usual service of each port, and the commonest ports.
//!
//! Both tables are text in the binary, made by `make services`; README.md beside them says from what, and
//! what the ranking is worth. They are searched where they lie, by the places of their lines: a map would cost the
//! appliance half a megabyte of its memory, and to look for the lines each time a fifth of what /v1/hosts takes.

use std::sync::LazyLock;

use crate::{
    model::{PortSet, Protocol},
    udp,
};

/// Lines of `port TAB name`, by port.
const NAMES: &str = include_str!("names.tsv");

/// Where each line of [`NAMES`] begins: 24 kilobytes, from the first question on.
static LINES: LazyLock<Box<[u32]>> = LazyLock::new(|| {
    let after = |newline: usize| u32::try_from(newline + 1).ok();
    let after_each = NAMES.match_indices('\n').filter_map(|(at, _)| after(at));
    std::iter::once(0).chain(after_each).collect()
});

/// Lines of `port TAB basis`, the commonest first.
const RANKING: &str = include_str!("ranking.tsv");

/// How many ports [`commonest`] knows.
pub const RANKED: usize = 1000;

/// The name of what usually listens on a TCP port, in IANA's words: what is expected there, not what is there.
pub fn name(port: u16) -> Option<&'static str> {
    let line = |begin: u32| NAMES[begin as usize..].split('\n').next().and_then(entry);
    // Nothing follows the last newline, and that sorts behind every port.
    let is_before = |begin: &u32| line(*begin).is_some_and(|(found, _)| found < port);
    let begin = LINES.get(LINES.partition_point(is_before))?;
    line(*begin).filter(|(found, _)| *found == port).map(|(_, name)| name)
}

/// The name of what usually listens on a port of this protocol; by UDP, of the services that are scanned there.
pub fn usual(protocol: Protocol, port: u16) -> Option<&'static str> {
    match protocol {
        Protocol::Tcp => name(port),
        Protocol::Udp => udp::service(port).map(|service| service.name),
        Protocol::Ip | Protocol::Sctp => None,
    }
}

/// The TCP ports with this name; empty if there is none.
pub fn ports_of(name: &str) -> PortSet {
    NAMES.lines().filter_map(entry).filter(|(_, named)| *named == name).map(|(port, _)| port).collect()
}

/// The `count` commonest ports; all [`RANKED`] if `count` is more.
pub fn commonest(count: usize) -> PortSet {
    ranked().take(count).collect()
}

/// Every ranked port, the commonest first.
pub fn ranked() -> impl Iterator<Item = u16> {
    RANKING.lines().filter_map(entry).map(|(port, _)| port)
}

fn entry(line: &'static str) -> Option<(u16, &'static str)> {
    let (port, rest) = line.split_once('\t')?;
    Some((port.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_name_is_found_where_it_stands() {
        let mut last = 0;
        for line in NAMES.lines() {
            let (port, expected) = entry(line).unwrap();
            assert!(port > last, "ascending: {port} after {last}");
            assert_eq!(name(port), Some(expected));
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".+_-".contains(c);
            assert!(!expected.is_empty() && expected.chars().all(plain), "{expected}");
            last = port;
        }
        assert_eq!(NAMES.lines().count(), (0..=u16::MAX).filter(|&port| name(port).is_some()).count());
    }

    #[test]
    fn names_are_those_people_know() {
        for (port, expected) in [
            (22, "ssh"),
            (80, "http"),
            (443, "https"),
            (445, "microsoft-ds"),
            (631, "ipp"),
            (1883, "mqtt"),
            (6001, "x11"),
            (8123, "home-assistant"),
            (32400, "plex"),
        ] {
            assert_eq!(name(port), Some(expected), "{port}");
        }
        assert_eq!(name(0), None);
        assert_eq!(name(u16::MAX), None);
        assert_eq!(ports_of("https").to_string(), "443");
        assert!(ports_of("nothing-of-that-name").is_empty());
    }

    #[test]
    fn the_ranking_has_each_port_once() {
        let ports: Vec<u16> = ranked().collect();
        assert_eq!(ports.len(), RANKED);
        assert_eq!(ports.iter().collect::<HashSet<_>>().len(), RANKED);
        assert!(!ports.contains(&0));
        assert_eq!(commonest(usize::MAX).len(), 1000);
    }

    #[test]
    fn what_a_home_has_comes_first() {
        let hundred = commonest(100);
        for port in [
            22, 23, 53, 80, 443, 445, 139, 135, 21, 25, 110, 143, 993, 995, 3389, 5900, 8080, 8443, 8000,
            8888, 9100, 515, 631, 554, 1883, 8883, 8123, 32400, 5000, 5001, 3000, 9090, 6053, 8008, 7000,
            62078, 111, 2049, 548, 3306, 5432, 49152,
        ] {
            assert!(hundred.contains(port), "{port} is not among the first hundred");
        }
        let usual = commonest(RANKED);
        for port in [1400, 502, 1880, 8086, 9091, 6379, 27017, 51413, 6600, 8112, 3493, 10051, 55000] {
            assert!(usual.contains(port), "{port} is not among the thousand");
        }
    }
}
