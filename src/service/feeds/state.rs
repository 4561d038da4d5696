//! The state of one source, and how its next report changes it. Pure: the time is a parameter.

use std::{
    collections::{BTreeSet, HashMap},
    mem::discriminant,
    time::Duration,
};

use crate::{
    feed::{Feed, HeldBack, Rejected},
    model::{Address, Device, DeviceKey, Mac, Moment},
};

/// A feed is stale if its own time has not changed for this long: the program that fills it has died.
pub const STALE_AFTER: Duration = Duration::from_secs(3600);

/// Why a source is down. It freezes: its last devices stay, and none counts as gone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// It was not polled yet.
    #[error("not asked yet")]
    Unasked,
    /// It did not answer in time, or its answer is too long or not 200.
    #[error("{0}")]
    Unreachable(String),
    /// Its answer is not a feed.
    #[error("{0}")]
    Malformed(String),
    /// A feed without devices: a sweep that failed looks the same as an empty network.
    #[error("it names no device; is its first sweep still to come?")]
    Empty,
    /// All entries of the feed are refused.
    #[error("all of its {count} entries are refused; {first}")]
    Refused {
        /// The number of entries.
        count: usize,
        /// Why the first entry is refused.
        first: String,
    },
    /// A feed that is no longer updated.
    #[error("its time has not changed for an hour; is its scanner still running?")]
    Stale,
}

/// A device as a source named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The device.
    pub device: Device,
    /// Since when the source has named it, without a gap.
    pub since: Moment,
}

/// A change that is reported to the owner, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeedChange {
    /// The source is up, for the first time or again.
    Up,
    /// It is down, or down for another reason than before.
    Down(Trouble),
    /// It is up except for these entries; empty: all are in order again.
    Rejecting(Rejected),
    /// Some of its devices are too many to be admitted, or none are any more.
    HoldingBack(Option<HeldBack>),
    /// It has a remark that it did not have last time.
    Remark(String),
}

/// One source.
#[derive(Clone, Debug)]
pub struct FeedState {
    members: Vec<Member>,
    /// The feed's own time, and since when it has been that.
    stamp: Option<(String, Moment)>,
    trouble: Option<Trouble>,
    rejected: Rejected,
    held_back: Option<HeldBack>,
    remarks: Vec<String>,
    proxies: BTreeSet<Mac>,
    last_success: Option<Moment>,
}

impl Default for FeedState {
    /// Returns a source that was not polled yet.
    fn default() -> Self {
        Self {
            members: Vec::new(),
            stamp: None,
            trouble: Some(Trouble::Unasked),
            rejected: Rejected::default(),
            held_back: None,
            remarks: Vec::new(),
            proxies: BTreeSet::new(),
            last_success: None,
        }
    }
}

impl FeedState {
    /// Returns the devices that it names, or named last.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Returns why it is frozen, if it is.
    pub const fn trouble(&self) -> Option<&Trouble> {
        self.trouble.as_ref()
    }

    /// Returns the entries of its last good answer that were refused.
    pub const fn rejected(&self) -> &Rejected {
        &self.rejected
    }

    /// Returns the devices of that answer that were too many to be admitted.
    pub const fn held_back(&self) -> Option<HeldBack> {
        self.held_back
    }

