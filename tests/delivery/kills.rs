//! Shared code of the tests with kills: rounds of faults, and the checks of what has arrived after them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, thread,
    time::Duration,
};

use tempfile::TempDir;

use super::channels::happen;
use crate::{
    harness::Portscan,
    lab::{Lab, namespace::ip},
};

/// How long the network may be cut: long enough to meet a message on its way.
const LONGEST_CUT: u64 = 400;

/// The time of day, for libfaketime: right, or that of a Pi that has just started.
const CLOCKS: [&str; 2] = ["+0", "-26y"];

/// Rounds in which the appliance's machine fails in every way, at random moments.
pub(super) struct FaultRounds {
    luck: fastrand::Rng,
    home: TempDir,
    round: i64,
}

impl FaultRounds {
    pub(super) fn new(seed: u64) -> Self {
        let home = tempfile::tempdir().unwrap();
        let rounds = Self { luck: fastrand::Rng::with_seed(seed), home, round: 0 };
        rounds.set_clock(CLOCKS[0]);
        rounds
    }

    /// Gives the appliance the clock that the rounds set.
    pub(super) fn on(&self, portscan: Portscan) -> Portscan {
        portscan.with_clock(&self.home.path().join("clock"))
    }

    fn set_clock(&self, time: &str) {
        let written = self.home.path().join("clock.new");
        fs::write(&written, time).unwrap();
        fs::rename(written, self.home.path().join("clock")).unwrap();
    }

    /// Writes events, starts the appliance, and kills it after at most this many milliseconds. In the meantime its
    /// clock is set to 2000 or back, its network is cut, and `disturb` causes further faults.
    pub(super) fn run(&mut self, lab: &Lab, portscan: &Portscan, longest: u64, mut disturb: impl FnMut()) {
        happen(portscan, self.round);
        self.round += 1;
        let clock = self.luck.usize(..CLOCKS.len());
        self.set_clock(CLOCKS[clock]);
        let running = portscan.start();
        let wait = |luck: &mut fastrand::Rng| {
            let until = lab.now() + Duration::from_millis(luck.u64(0..longest / 2));
            while lab.now() < until {
                running.get("/v1/alerts");
            }
        };
        wait(&mut self.luck);
        if self.luck.bool() {
            ip(&["link", "set", "lo", "down"]);
            thread::sleep(Duration::from_millis(self.luck.u64(1..LONGEST_CUT)));
            ip(&["link", "set", "lo", "up"]);
        }
        wait(&mut self.luck);
        let clock = self.luck.usize(..CLOCKS.len());
        self.set_clock(CLOCKS[clock]);
        disturb();
        wait(&mut self.luck);
        running.kill();
    }

    /// Runs this many rounds; in each, `kill` also kills the receiver.
    pub(super) fn run_all(
        &mut self,
        count: i64,
        lab: &Lab,
        portscan: &Portscan,
        longest: u64,
        mut kill: impl FnMut(),
    ) {
        for _ in 0..count {
            self.run(lab, portscan, longest, &mut kill);
        }
        self.end();
    }

    /// Sets the clock right until the end.
    pub(super) fn end(&self) {
        self.set_clock(CLOCKS[0]);
    }
}

/// What arrived.
#[derive(Default)]
pub(super) struct Arrivals {
    /// The events, in the order in which each message arrived for the first time.
    pub(super) order: Vec<i64>,
    /// The events of each message, by its key.
    contents: BTreeMap<String, Vec<i64>>,
    /// Messages that arrived once more.
    duplicates: usize,
}

impl Arrivals {
    /// Takes the messages, each with its key and events, in the order in which they arrived.
    ///
    /// Fails if one arrives once more with another content, or an event arrives under two keys, or out of order.
    pub(super) fn of(messages: impl IntoIterator<Item = (String, Vec<i64>)>) -> Self {
        let mut arrivals = Self::default();
        for (key, events) in messages {
            match arrivals.contents.insert(key, events.clone()) {
                None => arrivals.order.extend(events),
                Some(earlier) => {
                    assert_eq!(earlier, events, "another content under the same key");
                    arrivals.duplicates += 1;
                }
            }
        }
        assert!(arrivals.order.is_sorted(), "out of order: {:?}", arrivals.order);
        let all: BTreeSet<i64> = arrivals.order.iter().copied().collect();
        assert_eq!(all.len(), arrivals.order.len(), "an event under two keys");
        arrivals
    }

    /// For a person who watches the output.
    pub(super) fn report(&self, kills: i64) {
        let (events, messages) = (self.order.len(), self.contents.len());
        eprintln!(
            "{kills} kills: {events} events in {messages} messages, {} duplicates by key",
            self.duplicates
        );
    }
}
