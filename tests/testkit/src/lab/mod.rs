//! A LAN that exists only for one test: real kernel, real packets, simulated devices.
//!
//! [`Lab::enter`] moves the test's thread into a network namespace of its own. There a wire (a veth pair)
//! leads to a thread that answers ARP, ICMP echo and TCP for every host of a scenario file, with its delay,
//! loss and bad manners, and that records what the scanner did to each. Processes that the test starts see
//! this LAN and nothing else.
//!
//! | file | what it holds |
//! |---|---|
//! | `namespace` | namespaces and the wire |
//! | `turn` | which test has the machine's cores |
//! | `responder` | the thread and its socket |
//! | `kernel` | instead of the thread: a host that is a real kernel |
//! | `kernel_counts` | what a kernel counts of its TCP |
//! | `switch` | several such hosts, which talk to each other |
//! | `world` | all devices and the frames under way; no I/O |
//! | `device` | one device: its manners in frames |
//! | `impostor` | a machine that claims addresses that are not its own |
//! | `record` | what was done to it |
//! | `wire` | frames in and out |
//! | `outputs` | what scanners print, read |

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    os::fd::{AsRawFd, OwnedFd},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use nix::sys::socket::{MsgFlags, send};

mod device;
mod impostor;
mod kernel;
mod kernel_counts;
pub mod namespace;
pub mod outputs;
mod record;
mod responder;
mod switch;
mod turn;
mod wire;
mod world;

pub use impostor::claim_addresses;
pub use kernel::KernelHost;
pub use kernel_counts::{sockets_in_state, tcp_counter};
pub use record::Stats;
pub use switch::{Node, PORT, Switch};
pub use world::Outside;

use crate::{
    Mac, Moment, PortState, Ports,
    scenario::{Bound, Machine, Scenario},
};
use responder::Responder;
use turn::Turn;
use world::World;

const LOST: &str = "the lab was too slow and lost frames: its fault, not the scanner's. Without root its buffer is \
    net.core.rmem_max at most: set that to 8388608 (sysctl), or give the machine less to do";

/// For a frame to get through the lab, on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(30);

/// No answer of a scenario's takes as long; an announcement's second frame does, and is not waited for.
const LONGEST_WAY: Duration = Duration::from_secs(1);

/// A simulated LAN around the calling thread.
pub struct Lab {
    responder: Responder,
    near_end: OwnedFd,
    markers: AtomicU64,
    bound: Bound,
    machine: Machine,
    _turn: Turn,
}

/// One device of the lab.
#[derive(Clone, Copy)]
pub struct Host<'a> {
    lab: &'a Lab,
    index: usize,
}

impl Lab {
    /// Enters the LAN of `tests/scenarios/NAME.toml`; the calling thread stays in its namespaces for good.
    ///
    /// Panics with the remedy where namespaces are not allowed: a test that cannot run has failed.
    pub fn enter(name: &str) -> Self {
        Self::build(&Scenario::load(name), Turn::shared())
    }

    /// The same with the machine's cores to itself, for a test that measures or takes them all.
    pub fn alone(name: &str) -> Self {
        Self::build(&Scenario::load(name), Turn::alone())
    }

    /// Enters a LAN described in the test itself.
    pub fn describe(scenario: &str) -> Self {
        let scenario = Scenario::parse(scenario).unwrap_or_else(|e| panic!("the test's scenario: {e}"));
        Self::build(&scenario, Turn::shared())
    }

    /// The same with the machine's cores to itself.
    pub fn describe_alone(scenario: &str) -> Self {
        Self::build(
            &Scenario::parse(scenario).unwrap_or_else(|e| panic!("the test's scenario: {e}")),
            Turn::alone(),
        )
    }

