//! Pairs the endpoints of two scans, or of a scan and the current state. Pure.

use std::collections::BTreeMap;

/// The rows of a device and of its endpoint.
pub(super) type Rows = (i64, i64);

type ByRow<T> = BTreeMap<i64, T>;

/// Returns both sides of each endpoint, device by device; an endpoint may be on one side only. A device that has moved
/// in between is at one endpoint on one side and at another on the other: those belong together.
pub(super) fn side_by_side<A, B>(
    ones: Vec<A>,
    others: Vec<B>,
    rows_of_one: impl Fn(&A) -> Rows,
    rows_of_other: impl Fn(&B) -> Rows,
) -> Vec<(Option<A>, Option<B>)> {
    let mut devices: ByRow<(ByRow<A>, ByRow<B>)> = BTreeMap::new();
    for one in ones {
        let (device, endpoint) = rows_of_one(&one);
        devices.entry(device).or_default().0.insert(endpoint, one);
    }
    for other in others {
        let (device, endpoint) = rows_of_other(&other);
        devices.entry(device).or_default().1.insert(endpoint, other);
    }
    let mut pairs = Vec::new();
    for (mut ones, mut others) in devices.into_values() {
        let both: Vec<i64> = ones.keys().filter(|row| others.contains_key(row)).copied().collect();
        pairs.extend(both.iter().map(|row| (ones.remove(row), others.remove(row))));
        let (mut ones, mut others) = (ones.into_values(), others.into_values());
        loop {
            match (ones.next(), others.next()) {
                (None, None) => break,
                pair => pairs.push(pair),
            }
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_equal_endpoints_then_those_a_device_moved_between() {
        // Device 1 keeps endpoint 10 and moves from 11 to 12; device 2 is in the first scan alone.
        let pairs = side_by_side(vec![(1, 10), (1, 11), (2, 20)], vec![(1, 12), (1, 10)], |at| *at, |at| *at);
        let expected =
            [(Some((1, 10)), Some((1, 10))), (Some((1, 11)), Some((1, 12))), (Some((2, 20)), None)];
        assert_eq!(pairs, expected);
    }
}
