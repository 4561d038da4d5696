//! Sets of ports, stored as ranges: 65,535 ports are one range.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A set of port numbers, printed and read in nmap's spelling: `22,80,8000-8100`.
///
/// An open range ends where the ports end: `-100` is 1-100, `60000-` is 60000-65535, `-` is 1-65535. Port 0
/// is only ever in a set that names it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PortSet {
    /// Ascending, first <= last, never touching.
    ranges: Vec<(u16, u16)>,
}

/// Why a text is not a [`PortSet`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortSetError {
    /// Not a number from 0 to 65535, nor a range.
    #[error("\"{0}\" is not a port from 0 to 65535 or a range; write them as 22,80,8000-8100")]
    Malformed(String),
    /// A range that ends before it starts.
    #[error("the port range \"{0}\" is backwards; write the smaller number first")]
    Backwards(String),
    /// It is empty.
    #[error("no ports are named; write them as 22,80,8000-8100, or - for all")]
    Empty,
}

impl PortSet {
    /// Every port but 0, which no service can listen on.
    pub fn all() -> Self {
        Self { ranges: vec![(1, u16::MAX)] }
    }

    /// The union of inclusive ranges in any order.
    pub fn from_ranges(ranges: impl IntoIterator<Item = (u16, u16)>) -> Self {
        let mut sorted: Vec<(u16, u16)> = ranges.into_iter().filter(|(first, last)| first <= last).collect();
        sorted.sort_unstable();
        let mut merged: Vec<(u16, u16)> = Vec::with_capacity(sorted.len());
        for (first, last) in sorted {
            match merged.last_mut() {
                Some((_, end)) if u32::from(first) <= u32::from(*end) + 1 => *end = last.max(*end),
                _ => merged.push((first, last)),
            }
        }
        Self { ranges: merged }
    }

    /// The inclusive ranges, ascending and never touching.
    pub fn ranges(&self) -> &[(u16, u16)] {
        &self.ranges
    }

    /// The number of ports, at most 65,536.
    pub fn len(&self) -> u32 {
        self.ranges.iter().map(|&(first, last)| u32::from(last - first) + 1).sum()
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Whether the port is in the set.
    pub fn contains(&self, port: u16) -> bool {
        self.ranges
            .binary_search_by(|&(first, last)| {
                if last < port {
                    std::cmp::Ordering::Less
                } else if first > port {
                    std::cmp::Ordering::Greater
                } else {
                    std::cmp::Ordering::Equal
                }
            })
            .is_ok()
    }

    /// The union of both sets.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self::from_ranges(self.ranges.iter().chain(&other.ranges).copied())
    }

    /// The intersection of both sets.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let mut ranges = Vec::new();
        for &(first, last) in &self.ranges {
            let before = other.ranges.partition_point(|&(_, end)| end < first);
            let meeting = other.ranges.iter().skip(before).take_while(|&&(start, _)| start <= last);
            ranges.extend(meeting.map(|&(start, end)| (first.max(start), last.min(end))));
        }
        Self { ranges }
    }

    /// These ports without those of the other set.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        let mut gaps = Vec::with_capacity(other.ranges.len() + 1);
        let mut next = 0;
        for &(first, last) in &other.ranges {
            gaps.extend(first.checked_sub(1).filter(|&end| next <= end).map(|end| (next, end)));
            let Some(after) = last.checked_add(1) else {
                return self.intersection(&Self { ranges: gaps });
            };
            next = after;
        }
        gaps.push((next, u16::MAX));
        self.intersection(&Self { ranges: gaps })
    }

    /// Whether the other set has all of these ports.
    pub fn is_subset(&self, other: &Self) -> bool {
        // A range of one set lies within one range of the other or not at all, because ranges never touch.
        self.ranges.iter().all(|&(first, last)| {
            let before = other.ranges.partition_point(|&(_, end)| end < first);
            other.ranges.get(before).is_some_and(|&(start, end)| start <= first && last <= end)
        })
    }

    /// The ports, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        self.ranges.iter().flat_map(|&(first, last)| first..=last)
    }

    /// The port with this index in ascending order, so that a permutation of indices is a permutation of ports.
    pub fn nth(&self, index: u32) -> Option<u16> {
        let mut left = index;
        for &(first, last) in &self.ranges {
            let size = u32::from(last - first) + 1;
            if left < size {
                return u16::try_from(u32::from(first) + left).ok();
            }
            left -= size;
        }
        None
    }
}

