//! Random histories of a fleet, in which machines die, lose their power, their connection and their time of day: in the
//! end the hub shows what each site shows.

use std::{sync::Mutex, thread};

use nix::sys::signal::Signal;
use serde_json::json;

use super::{DEVICES, Fleet, NatsVersion};
use crate::{
    harness::{LONG, disk::Card, eventually},
    lab::Lab,
};

/// The hub's disk: its own database, and the copies of five sites.
const DISK: u64 = 256 << 20;

/// Of each history.
const EVENTS: usize = 10;

/// Histories that run at a time.
const AT_ONCE: usize = 4;

/// The file with the hub's time.
const HUB_CLOCK: &str = "hub-clock";

/// In seconds.
const THREE_DAYS: i64 = 3 * 24 * 3600;

/// From the year 2000 to now, in seconds: a Pi without a clock has the time that its system was built, or none.
const TO_2000: i64 = -26 * 365 * 24 * 3600;

/// A fleet to which all of that happens.
struct History<'a> {
    fleet: Fleet<'a>,
    luck: fastrand::Rng,
    /// The hub's, which can lose its power; none where no process may mount one.
    card: Option<Card>,
    /// How many seconds have passed beside those of the machine.
    passed: i64,
}

impl<'a> History<'a> {
    fn begin(lab: &'a Lab, sites: usize, seed: u64) -> Self {
        let mut fleet = Fleet::prepare(lab, NatsVersion::Newest);
        fleet.has_clocks = true;
        fleet.set_clock(HUB_CLOCK, 0);
        fleet.hub = fleet.hub.with_clock(&fleet.home.path().join(HUB_CLOCK));
        let card = Card::new(DISK);
        if let Some(card) = &card {
            fleet.hub = fleet.hub.data_dir(&card.path().join("hub"));
        }
        Self { fleet: fleet.begin(sites), luck: fastrand::Rng::with_seed(seed), card, passed: 0 }
    }

    /// Something happens; returns what.
    fn go_on(&mut self) -> &'static str {
        let fleet = &mut self.fleet;
        let place = self.luck.usize(..fleet.sites.len());
        match self.luck.u8(0..11) {
            0 | 1 => {
                fleet.scan(place);
                "a site scans"
            }
            2 => {
                self.expect_anything(place);
                "a site expects something else"
            }
            3 => {
                self.name_a_device(place);
                "a person names a device"
            }
            4 => {
                self.start_site_again(place, self.passed);
                "a site is killed"
            }
            5 => {
                fleet.running.take().unwrap().kill();
                fleet.start_hub();
                "the hub is killed"
            }
            6 => {
                // Dropping it kills it.
                fleet.broker.take();
                let kept = fleet.home.path().join("hub/jetstream");
                let _ = std::fs::remove_dir_all(kept);
                fleet.start_broker();
                "the broker is killed, and loses what it has stored"
            }
            7 => {
                let broker = fleet.broker.as_ref().unwrap();
                broker.signal(Signal::SIGSTOP);
                fleet.scan(place);
                broker.signal(Signal::SIGCONT);
                "a site scans while the broker stands still"
            }
            8 => self.cut_power(),
            9 => {
                self.pass_three_days(place);
                "a site scans, three days pass without the broker, and it scans again"
            }
            _ => {
                self.start_site_again(place, TO_2000);
                self.name_a_device(place);
                self.expect_anything(place);
                self.fleet.set_clock(&self.fleet.sites[place].name, self.passed);
                // It waits for the right time, and looks for it every few seconds.
                eventually(LONG, "the site scans again", || {
                    (self.fleet.site(place).post("/v1/run").status == 202).then_some(())
                });
                "a site starts in the year 2000, a person changes something, and it learns what time it is"
            }
        }
    }

    fn expect_anything(&mut self, place: usize) {
        let port = self.luck.u16(20..26);
        let state = if self.luck.bool() { "open" } else { "closed" };
        let address = format!("10.77.0.{}", self.luck.u8(10..16));
        let rows = json!([{ "address": address, "port": port, "protocol": "tcp", "state": state }]);
        assert_eq!(self.fleet.site(place).patch("/v1/expected", &rows).status, 204);
    }

    fn name_a_device(&mut self, place: usize) {
        let host = format!("/v1/hosts/10.77.0.{}", self.luck.u8(10..16));
        let name = json!({ "name": format!("device {}", self.luck.u8(..)) });
        let answer = self.fleet.site(place).patch(&host, &name);
        assert!(matches!(answer.status, 200 | 204), "{answer:?}");
    }

    fn start_site_again(&mut self, place: usize, offset: i64) {
        let name = self.fleet.sites[place].name.clone();
        self.fleet.sites[place].running.take().unwrap().kill();
        self.fleet.set_clock(&name, offset);
        self.fleet.sites[place].running = Some(self.fleet.sites[place].appliance.start());
    }

    fn cut_power(&mut self) -> &'static str {
        let hub = self.fleet.running.take().unwrap();
        let happened = if let Some(card) = &mut self.card {
            hub.signal(Signal::SIGSTOP);
            card.cut_power(|| drop(hub.kill()));
            "the hub loses its power"
        } else {
            hub.kill();
            "the hub is killed"
        };
        self.fleet.start_hub();
        happened
    }

    fn pass_three_days(&mut self, place: usize) {
        self.fleet.broker.take();
        self.fleet.scan(place);
        self.passed += THREE_DAYS;
        self.fleet.set_clock(HUB_CLOCK, self.passed);
        for site in &self.fleet.sites {
            self.fleet.set_clock(&site.name, self.passed);
        }
        self.fleet.scan(place);
        self.fleet.start_broker();
    }
}

/// `make fleet` sets a hundred histories of five sites, of which some run at a time: they mostly wait.
#[test]
fn whatever_is_lost_the_hub_ends_with_what_each_site_has() {
    let number = |name: &str, usual| std::env::var(name).map_or(usual, |text| text.parse().unwrap());
    let (histories, sites) = (number("PORTSCAN_TEST_HISTORIES", 1), number("PORTSCAN_TEST_SITES", 2));
    let seeds = Mutex::new(0..histories);
    thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(histories) {
            scope.spawn(|| {
                loop {
                    let Some(seed) = seeds.lock().unwrap().next() else { break };
                    pass(seed, sites);
                }
            });
        }
    });
}

fn pass(seed: usize, sites: usize) {
    let lab = Lab::describe(DEVICES);
    let mut history = History::begin(&lab, sites, u64::try_from(seed).unwrap());
    // The first scan finds no host if the machine stands still meanwhile.
    for place in 0..sites {
        eventually(LONG, "the first scan ends", || {
            let scans = history.fleet.site(place).get("/v1/scans").json();
            scans.as_array().unwrap().iter().any(|scan| scan["status"] != "running").then_some(())
        });
    }
    for _ in 0..EVENTS {
        let happened = history.go_on();
        eprintln!("history {seed}: {happened}");
    }
    history.fleet.wait_until_equal();
    assert_eq!(history.fleet.devices().len(), 6 * sites);
    eprintln!("history {seed}: the hub shows what each site shows");
}
