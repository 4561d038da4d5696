//! Decides which of the devices that a source names are admitted. Pure: the time is a parameter.
//!
//! A feed is plain HTTP at a name that any gadget can claim, and a station can answer ARP with as many MACs as it
//! likes. Forged devices must not fill memory, disk and schedule. A device that has a row in the store has answered,
//! or has the owner's annotation, and is always admitted. Every other device is a *stranger*: it is kept in memory
//! alone, each source may add only a limited number of strangers within an hour, and the number of all known devices
//! is limited.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use super::SourceId;
use crate::{
    config::FeedConfig,
    feed::{Bound, Feed, HeldBack},
    model::{Allowance, Device, Endpoint, Moment},
};

/// The period of the allowance of newcomers.
const STRETCH: Duration = Duration::from_secs(3600);

/// What is known of the devices that a source names, besides what it reports.
#[derive(Clone, Debug, Default)]
pub(super) struct Record {
    /// The devices that are always admitted: they have answered, or the owner has named them.
    pub(super) known: HashSet<Endpoint>,
    /// How many devices at their addresses the store has.
    pub(super) stored: usize,
}

/// The allowances and strangers of every source.
#[derive(Debug, Default)]
pub(super) struct Admission {
    /// The newcomers of each source, separately: a forged source must not use up what another needs.
    allowances: BTreeMap<SourceId, Allowance>,
    /// The strangers that were admitted and are still named.
    strangers: BTreeMap<SourceId, HashSet<Endpoint>>,
}

impl Admission {
    /// Forgets all sources but these.
    pub(super) fn retain(&mut self, is_named: impl Fn(&SourceId) -> bool) {
        self.allowances.retain(|source, _| is_named(source));
        self.strangers.retain(|source, _| is_named(source));
    }

    /// Removes the newcomers beyond the limits from a source's report, and returns their number.
    pub(super) fn admit(
        &mut self,
        source: &SourceId,
        feed: &mut Feed,
        record: &Record,
        bounds: &FeedConfig,
        now: Moment,
    ) {
        let before = self.strangers.remove(source).unwrap_or_default();
        let room = self.room(source, record.stored, bounds);
        let allowance = self.allowances.entry(source.clone());
        let allowance = allowance.or_insert_with(|| Allowance::new(bounds.max_newcomers, STRETCH));
        allowance.resize(bounds.max_newcomers, STRETCH);
        // Devices of the previous report come first, so that no newcomer takes their place.
        let named: HashSet<Endpoint> = feed.devices.iter().map(Device::endpoint).collect();
        let mut strangers: HashSet<Endpoint> = before
            .into_iter()
            .filter(|endpoint| named.contains(endpoint) && !record.known.contains(endpoint))
            .collect();
        let mut held_back = HeldBack { count: 0, bound: Bound::Newcomers };
        feed.devices.retain(|device| {
            let endpoint = device.endpoint();
            if record.known.contains(&endpoint) || strangers.contains(&endpoint) {
                return true;
            }
            let bound = (strangers.len() >= room).then_some(Bound::Devices);
            let bound = bound.or_else(|| (!allowance.take(now)).then_some(Bound::Newcomers));
            match bound {
                Some(bound) => held_back = HeldBack { count: held_back.count + 1, bound },
                None => _ = strangers.insert(endpoint),
            }
            bound.is_none()
        });
        feed.held_back = Some(held_back).filter(|held_back| held_back.count > 0);
        self.strangers.insert(source.clone(), strangers);
    }

    /// Returns the strangers of URLs that have to go because other sources need the room. A device that was seen
    /// takes precedence over one that is only reported, and the source that reports most loses most.
    pub(super) fn too_many(
        &mut self,
        stored: usize,
        bounds: &FeedConfig,
    ) -> Vec<(SourceId, HashSet<Endpoint>)> {
        let seen: usize = self
            .strangers
            .iter()
            .filter(|(source, _)| !only_reports(source))
            .map(|(_, strangers)| strangers.len())
            .sum();
        let room = bounds.max_devices.saturating_sub(stored + seen);
        let reported = || {
            self.strangers
                .iter()
                .filter(|(source, _)| only_reports(source))
                .map(|(_, strangers)| strangers.len())
        };
        let fits = |share: &usize| reported().map(|count| count.min(*share)).sum::<usize>() <= room;
        let Some(share) = (0..=reported().max().unwrap_or(0)).rev().find(fits) else { return Vec::new() };
        let mut dropped = Vec::new();
        let reported = self
            .strangers
            .iter_mut()
            .filter(|(source, strangers)| only_reports(source) && strangers.len() > share);
        for (source, strangers) in reported {
            let leaving: HashSet<Endpoint> = strangers.iter().skip(share).cloned().collect();
            strangers.retain(|endpoint| !leaving.contains(endpoint));
            dropped.push((source.clone(), leaving));
        }
        dropped
    }

    /// Returns how many strangers a source may have: as many as fit beside those of others, and never less than its
    /// share of the room. Our own discovery does not yield to a URL.
    fn room(&self, source: &SourceId, stored: usize, bounds: &FeedConfig) -> usize {
        let all = bounds.max_devices.saturating_sub(stored);
        let counts = |other: &SourceId| only_reports(source) || !only_reports(other);
        let others = self.strangers.iter().filter(|(other, _)| *other != source && counts(other));
        let (sources, taken) =
            others.fold((1, 0), |(sources, taken), (_, strangers)| (sources + 1, taken + strangers.len()));
        all.saturating_sub(taken).max(all / sources)
    }
}

