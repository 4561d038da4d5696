//! The memory of an appliance at rest that has a channel of each type.

use crate::{
    delivery::{
        NOTHING, begin,
        channels::happen,
        five::{FIVE, FiveChannels, delivered},
    },
    harness::Portscan,
    lab::Lab,
};

/// The limit on a Pi, in bytes.
const IDLE: u64 = 14 << 20;

/// As in `scan_memory.rs`.
const PROGRAM: u64 = 7 << 20;

#[test]
fn memory_at_rest_is_bounded_with_five_channels() {
    let lab = Lab::alone("near");
    let Some(servers) = FiveChannels::start(&lab) else { return };
    let portscan = servers.trusted(Portscan::new(&lab, &(NOTHING.to_owned() + &servers.config())));
    begin(&portscan, i64::try_from(FIVE).unwrap());
    // Each has a connection of its own to the broker or has made one to its receiver, and read what it trusts.
    happen(&portscan, 0);
    let running = portscan.start();
    delivered(&running, 1);
    let (all, own) = (running.rss(), running.own_memory());
    eprintln!("five channels, idle: {} KB, {} KB besides the program", all / 1024, own / 1024);
    assert!(own <= IDLE - PROGRAM, "{own} bytes");
    running.stop();
}
