//! Outboxes in virtual time, with a receiver that fails and an appliance that is killed at any step.

use std::{collections::BTreeMap, time::Duration};

use jiff::civil::time;
use proptest::prelude::*;

use super::{ChannelOutbox, NextMessage, OutboxStep, Pace, SavedOutbox};
use crate::{config::QuietHours, model::Moment};

const SECOND: Duration = Duration::from_secs(1);
const PACE: Pace = Pace { group: Duration::from_secs(30), burst: 10, quiet: None };

/// What survives a kill of the appliance: its stored state, and the receiver on another machine.
#[derive(Default)]
struct World {
    now: Moment,
    /// The ids of all events, ascending, and whether the channel sends them.
    events: Vec<(i64, bool)>,
    stored: SavedOutbox,
    /// The messages in the order in which they first arrived: first and last event.
    received: Vec<(i64, i64)>,
    duplicates: usize,
    refused: Vec<(i64, i64)>,
    arrivals: Vec<Moment>,
}

/// The outcome of an attempt.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Accepted,
    Failed,
    Refused,
    /// The receiver has it, but its answer is lost.
    AnswerLost,
    /// The appliance is killed before it has stored the result.
    Killed,
}

impl World {
    fn receive(&mut self, message: (i64, i64)) {
        self.arrivals.push(self.now);
        match self.received.iter().find(|(first, _)| *first == message.0) {
            Some(known) => {
                assert_eq!(*known, message, "another content under the same key");
                self.duplicates += 1;
            }
            None => self.received.push(message),
        }
    }

    /// Takes the next step; `false` if there is nothing to do before a new event.
    fn step(
        &mut self,
        outbox: &mut ChannelOutbox,
        pace: &Pace,
        clock: Option<jiff::civil::Time>,
        fate: &mut impl FnMut() -> Fate,
    ) -> bool {
        let newest = self.events.last().map_or(0, |(id, _)| *id);
        outbox.note_newest(newest);
        match outbox.step(pace, self.now, clock) {
            OutboxStep::Read { after } => {
                let page: Vec<_> =
                    self.events.iter().filter(|(id, _)| *id > after).take(64).copied().collect();
                let read = page.last().map_or(newest, |(id, _)| *id);
                let chosen = page.into_iter().filter(|(_, chosen)| *chosen).map(|(id, _)| id);
                outbox.offer(chosen, read, self.now);
            }
            OutboxStep::Save(state) => {
                if fate() == Fate::Killed {
                    *outbox = ChannelOutbox::new(&self.stored, self.now);
                } else {
                    self.stored = state.clone();
                    outbox.saved(&state);
                }
            }
            OutboxStep::Send { first, last } => {
                let state = match fate() {
                    Fate::Accepted => {
                        self.receive((first, last));
                        outbox.delivered(self.now)
                    }
                    Fate::Refused => {
                        self.refused.push((first, last));
                        outbox.delivered(self.now)
                    }
                    Fate::Failed => outbox.failed(self.now),
                    Fate::AnswerLost => {
                        self.receive((first, last));
                        outbox.failed(self.now)
                    }
                    Fate::Killed => {
                        self.receive((first, last));
                        *outbox = ChannelOutbox::new(&self.stored, self.now);
                        return true;
                    }
                };
                self.stored = state.clone();
                outbox.saved(&state);
            }
            OutboxStep::Wait(Some(until)) => self.now = until,
            OutboxStep::Wait(None) => return false,
        }
        true
    }

    fn run(&mut self, outbox: &mut ChannelOutbox, pace: &Pace, mut fate: impl FnMut() -> Fate) {
        let mut steps = 0;
        while self.step(outbox, pace, None, &mut fate) {
            steps += 1;
            assert!(steps < 200_000, "it never ends");
        }
    }
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let fate = prop_oneof![
        4 => Just(Fate::Accepted),
        2 => Just(Fate::Failed),
        1 => Just(Fate::Refused),
        1 => Just(Fate::AnswerLost),
        2 => Just(Fate::Killed),
    ];
    prop::collection::vec(fate, 0..60)
}

