//! Decides which device to ask next, in which way, and when. Pure: the time is a parameter.
//!
//! Names and announcements are asked for alike: at once when a device is new or has moved, then once a day, and a
//! device that does not answer less and less often.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::Hash,
    time::Duration,
};

use crate::model::{Address, DeviceKey, Moment};

/// The time from an answer to the next question.
const AGAIN: Duration = Duration::from_secs(24 * 3600);

/// From the first question without an answer to the next. Each further one doubles it, up to [`AGAIN`].
const RETRY: Duration = Duration::from_secs(3600);

/// From a question that could not be asked to the next: a device that is being scanned is free soon.
const POSTPONED: Duration = Duration::from_secs(30);

/// From the start of one question to that of the next: 250 devices are asked about in two ways within a minute.
const PACE: Duration = Duration::from_millis(100);

/// The limit of questions in progress, all together.
const AT_ONCE: usize = 4;

/// A way of asking about a device.
pub(super) trait QuestionSource: Copy + Eq + Ord + Hash {
    /// The limit of its questions in progress. A slow source must not occupy all of them.
    fn at_once(self) -> usize {
        AT_ONCE
    }
}

/// The device that a question is about, and the source that is asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Subject<S> {
    pub(super) device: DeviceKey,
    pub(super) source: S,
}

/// A question that is due now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question<S> {
    pub(super) subject: Subject<S>,
    /// The device's address.
    pub(super) address: Address,
}

/// The plan of all questions.
#[derive(Debug)]
pub(super) struct QuestionPlan<S> {
    /// The state of each subject.
    known: HashMap<Subject<S>, State>,
    /// Subjects that wait for their next question, by when it is due.
    due: BTreeSet<(Moment, Subject<S>)>,
    asking: BTreeMap<Subject<S>, Address>,
    last: Option<Moment>,
}

#[derive(Debug)]
struct State {
    address: Address,
    due: Moment,
    /// Questions without an answer in a row.
    in_vain: u32,
}

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NextQuestion<S> {
    /// Ask this question, and call again.
    Ask(Question<S>),
    /// Wait until this moment.
    Wait(Moment),
    /// Wait until something changes.
    Rest,
}

impl<S> Default for QuestionPlan<S> {
    fn default() -> Self {
        Self { known: HashMap::new(), due: BTreeSet::new(), asking: BTreeMap::new(), last: None }
    }
}

impl<S: QuestionSource> QuestionPlan<S> {
    /// Takes the devices that are present, each with all of its addresses, and the sources that may be asked. A device
    /// that is new, or no longer at the address that was asked about, is due at once; one that has gone is dropped.
    pub(super) fn set_devices(
        &mut self,
        now: Moment,
        devices: &BTreeMap<DeviceKey, BTreeSet<Address>>,
        sources: &[S],
    ) {
        let is_wanted = |subject: &Subject<S>, state: &mut State| {
            sources.contains(&subject.source)
                && devices.get(&subject.device).is_some_and(|here| here.contains(&state.address))
        };
        self.known.retain(is_wanted);
        let known = &self.known;
        self.due.retain(|(due, subject)| known.get(subject).is_some_and(|state| state.due == *due));
        for (device, addresses) in devices {
            let Some(address) = addresses.first() else { continue };
            for &source in sources {
                let subject = Subject { device: device.clone(), source };
                if !self.known.contains_key(&subject) {
                    self.due.insert((now, subject.clone()));
                    self.known.insert(subject, State { address: address.clone(), due: now, in_vain: 0 });
                }
            }
        }
    }

    /// Returns what to do now.
    pub(super) fn next(&mut self, now: Moment) -> NextQuestion<S> {
        if self.asking.len() >= AT_ONCE {
            return NextQuestion::Rest;
        }
        let is_free = |subject: &Subject<S>| {
            let in_progress = self.asking.keys().filter(|asked| asked.source == subject.source).count();
            !self.asking.contains_key(subject) && in_progress < subject.source.at_once()
        };
        let Some((due, subject)) = self.due.iter().find(|(_, subject)| is_free(subject)).cloned() else {
            return NextQuestion::Rest;
        };
        let earliest = self.last.map_or(due, |last| due.max(last + PACE));
        if earliest > now {
            return NextQuestion::Wait(earliest);
        }
        self.due.remove(&(due, subject.clone()));
        let Some(state) = self.known.get(&subject) else { return NextQuestion::Wait(now) };
        self.last = Some(now);
        self.asking.insert(subject.clone(), state.address.clone());
        NextQuestion::Ask(Question { subject, address: state.address.clone() })
    }

