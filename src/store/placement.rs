//! Decides which addresses a device has now, from its previous addresses and a sighting. Pure.
//!
//! A device may have several addresses at once (an alias, a container, a virtual address), and a device with another
//! address today need not have left yesterday's. What a single look at one address cannot decide is decided by a source
//! that names all addresses, or by time.

use std::time::Duration;

use crate::model::Address;

/// A device has left an address after it was not seen there for this long: one and a half daily scans. A sweep of the
/// network may miss one of several addresses.
const LAPSE: Duration = Duration::from_secs(36 * 3600);

/// As [`LAPSE`], for an address that answered the newest scan there, if no source says that the device does not have
/// it: a weekly scanner may be the only one that looks there.
const LAPSE_ANSWERED: Duration = Duration::from_secs(8 * 24 * 3600);

/// An address that the device has, as far as known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Present {
    /// The endpoint's row.
    pub(super) endpoint: i64,
    pub(super) address: Address,
    /// Unix milliseconds, by the wall clock of then.
    pub(super) first_seen: i64,
    pub(super) last_seen: i64,
    /// Whether the address answered our newest scan; `None` if we have not scanned it.
    pub(super) up: Option<bool>,
    /// Whether another device was seen at the address later.
    pub(super) is_taken: bool,
}

/// What a sighting says about the addresses that it does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// The device does not have them.
    AllAddresses,
    /// Nothing.
    SomeAddresses,
}

/// A change of one of the device's addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AddressStep {
    /// The device was seen at this endpoint.
    Keep(i64),
    /// It has this address in place of that endpoint's, and the state moves with it.
    Move { from: i64, to: Address },
    /// It has this address, too.
    Add(Address),
    /// It does not have this endpoint's address any more.
    Leave(i64),
}

impl Present {
    fn has_lapsed(&self, claim: Claim, at: i64) -> bool {
        let is_trusted = claim == Claim::SomeAddresses && self.up == Some(true);
        let lapse = if is_trusted { LAPSE_ANSWERED } else { LAPSE };
        at - self.last_seen >= i64::try_from(lapse.as_millis()).unwrap_or(i64::MAX)
    }

    /// Whether the device may have left the address, although no source says so.
    fn may_be_left(&self, at: i64) -> bool {
        self.is_taken || self.up == Some(false) || self.has_lapsed(Claim::SomeAddresses, at)
    }

    fn is_ipv4(&self) -> bool {
        self.address.ipv4().is_some()
    }
}

/// Returns the steps when a device is seen at these addresses. The last known address of a device is never left, only
/// moved from, because the last address of a device that is gone is useful to know.
pub(super) fn place(present: &[Present], seen: &[Address], claim: Claim, at: i64) -> Vec<AddressStep> {
    let (kept, other): (Vec<_>, Vec<_>) = present.iter().partition(|known| seen.contains(&known.address));
    let mut steps: Vec<AddressStep> = kept.iter().map(|known| AddressStep::Keep(known.endpoint)).collect();
    let mut left: Vec<&Present> = other.clone();
    if claim == Claim::SomeAddresses {
        left.retain(|known| known.may_be_left(at));
    }
    let is_new = |address: &&Address| !kept.iter().any(|known| known.address == **address);
    for address in seen.iter().filter(is_new) {
        // An IPv4 address never replaces an IPv6 one: a device commonly has both.
        let is_same_family = |known: &&Present| known.is_ipv4() == address.ipv4().is_some();
        match left.iter().position(is_same_family) {
            Some(index) => {
                steps.push(AddressStep::Move { from: left.remove(index).endpoint, to: address.clone() })
            }
            None => steps.push(AddressStep::Add(address.clone())),
        }
    }
    let moved = |known: &Present| {
        steps.iter().any(|step| matches!(step, AddressStep::Move { from, .. } if *from == known.endpoint))
    };
    let gone: Vec<AddressStep> = other
        .iter()
        .filter(|known| !moved(known) && (known.is_taken || known.has_lapsed(claim, at)))
        .map(|known| AddressStep::Leave(known.endpoint))
        .collect();
    steps.extend(gone);
    steps
}