    fn build(scenario: &Scenario, turn: Turn) -> Self {
        namespace::enter();
        let &Scenario { bound, machine, .. } = scenario;
        assert!(machine.no_port.is_none(), "in the lab a test takes the ports itself");
        let scanner = scenario.lan.scanner;
        let world = World::new(scenario);
        let responder = Responder::start(world, |far_end| namespace::lay_wire(scanner, far_end));
        let near_end = responder::packet_socket(namespace::link(namespace::INTERFACE), false);
        let lab = Self { responder, near_end, markers: AtomicU64::new(0), bound, machine, _turn: turn };
        lab.wait_for_link();
        lab
    }

    /// The device that has this address now.
    pub fn host(&self, address: &str) -> Host<'_> {
        let ip = address.parse().expect("an IPv4 address");
        let index = self.responder.shared().world.find(ip);
        Host { lab: self, index: index.unwrap_or_else(|| panic!("no device of the lab has {address}")) }
    }

    /// Every device.
    pub fn hosts(&self) -> impl Iterator<Item = Host<'_>> {
        let count = self.responder.shared().world.devices.len();
        (0..count).map(|index| Host { lab: self, index })
    }

    /// The truth: every device that is there, and its open ports.
    pub fn truth(&self) -> BTreeMap<Ipv4Addr, Ports> {
        let shared = self.responder.shared();
        let here = shared.world.devices.iter().filter(|device| device.manners.is_here());
        here.map(|device| (device.station.ip, device.manners.open_ports())).collect()
    }

    /// A reduced port space: 1 to `last`, and every open port of the lab.
    pub fn ports_to_scan(&self, last: u16) -> Ports {
        let open: Vec<Ports> = self.hosts().map(|host| host.open_ports()).collect();
        open.iter().flat_map(Ports::iter).chain(1..=last).collect()
    }

    /// Returns what a scan of these ports must find: [`Lab::truth`] among them.
    pub fn truth_among(&self, scanned: &Ports) -> BTreeMap<Ipv4Addr, Ports> {
        let seen = |open: Ports| open.iter().filter(|&port| scanned.contains(port)).collect();
        self.truth().into_iter().map(|(address, open)| (address, seen(open))).collect()
    }

    /// Returns the attempts at addresses that no device has.
    pub fn outside(&self) -> Outside {
        self.settle();
        self.responder.shared().world.outside.clone()
    }

    /// How many packets were sent to multicast groups.
    pub fn multicasts(&self) -> u64 {
        self.settle();
        self.responder.shared().world.multicasts
    }

    /// Returns the number of ARP requests.
    pub fn arp_requests(&self) -> u64 {
        self.settle();
        self.responder.shared().world.arp_requests
    }

    /// Returns the bounds of what a scan may do to its hosts.
    pub fn bound(&self) -> Bound {
        self.bound
    }

    /// Returns the faults of the scanner's machine.
    pub fn machine(&self) -> Machine {
        self.machine
    }

    /// The lab's time, which its recorded times are in.
    pub fn now(&self) -> Moment {
        self.responder.clock.now()
    }

    /// How many SYNs a second it keeps up with, all hosts together, on a machine that is busy with other things.
    pub fn syns_per_second(&self) -> u16 {
        // At some 1.3 kB a queued SYN what root gets holds 2.4 s of the former, and Debian's net.core.rmem_max,
        // doubled to 416 kB, 50 ms of the latter: forty devices at their fastest are within it.
        if self.responder.shared().buffer >= 16 << 20 { 10_000 } else { 6_000 }
    }

    /// Returns once every frame that was sent before has reached its device, and the scanner's kernel has reacted to
    /// the answer. Panics if the lab lost a frame, because then its numbers mean nothing.
    pub fn settle(&self) {
        self.pass_marker();
        let longest = self.now() + LONGEST_WAY;
        let Some(last) = self.responder.shared().world.last_arrival_by(longest) else { return };
        let deadline = last + PATIENCE;
        while self.responder.shared().world.next_arrival().is_some_and(|next| next <= last) {
            assert!(self.now() < deadline, "the lab's responder is stuck: answers are not sent");
            thread::sleep(Duration::from_millis(1));
        }
        self.pass_marker();
    }

    /// A marker follows the frames through the same queue.
    fn pass_marker(&self) {
        let seen = self.is_seen(self.mark(), PATIENCE);
        assert!(seen, "the lab's responder is stuck: a marker was not seen in {PATIENCE:?}");
    }

    /// Returns once frames arrive. A new link silently drops frames until the kernel has given it a queue, which
    /// takes up to a second if other links come and go.
    fn wait_for_link(&self) {
        let deadline = self.now() + PATIENCE;
        while !self.is_seen(self.mark(), Duration::from_millis(100)) {
            assert!(self.now() < deadline, "the lab's link carries nothing after {PATIENCE:?}");
        }
    }

    /// Sends a marker.
    fn mark(&self) -> u64 {
        let number = self.markers.fetch_add(1, Ordering::Relaxed) + 1;
        let frame = wire::marker(namespace::SCANNER, number);
        send(self.near_end.as_raw_fd(), &frame, MsgFlags::empty()).expect("sending a marker");
        number
    }

    /// Whether the marker arrives within this time.
    fn is_seen(&self, number: u64, patience: Duration) -> bool {
        let deadline = self.now() + patience;
        loop {
            let (drops, marker) = {
                let shared = self.responder.shared();
                (shared.drops, shared.world.marker)
            };
            assert_eq!(drops, 0, "{LOST}");
            if marker >= number {
                return true;
            }
            assert!(!self.responder.is_gone(), "the lab's responder has ended; see above");
            if self.now() >= deadline {
                return false;
            }
            thread::yield_now();
        }
    }
}

