//! One sweep: which address is probed when, which stations have answered, and when it is over. Pure: the time is a
//! parameter.
//!
//! A sweep consists of rounds. In each, every address that is still silent is probed once, one after the other at an
//! even pace; then the rest of the round's length passes, however few there were. Five rounds, a second apart, find a
//! device that loses 6 % of the requests in all but one of a million sweeps, and one that wakes up late by its second
//! request.

use std::{collections::HashMap, net::Ipv4Addr, time::Duration};

use crate::{
    model::{Mac, Moment},
    net::NeighbourReply,
};

/// The speed of a sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SweepPace {
    /// Addresses probed at a time.
    pub batch: usize,
    /// From one batch to the next.
    pub every: Duration,
    /// How often a silent address is probed.
    pub rounds: u32,
    /// From the start of a round to the start of the next, at least.
    pub round: Duration,
    /// From the last request to the end.
    pub patience: Duration,
}

impl SweepPace {
    /// By ARP. 500 broadcasts a second are 240 kbit/s: an access point sends them at its slowest rate, and half of
    /// that is left to others. A /24 takes 5.5 s, a /22 11.5 s, a /20 42 s, a /16 eleven minutes.
    pub const ARP: Self = Self {
        batch: 5,
        every: Duration::from_millis(10),
        rounds: 5,
        round: Duration::from_secs(1),
        patience: Duration::from_secs(1),
    };

    /// Through the kernel, which itself sends three requests in three seconds. Its table holds 1,024 neighbours
    /// (`gc_thresh3` of arp(7)), including those that it waits for: 50 a second are 150 of them. A /24 takes 12 s, a
    /// /22 43 s, a /16 three quarters of an hour.
    pub const NUDGE: Self = Self {
        batch: 1,
        every: Duration::from_millis(20),
        rounds: 2,
        round: Duration::from_secs(4),
        patience: Duration::from_secs(2),
    };

    /// Returns how long a round of this many addresses takes.
    fn round_of(&self, addresses: usize) -> Duration {
        let batches = u32::try_from(addresses.div_ceil(self.batch)).unwrap_or(u32::MAX);
        self.every.saturating_mul(batches).max(self.round)
    }
}

/// How late a batch may be before the lost time is given up: a machine that was busy must not catch up with a flood.
const CATCH_UP: Duration = Duration::from_millis(50);

/// The limit of other stations that are remembered to claim one address.
const MOST_RIVALS: usize = 4;

/// The station that answered at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The first station that answered.
    pub mac: Mac,
    /// Other stations that claim the address, too.
    pub rivals: Vec<Mac>,
    /// Another station answered for it, and no direct answer has come.
    is_relayed: bool,
}

impl Heard {
    /// Creates the record of a station that no other contradicts.
    pub fn of(mac: Mac) -> Self {
        Self { mac, rivals: Vec::new(), is_relayed: false }
    }
}

/// A sweep in progress.
#[derive(Debug)]
pub struct Sweep {
    pace: SweepPace,
    /// The addresses to probe, each with how often that was done.
    targets: Vec<(Ipv4Addr, u32)>,
    places: HashMap<Ipv4Addr, usize>,
    heard: HashMap<Ipv4Addr, Heard>,
    round: u32,
    round_began: Moment,
    /// The next target of this round.
    position: usize,
    next: Moment,
    last_question: Moment,
    began: Moment,
}

impl Sweep {
    /// Begins a sweep of these addresses now.
    pub fn new(pace: SweepPace, targets: Vec<Ipv4Addr>, now: Moment) -> Self {
        let places = targets.iter().enumerate().map(|(place, address)| (*address, place)).collect();
        Self {
            pace,
            targets: targets.into_iter().map(|address| (address, 0)).collect(),
            places,
            heard: HashMap::new(),
            round: 0,
            round_began: now,
            position: 0,
            next: now,
            last_question: now,
            began: now,
        }
    }

    /// Returns the addresses to probe now; none before [`Sweep::next`].
    pub fn due(&mut self, now: Moment) -> Vec<Ipv4Addr> {
        if !self.is_asking() || now < self.next {
            return Vec::new();
        }
        let mut batch = Vec::with_capacity(self.pace.batch);
        while batch.len() < self.pace.batch
            && let Some((address, asked)) = self.targets.get_mut(self.position)
        {
            self.position += 1;
            if !self.heard.contains_key(address) {
                *asked += 1;
                batch.push(*address);
            }
        }
        if !batch.is_empty() {
            self.last_question = now;
        }
        self.next = (self.next + self.pace.every).max(now - CATCH_UP);
        if self.position == self.targets.len() {
            self.round += 1;
            self.position = 0;
            self.next = self.next.max(self.round_began + self.pace.round_of(self.targets.len()));
            self.round_began = self.next;
        }
        batch
    }

