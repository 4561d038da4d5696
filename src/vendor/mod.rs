//! Layer 2: the makers of network interfaces, by the IEEE's registry.
//!
//! The table is packed, and read in place in the binary: unused parts cost no memory, and a look-up costs
//! a few pages that the kernel may drop again. `make vendors` makes it; README.md beside it says from
//! what, and how it is packed. Plain text would be four times as large, a compressed block would have to be
//! unpacked into the process's memory for each look-up.

use std::iter;

use crate::model::Mac;

const TABLE: &[u8] = include_bytes!("vendors.bin");

/// Codes that represent pairs of codes: all except 0 and printable ASCII.
const PAIRS: usize = 31 + 129;

/// Shared names from one mark of their index to the next, and entries of a registry from one to the next.
const NAMES: usize = 16;
const ENTRIES: usize = 64;

/// The prefixes' lengths in bits: MA-L, MA-M, MA-S, in the order in which they are packed.
const LENGTHS: [u32; 3] = [24, 28, 36];

/// Returns the firm that made the interface with this MAC, by the IEEE's registry, in at most 32 printable ASCII
/// characters; `None` if the prefix is not registered. One that was made up by software
/// ([`Mac::is_locally_administered`]) has no maker, whatever it looks like.
pub fn vendor(mac: Mac) -> Option<String> {
    if mac.is_locally_administered() || !mac.is_unicast() {
        return None;
    }
    let number = mac.octets().iter().fold(0, |number, octet| number << 8 | u64::from(*octet));
    let (names, registries) = parts();
    // The longest first: the shorter of two is the block that was subdivided.
    let found = iter::zip(LENGTHS, registries).rev().find_map(|(bits, registry)| {
        let prefix = number >> (48 - bits);
        registry.from(prefix).take_while(|entry| entry.prefix <= prefix).find(|entry| entry.prefix == prefix)
    });
    found.map(|entry| spelled(entry.name.codes(&names)))
}

/// Consecutive rows, with an index of the start of every n-th.
#[derive(Clone, Copy)]
struct Marked {
    /// For each mark its row's key (`KEY` octets in a registry, none in the list of names) and its offset.
    index: &'static [u8],
    /// Octets of a mark.
    width: usize,
    rows: &'static [u8],
}

/// Octets of a prefix in a registry's index.
const KEY: usize = 5;

/// Octets of an offset, and of a length.
const PLACE: usize = 3;

/// The names that several entries share, and the registries.
fn parts() -> (Marked, [Marked; 3]) {
    let mut rest = &TABLE[2 * PAIRS..];
    let names = Marked::take(&mut rest, 0);
    let registries = LENGTHS.map(|_| Marked::take(&mut rest, KEY));
    (names, registries)
}

impl Marked {
    /// Reads the next part of the table.
    fn take(table: &mut &'static [u8], key: usize) -> Self {
        let width = key + PLACE;
        let (marks, rest) = table.split_at(PLACE);
        let (index, rest) = rest.split_at(place(marks) * width);
        let (length, rest) = rest.split_at(PLACE);
        let (rows, rest) = rest.split_at(place(length));
        *table = rest;
        Self { index, width, rows }
    }

    fn mark(&self, at: usize) -> &'static [u8] {
        &self.index[at * self.width..][..self.width]
    }

    /// Returns the rows from a mark on.
    fn rows_from(&self, mark: usize) -> &'static [u8] {
        &self.rows[place(&self.mark(mark)[self.width - PLACE..])..]
    }

    /// A registry's entries from the last mark at or before this prefix up to the next mark.
    fn from(self, prefix: u64) -> impl Iterator<Item = Entry> {
        let key = |mark: usize| number(&self.mark(mark)[..KEY]);
        let (mut low, mut high) = (0, self.index.len() / self.width);
        while low < high {
            let middle = low + (high - low) / 2;
            if key(middle) <= prefix { low = middle + 1 } else { high = middle }
        }
        let mark = low.checked_sub(1);
        let mut rows = mark.map_or(&[][..], |mark| self.rows_from(mark));
        let mut last = mark.map_or(0, key);
        let next = move || {
            let entry = (!rows.is_empty()).then(|| Entry::take(&mut rows, last))?;
            last = entry.prefix;
            Some(entry)
        };
        iter::from_fn(next).take(ENTRIES)
    }
}

/// A prefix and its holder.
struct Entry {
    prefix: u64,
    name: Name,
}

enum Name {
    /// Its codes.
    Here(&'static [u8]),
    /// Its number among the names that are shared.
    Shared(usize),
}

impl Entry {
    /// Reads the next row; its prefix is stored as the distance from the last one.
    fn take(rows: &mut &'static [u8], last: u64) -> Self {
        let prefix = last + varint(rows);
        let name = match varint(rows).checked_sub(1) {
            Some(shared) => Name::Shared(usize::try_from(shared).unwrap_or(usize::MAX)),
            None => Name::Here(text(rows)),
        };
        Self { prefix, name }
    }
}

impl Name {
    fn codes(&self, names: &Marked) -> &'static [u8] {
        match *self {
            Self::Here(codes) => codes,
            Self::Shared(number) => {
                let mut rows = names.rows_from(number / NAMES);
                for _before in 0..number % NAMES {
                    text(&mut rows);
                }
                text(&mut rows)
            }
        }
    }
}

