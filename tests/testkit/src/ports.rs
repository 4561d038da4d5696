//! Ports of simulated hosts.

use std::{fmt, str::FromStr};

use serde::Deserialize;

/// The state that a scan must report for a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortState {
    Open,
    Closed,
    Filtered,
}

impl PortState {
    /// In nmap's words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
            Self::Filtered => "filtered",
        }
    }
}

const WORDS: usize = 65_536 / 64;

/// A set of ports, read and printed in nmap's spelling: `22,80,8000-8010`.
///
/// One bit for each port: the engine's properties clone sets of all ports a million times, and ask each for single
/// ports.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Ports(Box<[u64; WORDS]>);

impl Ports {
    /// Every port but 0, which no service can listen on.
    pub fn all() -> Self {
        (1..=u16::MAX).collect()
    }

    pub fn contains(&self, port: u16) -> bool {
        self.0[usize::from(port / 64)] >> (port % 64) & 1 == 1
    }

    pub fn insert(&mut self, port: u16) {
        self.0[usize::from(port / 64)] |= 1 << (port % 64);
    }

    pub fn remove(&mut self, port: u16) {
        self.0[usize::from(port / 64)] &= !(1 << (port % 64));
    }

    /// Ascending.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        let words = (0..=u16::MAX).step_by(64).zip(self.0.iter()).filter(|&(_, &word)| word != 0);
        words.flat_map(|(first, &word)| {
            (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| first + bit)
        })
    }

    /// At most 65,536.
    pub fn len(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    /// Whether the other set has all of these ports.
    pub fn is_subset(&self, other: &Self) -> bool {
        self.0.iter().zip(other.0.iter()).all(|(word, others)| word & !others == 0)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Default for Ports {
    fn default() -> Self {
        Self(Box::new([0; WORDS]))
    }
}

impl FromIterator<u16> for Ports {
    fn from_iter<I: IntoIterator<Item = u16>>(ports: I) -> Self {
        let mut set = Self::default();
        ports.into_iter().for_each(|port| set.insert(port));
        set
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        let mut ports = self.iter().peekable();
        while let Some(first) = ports.next() {
            let mut last = first;
            while let Some(next) = ports.next_if(|&next| next == last + 1) {
                last = next;
            }
            if first == last {
                write!(f, "{comma}{first}")?;
            } else {
                write!(f, "{comma}{first}-{last}")?;
            }
            comma = ",";
        }
        Ok(())
    }
}

impl fmt::Debug for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Ports {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut set = Self::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number =
                |text: &str| text.parse::<u16>().map_err(|error| format!("port \"{part}\": {error}"));
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return Err(format!("the ports \"{part}\" are backwards"));
            }
            (first..=last).for_each(|port| set.insert(port));
        }
        Ok(set)
    }
}

impl TryFrom<String> for Ports {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_printed_as_they_are_read() {
        for text in ["", "0", "22,80,8000-8010", "63-65", "1-65535", "0-65535", "65534-65535"] {
            assert_eq!(text.parse::<Ports>().unwrap().to_string(), text);
        }
        assert_eq!("80,22,23,79-81,".parse::<Ports>().unwrap().to_string(), "22-23,79-81");
        assert_eq!(Ports::all().to_string(), "1-65535");
        assert_eq!((Ports::all().len(), Ports::default().len()), (65_535, 0));
    }

    #[test]
    fn what_is_no_set_of_ports_is_refused() {
        for wrong in ["x", "65536", "-1", "3-2", "1-", "22 80"] {
            assert!(wrong.parse::<Ports>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_port_is_in_the_set_until_it_is_removed() {
        let mut ports: Ports = [63, 64].into_iter().collect();
        assert!(ports.contains(63) && ports.contains(64) && !ports.contains(62) && !ports.contains(65));
        assert!(ports.is_subset(&Ports::all()) && !Ports::all().is_subset(&ports));
        ports.remove(64);
        assert_eq!(ports.iter().collect::<Vec<_>>(), [63]);
    }
}