proptest! {
    #[test]
    fn every_event_arrives_in_order_whatever_fails(
        bursts in prop::collection::vec((0..2000_u64, prop::collection::vec(any::<bool>(), 1..120)), 1..12),
        fates in fates(),
    ) {
        let mut world = World::default();
        let mut outbox = ChannelOutbox::new(&world.stored, world.now);
        let mut fates = fates.into_iter();
        for (pause, burst) in bursts {
            world.now += Duration::from_secs(pause);
            for chosen in burst {
                let id = world.events.len() as i64 * 2 + 1;
                world.events.push((id, chosen));
            }
            // Only some steps, so that events also come while messages wait.
            for _ in 0..40 {
                world.step(&mut outbox, &PACE, None, &mut || fates.next().unwrap_or(Fate::Accepted));
            }
        }
        world.run(&mut outbox, &PACE, || fates.next().unwrap_or(Fate::Accepted));

        let mut ended: Vec<_> = world.received.iter().chain(&world.refused).copied().collect();
        ended.sort_unstable();
        ended.dedup();
        prop_assert!(ended.windows(2).all(|pair| pair[0].1 < pair[1].0), "messages overlap: {ended:?}");
        let covers = |id: i64| ended.iter().any(|(first, last)| (*first..=*last).contains(&id));
        for (id, _) in world.events.iter().filter(|(_, chosen)| *chosen) {
            prop_assert!(covers(*id), "{id} is lost");
        }
        prop_assert!(world.received.is_sorted(), "out of order: {:?}", world.received);
        prop_assert_eq!(outbox.pending(), 0);
    }
}

/// Adds this many events that are all sent.
fn happen(world: &mut World, count: usize) {
    for _ in 0..count {
        let id = world.events.len() as i64 + 1;
        world.events.push((id, true));
    }
}

#[test]
fn what_happens_within_half_a_minute_is_one_message() {
    let mut world = World::default();
    let mut outbox = ChannelOutbox::new(&world.stored, world.now);
    happen(&mut world, 2);
    // Read, and waiting for more.
    world.step(&mut outbox, &PACE, None, &mut || Fate::Accepted);
    world.now += 20 * SECOND;
    happen(&mut world, 1);
    world.run(&mut outbox, &PACE, || Fate::Accepted);
    assert_eq!(world.received, [(1, 3)]);
    assert_eq!(world.arrivals, [Moment::ZERO + 30 * SECOND]);
}

#[test]
fn a_flood_becomes_one_digest() {
    let mut world = World::default();
    let mut outbox = ChannelOutbox::new(&world.stored, world.now);
    for _ in 0..60 {
        happen(&mut world, 1);
        let next = world.now + 31 * SECOND;
        // A wait that is longer than the time to the next event ends with that.
        while world.now < next && world.step(&mut outbox, &PACE, None, &mut || Fate::Accepted) {
            world.now = world.now.min(next);
        }
        world.now = next;
    }
    world.run(&mut outbox, &PACE, || Fate::Accepted);
    for sent in &world.arrivals {
        let close =
            world.arrivals.iter().filter(|other| *sent <= **other && sent.until(**other) < 600 * SECOND);
        assert!(close.count() <= 10, "{:?}", world.arrivals);
    }
    assert_eq!(world.received.last().unwrap().1, 60);
    assert!(world.received.iter().any(|(first, last)| last - first > 5), "{:?}", world.received);
}

#[test]
fn retries_from_ten_seconds_to_an_hour_and_soon_after_a_restart() {
    let mut world = World::default();
    let mut outbox = ChannelOutbox::new(&world.stored, world.now);
    happen(&mut world, 1);
    let mut attempts = Vec::new();
    for _ in 0..800 {
        let mut attempted = false;
        world.step(&mut outbox, &PACE, None, &mut || {
            attempted = true;
            Fate::Failed
        });
        if attempted && outbox.attempts() > attempts.len() as u32 {
            attempts.push(world.now);
            match attempts.len() {
                // The wait for the tenth attempt is cut short, the waits after it are not.
                9 => outbox = ChannelOutbox::new(&world.stored, world.now),
                13 => break,
                _ => {}
            }
        }
    }
    let waits: Vec<_> = attempts.windows(2).map(|pair| pair[0].until(pair[1]).as_secs()).collect();
    assert_eq!(waits, [10, 20, 40, 80, 160, 320, 640, 1280, 10, 3600, 3600, 3600]);
    outbox = ChannelOutbox::new(&world.stored, world.now);
    let failing = outbox.failing(world.now).map(|failing| failing.as_secs());
    assert_eq!(failing, Some(attempts[0].until(world.now).as_secs()), "a restart does not forget it");
}