/// Whether a source only reports devices, and has not seen them itself.
const fn only_reports(source: &SourceId) -> bool {
    matches!(source, SourceId::Url(_))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Discover;

    const HOUR: Duration = STRETCH;

    fn url(text: &str) -> SourceId {
        SourceId::Url(text.to_owned().into())
    }

    fn eth0() -> SourceId {
        SourceId::Discover(Discover { interface: "eth0".to_owned(), net: None })
    }

    fn bounds(max_devices: usize, max_newcomers: u32) -> FeedConfig {
        FeedConfig { max_devices, max_newcomers, ..FeedConfig::default() }
    }

    /// Returns devices that differ from those of any other first number.
    fn feed(first: u32, count: u32) -> Feed {
        let device = |index: u32| {
            let [_, b, c, d] = index.to_be_bytes();
            Device { address: std::net::Ipv4Addr::new(10, b, c, d).into(), mac: None, name: None }
        };
        Feed { devices: (first..first + count).map(device).collect(), ..Feed::default() }
    }

    fn known(feed: &Feed) -> Record {
        let known: HashSet<_> = feed.devices.iter().map(Device::endpoint).collect();
        Record { stored: known.len(), known }
    }

    /// Returns how many are admitted, and why not all.
    fn admitted(
        admission: &mut Admission,
        source: &SourceId,
        mut feed: Feed,
        record: &Record,
        bounds: &FeedConfig,
        now: Moment,
    ) -> (usize, Option<HeldBack>) {
        admission.admit(source, &mut feed, record, bounds, now);
        (feed.devices.len(), feed.held_back)
    }

    #[test]
    fn a_first_poll_of_a_few_hundred_passes_at_once() {
        let (mut admission, bounds) = (Admission::default(), FeedConfig::default());
        let passed =
            admitted(&mut admission, &url("a"), feed(0, 500), &Record::default(), &bounds, Moment::ZERO);
        assert_eq!(passed, (500, None));
    }

    #[test]
    fn a_feed_that_forges_new_devices_each_time_is_limited_to_the_newcomer_rate() {
        let (mut admission, bounds) = (Admission::default(), FeedConfig::default());
        let mut seen = 0;
        for minute in 0..60 {
            let now = Moment::ZERO + Duration::from_secs(60) * minute;
            let invented = feed(minute * 10_000, 4096);
            let (passed, held) =
                admitted(&mut admission, &url("a"), invented, &Record::default(), &bounds, now);
            assert_eq!(held, Some(HeldBack { count: 4096 - passed, bound: Bound::Newcomers }));
            seen += passed;
        }
        let hourly = bounds.max_newcomers as usize;
        assert!((2 * hourly - 10..=2 * hourly).contains(&seen), "the first and those of an hour: {seen}");
    }

    #[test]
    fn a_device_that_stays_named_stays_and_takes_no_allowance() {
        let (mut admission, bounds, record) = (Admission::default(), bounds(100, 10), Record::default());
        let mut at = |hour, count| {
            admitted(&mut admission, &url("a"), feed(0, count), &record, &bounds, Moment::ZERO + HOUR * hour)
                .0
        };
        assert_eq!([at(0, 12), at(0, 12), at(1, 12), at(1, 20), at(2, 20)], [10, 10, 12, 20, 20]);
    }

    #[test]
    fn a_device_that_has_answered_is_always_admitted() {
        let (mut admission, bounds) = (Admission::default(), bounds(100, 10));
        let record = known(&feed(0, 60));
        let mixed = Feed {
            devices: [feed(5000, 4000), feed(0, 60)].map(|feed| feed.devices).concat(),
            ..Feed::default()
        };
        let (passed, held) = admitted(&mut admission, &url("a"), mixed, &record, &bounds, Moment::ZERO);
        assert_eq!((passed, held), (70, Some(HeldBack { count: 3990, bound: Bound::Newcomers })));
        // More are stored than may be known: those stay.
        let full = known(&feed(0, 500));
        let (passed, held) = admitted(&mut admission, &url("a"), feed(0, 501), &full, &bounds, Moment::ZERO);
        assert_eq!((passed, held), (500, Some(HeldBack { count: 1, bound: Bound::Devices })));
    }

    #[test]
    fn a_forged_feed_leaves_other_sources_their_newcomers_and_their_room() {
        let (mut admission, bounds, record) = (Admission::default(), bounds(100, 100), Record::default());
        let mut admit =
            |source: &SourceId, feed| admitted(&mut admission, source, feed, &record, &bounds, Moment::ZERO);
        assert_eq!(admit(&url("forged"), feed(0, 4096)).0, 100);
        assert_eq!(admit(&url("good"), feed(9000, 40)), (40, None));
        assert_eq!(admit(&eth0(), feed(9100, 30)), (30, None));
        let dropped = admission.too_many(0, &bounds);
        let dropped: Vec<_> = dropped.iter().map(|(source, leaving)| (source, leaving.len())).collect();
        let expected = [(&url("forged"), 65), (&url("good"), 5)];
        assert_eq!(dropped, expected, "35 of each are left beside 30 that were seen");
        assert!(admission.too_many(0, &bounds).is_empty());
    }

    #[test]
    fn sources_that_are_gone_leave_their_room() {
        let (mut admission, bounds, record) = (Admission::default(), bounds(10, 10), Record::default());
        admitted(&mut admission, &url("a"), feed(0, 10), &record, &bounds, Moment::ZERO);
        admission.retain(|source| *source != url("a"));
        let passed = admitted(&mut admission, &url("b"), feed(0, 10), &record, &bounds, Moment::ZERO);
        assert_eq!(passed, (10, None));
    }
}
