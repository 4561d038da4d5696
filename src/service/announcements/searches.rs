//! Decides when a network is searched for descriptions. Pure: the time is a parameter.

use std::{collections::BTreeMap, net::Ipv4Addr, time::Duration};

use crate::{model::Moment, net::Locations};

/// The least time from one search of a network to the next. Every device is due once a day, one that does not answer
/// once an hour at first, and all that are due within this time share one search.
const SEARCH_AGAIN: Duration = Duration::from_secs(600);

/// The last search of each network, by this machine's address there.
#[derive(Debug, Default)]
pub(super) struct Searches(BTreeMap<Ipv4Addr, (Moment, Locations)>);

impl Searches {
    /// Returns what the last search of a network found; `None` if it must be searched again.
    pub(super) fn found(&self, now: Moment, own: Ipv4Addr) -> Option<&Locations> {
        let (ended, locations) = self.0.get(&own)?;
        (now < *ended + SEARCH_AGAIN).then_some(locations)
    }

    /// Takes the outcome of a search, a failed one's too. Networks that were not searched lately are dropped.
    pub(super) fn record(&mut self, now: Moment, own: Ipv4Addr, locations: Locations) {
        self.0.retain(|_, (ended, _)| now < *ended + SEARCH_AGAIN);
        self.0.insert(own, (now, locations));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        model::{Address, DeviceKey, Mac},
        service::{
            announcements::asking::Channel,
            questions::{NextQuestion, QuestionPlan},
        },
    };

    const DAY: Duration = Duration::from_secs(24 * 3600);
    const OWN: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 1, 1)];

    /// Asks for the descriptions of 250 devices, of which every tenth has one, and returns on which day each search and
    /// each question about services was.
    fn days(days: u32) -> (Vec<u64>, Vec<u64>) {
        let mut plan = QuestionPlan::default();
        let device = |last: u8| {
            let key = DeviceKey::Mac(Mac::new([2, 0, 0, 0, 0, last]));
            (key, [Address::from(Ipv4Addr::new(10, 0, 0, last))].into())
        };
        let mut now = Moment::ZERO;
        plan.set_devices(now, &(1..=250).map(device).collect(), &Channel::ALL);
        let mut searches = Searches::default();
        let (mut searched, mut asked) = (Vec::new(), Vec::new());
        loop {
            let day = now.since_start().as_secs() / DAY.as_secs();
            match plan.next(now) {
                NextQuestion::Ask(question) => {
                    match question.subject.source {
                        Channel::Upnp if searches.found(now, OWN[0]).is_none() => {
                            searched.push(day);
                            now += Duration::from_millis(3500);
                            searches.record(now, OWN[0], Locations::new());
                        }
                        Channel::Upnp => {}
                        Channel::DnsSd => asked.push(day),
                    }
                    now += Duration::from_millis(100);
                    let has_answer = question.address.ipv4().is_some_and(|ip| ip.octets()[3] % 10 == 0);
                    plan.asked(now, &question, has_answer);
                }
                NextQuestion::Wait(until) if until.since_start() < days * DAY => now = until,
                NextQuestion::Wait(_) | NextQuestion::Rest => return (searched, asked),
            }
        }
    }

    #[test]
    fn a_network_of_250_devices_is_searched_a_few_times_a_day() {
        let (searched, asked) = days(30);
        let on = |days: &[u64], day: u64| days.iter().filter(|at| **at == day).count();
        assert!(on(&searched, 0) <= 6, "on the first day, for those that did not answer: {searched:?}");
        for day in 2..30 {
            assert!((1..=3).contains(&on(&searched, day)), "day {day}: {searched:?}");
            assert!(on(&asked, day) <= 251, "each device once a day: {}", on(&asked, day));
        }
    }

    proptest! {
        #[test]
        fn no_network_is_searched_twice_within_ten_minutes(
            requests in prop::collection::vec((0..400_u64, 0..2_usize), 0..200),
        ) {
            let mut searches = Searches::default();
            let mut last: [Option<Moment>; 2] = [None; 2];
            let mut now = Moment::ZERO;
            for (seconds, network) in requests {
                now += Duration::from_secs(seconds);
                if searches.found(now, OWN[network]).is_none() {
                    prop_assert!(last[network].is_none_or(|last| now.since(last) >= SEARCH_AGAIN));
                    last[network] = Some(now);
                    searches.record(now, OWN[network], Locations::new());
                }
                prop_assert!(searches.0.len() <= OWN.len());
            }
        }
    }
}
