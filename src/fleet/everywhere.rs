//! Expectations for all sites: what has to change at a site so that it has those of the hub.
//!
//! The hub compares and keeps no list of what is left to do: so nothing is lost when a site, the hub or the broker fails in
//! between, and a site that is enrolled later or was restored gets them, too.

use std::collections::{BTreeMap, HashSet};

use crate::model::{DeviceKey, Expectation, Mac, Protocol};

/// How the comment of a row at a site begins that comes from the hub. The site's owner sees where it comes from, and the
/// hub recognises those that it has removed since.
const MARK: &str = "all sites";

/// What a site lacks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SiteLack {
    /// The rows that it does not have so.
    pub set: Vec<Expectation>,
    /// The rows that the hub has no more.
    pub remove: Vec<Expectation>,
}

impl SiteLack {
    /// How many rows.
    pub fn len(&self) -> usize {
        self.set.len() + self.remove.len()
    }

    /// Whether the site has all as it should.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Compares the expectations for all sites with those of a site that knows these devices. Of a device that a site has never
/// seen nothing is expected there: its ports would count as missing.
pub fn lack_of_site(for_all: &[Expectation], at_site: &[Expectation], known: &HashSet<Mac>) -> SiteLack {
    let is_here = |row: &&Expectation| row.device.mac().is_some_and(|mac| known.contains(&mac));
    let wanted: BTreeMap<_, _> = for_all.iter().filter(is_here).map(|row| (key(row), row)).collect();
    let present: BTreeMap<_, _> = at_site.iter().map(|row| (key(row), row)).collect();
    let set = wanted.iter().filter_map(|(key, row)| {
        let comment = comment_at_site(&row.comment);
        let is_so = present.get(key).is_some_and(|here| here.state == row.state && here.comment == comment);
        (!is_so).then(|| Expectation { comment, ..(*row).clone() })
    });
    let remove = at_site.iter().filter(|row| is_marked(&row.comment) && !wanted.contains_key(&key(row)));
    SiteLack { set: set.collect(), remove: remove.cloned().collect() }
}

/// The comment of a row at a site; one that is longer than a comment may be is cut by whoever stores it, so the hub takes
/// none that would be.
pub fn comment_at_site(comment: &str) -> String {
    if comment.is_empty() { MARK.to_owned() } else { format!("{MARK}: {comment}") }
}

fn is_marked(comment: &str) -> bool {
    comment.strip_prefix(MARK).is_some_and(|rest| rest.is_empty() || rest.starts_with(": "))
}

fn key(row: &Expectation) -> (DeviceKey, Protocol, u16) {
    (row.device.clone(), row.protocol, row.port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PortState;

    fn mac(last: u8) -> Mac {
        Mac::new([0xb8, 0x27, 0xeb, 0, 0, last])
    }

    fn row(last: u8, port: u16, state: PortState, comment: &str) -> Expectation {
        let (device, comment) = (DeviceKey::Mac(mac(last)), comment.to_owned());
        Expectation { device, protocol: Protocol::Tcp, port, state, comment, written: i64::from(port) }
    }

    fn open(last: u8, port: u16, comment: &str) -> Expectation {
        row(last, port, PortState::Open, comment)
    }

    #[test]
    fn a_site_gets_what_it_lacks_of_its_own_devices() {
        let known = HashSet::from([mac(1), mac(3)]);
        let for_all = [open(1, 22, "ssh"), open(1, 80, ""), open(2, 22, "ssh"), open(3, 22, "ssh")];
        let at_site =
            [open(1, 22, "all sites: ssh"), row(3, 22, PortState::Closed, "mine"), open(1, 443, "mine")];
        let lack = lack_of_site(&for_all, &at_site, &known);
        assert_eq!(lack.set, [open(1, 80, "all sites"), open(3, 22, "all sites: ssh")]);
        assert_eq!((lack.remove.len(), lack.len()), (0, 2));
    }

    #[test]
    fn what_the_hub_has_no_more_is_removed_and_the_sites_own_rows_stay() {
        let known = HashSet::from([mac(1)]);
        let at_site =
            [open(1, 22, "all sites: ssh"), open(1, 23, "all sites"), open(1, 80, "all sites agree")];
        let lack = lack_of_site(&[], &at_site, &known);
        assert_eq!(lack.remove, at_site[..2]);
        // The device is gone there, and with it what is expected of it everywhere.
        let lack = lack_of_site(&[open(1, 22, "ssh")], &at_site[..1], &HashSet::new());
        assert_eq!((lack.set.len(), lack.remove.len()), (0, 1));
    }

    #[test]
    fn a_site_that_has_done_what_it_lacked_lacks_nothing() {
        let known = HashSet::from([mac(1), mac(2)]);
        let for_all = [open(1, 22, ""), row(2, 23, PortState::Closed, "no telnet")];
        let lack = lack_of_site(&for_all, &[open(1, 22, "x"), open(2, 9, "all sites")], &known);
        assert_eq!(lack.len(), 3);
        assert!(lack_of_site(&for_all, &lack.set, &known).is_empty());
    }
}
