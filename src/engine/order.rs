//! The order in which ports are probed.

use crate::model::PortSet;

/// The ports on which a LAN's hosts most often answer, likeliest first: web interfaces, SSH, Windows and SMB, name
/// servers, cameras, NAS; then what a home lab runs. Chosen by hand from what such devices are documented to listen on.
/// They serve as liveness probes, are scanned early, so that a user sees results soon, and are probed three times
/// before they are reported as filtered.
pub(super) const LIKELY: [u16; 30] = [
    80, 443, 22, 445, 8080, 53, 139, 554, 5000, 7, 21, 23, 25, 111, 135, 143, 548, 631, 1883, 3306, 3389,
    5432, 5900, 6053, 8000, 8443, 8883, 9100, 32400, 62078,
];

/// A port set that maps a port to its place and back, each in O(log ranges): a set of the 1000 commonest ports has some
/// 500 ranges.
#[derive(Debug)]
pub(super) struct Places {
    /// First place, first port, last port of each range; ascending.
    ranges: Vec<(u32, u16, u16)>,
    len: u32,
}

impl Places {
    pub(super) fn new(ports: &PortSet) -> Self {
        let mut len = 0;
        let mut ranges = Vec::with_capacity(ports.ranges().len());
        for &(first, last) in ports.ranges() {
            ranges.push((len, first, last));
            len += u32::from(last - first) + 1;
        }
        Self { ranges, len }
    }

    pub(super) const fn len(&self) -> u32 {
        self.len
    }

    /// The port at a place below `len`.
    #[expect(clippy::cast_possible_truncation, reason = "a place within a range of ports")]
    pub(super) fn port(&self, place: u32) -> u16 {
        let range = self.ranges.partition_point(|&(start, ..)| start <= place) - 1;
        let (start, first, _) = self.ranges[range];
        first + (place - start) as u16
    }

    /// The place of a port, if it is in the set.
    pub(super) fn place(&self, port: u16) -> Option<u32> {
        let range = self.ranges.partition_point(|&(_, first, _)| first <= port).checked_sub(1)?;
        let (start, first, last) = self.ranges[range];
        (port <= last).then(|| start + u32::from(port - first))
    }
}

/// A permutation of `0..len` that is computed, not stored: a Feistel network over the next power of four,
/// walked until it lands inside (Black and Rogaway, "Ciphers with Arbitrary Finite Domains", 2002). At most
/// four steps on average. It need not be unpredictable: it spreads neighbouring ports in time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Permutation {
    len: u32,
    half: u32,
    key: u64,
}

const ROUNDS: u64 = 4;

impl Permutation {
    /// Makes a permutation; `len` is at most 2^30, and the key picks one of many orders.
    pub(super) fn new(len: u32, key: u64) -> Self {
        let bits = u32::BITS - len.saturating_sub(1).leading_zeros();
        Self { len, half: bits.div_ceil(2).max(1), key }
    }

    /// The element at this position, below `len`.
    pub(super) fn at(&self, position: u32) -> u32 {
        let mut value = self.scramble(position);
        while value >= self.len {
            value = self.scramble(value);
        }
        value
    }

    fn scramble(&self, value: u32) -> u32 {
        let mask = (1 << self.half) - 1;
        let (mut left, mut right) = (value >> self.half, value & mask);
        for round in 0..ROUNDS {
            #[expect(clippy::cast_possible_truncation, reason = "masked to half a place")]
            let mixed = mix(self.key ^ (round << 32) ^ u64::from(right)) as u32 & mask;
            (left, right) = (right, left ^ mixed);
        }
        left << self.half | right
    }
}

/// A bijection of 64 bits that hides the order of its inputs (the finaliser of `SplitMix64`, Steele, Lea and Flood
/// 2014).
pub(super) const fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_permutation_visits_every_place_once(len in 1_u32..3000, key: u64) {
            let permutation = Permutation::new(len, key);
            let met: BTreeSet<u32> = (0..len).map(|position| permutation.at(position)).collect();
            prop_assert!(met.into_iter().eq(0..len));
        }

        #[test]
        fn places_and_ports_are_each_others_inverse(
            ports in prop::collection::vec(any::<u16>(), 1..300),
            other: u16,
        ) {
            let set: PortSet = ports.into_iter().collect();
            let places = Places::new(&set);
            prop_assert_eq!(places.len(), set.len());
            for (place, port) in (0..).zip(set.iter()) {
                prop_assert_eq!(places.port(place), port);
                prop_assert_eq!(places.place(port), Some(place));
            }
            prop_assert_eq!(places.place(other).is_some(), set.contains(other));
        }
    }

    #[test]
    fn the_whole_port_space_is_spread() {
        let permutation = Permutation::new(65_535, 7);
        let met: BTreeSet<u32> = (0..65_535).map(|position| permutation.at(position)).collect();
        assert_eq!(met.len(), 65_535);
        let near = (1..65_535).filter(|&i| permutation.at(i).abs_diff(permutation.at(i - 1)) < 100).count();
        assert!(near < 400, "{near} of 65,534 steps go to a near port; by chance 200 do");
    }
}