    /// Returns when to call again, to send requests or to find that the sweep is over; `None` once it is.
    pub fn next(&self, now: Moment) -> Option<Moment> {
        let end = self.last_question + self.pace.patience;
        if self.is_asking() { Some(self.next) } else { Some(end).filter(|end| now < *end) }
    }

    /// Takes an answer. One that no request of this sweep has caused is dropped, so what is kept is bounded by what
    /// was requested.
    pub fn hear(&mut self, answer: NeighbourReply) {
        let NeighbourReply { address, mac, is_relayed } = answer;
        let place = self.places.get(&address).and_then(|place| self.targets.get(*place));
        if place.is_none_or(|(_, asked)| *asked == 0) {
            return;
        }
        let new = Heard { is_relayed, ..Heard::of(mac) };
        let heard = self.heard.entry(address).or_insert_with(|| new.clone());
        let (is_known, is_better) = (heard.mac == mac, heard.is_relayed && !is_relayed);
        if is_better {
            *heard = new;
        } else if !is_known && !is_relayed && !heard.rivals.contains(&mac) && heard.rivals.len() < MOST_RIVALS
        {
            heard.rivals.push(mac);
        }
    }

    /// Returns when it began.
    pub fn began(&self) -> Moment {
        self.began
    }

    /// Returns the stations that have answered, at the end.
    pub fn into_heard(self) -> HashMap<Ipv4Addr, Heard> {
        self.heard
    }

    /// Returns the stations that have answered so far.
    pub fn heard(&self) -> &HashMap<Ipv4Addr, Heard> {
        &self.heard
    }

    /// Returns the progress: the time that has passed, and the time that the sweep takes in all if an address stays
    /// silent.
    pub fn progress(&self, now: Moment) -> (Duration, Duration) {
        let lasts =
            self.pace.round_of(self.targets.len()).saturating_mul(self.pace.rounds) + self.pace.patience;
        (now.since(self.began).min(lasts), lasts)
    }

