//! The memory that floods of multicast DNS cost.

use crate::{
    harness::{
        Portscan,
        liar::{self, Liar},
    },
    lab::Switch,
    mdns::{ANY, KINDS, NO_FEED, start, wait_for_names},
};

/// Sends so many packets as fast as the machine can.
fn flood(liar: &Liar, packets: u32, packet: impl Fn(u32) -> Vec<u8>) {
    for number in 0..packets {
        liar.say(&packet(number));
    }
}

/// Announcements of hosts that were never requested, 100 a packet.
fn hosts(number: u32) -> Vec<u8> {
    let [_, a, b, c] = number.to_be_bytes();
    let host = |last: u8| liar::address(&format!("h{last}-{number}.local"), [a | 10, b, c, last]);
    liar::answer(&(0..100).map(host).collect::<Vec<_>>())
}

/// Few records, but large ones.
fn texts(number: u32) -> Vec<u8> {
    let text = [&[250][..], &[b'x'; 250]].concat().repeat(30);
    liar::answer(&[liar::record(&liar::name(&format!("t{number}.local")), 16, &text)])
}

/// Questions for the appliance's services; each is answered after a short delay.
fn questions(number: u32) -> Vec<u8> {
    let mut packet = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    packet.extend(liar::name(KINDS[number as usize % 2].to_owned().as_str()).split_last().unwrap().1);
    packet.extend(liar::name("local"));
    packet.extend([0, 12, 0, 1]);
    packet
}

#[test]
fn a_flood_of_mdns_takes_little_memory() {
    // How much arrives between two readings of the memory depends on what else runs on the cores.
    let lan = Switch::enter_alone("10.78.0.254/24");
    let [here, there] = ["10.78.0.2/24", "10.78.0.3/24"].map(|address| lan.plug(address));
    let liar = Liar::start(&there, |_| vec![]);
    for (kind, packets, packet) in [
        ("hosts", 20_000, hosts as fn(u32) -> Vec<u8>),
        ("texts", 20_000, texts),
        ("questions", 100_000, questions),
    ] {
        let running = start(&here, &Portscan::on(&here, ANY, NO_FEED));
        wait_for_names(&running, &["portscan.local"]);
        let before = running.rss();
        flood(&liar, packets, packet);
        wait_for_names(&running, &["portscan.local"]);
        let grown = running.peak_rss().saturating_sub(before) >> 20;
        eprintln!("{kind}: memory grew by {grown} MB");
        assert!(grown < 32, "{grown} MB for a flood of {kind}");
        running.stop();
    }
}
