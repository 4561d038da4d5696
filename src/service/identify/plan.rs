//! Decides which port of which device is identified next, and when. Pure: the time is a parameter.
//!
//! A device gets one connection at a time, with a pause after each. After the last one it gets two more, which check
//! whether it has survived: some gadgets hang or restart seconds after the cause.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    time::Duration,
};

use super::due::DuePort;
use crate::model::{DeviceKey, Moment, Timing};

/// The most connections at once, to all devices together. A dialogue takes memory for a TLS handshake, some 50 KB, and a
/// month is long enough for a thousand devices.
const AT_ONCE: usize = 8;

/// How long a device that is being scanned is left to the scan, before it is tried again.
const BUSY: Duration = Duration::from_secs(30);

/// After the last connection, when a device is connected to again to see whether it has survived: once soon, because it
/// may be back later, and once late. At a slow pace only the latter.
const CANARIES: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(25)];

/// From a connection without a reply to the next, which decides whether the device has fallen silent: one that was
/// merely slow has recovered by then.
const DOUBT: Duration = Duration::from_secs(2);

/// A device that falls silent within this time after a connection has probably fallen silent because of it.
const SILENT_WITHIN: Duration = Duration::from_secs(30);

/// A connection that is to be made now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Contact {
    pub(super) device: DeviceKey,
    pub(super) port: DuePort,
    /// Whether it is made only to see whether the device still answers: nothing is read or written.
    pub(super) is_canary: bool,
}

/// How a contact ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ContactOutcome {
    /// The device has replied, if only by a refusal.
    Replied,
    /// There was no reply, and the path to the device was open.
    Silent,
    /// Nothing was sent: the device is being scanned.
    Busy,
    /// The state of the device is unknown: there was a local error, or another device has the address.
    Unknown,
}

/// What follows from a contact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Conclusion {
    /// Nothing.
    None,
    /// The device has fallen silent within [`SILENT_WITHIN`] of a connection.
    FellSilent,
}

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NextContact {
    /// Make this contact, and call again.
    Make(Contact),
    /// Wait until this moment.
    Wait(Moment),
    /// Wait until something changes.
    Rest,
}

/// The devices that have ports to identify, or are being watched after that.
#[derive(Debug, Default)]
pub(super) struct ContactPlan {
    devices: HashMap<DeviceKey, State>,
    /// Devices without a contact in progress, by when their next one is due.
    due: BTreeSet<(Moment, DeviceKey)>,
    in_progress: usize,
}

#[derive(Debug)]
struct State {
    /// From the end of a contact to the next.
    pace: Duration,
    waiting: VecDeque<DuePort>,
    /// The ports that have had their contact, including the one in progress: the store may not have their results yet.
    done: Vec<DuePort>,
    stage: Stage,
    /// When the last contact with a reply ended that was no canary.
    replied: Option<Moment>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The next contact is with the next port.
    Ports,
    /// The next contact is this one of [`CANARIES`].
    Canary(usize),
    /// The last contact had no reply, and the next decides.
    Doubt,
}

impl ContactPlan {
    /// Takes the ports of a device that are due, in place of those that were taken before, and the time from the end of
    /// a contact to the next. Without ports, what is in progress is finished, and the device watched after that.
    pub(super) fn set_ports(&mut self, now: Moment, device: &DeviceKey, ports: Vec<DuePort>, pace: Duration) {
        if let Some(state) = self.devices.get_mut(device) {
            state.pace = pace;
            state.waiting = ports.into_iter().filter(|port| !state.done.contains(port)).collect();
        } else if !ports.is_empty() {
            let waiting = ports.into();
            let state = State { pace, waiting, done: Vec::new(), stage: Stage::Ports, replied: None };
            self.devices.insert(device.clone(), state);
            self.due.insert((now, device.clone()));
        }
    }

