//! Hosts that are simulated: time passes from event to event.

use super::*;

const PATIENCE: Duration = Duration::from_secs(4);

fn at(seconds: u64) -> Moment {
    Moment::from_start(Duration::from_secs(seconds))
}

fn settings() -> UdpSettings {
    UdpSettings::of(Timing::T3)
}

fn ports(text: &str) -> PortSet {
    text.parse().unwrap()
}

/// What a simulated host did.
struct Ran {
    report: HostReport,
    /// When which port was asked.
    sent: Vec<(Moment, UdpTry)>,
    faults: BTreeMap<LocalError, u64>,
    most_in_flight: usize,
}

/// Runs a host to its end: `answer` returns what comes of a datagram, and after which time.
fn run(
    asked: &str,
    settings: UdpSettings,
    mut answer: impl FnMut(UdpTry, Moment) -> (UdpOutcome, Duration),
) -> Ran {
    let mut now = at(1000);
    let mut host = UdpHost::new(&ports(asked), settings, now);
    let mut flights: Vec<(Moment, UdpTry, UdpOutcome)> = Vec::new();
    let (mut sent, mut most_in_flight) = (Vec::new(), 0);
    loop {
        let until = match host.next(now) {
            UdpStep::Done => break,
            UdpStep::Send(one) => {
                let (outcome, after) = answer(one, now);
                if matches!(outcome, UdpOutcome::Local(_)) {
                    host.ended(one, outcome, now);
                } else {
                    host.sent(now);
                    sent.push((now, one));
                    flights.push((now + after, one, outcome));
                    most_in_flight = most_in_flight.max(flights.len());
                }
                continue;
            }
            UdpStep::Wait(until) => until,
        };
        flights.sort_by_key(|(ends, ..)| Reverse(*ends));
        match flights.last().copied() {
            Some((ends, one, outcome)) if until.is_none_or(|until| ends <= until) => {
                flights.pop();
                now = now.max(ends);
                host.ended(one, outcome, now);
            }
            _ => now = until.expect("something is to be waited for"),
        }
    }
    let faults = host.faults().clone();
    Ran { report: host.report("192.0.2.1".parse().unwrap(), now), sent, faults, most_in_flight }
}

fn silent(_: UdpTry, _: Moment) -> (UdpOutcome, Duration) {
    (UdpOutcome::Silent, PATIENCE)
}

fn refused() -> (UdpOutcome, Duration) {
    let after = Duration::from_millis(3);
    (UdpOutcome::PortUnreachable(after), after)
}

fn verdicts(report: &HostReport) -> Vec<String> {
    report.verdicts().map(|found| format!("{} {} {}", found.port, found.state, found.reason)).collect()
}

#[test]
fn each_answer_has_its_verdict() {
    let ran = run("1-6", settings(), |one, _| match one.port {
        1 => (UdpOutcome::Reply(Duration::from_millis(2)), Duration::from_millis(2)),
        2 | 3 => refused(),
        4 => (UdpOutcome::Unreachable(Reason::AdminProhibited), Duration::from_millis(2)),
        5 => (UdpOutcome::Unreachable(Reason::PortUnreach), Duration::from_millis(2)),
        _ => (UdpOutcome::Silent, PATIENCE),
    });
    assert_eq!(
        verdicts(&ran.report),
        [
            "1 open udp-response",
            "2 closed port-unreach",
            "3 closed port-unreach",
            "4 filtered admin-prohibited",
            "5 filtered port-unreach",
            "6 open|filtered no-response"
        ]
    );
    assert_eq!((ran.report.protocol, ran.report.status), (Protocol::Udp, HostStatus::Up));
    assert_eq!(ran.report.open_ports().collect::<Vec<_>>(), [1]);
    assert_eq!(ran.report.findings[0].rtt, Some(Duration::from_millis(2)));
    assert_eq!(ran.report.probes, 7, "only the silent port is asked again");
}

#[test]
fn silence_is_never_open_and_takes_two_tries() {
    let ran = run("1-40", settings(), silent);
    assert_eq!(ran.report.default_state, PortState::OpenFiltered);
    assert_eq!((ran.report.coverage.len(), ran.report.findings.len()), (40, 0));
    assert_eq!(ran.report.open_ports().count(), 0);
    let tries = |port| {
        let of_port = ran.sent.iter().filter(move |(_, one)| one.port == port);
        of_port.map(|(_, one)| one.number)
    };
    assert!((1..=40).all(|port| tries(port).eq([0, 1])));
}

#[test]
fn never_more_than_one_datagram_a_second_leaves() {
    // Answers at once, late, never.
    let ran = run("1-40", settings(), |one, _| match one.port % 3 {
        0 => refused(),
        1 => (UdpOutcome::Reply(Duration::from_millis(3500)), Duration::from_millis(3500)),
        _ => (UdpOutcome::Silent, PATIENCE),
    });
    assert!(ran.sent.windows(2).all(|pair| pair[0].0.until(pair[1].0) >= Duration::from_secs(1)));
    let took = ran.report.preparation + ran.report.scanning;
    assert!(took <= Duration::from_secs(60), "{took:?}");
    assert!(ran.most_in_flight <= 5, "{}", ran.most_in_flight);
}

