//! A hostile machine's floods: multicast DNS, ARP and a feed of devices that do not exist.

use std::{net::TcpListener, time::Duration};

use fastrand::Rng;
use ipnet::Ipv4Net;

use super::setup::{CLAIMED, Siege};
use crate::{
    harness::{
        feed::{FeedServer, Says},
        liar::{self, Liar},
    },
    lab::claim_addresses,
};

/// The address of the forged feed, on the hostile machine.
pub const FEED: &str = "10.77.1.2:8000";

/// The invented devices in each response of the feed.
const INVENTED: usize = 4096;

/// Full packets a second.
const PACKETS: u32 = 500;

/// Answers every question, and announces random names without one.
pub fn multicast_dns(siege: &Siege) {
    let liar = Liar::start(&siege.attackers, |question| {
        let address = liar::record(&question.name, 1, &[10, 77, 2, 7]);
        vec![liar::answer(&[address])]
    });
    let mut rng = Rng::with_seed(53);
    while siege.continues_after(Duration::from_millis(50)) {
        for _ in 0..PACKETS / 20 {
            liar.say(&invented_services(&mut rng));
        }
    }
}

/// A packet full of services with random names.
fn invented_services(rng: &mut Rng) -> Vec<u8> {
    let kind = liar::name("_http._tcp.local");
    let service = |_| {
        let label: String = (0..20).map(|_| rng.alphanumeric()).collect();
        let instance = liar::name(&format!("{label}._http._tcp.local"));
        liar::record(&kind, 12, &instance)
    };
    liar::answer(&(0..16).map(service).collect::<Vec<_>>())
}

/// Claims addresses that no device has, by ARP.
pub fn arp(siege: &Siege) {
    let [a, b, c] = CLAIMED;
    let claimed: Ipv4Net = format!("{a}.{b}.{c}.0/23").parse().expect("a network");
    claim_addresses(claimed, || !siege.is_over());
}

/// Serves a feed that names other devices each time.
pub fn forged_feed(siege: &Siege) {
    let listener = TcpListener::bind(FEED).expect("an address of the hostile machine");
    let feed = FeedServer::listening(Says::Devices(Vec::new()), listener);
    let mut rng = Rng::with_seed(80);
    loop {
        feed.set(Says::Devices((0..INVENTED).map(|_| invented_device(&mut rng)).collect()));
        if !siege.continues_after(Duration::from_secs(2)) {
            return;
        }
    }
}

fn invented_device(rng: &mut Rng) -> (String, String) {
    let [a, b, c, d, ..] = rng.u64(..).to_be_bytes();
    let address = format!("10.77.2.{}", rng.u8(1..));
    (address, format!("06:00:{a:02x}:{b:02x}:{c:02x}:{d:02x}"))
}