impl Host<'_> {
    pub fn address(self) -> Ipv4Addr {
        self.lab.responder.shared().world.devices[self.index].station.ip
    }

    pub fn mac(self) -> Mac {
        self.lab.responder.shared().world.devices[self.index].station.mac
    }

    pub fn open_ports(self) -> Ports {
        self.lab.responder.shared().world.devices[self.index].manners.open_ports()
    }

    /// What a scan is to find of a port.
    pub fn state(self, port: u16) -> PortState {
        self.lab.responder.shared().world.devices[self.index].manners.state(port)
    }

    /// What was done to it so far.
    pub fn stats(self) -> Stats {
        self.lab.settle();
        let shared = self.lab.responder.shared();
        let device = &shared.world.devices[self.index];
        device.record.stats(device.manners.reboots(), &shared.world.stalls)
    }

    /// When it last went silent for good.
    pub fn vanished(self) -> Option<Moment> {
        self.lab.responder.shared().world.devices[self.index].manners.vanished()
    }

    /// Goes away, ARP too.
    pub fn vanish(self) {
        let now = self.lab.now();
        self.change(|world| world.devices[self.index].manners.vanish(now));
    }

    /// Comes back.
    pub fn appear(self) {
        self.change(|world| world.devices[self.index].manners.appear());
    }

    pub fn open(self, port: u16) {
        self.change(|world| world.devices[self.index].manners.open(port));
    }

    pub fn close(self, port: u16) {
        self.change(|world| world.devices[self.index].manners.close(port));
    }

    /// Announces itself, as devices do now and then.
    pub fn announce(self) {
        let now = self.lab.now();
        self.change(|world| world.announce(now, self.index));
    }

    /// Another device at the same address, which it announces.
    pub fn set_mac(self, mac: &str) {
        let mac = mac.parse().expect("a MAC address");
        self.change(|world| world.devices[self.index].station.mac = mac);
        self.announce();
    }

    /// The same device at another address, which it announces.
    pub fn move_to(self, address: &str) {
        let (now, address) = (self.lab.now(), address.parse().expect("an IPv4 address"));
        self.change(|world| world.move_to(now, self.index, address));
    }

    fn change(self, change: impl FnOnce(&mut World)) {
        change(&mut self.lab.responder.shared().world);
        // Packets that were sent before the change are answered as before; this also wakes the thread.
        self.lab.settle();
    }
}