#[test]
fn forty_ports_take_between_40_and_90_seconds() {
    let took = |ran: &Ran| (ran.report.preparation + ran.report.scanning).as_secs();
    let [fast, slow] = [run("1-40", settings(), |_, _| refused()), run("1-40", settings(), silent)];
    assert!((39..=41).contains(&took(&fast)), "{}", took(&fast));
    assert!((79..=90).contains(&took(&slow)), "{}", took(&slow));
}

#[test]
fn a_late_datagram_delays_the_next_one() {
    let mut host = UdpHost::new(&ports("1-2"), settings(), at(0));
    assert!(matches!(host.next(at(7)), UdpStep::Send(_)));
    host.sent(at(9));
    assert_eq!(host.next(at(9)), UdpStep::Wait(Some(at(10))), "a second after it left, not after it was due");
    assert!(matches!(host.next(at(10)), UdpStep::Send(_)));
}

#[test]
fn slow_templates_keep_their_pace_and_fast_ones_gain_nothing() {
    let paces = [Timing::T0, Timing::T1, Timing::T2, Timing::T3, Timing::T4, Timing::T5]
        .map(|timing| UdpSettings::of(timing).pace.as_secs());
    assert_eq!(paces, [300, 15, 1, 1, 1, 1]);
}

#[test]
fn a_fault_of_this_machine_is_no_verdict() {
    let mut left = 2;
    let ran = run("1-3", settings(), |one, _| {
        if one.port == 2 && left > 0 {
            left -= 1;
            return (UdpOutcome::Local(LocalError::Memory), Duration::ZERO);
        }
        refused()
    });
    assert_eq!(
        verdicts(&ran.report),
        (1..=3).map(|port| format!("{port} closed port-unreach")).collect::<Vec<_>>()
    );
    assert_eq!((ran.report.status, ran.faults), (HostStatus::Up, [(LocalError::Memory, 2)].into()));
}

#[test]
fn a_port_that_the_firewall_forbids_stays_without_a_verdict() {
    let ran = run("1-3", settings(), |one, _| match one.port {
        2 => (UdpOutcome::Local(LocalError::Denied), Duration::ZERO),
        _ => refused(),
    });
    assert_eq!((ran.report.status, ran.report.coverage.to_string()), (HostStatus::Partial, "1,3".to_owned()));
    assert!(ran.report.detail.contains("1 of its ports (denied)"), "{}", ran.report.detail);
}

#[test]
fn a_machine_that_cannot_send_gives_up_without_a_verdict() {
    let ran = run("1-40", settings(), |_, _| (UdpOutcome::Local(LocalError::Denied), Duration::ZERO));
    assert_eq!((ran.report.status, ran.report.coverage.len()), (HostStatus::Partial, 0));
    assert_eq!((ran.report.probes, ran.faults), (0, [(LocalError::Denied, 12)].into()));
}

#[test]
fn an_address_without_a_neighbour_is_down() {
    let ran = run("1-40", settings(), |_, _| (UdpOutcome::NoNeighbour, Duration::from_secs(3)));
    assert_eq!((ran.report.status, ran.report.coverage.len()), (HostStatus::Down, 0));
    assert!(ran.report.detail.contains("ARP"), "{}", ran.report.detail);
    assert!(ran.sent.len() <= 8);
}

#[test]
fn a_host_that_vanishes_keeps_what_is_known() {
    let ran = run("1-40", settings(), |one, now| {
        if now < at(1010) {
            refused()
        } else {
            (UdpOutcome::NoNeighbour, Duration::from_secs(u64::from(one.number) + 3))
        }
    });
    assert_eq!(
        (ran.report.status, ran.report.coverage.to_string()),
        (HostStatus::Partial, "1-10".to_owned())
    );
    assert!(ran.report.detail.contains("went silent"), "{}", ran.report.detail);
}

#[test]
fn the_deadline_and_a_stop_keep_what_is_known() {
    let limited = UdpSettings { deadline: Some(Duration::from_secs(10)), ..settings() };
    let ran = run("1-40", limited, |_, _| refused());
    assert_eq!((ran.report.status, ran.report.coverage.len()), (HostStatus::Partial, 10));
    assert!(ran.report.detail.contains("deadline"));

    let mut host = UdpHost::new(&ports("1-2"), settings(), at(0));
    let UdpStep::Send(one) = host.next(at(0)) else { panic!() };
    host.sent(at(0));
    host.ended(one, UdpOutcome::Silent, at(4));
    host.stop();
    assert_eq!(host.next(at(4)), UdpStep::Done);
    let report = host.report("192.0.2.1".parse().unwrap(), at(4));
    assert_eq!(
        (report.status, report.coverage.len(), report.detail.as_str()),
        (HostStatus::Partial, 0, "stopped")
    );
}

#[test]
fn progress_is_even_and_ends_with_all_ports() {
    let mut host = UdpHost::new(&ports("1-2"), settings(), at(0));
    let mut settled = Vec::new();
    let mut now = at(0);
    while let UdpStep::Send(one) = host.next(now) {
        host.sent(now);
        host.ended(one, UdpOutcome::Silent, now);
        settled.push(host.progress().settled);
        now += Duration::from_secs(1);
    }
    assert_eq!(settled, [0, 1, 1, 2]);
    assert_eq!((host.progress().ports, host.progress().probes, host.progress().open), (2, 4, 0));
}
