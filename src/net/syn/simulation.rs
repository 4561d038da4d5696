//! The engine, the SYNs in flight and the packets, in simulated time. The host's answers get lost, come twice or late,
//! and are forged.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

use fastrand::Rng;

use super::{
    packet::{PortBlock, Secret, read, tests::answer},
    *,
};
use crate::{
    engine::{Bounds, Engine, Event, Liveness, ProbeId, ScanSettings},
    model::{HostReport, PortState, Timing},
};

const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 7);
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 8);
const PORTS: PortBlock = PortBlock::around(40_000);
const LAST: u16 = 120;
const SYN_ACK: u8 = 0x12;
const RST_ACK: u8 = 0x14;
const MILLISECOND: Duration = Duration::from_millis(1);

/// What arrives.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Arrival {
    /// A packet; whether the host has sent it.
    Packet(Vec<u8>, bool),
    /// The end of a connect: its id, its start, and whether it was accepted, refused or neither.
    Connect(u64, Moment, Option<bool>),
}

struct Network {
    rng: Rng,
    /// Which ports are open, closed or silent.
    truth: BTreeMap<u16, PortState>,
    secret: Secret,
    flights: SynFlights,
    arrivals: BinaryHeap<Reverse<(Moment, Arrival)>>,
    forged: u32,
    now: Moment,
}

impl Network {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut truth = BTreeMap::new();
        for port in 1..=LAST {
            let state = match rng.u8(..20) {
                0 => PortState::Open,
                1 | 2 => PortState::Filtered,
                _ => PortState::Closed,
            };
            truth.insert(port, state);
        }
        Self {
            rng,
            truth,
            secret: Secret::default(),
            flights: SynFlights::default(),
            arrivals: BinaryHeap::new(),
            forged: 0,
            now: Moment::ZERO,
        }
    }

    fn arrive(&mut self, after: Duration, arrival: Arrival) {
        self.arrivals.push(Reverse((self.now + after, arrival)));
    }

    fn launch(&mut self, probe: &Probe) {
        let round_trip = MILLISECOND * self.rng.u32(1..20);
        let state = self.truth[&probe.port];
        if !probe.by_syn {
            let is_lost = state == PortState::Filtered || self.rng.u8(..) < 5;
            let (after, accepted) =
                if is_lost { (probe.give_up, None) } else { (round_trip, Some(state == PortState::Open)) };
            return self.arrive(after, Arrival::Connect(probe.id.0, self.now, accepted));
        }
        let tuple = Tuple { own: OWN, peer: PEER, port: probe.port, way: 0 };
        let (_, tuple) = self.flights.add(probe, tuple, Passage::LOCAL, self.now).expect("few tries of each");
        let sent = syn(&tuple, PORTS, &self.secret);
        if self.rng.u8(..5) == 0 {
            self.forge(&sent, round_trip);
        }
        let flags = match state {
            PortState::Open => SYN_ACK,
            PortState::Closed => RST_ACK,
            _ => return,
        };
        let packet = answer(&sent, flags);
        match self.rng.u8(..100) {
            0..3 => {}
            3..6 => {
                let late = MILLISECOND * self.rng.u32(300..3000);
                self.arrive(late, Arrival::Packet(packet, true));
            }
            6..12 => {
                let again = round_trip + MILLISECOND * self.rng.u32(0..500);
                self.arrive(round_trip, Arrival::Packet(packet.clone(), true));
                self.arrive(again, Arrival::Packet(packet, true));
            }
            _ => self.arrive(round_trip, Arrival::Packet(packet, true)),
        }
    }

    /// Sends what would make a closed port open, or an open one closed, in four ways that are not to be believed.
    fn forge(&mut self, sent: &[u8], round_trip: Duration) {
        let flags = if self.rng.bool() { SYN_ACK } else { RST_ACK };
        let mut packet = answer(sent, flags);
        match self.rng.u8(..4) {
            0 => packet[12..16].copy_from_slice(&OTHER.octets()),
            // Another local port, or another of the host's.
            1 => packet[23] ^= 1,
            2 => packet[21] ^= 1,
            _ => {
                let right = u32::from_be_bytes([packet[28], packet[29], packet[30], packet[31]]);
                let wrong = right.wrapping_add(self.rng.u32(1..u32::MAX));
                packet[28..32].copy_from_slice(&wrong.to_be_bytes());
            }
        }
        self.forged += 1;
        self.arrive(round_trip / 2, Arrival::Packet(packet, false));
    }

    /// What has arrived by now, as replies.
    fn take(&mut self, replies: &mut Vec<Reply>) {
        while self.arrivals.peek().is_some_and(|Reverse((at, _))| *at <= self.now) {
            let Some(Reverse((at, arrival))) = self.arrivals.pop() else { return };
            let (id, started, outcome) = match arrival {
                Arrival::Connect(id, started, Some(true)) => (ProbeId(id), started, Outcome::Accepted),
                Arrival::Connect(id, started, Some(false)) => (ProbeId(id), started, Outcome::Refused),
                Arrival::Connect(id, started, None) => (ProbeId(id), started, Outcome::Silent),
                Arrival::Packet(packet, is_the_hosts) => {
                    let Some(answer) = read(&packet, PORTS, &self.secret) else { continue };
                    assert!(is_the_hosts, "a forged answer is believed: {answer:?}");
                    let Some(flight) = self.flights.end(&answer.tuple) else { continue };
                    (flight.id, flight.started, answer.outcome)
                }
            };
            replies.push(Reply { id, started, left_by: started, ended: at, outcome });
        }
        while let Some(flight) = self.flights.expire(self.now) {
            let SynInFlight { id, started, .. } = flight;
            replies.push(Reply { id, started, left_by: started, ended: self.now, outcome: Outcome::Silent });
        }
    }
}

