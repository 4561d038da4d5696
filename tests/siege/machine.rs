//! Faults of the appliance's own machine: it loses its power, its cable, its clock and the room on its disk.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use fastrand::Rng;

use super::setup::Siege;
use crate::lab::PORT;

/// The number of each fault so far.
#[derive(Default)]
pub struct FaultCounts {
    pub kills: AtomicUsize,
    pub flaps: AtomicUsize,
    pub jumps: AtomicUsize,
    pub full_disks: AtomicUsize,
}

/// Kills the appliance every few seconds.
pub fn kill(siege: &Siege, faults: &FaultCounts) {
    let mut rng = Rng::with_seed(9);
    while siege.continues_after(Duration::from_millis(rng.u64(4_000..12_000))) {
        siege.kill();
        faults.kills.fetch_add(1, Ordering::Relaxed);
    }
}

/// Takes the link down, or the address away, for three seconds at a time.
pub fn unplug(siege: &Siege, faults: &FaultCounts) {
    let mut rng = Rng::with_seed(3);
    while siege.continues_after(Duration::from_millis(rng.u64(8_000..20_000))) {
        let (away, back): ([&str; 5], [&str; 5]) = match rng.bool() {
            true => (["link", "set", "dev", PORT, "down"], ["link", "set", "dev", PORT, "up"]),
            false => (
                ["addr", "del", super::setup::PI, "dev", PORT],
                ["addr", "add", super::setup::PI, "dev", PORT],
            ),
        };
        siege.pi.ip(&away);
        siege.continues_after(Duration::from_secs(3));
        siege.pi.ip(&back);
        faults.flaps.fetch_add(1, Ordering::Relaxed);
    }
}

/// Sets the clock to a time far or near, and right again after some seconds.
pub fn set_clock(siege: &Siege, faults: &FaultCounts) {
    let mut rng = Rng::with_seed(2100);
    while siege.continues_after(Duration::from_millis(rng.u64(8_000..20_000))) {
        let by = ["+74y", "-20y", "+1d", "-1d", "+40d", "-90"];
        siege.set_clock(by[rng.usize(..by.len())]);
        siege.continues_after(Duration::from_secs(5));
        siege.set_clock("+0");
        faults.jumps.fetch_add(1, Ordering::Relaxed);
    }
}

/// Fills the disk for some seconds at a time.
pub fn fill_disk(siege: &Siege, faults: &FaultCounts) {
    let mut rng = Rng::with_seed(28);
    while siege.continues_after(Duration::from_millis(rng.u64(6_000..15_000))) {
        let ballast = siege.disk.fill();
        siege.continues_after(Duration::from_secs(4));
        drop(ballast);
        faults.full_disks.fetch_add(1, Ordering::Relaxed);
    }
}