    /// Returns what to do now.
    pub(super) fn next(&mut self, now: Moment) -> NextContact {
        loop {
            if self.in_progress >= AT_ONCE {
                return NextContact::Rest;
            }
            let Some((due, _)) = self.due.first() else { return NextContact::Rest };
            if *due > now {
                return NextContact::Wait(*due);
            }
            let Some((_, device)) = self.due.pop_first() else { return NextContact::Rest };
            let contact = self.devices.get_mut(&device).and_then(|state| state.contact());
            if let Some((port, is_canary)) = contact {
                self.in_progress += 1;
                return NextContact::Make(Contact { device, port, is_canary });
            }
            self.devices.remove(&device);
        }
    }

    /// Takes the end of a contact, and returns what follows from it.
    pub(super) fn ended(&mut self, now: Moment, contact: &Contact, ended: ContactOutcome) -> Conclusion {
        self.in_progress = self.in_progress.saturating_sub(1);
        let Some(state) = self.devices.get_mut(&contact.device) else { return Conclusion::None };
        let fell_silent = ended == ContactOutcome::Silent && state.stage == Stage::Doubt;
        match state.after(now, contact, ended) {
            Some(due) => {
                self.due.insert((due, contact.device.clone()));
            }
            None => {
                self.devices.remove(&contact.device);
            }
        }
        if fell_silent { Conclusion::FellSilent } else { Conclusion::None }
    }
}

impl State {
    /// Returns the port of the next contact, and whether that is a canary; `None` if the device is done with.
    fn contact(&mut self) -> Option<(DuePort, bool)> {
        if self.stage == Stage::Ports {
            if let Some(port) = self.waiting.pop_front() {
                self.done.push(port.clone());
                return Some((port, false));
            }
            // The ports were taken back.
            self.stage = Stage::Canary(CANARIES.len() - 1);
        }
        let last = self.done.last().filter(|_| self.replied.is_some())?;
        Some((last.clone(), true))
    }

    /// Returns when the next contact is due; `None` if the device is done with.
    fn after(&mut self, now: Moment, contact: &Contact, ended: ContactOutcome) -> Option<Moment> {
        match ended {
            ContactOutcome::Replied => match self.stage {
                Stage::Ports => {
                    self.replied = Some(now);
                    // Before a pause that is longer than a device takes to fall silent, it is watched first.
                    let goes_on = !self.waiting.is_empty() && self.pace < SILENT_WITHIN;
                    if goes_on { Some(now + self.pace) } else { self.watch(now, 0) }
                }
                Stage::Canary(answered) => self.watch(now, answered + 1),
                // The device was only slow.
                Stage::Doubt => self.watch(now, CANARIES.len() - 1),
            },
            // A device that was silent from the first contact on has been switched off, or sleeps.
            ContactOutcome::Silent if self.replied.is_none_or(|last| now.since(last) > SILENT_WITHIN) => None,
            ContactOutcome::Silent if self.stage == Stage::Doubt => None,
            ContactOutcome::Silent => {
                self.stage = Stage::Doubt;
                Some(now + DOUBT)
            }
            // As long as silence would count.
            ContactOutcome::Busy if contact.is_canary => {
                let next = now + CANARIES[0];
                self.replied.filter(|last| next.since(*last) <= SILENT_WITHIN).map(|_| next)
            }
            ContactOutcome::Busy => {
                self.done.pop();
                self.waiting.push_front(contact.port.clone());
                Some(now + BUSY)
            }
            ContactOutcome::Unknown => None,
        }
    }

    /// Returns when this canary is due; after the last one, when the next port is.
    fn watch(&mut self, now: Moment, canary: usize) -> Option<Moment> {
        let last = CANARIES.len() - 1;
        let canary = if self.pace > CANARIES[0] { canary.max(last) } else { canary };
        let due = self.replied.zip(CANARIES.get(canary)).map(|(replied, after)| replied + *after);
        if let Some(due) = due.filter(|due| *due > now) {
            self.stage = Stage::Canary(canary);
            return Some(due);
        }
        self.stage = Stage::Ports;
        (!self.waiting.is_empty()).then(|| now + self.pace)
    }
}