    fn is_asking(&self) -> bool {
        self.round < self.pace.rounds && self.heard.len() < self.targets.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(count: u32) -> Vec<Ipv4Addr> {
        (1..=count).map(|last| Ipv4Addr::from_bits(0x0a00_0000 + last)).collect()
    }

    fn answer(address: Ipv4Addr, last: u8) -> NeighbourReply {
        NeighbourReply { address, mac: Mac::new([2, 0, 0, 0, 0, last]), is_relayed: false }
    }

    fn mac(last: u8) -> Mac {
        Mac::new([2, 0, 0, 0, 0, last])
    }

    /// A LAN in virtual time: each device answers a request after a delay, or never (`None`). Returns the sweep, every
    /// request with its time, and the end.
    fn run(
        pace: SweepPace,
        targets: Vec<Ipv4Addr>,
        mut device: impl FnMut(Ipv4Addr, Moment) -> Option<Duration>,
    ) -> (Sweep, Vec<(Moment, Ipv4Addr)>, Moment) {
        let mut now = Moment::ZERO;
        let mut sweep = Sweep::new(pace, targets, now);
        let mut questions = Vec::new();
        let mut under_way: Vec<(Moment, Ipv4Addr)> = Vec::new();
        while let Some(next) = sweep.next(now) {
            let arrival = under_way.iter().map(|(at, _)| *at).min();
            now = arrival.map_or(next, |arrival| arrival.min(next)).max(now);
            let (arrived, waiting) = under_way.into_iter().partition(|(at, _)| *at <= now);
            under_way = waiting;
            let arrived: Vec<(Moment, Ipv4Addr)> = arrived;
            arrived.into_iter().for_each(|(_, address)| sweep.hear(answer(address, 9)));
            for address in sweep.due(now) {
                questions.push((now, address));
                under_way.extend(device(address, now).map(|delay| (now + delay, address)));
            }
        }
        (sweep, questions, now)
    }

    fn seconds(moment: Moment) -> f64 {
        moment.since_start().as_secs_f64()
    }

    #[test]
    fn a_silent_address_is_probed_five_times_in_five_seconds_and_a_slash_24_ends_within_six() {
        let (sweep, questions, end) = run(SweepPace::ARP, addresses(254), |_, _| None);
        assert_eq!((sweep.heard().len(), questions.len()), (0, 5 * 254));
        let times: Vec<f64> = questions
            .iter()
            .filter(|(_, address)| *address == addresses(7)[6])
            .map(|(at, _)| seconds(*at))
            .collect();
        assert_eq!(times.len(), 5);
        assert!(times.windows(2).all(|pair| (0.99..1.01).contains(&(pair[1] - pair[0]))), "{times:?}");
        assert!((5.4..5.6).contains(&seconds(end)), "{}", seconds(end));
        assert_eq!(sweep.progress(end).1, Duration::from_secs(6));
    }

    #[test]
    fn sends_at_most_five_hundred_requests_in_any_second() {
        let (_, questions, _) = run(SweepPace::ARP, addresses(4094), |_, _| None);
        let most = (0..questions.len()).map(|first| {
            let within =
                |(at, _): &&(Moment, Ipv4Addr)| at.since(questions[first].0) < Duration::from_secs(1);
            questions[first..].iter().take(600).filter(within).count()
        });
        assert_eq!(most.max(), Some(500));
    }

    #[test]
    fn large_networks_take_the_documented_time() {
        for (pace, count, expected) in [
            (SweepPace::ARP, 1022, 11.2),
            (SweepPace::ARP, 4094, 41.9),
            (SweepPace::ARP, 65_534, 656.0),
            (SweepPace::NUDGE, 254, 12.2),
            (SweepPace::NUDGE, 1022, 42.9),
        ] {
            let (_, _, end) = run(pace, addresses(count), |_, _| None);
            assert!((seconds(end) - expected).abs() < 0.5, "{count}: {}", seconds(end));
        }
    }

    #[test]
    fn stops_probing_an_address_that_answers_and_ends_when_all_have() {
        let near = Duration::from_millis(1);
        let (sweep, questions, end) = run(SweepPace::ARP, addresses(254), |_, _| Some(near));
        assert_eq!((sweep.heard().len(), questions.len()), (254, 254));
        assert!((1.4..1.6).contains(&seconds(end)), "{}", seconds(end));
    }

    #[test]
    fn lossy_and_sleepy_devices_are_found() {
        let mut rng = fastrand::Rng::with_seed(7);
        for _ in 0..200 {
            let mut woken: HashMap<Ipv4Addr, Moment> = HashMap::new();
            let (sweep, questions, end) = run(SweepPace::ARP, addresses(254), |address, now| {
                let last = address.octets()[3];
                if last > 250 || rng.f64() < 0.03 || rng.f64() < 0.03 {
                    return None;
                }
                let awake = woken.entry(address).or_insert(now + Duration::from_millis(600));
                Some(if last <= 8 { now.until(*awake) } else { Duration::from_millis(2) })
            });
            assert_eq!(sweep.heard().len(), 250);
            assert!(seconds(end) < 6.0 && questions.len() < 254 + 4 * 4 + 40, "{}", questions.len());
        }
    }

    #[test]
    fn a_machine_that_was_busy_does_not_catch_up_with_a_flood() {
        let mut sweep = Sweep::new(SweepPace::ARP, addresses(254), Moment::ZERO);
        let late = Moment::ZERO + Duration::from_millis(400);
        let mut asked = 0;
        while sweep.next(late).is_some_and(|next| next <= late) {
            asked += sweep.due(late).len();
        }
        assert!((25..=35).contains(&asked), "{asked}");
    }

    #[test]
    fn ignores_unrequested_answers_and_prefers_direct_to_relayed_ones() {
        let [one, two, ..] = addresses(3)[..] else { unreachable!() };
        let mut sweep = Sweep::new(SweepPace { batch: 1, ..SweepPace::ARP }, addresses(3), Moment::ZERO);
        sweep.hear(answer(one, 7));
        assert!(sweep.heard().is_empty(), "no address was probed yet");
        assert_eq!(sweep.due(Moment::ZERO), [one]);
        for address in [two, [10, 0, 0, 99].into(), [192, 0, 2, 1].into()] {
            sweep.hear(answer(address, 7));
        }
        assert!(sweep.heard().is_empty());
        sweep.hear(NeighbourReply { is_relayed: true, ..answer(one, 6) });
        sweep.hear(answer(one, 7));
        sweep.hear(NeighbourReply { is_relayed: true, ..answer(one, 5) });
        assert_eq!((sweep.heard()[&one].mac, sweep.heard()[&one].rivals.len()), (mac(7), 0));
        (1..=20).for_each(|last| sweep.hear(answer(one, last)));
        let heard = &sweep.heard()[&one];
        assert_eq!((heard.mac, &heard.rivals[..]), (mac(7), &[mac(1), mac(2), mac(3), mac(4)][..]));
    }

    #[test]
    fn a_sweep_without_targets_ends_within_a_second() {
        let (sweep, _, end) = run(SweepPace::ARP, Vec::new(), |_, _| None);
        assert!(sweep.heard().is_empty() && seconds(end) <= 1.0);
    }
}