    /// Returns the further remarks of that answer.
    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }

    /// Returns the stations that only answer for others, by that answer.
    pub const fn proxies(&self) -> &BTreeSet<Mac> {
        &self.proxies
    }

    /// Returns when it was up last.
    pub const fn last_success(&self) -> Option<Moment> {
        self.last_success
    }

    /// Forgets the members that do not satisfy the condition, and returns how many those were.
    pub fn keep(&mut self, wanted: impl Fn(&Device) -> bool) -> usize {
        let before = self.members.len();
        self.members.retain(|member| wanted(&member.device));
        before - self.members.len()
    }

    /// Takes its next report.
    pub fn apply(&mut self, now: Moment, word: Result<Feed, Trouble>) -> Vec<FeedChange> {
        let feed = match word.and_then(|feed| self.believe(feed, now)) {
            Ok(feed) => feed,
            Err(trouble) => return self.freeze(trouble),
        };
        let mut changes = Vec::new();
        if self.trouble.take().is_some() {
            changes.push(FeedChange::Up);
        }
        if self.rejected != feed.rejected {
            changes.push(FeedChange::Rejecting(feed.rejected.clone()));
        }
        self.rejected = feed.rejected;
        // How many those are and by which limit may change with every poll.
        if self.held_back.is_some() != feed.held_back.is_some() {
            changes.push(FeedChange::HoldingBack(feed.held_back));
        }
        self.held_back = feed.held_back;
        let new = feed.remarks.iter().filter(|remark| !self.remarks.contains(remark));
        changes.extend(new.cloned().map(FeedChange::Remark));
        self.remarks = feed.remarks;
        self.proxies = feed.proxies;
        self.last_success = Some(now);
        self.replace(feed.devices, now);
        changes
    }

    /// Returns the feed, unless it is empty or has carried the same time for too long. Records its time either way.
    fn believe(&mut self, feed: Feed, now: Moment) -> Result<Feed, Trouble> {
        if feed.devices.is_empty() && feed.held_back.is_none() {
            let Rejected { count, reasons } = feed.rejected;
            let refused = |first| Trouble::Refused { count, first };
            return Err(reasons.into_iter().next().map_or(Trouble::Empty, refused));
        }
        match (&self.stamp, &feed.stamp) {
            (Some((known, since)), Some(stamp)) if known == stamp => {
                if now.since(*since) >= STALE_AFTER {
                    return Err(Trouble::Stale);
                }
            }
            _ => self.stamp = feed.stamp.clone().map(|stamp| (stamp, now)),
        }
        Ok(feed)
    }

    /// Keeps everything. A different text of the same trouble ("refused", "timed out") is not a change.
    fn freeze(&mut self, trouble: Trouble) -> Vec<FeedChange> {
        let known = self.trouble.as_ref().is_some_and(|known| discriminant(known) == discriminant(&trouble));
        self.trouble = Some(trouble.clone());
        if known { Vec::new() } else { vec![FeedChange::Down(trouble)] }
    }

    fn replace(&mut self, devices: Vec<Device>, now: Moment) {
        let mut known: HashMap<(DeviceKey, Address), Moment> = self
            .members
            .drain(..)
            .map(|Member { device, since }| ((device.key(), device.address), since))
            .collect();
        let mut since =
            |device: &Device| known.remove(&(device.key(), device.address.clone())).unwrap_or(now);
        self.members = devices.into_iter().map(|device| Member { since: since(&device), device }).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn feed(stamp: &str, addresses: &[&str]) -> Result<Feed, Trouble> {
        let device = |address: &&str| Device { address: address.parse().unwrap(), mac: None, name: None };
        let stamp = (!stamp.is_empty()).then(|| stamp.to_owned());
        Ok(Feed { devices: addresses.iter().map(device).collect(), stamp, ..Feed::default() })
    }

    fn unreachable(reason: &str) -> Result<Feed, Trouble> {
        Err(Trouble::Unreachable(reason.to_owned()))
    }

    fn addresses(state: &FeedState) -> Vec<String> {
        state.members().iter().map(|member| member.device.address.to_string()).collect()
    }

    /// Returns a source that named these at the start.
    fn started(stamp: &str) -> FeedState {
        let mut state = FeedState::default();
        assert_eq!(state.trouble(), Some(&Trouble::Unasked));
        assert_eq!(state.apply(Moment::ZERO, feed(stamp, &["10.0.0.1", "10.0.0.2"])), [FeedChange::Up]);
        state
    }

    #[test]
    fn every_trouble_freezes_and_is_reported_once() {
        let malformed = || Err(Trouble::Malformed("not JSON".to_owned()));
        for trouble in [unreachable("refused"), malformed(), feed("b", &[])] {
            let mut state = started("a");
            let mut now = Moment::ZERO + MINUTE;
            assert!(matches!(state.apply(now, trouble.clone())[..], [FeedChange::Down(_)]), "{trouble:?}");
            for _ in 0..2000 {
                now += MINUTE;
                assert_eq!(state.apply(now, trouble.clone()), []);
            }
            assert_eq!(addresses(&state), ["10.0.0.1", "10.0.0.2"]);
            assert_eq!(state.last_success(), Some(Moment::ZERO));
            assert_eq!(state.apply(now, feed("b", &["10.0.0.2"])), [FeedChange::Up]);
            assert_eq!((addresses(&state), state.trouble()), (vec!["10.0.0.2".to_owned()], None));
            assert_eq!(state.apply(now + MINUTE, feed("c", &["10.0.0.2"])), []);
        }
    }

    #[test]
    fn forgets_while_frozen_too() {
        let mut state = started("a");
        state.apply(Moment::ZERO, unreachable("refused"));
        let unwanted: Address = "10.0.0.1".parse().unwrap();
        assert_eq!(state.keep(|device| device.address != unwanted), 1);
        assert_eq!(addresses(&state), ["10.0.0.2"]);
        assert!(state.trouble().is_some());
    }

    #[test]
    fn reports_another_reason_but_not_another_wording() {
        let mut state = started("a");
        assert_eq!(state.apply(Moment::ZERO, unreachable("refused")).len(), 1);
        assert_eq!(state.apply(Moment::ZERO, unreachable("timed out")), []);
        assert_eq!(state.trouble().unwrap().to_string(), "timed out");
        assert_eq!(state.apply(Moment::ZERO, feed("a", &[])), [FeedChange::Down(Trouble::Empty)]);
    }

    #[test]
    fn a_feed_whose_entries_are_all_refused_says_why() {
        let mut state = started("a");
        let mut rejected = Rejected::default();
        rejected.push("scan[0]: bad");
        state.apply(Moment::ZERO, Ok(Feed { rejected, ..Feed::default() }));
        assert_eq!(state.trouble().unwrap().to_string(), "all of its 1 entries are refused; scan[0]: bad");
        assert_eq!(state.members().len(), 2);
    }

    #[test]
    fn a_source_that_never_answered_is_reported_once() {
        let mut state = FeedState::default();
        assert!(matches!(state.apply(Moment::ZERO, unreachable("refused"))[..], [FeedChange::Down(_)]));
        assert_eq!(state.apply(Moment::ZERO, unreachable("refused")), []);
        assert_eq!((addresses(&state).len(), state.last_success()), (0, None));
    }

    #[test]
    fn a_time_that_stands_still_for_an_hour_is_stale() {
        let mut state = started("a");
        let hour = Moment::ZERO + STALE_AFTER;
        assert_eq!(state.apply(hour - Duration::from_secs(1), feed("a", &["10.0.0.3"])), []);
        assert_eq!(state.apply(hour, feed("a", &["10.0.0.4"])), [FeedChange::Down(Trouble::Stale)]);
        assert_eq!(state.apply(hour + MINUTE, feed("a", &["10.0.0.4"])), []);
        assert_eq!(addresses(&state), ["10.0.0.3"], "frozen");
        // Any other time will do, earlier ones too: the feed's clock may jump.
        assert_eq!(state.apply(hour + MINUTE, feed("B", &["10.0.0.5"])), [FeedChange::Up]);
        assert_eq!(addresses(&state), ["10.0.0.5"]);
    }

    #[test]
    fn a_feed_that_comes_back_as_it_was_long_ago_is_stale() {
        let mut state = started("a");
        state.apply(Moment::ZERO + MINUTE, unreachable("refused"));
        let later = Moment::ZERO + 2 * STALE_AFTER;
        assert_eq!(state.apply(later, feed("a", &["10.0.0.1"])), [FeedChange::Down(Trouble::Stale)]);
    }

    #[test]
    fn a_feed_without_a_time_never_grows_stale() {
        let mut state = started("");
        assert_eq!(state.apply(Moment::ZERO + 100 * STALE_AFTER, feed("", &["10.0.0.1"])), []);
        assert_eq!(addresses(&state), ["10.0.0.1"]);
    }

    #[test]
    fn a_device_that_stays_keeps_its_start_and_one_that_returns_does_not() {
        let mut state = started("a");
        let at = |minutes: u32| Moment::ZERO + minutes * MINUTE;
        state.apply(at(1), feed("b", &["10.0.0.2", "10.0.0.3"]));
        let since: Vec<Moment> = state.members().iter().map(|member| member.since).collect();
        assert_eq!(since, [at(0), at(1)]);
        state.apply(at(2), unreachable("refused"));
        state.apply(at(3), feed("c", &["10.0.0.1", "10.0.0.3"]));
        let since: Vec<Moment> = state.members().iter().map(|member| member.since).collect();
        assert_eq!(since, [at(3), at(1)]);
    }

    #[test]
    fn a_remark_is_reported_once_for_as_long_as_it_holds() {
        let mut state = started("");
        let mut count_changes = |remarks: &[&str]| {
            let remarks = remarks.iter().map(|&remark| remark.to_owned()).collect();
            state.apply(Moment::ZERO, feed("", &["10.0.0.1"]).map(|feed| Feed { remarks, ..feed })).len()
        };
        assert_eq!(
            [
                count_changes(&["a"]),
                count_changes(&["a"]),
                count_changes(&["a", "b"]),
                count_changes(&[]),
                count_changes(&["a"])
            ],
            [1, 0, 1, 0, 1]
        );
    }

    #[test]
    fn holding_back_is_reported_when_it_begins_and_ends() {
        use crate::feed::Bound::{Devices, Newcomers};
        let mut state = started("");
        let held = |count, bound| Some(HeldBack { count, bound });
        for (held_back, is_reported) in [
            (held(9, Newcomers), true),
            (held(4000, Newcomers), false),
            (held(4000, Devices), false),
            (None, true),
            (None, false),
        ] {
            let word = feed("", &[]).map(|feed| Feed { held_back, ..feed });
            let word = if held_back.is_some() { word } else { feed("", &["10.0.0.1"]) };
            let expected = if is_reported { vec![FeedChange::HoldingBack(held_back)] } else { vec![] };
            assert_eq!(state.apply(Moment::ZERO, word), expected, "{held_back:?}");
            assert_eq!((state.held_back(), state.trouble()), (held_back, None));
        }
    }

    #[test]
    fn refused_entries_are_reported_when_they_change() {
        let mut state = started("");
        let with = |reasons: &[&str]| {
            let mut rejected = Rejected::default();
            reasons.iter().for_each(|reason| rejected.push(reason));
            (rejected.clone(), feed("", &["10.0.0.1"]).map(|feed| Feed { rejected, ..feed }))
        };
        for (reasons, is_reported) in [(&["x"][..], true), (&["x"], false), (&["x", "y"], true), (&[], true)]
        {
            let (rejected, word) = with(reasons);
            let expected = if is_reported { vec![FeedChange::Rejecting(rejected)] } else { vec![] };
            assert_eq!(state.apply(Moment::ZERO, word), expected, "{reasons:?}");
        }
    }
}