/// Returns the endpoint that a device has moved to when it no longer answers at `absent`: one that appeared after the
/// last sighting there and that answers.
pub(super) fn moved_to<'a>(present: &'a [Present], absent: &Present) -> Option<&'a Present> {
    let is_successor = |known: &&Present| {
        known.endpoint != absent.endpoint
            && known.is_ipv4() == absent.is_ipv4()
            && known.up == Some(true)
            && known.first_seen > absent.last_seen
    };
    present.iter().find(is_successor)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const HOUR: i64 = 3_600_000;

    fn address(last: u8) -> Address {
        match last {
            100.. => format!("fd00::{last}").parse().unwrap(),
            _ => format!("192.0.2.{last}").parse().unwrap(),
        }
    }

    fn present(last: u8, hours_ago: i64) -> Present {
        let last_seen = -hours_ago * HOUR;
        let endpoint = i64::from(last);
        Present {
            endpoint,
            address: address(last),
            first_seen: last_seen,
            last_seen,
            up: None,
            is_taken: false,
        }
    }

    fn describe(steps: &[AddressStep]) -> String {
        let word = |step: &AddressStep| match step {
            AddressStep::Keep(endpoint) => format!("keep {endpoint}"),
            AddressStep::Move { from, to } => {
                format!("move {from} to {}", to.to_string().rsplit(['.', ':']).next().unwrap())
            }
            AddressStep::Add(to) => format!("add {}", to.to_string().rsplit(['.', ':']).next().unwrap()),
            AddressStep::Leave(endpoint) => format!("leave {endpoint}"),
        };
        steps.iter().map(word).collect::<Vec<_>>().join(", ")
    }

    #[rstest]
    #[case::stays(&[1], &[1], "keep 1")]
    #[case::moves(&[1], &[2], "move 1 to 2")]
    #[case::has_another(&[1], &[1, 2], "keep 1, add 2")]
    #[case::moves_with_one_of_two(&[1, 2], &[1, 3], "keep 1, move 2 to 3")]
    #[case::one_is_missed(&[1, 2], &[2], "keep 2")]
    #[case::families_do_not_mix(&[1, 101], &[2, 101], "keep 101, move 1 to 2")]
    #[case::ipv6_beside_ipv4(&[1], &[101], "add 101")]
    fn a_source_that_names_all_addresses_moves_the_device(
        #[case] before: &[u8],
        #[case] seen: &[u8],
        #[case] steps: &str,
    ) {
        let before: Vec<_> = before.iter().map(|last| present(*last, 1)).collect();
        let seen: Vec<_> = seen.iter().map(|last| address(*last)).collect();
        assert_eq!(describe(&place(&before, &seen, Claim::AllAddresses, 0)), steps);
    }

    #[test]
    fn a_scan_of_one_address_says_nothing_about_another_seen_lately() {
        let look = |known: Present| describe(&place(&[known], &[address(2)], Claim::SomeAddresses, 0));
        assert_eq!(look(present(1, 35)), "add 2");
        assert_eq!(look(present(1, 36)), "move 1 to 2", "lapsed");
        assert_eq!(look(Present { up: Some(false), ..present(1, 1) }), "move 1 to 2", "did not answer");
        assert_eq!(look(Present { is_taken: true, ..present(1, 1) }), "move 1 to 2", "another has it");
        assert_eq!(look(Present { up: Some(true), ..present(1, 8 * 24 - 1) }), "add 2");
        assert_eq!(look(Present { up: Some(true), ..present(1, 8 * 24) }), "move 1 to 2");
    }

    #[test]
    fn an_unseen_address_is_left_once_it_has_lapsed() {
        let both = |hours| {
            describe(&place(&[present(1, 1), present(2, hours)], &[address(1)], Claim::AllAddresses, 0))
        };
        assert_eq!(both(35), "keep 1");
        assert_eq!(both(36), "keep 1, leave 2");
        let answered = Present { up: Some(true), ..present(2, 36) };
        let of_both = |claim| describe(&place(&[present(1, 1), answered.clone()], &[address(1)], claim, 0));
        assert_eq!(of_both(Claim::AllAddresses), "keep 1, leave 2");
        assert_eq!(of_both(Claim::SomeAddresses), "keep 1");
        assert_eq!(
            describe(&place(&[present(1, 900)], &[address(101)], Claim::AllAddresses, 0)),
            "add 101, leave 1"
        );
    }

    #[test]
    fn the_successor_came_after_the_last_sighting_and_answers() {
        let answering = |known: Present| Present { up: Some(true), ..known };
        let (old, new) = (present(1, 24), answering(present(2, 1)));
        assert_eq!(moved_to(&[old.clone(), new.clone()], &old), Some(&new));
        assert_eq!(moved_to(&[old.clone(), present(2, 1)], &old), None, "not known to answer");
        assert_eq!(moved_to(&[old.clone(), answering(present(2, 30))], &old), None, "was there before");
        assert_eq!(moved_to(&[old.clone(), answering(present(102, 1))], &old), None, "of the other family");
    }
}