impl FromIterator<u16> for PortSet {
    fn from_iter<I: IntoIterator<Item = u16>>(ports: I) -> Self {
        Self::from_ranges(ports.into_iter().map(|port| (port, port)))
    }
}

impl fmt::Display for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, &(first, last)) in self.ranges.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            match first == last {
                true => write!(f, "{comma}{first}")?,
                false => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

impl FromStr for PortSet {
    type Err = PortSetError;

    fn from_str(text: &str) -> Result<Self, PortSetError> {
        let mut ranges = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let malformed = || PortSetError::Malformed(part.chars().take(40).collect());
            let number = |digits: &str, open: u16| match digits.trim() {
                "" => Ok(open),
                digits if digits.bytes().all(|b| b.is_ascii_digit()) => {
                    digits.parse().map_err(|_| malformed())
                }
                _ => Err(malformed()),
            };
            let (first, last) = match part.split_once('-') {
                Some((first, last)) => (number(first, 1)?, number(last, u16::MAX)?),
                None => number(part, 0).map(|port| (port, port))?,
            };
            if first > last {
                return Err(PortSetError::Backwards(part.chars().take(40).collect()));
            }
            ranges.push((first, last));
        }
        if ranges.is_empty() {
            return Err(PortSetError::Empty);
        }
        Ok(Self::from_ranges(ranges))
    }
}

impl TryFrom<String> for PortSet {
    type Error = PortSetError;

    fn try_from(text: String) -> Result<Self, PortSetError> {
        text.parse()
    }
}

impl From<PortSet> for String {
    fn from(ports: PortSet) -> Self {
        ports.to_string()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_nmaps_spellings() {
        for (text, canonical) in [
            ("80", "80"),
            ("22,80,8000-8100", "22,80,8000-8100"),
            ("-", "1-65535"),
            ("-100", "1-100"),
            ("60000-", "60000-65535"),
            (" 81, 80 ,79", "79-81"),
            ("0-65535", "0-65535"),
        ] {
            assert_eq!(text.parse::<PortSet>().unwrap().to_string(), canonical, "{text}");
        }
    }

    #[test]
    fn refuses_texts_that_are_not_port_sets() {
        for (text, fault) in [
            ("", "no ports"),
            (",", "no ports"),
            ("90-80", "backwards"),
            ("65536", "not a port"),
            ("1-2-3", "not a"),
            ("+5", "not a"),
        ] {
            let error = text.parse::<PortSet>().unwrap_err().to_string();
            assert!(error.contains(fault), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn is_a_set(ports in prop::collection::vec(any::<u16>(), 1..200), probe in any::<u16>()) {
            let naive: BTreeSet<u16> = ports.iter().copied().collect();
            let set: PortSet = ports.into_iter().collect();
            prop_assert_eq!(set.len() as usize, naive.len());
            prop_assert_eq!(set.contains(probe), naive.contains(&probe));
            prop_assert!(set.iter().eq(naive.iter().copied()));
            prop_assert!((0..set.len()).map(|index| set.nth(index).unwrap()).eq(naive.iter().copied()));
            prop_assert_eq!(set.nth(set.len()), None);
            prop_assert_eq!(set.to_string().parse::<PortSet>().unwrap(), set);
        }

        #[test]
        fn a_set_and_its_complement_make_up_all_ports(ports in prop::collection::vec(any::<u16>(), 0..40)) {
            let some: PortSet = ports.into_iter().chain([0, u16::MAX]).collect();
            let every = PortSet::from_ranges([(0, u16::MAX)]);
            let rest = every.minus(&some);
            prop_assert_eq!(rest.len() + some.len(), 65_536);
            prop_assert!(rest.intersection(&some).is_empty());
            prop_assert_eq!(every.minus(&rest), some);
        }

        #[test]
        fn sets_add_up_and_contain_each_other(
            one in prop::collection::btree_set(0..12_u16, 0..12),
            other in prop::collection::btree_set(0..12_u16, 0..12),
        ) {
            let (a, b): (PortSet, PortSet) = (one.iter().copied().collect(), other.iter().copied().collect());
            prop_assert_eq!(a.union(&b), one.union(&other).copied().collect::<PortSet>());
            prop_assert_eq!(a.is_subset(&b), one.is_subset(&other));
            prop_assert!(a.is_subset(&a.union(&b)));
            prop_assert_eq!(a.intersection(&b), one.intersection(&other).copied().collect::<PortSet>());
            prop_assert_eq!(a.minus(&b), one.difference(&other).copied().collect::<PortSet>());
        }
    }
}