#[test]
fn quiet_hours_hold_and_never_drop_and_need_a_clock() {
    let night = Pace { quiet: Some(QuietHours { from: time(22, 0, 0, 0), until: time(7, 0, 0, 0) }), ..PACE };
    let mut world = World::default();
    let mut outbox = ChannelOutbox::new(&world.stored, world.now);
    happen(&mut world, 3);
    for minute in 0..120 {
        world.step(&mut outbox, &night, Some(time(6, 0, 0, 0)), &mut || Fate::Accepted);
        assert!(world.received.is_empty(), "sent in the night, in step {minute}");
    }
    for _ in 0..4 {
        world.step(&mut outbox, &night, Some(time(7, 0, 0, 0)), &mut || Fate::Accepted);
    }
    assert_eq!(world.received, [(1, 3)]);

    happen(&mut world, 1);
    world.run(&mut outbox, &night, || Fate::Accepted);
    assert_eq!(world.received, [(1, 3), (4, 4)], "without a clock that is to be trusted, nothing is held");
}

#[test]
fn a_refused_message_blocks_no_other() {
    let mut world = World::default();
    let mut outbox = ChannelOutbox::new(&world.stored, world.now);
    happen(&mut world, 1);
    let mut fates = [Fate::Accepted, Fate::Refused].into_iter();
    world.run(&mut outbox, &PACE, || fates.next().unwrap_or(Fate::Accepted));
    happen(&mut world, 1);
    world.run(&mut outbox, &PACE, || Fate::Accepted);
    assert_eq!((world.refused, world.received), (vec![(1, 1)], vec![(2, 2)]));
}

#[test]
fn what_is_not_sent_costs_no_write_each() {
    let mut world = World::default();
    let mut outbox = ChannelOutbox::new(&world.stored, world.now);
    let mut saves = BTreeMap::new();
    for id in 1..=2000 {
        world.events.push((id, false));
        while world.step(&mut outbox, &PACE, None, &mut || Fate::Accepted) {
            saves.insert(world.stored.cursor, ());
        }
    }
    assert!(saves.len() <= 2000 / 500 + 1, "{}", saves.len());
}

#[test]
fn an_outbox_says_what_its_next_message_waits_for() {
    let night = Pace { quiet: Some(QuietHours { from: time(22, 0, 0, 0), until: time(7, 0, 0, 0) }), ..PACE };
    let (dark, noon) = (Some(time(23, 0, 0, 0)), Some(time(12, 0, 0, 0)));
    let mut world = World::default();
    let mut outbox = ChannelOutbox::new(&world.stored, world.now);
    let next = |outbox: &ChannelOutbox, now, time| outbox.next_message(&night, now, time);
    assert_eq!(next(&outbox, world.now, noon), NextMessage::Nothing);
    happen(&mut world, 1);
    world.step(&mut outbox, &night, noon, &mut || Fate::Accepted);
    let grouped = world.now + 30 * SECOND;
    assert_eq!(next(&outbox, world.now, noon), NextMessage::Grouping(grouped));
    assert_eq!(next(&outbox, world.now, dark), NextMessage::Quiet);
    assert_eq!(next(&outbox, grouped, noon), NextMessage::Delivering);
    while outbox.attempts() == 0 {
        world.step(&mut outbox, &night, noon, &mut || Fate::Failed);
    }
    assert_eq!(next(&outbox, world.now, noon), NextMessage::Retrying(world.now + 10 * SECOND));
    world.run(&mut outbox, &night, || Fate::Accepted);

    let hasty = Pace { burst: 1, ..night };
    happen(&mut world, 1);
    world.step(&mut outbox, &hasty, noon, &mut || Fate::Accepted);
    assert!(matches!(outbox.step(&hasty, world.now, noon), OutboxStep::Wait(Some(_))));
    assert!(
        matches!(next(&outbox, world.now, noon), NextMessage::Paused(until) if until > world.now + 60 * SECOND)
    );
}