/// Reads an integer, the lowest octet first. A prefix has up to 36 bits, more than a `usize` of a 32-bit system.
fn number(octets: &[u8]) -> u64 {
    octets.iter().rev().fold(0, |number, octet| number << 8 | u64::from(*octet))
}

/// Reads an offset or a length.
fn place(octets: &[u8]) -> usize {
    usize::try_from(number(octets)).unwrap_or(usize::MAX)
}

/// Reads a number of variable length: seven bits in each octet, the lowest first; the eighth bit says that more follow.
fn varint(rows: &mut &'static [u8]) -> u64 {
    let more = rows.iter().take_while(|octet| **octet & 0x80 != 0).count();
    let (octets, rest) = rows.split_at(more + 1);
    *rows = rest;
    octets.iter().rev().fold(0, |number, octet| number << 7 | u64::from(octet & 0x7f))
}

/// The codes up to the next 0.
fn text(rows: &mut &'static [u8]) -> &'static [u8] {
    let end = rows.iter().position(|code| *code == 0).unwrap_or(rows.len());
    let (codes, rest) = rows.split_at(end);
    *rows = rest.get(1..).unwrap_or_default();
    codes
}

/// Expands codes. A pair consists of lower codes, so the expansion ends.
fn spelled(codes: &[u8]) -> String {
    let mut name = String::new();
    let mut waiting: Vec<u8> = codes.iter().rev().copied().collect();
    while let Some(code) = waiting.pop() {
        let pair = match code {
            0x20..0x7f => {
                name.push(char::from(code));
                continue;
            }
            0x7f.. => usize::from(code) - 0x7f + 31,
            _ => usize::from(code) - 1,
        };
        waiting.extend([TABLE[2 * pair + 1], TABLE[2 * pair]]);
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(mac: &str) -> Option<String> {
        vendor(mac.parse().unwrap())
    }

    #[test]
    fn knows_firms_of_every_registry() {
        for (mac, name) in [
            ("B8:27:EB:AC:14:3E", "Raspberry Pi Foundation"),
            ("D8:3A:DD:00:00:01", "Raspberry Pi Trading"),
            ("00:00:00:00:00:01", "Xerox"),
            // 28 bits: the block C8:5C:E2 is the registry's own.
            ("C8:5C:E2:7A:BC:DE", "Synergy Systems and Solutions"),
            // 36 bits, and as they were called before.
            ("8C:1F:64:AF:A0:01", "DATA Electronic Devices"),
            ("00:50:C2:F7:1F:FF", "RF Code"),
        ] {
            assert_eq!(of(mac).as_deref(), Some(name), "{mac}");
        }
    }

    #[test]
    fn guesses_nothing() {
        // Never assigned; the registry's own block without a smaller one in it; given to two firms.
        for mac in ["FC:FF:AA:00:00:01", "C8:5C:E2:F0:00:01", "08:00:30:00:00:01"] {
            assert_eq!(of(mac), None, "{mac}");
        }
        // Made up by software, although one firm used such addresses in the 1980s; a group address.
        for mac in ["02:60:8C:00:00:01", "BA:27:EB:AC:14:3E", "01:00:5E:00:00:FB", "FF:FF:FF:FF:FF:FF"] {
            assert_eq!(of(mac), None, "{mac}");
        }
    }

    /// Some entries as they were before they were packed, apart from the table.
    #[test]
    fn what_was_packed_is_found() {
        let sample = include_str!("sample.tsv");
        for line in sample.lines() {
            let (prefix, name) = line.split_once('\t').unwrap();
            for fill in ["0", "F"] {
                let mac = format!("{prefix}{}", fill.repeat(12 - prefix.len()));
                // The registry assigns no all-zero prefix.
                let expected = (mac != "000000000000").then_some(name);
                assert_eq!(of(&mac).as_deref(), expected, "{mac}");
            }
        }
        assert!(sample.lines().count() > 900);
    }

    #[test]
    fn every_entry_is_found_under_every_prefix() {
        let (names, registries) = parts();
        let mut counts = [0; 3];
        for (index, registry) in registries.iter().enumerate() {
            let mut rows = registry.rows;
            let mut last = 0;
            while !rows.is_empty() {
                let at = counts[index] / ENTRIES;
                if counts[index] % ENTRIES == 0 {
                    last = number(&registry.mark(at)[..KEY]);
                }
                let entry = Entry::take(&mut rows, last);
                assert!(entry.prefix > last || counts[index] % ENTRIES == 0, "ascending");
                last = entry.prefix;
                counts[index] += 1;
                let name = spelled(entry.name.codes(&names));
                let plain = name.chars().all(|c| c.is_ascii_graphic() || c == ' ') && name == name.trim();
                assert!(plain && (1..=32).contains(&name.len()), "{name:?}");
                // Not the first, which all zeroes would be, and beside every longer prefix.
                let low = if LENGTHS[index] == 36 { 1 } else { 0xfff };
                let number = entry.prefix << (48 - LENGTHS[index]) | low;
                let octets = number.to_be_bytes();
                let mac = Mac::new([octets[2], octets[3], octets[4], octets[5], octets[6], octets[7]]);
                assert_eq!(vendor(mac), Some(name), "{mac}");
            }
        }
        assert!(counts[0] > 39_000 && counts[1] > 6_000 && counts[2] > 11_000, "{counts:?}");
    }

    #[test]
    fn is_as_small_as_it_was_meant_to_be() {
        assert!(TABLE.len() < 500_000, "{} octets", TABLE.len());
    }
}