    /// Takes the outcome of a question. Returns whether the answer still holds: the device may have gone or moved
    /// since it was asked.
    pub(super) fn asked(&mut self, now: Moment, question: &Question<S>, answered: bool) -> bool {
        let Question { subject, address } = question;
        self.asking.remove(subject);
        let Some(state) = self.known.get_mut(subject).filter(|state| state.address == *address) else {
            return false;
        };
        state.in_vain = if answered { 0 } else { state.in_vain.saturating_add(1) };
        let wait = match state.in_vain {
            0 => AGAIN,
            // 24 hours are fewer than 2^5.
            times => AGAIN.min(RETRY * (1 << (times - 1).min(5))),
        };
        state.due = now + wait;
        self.due.insert((state.due, subject.clone()));
        true
    }

    /// Records that a question could not be asked now, which is not the device's doing.
    pub(super) fn postpone(&mut self, now: Moment, question: &Question<S>) {
        let Question { subject, address } = question;
        self.asking.remove(subject);
        if let Some(state) = self.known.get_mut(subject).filter(|state| state.address == *address) {
            state.due = now + POSTPONED;
            self.due.insert((state.due, subject.clone()));
        }
    }

    /// Whether questions are in progress, or will be as soon as the pace allows.
    pub(super) fn is_busy(&self, now: Moment) -> bool {
        !self.asking.is_empty() || self.due.first().is_some_and(|(due, _)| *due <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::NameSource;

    const DNS_AT_ONCE: usize = 2;
    const HOUR: Duration = Duration::from_secs(3600);
    const BOTH: [NameSource; 2] = [NameSource::Mdns, NameSource::Dns];

    /// Returns devices by the last octets of their MAC and addresses.
    fn devices(here: &[(u8, &[u8])]) -> BTreeMap<DeviceKey, BTreeSet<Address>> {
        let address = |last: &u8| Address::from(std::net::Ipv4Addr::new(10, 0, 0, *last));
        let device = |(mac, addresses): &(u8, &[u8])| {
            let mac = crate::model::Mac::new([2, 0, 0, 0, 0, *mac]);
            (DeviceKey::Mac(mac), addresses.iter().map(address).collect())
        };
        here.iter().map(device).collect()
    }

    /// A plan, the time, and the subjects that answer.
    struct World {
        plan: QuestionPlan<NameSource>,
        now: Moment,
        answers: fn(&Question<NameSource>) -> bool,
    }

    impl World {
        fn new(answers: fn(&Question<NameSource>) -> bool) -> Self {
            Self { plan: QuestionPlan::default(), now: Moment::ZERO, answers }
        }

        fn set(&mut self, here: &[(u8, &[u8])]) {
            self.plan.set_devices(self.now, &devices(here), &BOTH);
        }

        /// Returns all questions of this time, each answered after a tenth of a second: `address source`, and how long
        /// after the start.
        fn pass(&mut self, time: Duration) -> Vec<(String, Duration)> {
            let (start, end) = (self.now, self.now + time);
            let mut asked = Vec::new();
            loop {
                match self.plan.next(self.now) {
                    NextQuestion::Ask(question) => {
                        let what = format!("{} {}", question.address, question.subject.source.as_str());
                        asked.push((what, self.now.since(start)));
                        self.now += Duration::from_millis(100);
                        assert!(self.plan.asked(self.now, &question, (self.answers)(&question)));
                    }
                    NextQuestion::Wait(until) if until < end => self.now = until,
                    NextQuestion::Wait(_) | NextQuestion::Rest => break,
                }
            }
            self.now = end;
            asked
        }
    }

    fn subjects(asked: &[(String, Duration)]) -> Vec<&str> {
        asked.iter().map(|(what, _)| what.as_str()).collect()
    }

    #[test]
    fn a_new_device_is_asked_at_once_and_again_every_day() {
        let mut world = World::new(|_| true);
        world.set(&[(1, &[1])]);
        assert_eq!(subjects(&world.pass(HOUR)), ["10.0.0.1 mdns", "10.0.0.1 dns"]);
        world.set(&[(1, &[1]), (2, &[2])]);
        assert_eq!(subjects(&world.pass(HOUR)), ["10.0.0.2 mdns", "10.0.0.2 dns"]);
        assert_eq!(world.pass(21 * HOUR), []);
        assert_eq!(world.pass(10 * 24 * HOUR).len(), 40);
    }

    #[test]
    fn a_moved_device_is_asked_at_once_but_not_for_a_second_address() {
        let mut world = World::new(|_| true);
        world.set(&[(1, &[1])]);
        world.pass(HOUR);
        world.set(&[(1, &[1, 7])]);
        assert_eq!(world.pass(HOUR), [], "another address");
        world.set(&[(1, &[7])]);
        assert_eq!(subjects(&world.pass(HOUR)), ["10.0.0.7 mdns", "10.0.0.7 dns"]);
        world.set(&[]);
        assert_eq!(world.pass(30 * 24 * HOUR), []);
        assert!(world.plan.known.is_empty() && world.plan.due.is_empty());
    }

    #[test]
    fn a_silent_device_is_asked_less_and_less_often() {
        let mut world = World::new(|question| question.subject.source == NameSource::Dns);
        world.set(&[(1, &[1])]);
        let asked = world.pass(6 * 24 * HOUR);
        let hours: Vec<u64> = asked
            .iter()
            .filter(|(what, _)| what.ends_with("mdns"))
            .map(|(_, at)| at.as_secs().div_euclid(3600))
            .collect();
        assert_eq!(hours, [0, 1, 3, 7, 15, 31, 55, 79, 103, 127]);
    }

    #[test]
    fn a_postponed_question_is_asked_again_soon() {
        let mut plan = QuestionPlan::default();
        plan.set_devices(Moment::ZERO, &devices(&[(1, &[1])]), &[NameSource::Mdns]);
        let NextQuestion::Ask(question) = plan.next(Moment::ZERO) else { panic!("nothing to ask") };
        plan.postpone(Moment::ZERO, &question);
        let again = Moment::ZERO + POSTPONED;
        assert_eq!(plan.next(Moment::ZERO), NextQuestion::Wait(again));
        assert_eq!(plan.next(again), NextQuestion::Ask(question.clone()));
        // The device has gone meanwhile.
        plan.set_devices(again, &devices(&[]), &[NameSource::Mdns]);
        plan.postpone(again, &question);
        assert_eq!(plan.next(again + HOUR), NextQuestion::Rest);
    }

    #[test]
    fn questions_in_progress_are_limited_and_paced() {
        let mut plan = QuestionPlan::default();
        let crowd: Vec<(u8, [u8; 1])> = (1..=250).map(|last| (last, [last])).collect();
        let here: Vec<(u8, &[u8])> = crowd.iter().map(|(mac, at)| (*mac, &at[..])).collect();
        plan.set_devices(Moment::ZERO, &devices(&here), &BOTH);
        let mut now = Moment::ZERO;
        let mut asking = Vec::new();
        while asking.len() < AT_ONCE {
            match plan.next(now) {
                NextQuestion::Ask(question) => asking.push(question),
                NextQuestion::Wait(until) => {
                    assert_eq!(until.since(now), PACE);
                    now = until;
                }
                NextQuestion::Rest => panic!("there is more to ask"),
            }
        }
        assert_eq!(plan.next(now + HOUR), NextQuestion::Rest, "enough under way");
        let dns = asking.iter().filter(|question| question.subject.source == NameSource::Dns).count();
        assert!(dns <= DNS_AT_ONCE, "{asking:?}");
        assert!(plan.is_busy(now));

        let mut world = World::new(|_| true);
        world.set(&here);
        let asked = world.pass(HOUR);
        assert_eq!(asked.len(), 500);
        assert!(asked.last().unwrap().1 < Duration::from_secs(60), "{:?}", asked.last());
        assert!(!world.plan.is_busy(world.now));
    }

    #[test]
    fn an_answer_about_a_device_that_has_moved_does_not_count() {
        let mut plan = QuestionPlan::default();
        plan.set_devices(Moment::ZERO, &devices(&[(1, &[1])]), &[NameSource::Mdns]);
        let NextQuestion::Ask(question) = plan.next(Moment::ZERO) else { panic!("nothing to ask") };
        plan.set_devices(Moment::ZERO, &devices(&[(1, &[7])]), &[NameSource::Mdns]);
        assert_eq!(
            plan.next(Moment::ZERO + HOUR),
            NextQuestion::Rest,
            "one question about a device at a time"
        );
        assert!(!plan.asked(Moment::ZERO + HOUR, &question, true));
        let NextQuestion::Ask(question) = plan.next(Moment::ZERO + HOUR) else { panic!("nothing to ask") };
        assert_eq!(question.address.to_string(), "10.0.0.7");
        // The device has been switched off since.
        plan.set_devices(Moment::ZERO + HOUR, &devices(&[(1, &[7])]), &[]);
        assert!(!plan.asked(Moment::ZERO + HOUR, &question, true));
        assert_eq!(plan.next(Moment::ZERO + HOUR), NextQuestion::Rest);
    }
}