/// Scans the host, and returns the report and the SYNs that have left.
fn scan(network: &mut Network, seed: u64) -> (HostReport, u32) {
    let mut engine = Engine::new(Bounds { in_flight: 500, silent: None, full: false }, seed);
    let settings = ScanSettings {
        ports: (1..=LAST).collect(),
        timing: if seed & 1 == 0 { Timing::T3 } else { Timing::T4 },
        by_syn: true,
        liveness: Liveness::Check,
        max_in_flight: Some(500),
        max_retries: None,
        max_rate: None,
        deadline: None,
    };
    engine.submit(settings.job(PEER.into(), Link::OnLink), network.now);
    let mut syns = 0;
    loop {
        let (mut probes, mut events, mut replies) = (Vec::new(), Vec::new(), Vec::new());
        let wake = engine.poll(network.now, &mut probes, &mut events);
        for event in events {
            if let Event::Finished(_, report) = event {
                return (*report, syns);
            }
        }
        for probe in &probes {
            syns += u32::from(probe.by_syn);
            network.launch(probe);
        }
        let arrival = network.arrivals.peek().map(|Reverse((at, _))| *at);
        let next = [wake, arrival, network.flights.deadline()].into_iter().flatten().min();
        network.now = network.now.max(next.expect("a job that is not over waits for something"));
        network.take(&mut replies);
        replies.into_iter().for_each(|reply| engine.reply(reply));
    }
}

#[test]
fn no_answer_that_is_lost_late_repeated_or_forged_makes_a_wrong_verdict() {
    let (mut all_syns, mut forged, mut unsettled) = (0, 0, 0);
    for seed in 0..1000 {
        let mut network = Network::new(seed);
        let (report, syns) = scan(&mut network, seed);
        for (port, truth) in &network.truth {
            let state = report.verdict(*port).map(|finding| finding.state);
            match state {
                // Each try of a port may have been lost.
                Some(PortState::Filtered) | None if *truth != PortState::Filtered => unsettled += 1,
                _ => assert_eq!(state, Some(*truth), "seed {seed}, port {port}"),
            }
        }
        all_syns += syns;
        forged += network.forged;
    }
    let ports = 1000 * u32::from(LAST);
    assert!(all_syns > ports * 4 / 5 && forged > ports / 8, "{all_syns} SYNs, {forged} forged answers");
    // 6 % of the answers do not come in time: of 10,000 ports two, if each is asked three times.
    assert!(unsettled * 1000 < ports, "{unsettled} of {ports} ports");
}
