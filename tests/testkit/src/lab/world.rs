//! All devices, and the frames on their way to the scanner. No socket, no clock: frames and times go in, frames with
//! times come out.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap},
    net::Ipv4Addr,
    time::Duration,
};

use super::{
    device::Device,
    record::Stall,
    wire::{self, Received},
};
use crate::{
    Mac, Moment,
    scenario::{Scenario, Station},
};

/// The simulated LAN.
pub(super) struct World {
    pub devices: Vec<Device>,
    pub outside: Outside,
    /// Packets to multicast groups.
    pub multicasts: u64,
    /// The newest marker seen.
    pub marker: u64,
    /// The stalls, in which frames were due and nothing was done.
    pub stalls: Vec<Stall>,
    /// ARP requests for any address.
    pub arp_requests: u64,
    by_address: HashMap<Ipv4Addr, usize>,
    router: Station,
    under_way: BinaryHeap<Reverse<(Moment, u64, Vec<u8>)>>,
    sent: u64,
}

/// Addresses that no device has, with the attempts of the scanner's machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outside {
    /// ARP requests: all that a probe of an address without a device ever shows.
    pub asked: BTreeMap<Ipv4Addr, u64>,
    /// Other packets, multicast included.
    pub sent: BTreeMap<Ipv4Addr, u64>,
}

/// RFC 5227, 1.1: an address is announced twice, `ANNOUNCE_INTERVAL` apart. Linux ignores a change within a second of
/// the last one (arp(7), locktime), so for a scanner that has just asked, the second announcement counts.
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(2);

impl World {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let hosts = scenario.hosts();
        let by_address: HashMap<Ipv4Addr, usize> =
            hosts.iter().enumerate().map(|(index, host)| (host.station.ip, index)).collect();
        assert_eq!(by_address.len(), hosts.len(), "two hosts of the scenario have one address");
        let seeded = hosts.into_iter().zip(scenario.lan.seed..);
        Self {
            devices: seeded.map(|(host, seed)| Device::new(host, seed)).collect(),
            outside: Outside::default(),
            multicasts: 0,
            marker: 0,
            stalls: Vec::new(),
            arp_requests: 0,
            by_address,
            router: Station { mac: Mac::new([2, 0, 0, 0, 0xff, 0xfe]), ip: scenario.lan.router },
            under_way: BinaryHeap::new(),
            sent: 0,
        }
    }

    /// Which device has this address now.
    pub(super) fn find(&self, address: Ipv4Addr) -> Option<usize> {
        self.by_address.get(&address).copied()
    }

    /// Takes a frame from the scanner's machine.
    pub(super) fn receive(&mut self, at: Moment, frame: &[u8]) {
        match wire::read(frame) {
            Received::Marker(number) => self.marker = number,
            Received::Arp { from, asked } => self.arp(at, from, asked),
            Received::Echo { from, to, message } => {
                let due = self.addressed(at, to.ip).and_then(|device| {
                    if device.station.mac == to.mac { device.echo(at, from, message) } else { None }
                });
                self.send(due);
            }
            Received::Tcp(segment) => {
                let router = self.router;
                if let Some(index) = self.find(segment.to.ip) {
                    self.devices[index].sent(at, &segment);
                }
                let due = self.addressed(at, segment.to.ip).and_then(|device| {
                    if device.station.mac == segment.to.mac { device.tcp(at, router, &segment) } else { None }
                });
                self.send(due);
            }
            Received::Ip(to) => {
                self.addressed(at, to);
            }
            Received::Other => {}
        }
    }

    fn arp(&mut self, at: Moment, from: Station, asked: Ipv4Addr) {
        self.arp_requests += 1;
        let Some(index) = self.find(asked) else {
            // The machine asks for its own address to check that no other station has it.
            if asked != from.ip {
                *self.outside.asked.entry(asked).or_default() += 1;
            }
            return;
        };
        self.advance(at, index);
        let due = self.devices[index].arp(at, from);
        self.send(due);
    }

    /// Returns the device that has the address, after the scenario's plan has been applied up to now.
    fn addressed(&mut self, at: Moment, to: Ipv4Addr) -> Option<&mut Device> {
        let Some(index) = self.find(to) else {
            // Packets to a multicast group are counted separately, because a group is not a host.
            match to.is_multicast() {
                true => self.multicasts += 1,
                false => *self.outside.sent.entry(to).or_default() += 1,
            }
            return None;
        };
        self.advance(at, index);
        Some(&mut self.devices[index])
    }

    fn advance(&mut self, at: Moment, index: usize) {
        if self.devices[index].advance(at) {
            self.announce(at, index);
        }
    }

    /// Makes a device announce its address.
    pub(super) fn announce(&mut self, at: Moment, index: usize) {
        let frame = wire::arp_announcement(self.devices[index].station);
        self.send(Some((at, frame.clone())));
        self.send(Some((at + ANNOUNCE_INTERVAL, frame)));
    }

    /// Gives a device another address.
    pub(super) fn move_to(&mut self, at: Moment, index: usize, address: Ipv4Addr) {
        assert_eq!(self.find(address), None, "{address} is another device's");
        self.by_address.remove(&self.devices[index].station.ip);
        self.by_address.insert(address, index);
        self.devices[index].station.ip = address;
        self.announce(at, index);
    }

    fn send(&mut self, due: Option<(Moment, Vec<u8>)>) {
        if let Some((at, frame)) = due {
            self.sent += 1;
            self.under_way.push(Reverse((at, self.sent, frame)));
        }
    }

    /// The next frame that has arrived by now.
    pub(super) fn arrived(&mut self, now: Moment) -> Option<Vec<u8>> {
        self.next_arrival().filter(|due| *due <= now)?;
        self.under_way.pop().map(|Reverse((_, _, frame))| frame)
    }

    /// When the last of the frames arrives that are under way now, and will have arrived by this time.
    pub(super) fn last_arrival_by(&self, limit: Moment) -> Option<Moment> {
        let due = self.under_way.iter().map(|Reverse((due, ..))| *due);
        due.filter(|due| *due <= limit).max()
    }

    /// When the next frame arrives.
    pub(super) fn next_arrival(&self) -> Option<Moment> {
        self.under_way.peek().map(|Reverse((due, ..))| *due)
    }
}