/// From the end of a contact with a device to the next, by the pace at which it is scanned. A pause of less than a second
/// would save nothing, because most services take their three seconds to say nothing.
pub const fn pace_of(timing: Timing) -> Duration {
    match timing {
        Timing::T0 => Duration::from_secs(300),
        Timing::T1 => Duration::from_secs(15),
        Timing::T2 => Duration::from_secs(5),
        Timing::T3 | Timing::T4 | Timing::T5 => Duration::from_secs(1),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        model::{IdentifyLevel, Mac},
        service::identify::manner::{is_left_alone, manner_of},
    };

    const SECOND: Duration = Duration::from_secs(1);

    fn key(last: u8) -> DeviceKey {
        DeviceKey::Mac(Mac::new([2, 0, 0, 0, 0, last]))
    }

    fn ports(ports: &[u16]) -> Vec<DuePort> {
        let address: crate::model::Address = "10.0.0.1".parse().unwrap();
        let due = |port: &u16| {
            let manner = manner_of(IdentifyLevel::Requests, *port, None)?;
            Some(DuePort { address: address.clone(), port: *port, manner })
        };
        ports.iter().filter_map(due).collect()
    }

    /// A contact as it was made.
    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Made {
        start: Moment,
        end: Moment,
        device: DeviceKey,
        port: u16,
        is_canary: bool,
        ended: ContactOutcome,
    }

    /// Runs a plan until it rests: each contact takes as long and ends as `world` says. Returns the contacts, and the
    /// devices that fell silent, with when.
    fn run(
        plan: &mut ContactPlan,
        mut now: Moment,
        mut world: impl FnMut(Moment, &Contact) -> (Duration, ContactOutcome),
    ) -> (Vec<Made>, Vec<(DeviceKey, Moment)>) {
        let (mut made, mut silent) = (Vec::new(), Vec::new());
        let mut open: BTreeMap<(Moment, usize), (Contact, ContactOutcome)> = BTreeMap::new();
        for step in 0..100_000 {
            let until = match plan.next(now) {
                NextContact::Make(contact) => {
                    let (takes, ended) = world(now, &contact);
                    let end = now + takes;
                    let (device, port) = (contact.device.clone(), contact.port.port);
                    made.push(Made { start: now, end, device, port, is_canary: contact.is_canary, ended });
                    open.insert((end, step), (contact, ended));
                    continue;
                }
                NextContact::Wait(until) => Some(until),
                NextContact::Rest => None,
            };
            let first = open.first_key_value().map(|(key, _)| *key);
            match (first, until) {
                (None, None) => return (made, silent),
                (Some(key), until) if until.is_none_or(|until| key.0 <= until) => {
                    now = key.0;
                    let Some((contact, ended)) = open.remove(&key) else { continue };
                    if plan.ended(now, &contact, ended) == Conclusion::FellSilent {
                        silent.push((contact.device, now));
                    }
                }
                (_, Some(until)) => now = until,
                (Some(_), None) => {}
            }
        }
        panic!("the plan never rests");
    }

    /// What was done with which port, and how long after the start.
    fn told(made: &[Made]) -> Vec<String> {
        let one = |made: &Made| {
            let canary = if made.is_canary { " canary" } else { "" };
            format!("{}{canary} {}", made.port, made.start.since_start().as_secs())
        };
        made.iter().map(one).collect()
    }

    fn start(open: &[u16], pace: Duration) -> ContactPlan {
        let mut plan = ContactPlan::default();
        plan.set_ports(Moment::ZERO, &key(1), ports(open), pace);
        plan
    }

    #[test]
    fn ports_are_identified_one_after_another_and_the_device_is_watched_after_the_last() {
        let mut plan = start(&[22, 25, 9100, 80], SECOND);
        let (made, silent) = run(&mut plan, Moment::ZERO, |_, _| (3 * SECOND, ContactOutcome::Replied));
        assert_eq!(told(&made), ["22 0", "25 4", "80 8", "80 canary 16", "80 canary 36"]);
        assert!(silent.is_empty() && plan.devices.is_empty() && plan.due.is_empty());
    }

    #[test]
    fn before_a_long_pause_the_device_is_watched() {
        let mut plan = start(&[22, 25], pace_of(Timing::T0));
        let (made, _) = run(&mut plan, Moment::ZERO, |_, _| (Duration::ZERO, ContactOutcome::Replied));
        assert_eq!(told(&made), ["22 0", "22 canary 25", "25 325", "25 canary 350"]);
    }

    #[test]
    fn a_device_that_falls_silent_gets_one_more_chance_and_no_further_port() {
        let falls_silent = |at: u64| {
            move |now: Moment, _: &Contact| match now.since_start().as_secs() >= at {
                true => (3 * SECOND, ContactOutcome::Silent),
                false => (SECOND, ContactOutcome::Replied),
            }
        };
        for (at, contacts) in [
            (0, vec!["22 0"]),
            (1, vec!["22 0", "25 2", "25 canary 7"]),
            (6, vec!["22 0", "25 2", "80 4", "80 canary 10", "80 canary 15"]),
            (20, vec!["22 0", "25 2", "80 4", "80 canary 10", "80 canary 30", "80 canary 35"]),
        ] {
            let mut plan = start(&[22, 25, 80], SECOND);
            let (made, silent) = run(&mut plan, Moment::ZERO, falls_silent(at));
            assert_eq!(told(&made), contacts);
            assert_eq!(silent.len(), usize::from(at > 0), "silent from the start is switched off: {at}");
        }
    }

    #[test]
    fn a_device_that_was_only_slow_is_not_silent() {
        let mut plan = start(&[22, 25, 80], SECOND);
        let (made, silent) = run(&mut plan, Moment::ZERO, |_, contact| match contact.port.port {
            25 if !contact.is_canary => (3 * SECOND, ContactOutcome::Silent),
            _ => (SECOND, ContactOutcome::Replied),
        });
        // The port that had no reply is not tried again; the device is watched before the rest.
        assert_eq!(
            told(&made),
            ["22 0", "25 2", "25 canary 7", "25 canary 26", "80 28", "80 canary 34", "80 canary 54"]
        );
        assert_eq!(silent, []);
    }

    #[test]
    fn a_device_that_is_being_scanned_waits_and_one_that_another_has_replaced_is_dropped() {
        let mut plan = start(&[22], SECOND);
        let (made, _) = run(&mut plan, Moment::ZERO, |now, contact| match contact.is_canary {
            false if now.since_start() < 50 * SECOND => (Duration::ZERO, ContactOutcome::Busy),
            true => (Duration::ZERO, ContactOutcome::Busy),
            false => (Duration::ZERO, ContactOutcome::Replied),
        });
        let canaries = [65, 70, 75, 80, 85, 90].map(|second| format!("22 canary {second}"));
        assert_eq!(
            told(&made),
            [vec!["22 0".into(), "22 30".into(), "22 60".into()], canaries.to_vec()].concat()
        );
        let mut plan = start(&[22, 80], SECOND);
        let (made, silent) = run(&mut plan, Moment::ZERO, |_, _| (SECOND, ContactOutcome::Unknown));
        assert_eq!((told(&made), silent), (vec!["22 0".to_owned()], Vec::new()));
    }

    #[test]
    fn ports_that_are_taken_back_are_left_and_those_in_progress_are_not_repeated() {
        let mut plan = start(&[22, 80], SECOND);
        let NextContact::Make(contact) = plan.next(Moment::ZERO) else { panic!("nothing to do") };
        plan.set_ports(Moment::ZERO, &key(1), ports(&[22, 80]), SECOND);
        plan.set_ports(Moment::ZERO, &key(1), Vec::new(), SECOND);
        plan.ended(Moment::ZERO + SECOND, &contact, ContactOutcome::Replied);
        plan.set_ports(Moment::ZERO + SECOND, &key(1), ports(&[22]), SECOND);
        let (made, _) = run(&mut plan, Moment::ZERO + SECOND, |_, _| (SECOND, ContactOutcome::Replied));
        assert_eq!(told(&made), ["22 canary 6", "22 canary 26"]);
        let mut plan = start(&[22], SECOND);
        plan.set_ports(Moment::ZERO, &key(1), Vec::new(), SECOND);
        assert_eq!(run(&mut plan, Moment::ZERO, |_, _| (SECOND, ContactOutcome::Replied)).0, []);
        assert!(plan.devices.is_empty());
    }

    fn any_end() -> impl Strategy<Value = ContactOutcome> {
        prop_oneof![
            6 => Just(ContactOutcome::Replied),
            2 => Just(ContactOutcome::Silent),
            1 => Just(ContactOutcome::Busy),
            1 => Just(ContactOutcome::Unknown),
        ]
    }

    proptest! {
        /// Whatever the devices do: one connection to each at a time and few in all, no port twice, none that is to be
        /// left alone, the pace kept, and whatever fell silent was connected to within the time before.
        #[test]
        fn a_device_is_never_hurried(
            devices in prop::collection::vec((prop::collection::vec(1..=u16::MAX, 1..12), 0..6usize), 1..20),
            ends in prop::collection::vec((any_end(), 0..5000u64), 1..200),
        ) {
            let mut plan = ContactPlan::default();
            let mut paces = BTreeMap::new();
            for (number, (open, timing)) in devices.iter().enumerate() {
                let (key, pace) = (key(u8::try_from(number).unwrap()), pace_of(Timing::ALL[*timing]));
                let open: BTreeSet<u16> = open.iter().map(|port| port % 200).collect();
                plan.set_ports(Moment::ZERO, &key, ports(&open.into_iter().collect::<Vec<_>>()), pace);
                paces.insert(key, pace);
            }
            let mut ends = ends.into_iter();
            let (made, silent) = run(&mut plan, Moment::ZERO, |_, _| {
                let (ended, millis) = ends.next().unwrap_or((ContactOutcome::Replied, 10));
                (Duration::from_millis(millis), ended)
            });
            prop_assert!(plan.devices.is_empty() && plan.due.is_empty() && plan.in_progress == 0);
            for contact in &made {
                prop_assert!(!is_left_alone(contact.port));
                let at_once = made.iter().filter(|other| other.start <= contact.start && contact.start < other.end);
                prop_assert!(at_once.count() <= AT_ONCE);
            }
            for (device, pace) in paces {
                let own: Vec<&Made> = made.iter().filter(|made| made.device == device).collect();
                for pair in own.windows(2) {
                    prop_assert!(pair[1].start >= pair[0].end, "two at once: {pair:?}");
                    let hurried = pair[1].start.since(pair[0].end) < pace;
                    prop_assert!(pair[1].is_canary || pair[0].ended == ContactOutcome::Busy || !hurried, "{pair:?}");
                }
                let identified = own.iter().filter(|made| !made.is_canary && made.ended != ContactOutcome::Busy);
                let numbers: Vec<u16> = identified.map(|made| made.port).collect();
                let distinct: BTreeSet<u16> = numbers.iter().copied().collect();
                prop_assert_eq!(numbers.len(), distinct.len());
                for (_, at) in silent.iter().filter(|(silent, _)| *silent == device) {
                    let replied = own.iter().filter(|made| made.ended == ContactOutcome::Replied && !made.is_canary);
                    let last = replied.map(|made| made.end).filter(|end| end <= at).max();
                    // Two contacts of up to five seconds each follow the moment of which it counts.
                    prop_assert!(last.is_some_and(|last| at.since(last) <= SILENT_WITHIN + 12 * SECOND));
                }
            }
        }
    }
}
