//! The output has nmap's format, and is read back unchanged.

use std::io::BufReader;

use proptest::prelude::*;

use super::*;
use crate::{
    model::{DeviceIdentification, Evidence, IdentifyMethod, PortFinding, Reason},
    nmap::Report,
};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_772_359_200 + seconds).unwrap()
}

fn service(protocol: Protocol, port: u16) -> Option<&'static str> {
    match port {
        _ if protocol != Protocol::Tcp => None,
        22 => Some("ssh"),
        80 => Some("http"),
        _ => None,
    }
}

fn requested(ports: &str) -> BTreeMap<Protocol, PortSet> {
    [(Protocol::Tcp, ports.parse().unwrap())].into()
}

fn run(requested: &BTreeMap<Protocol, PortSet>) -> ReportInfo<'_> {
    ReportInfo {
        args: "portscan scan -oA out --open \"<nas>\" 192.0.2.0/24",
        started: at(0),
        elapsed: Duration::from_millis(4_123),
        requested,
        targets: 4,
        unfinished: None,
        service,
        zone: TimeZone::UTC,
        verbose: 0,
        open_only: false,
        reasons: false,
        versions: false,
    }
}

fn found(port: u16, state: PortState, reason: Reason, micros: u64) -> PortFinding {
    let rtt = (micros > 0).then(|| Duration::from_micros(micros));
    PortFinding { port, state, reason, rtt }
}

fn up(address: &str, coverage: &str, findings: &[PortFinding]) -> HostReport {
    HostReport {
        address: address.parse().unwrap(),
        status: HostStatus::Up,
        coverage: coverage.parse().unwrap(),
        default_state: PortState::Closed,
        default_reason: Reason::ConnRefused,
        findings: findings.to_vec(),
        protocol: Protocol::Tcp,
        probes: 0,
        preparation: Duration::ZERO,
        scanning: Duration::from_secs(3),
        detail: String::new(),
    }
}

/// A host of the network, with its MAC and name.
type NetworkHost<'a> = (HostReport, Option<Mac>, Option<&'a str>);

/// One host of each kind.
fn network() -> Vec<NetworkHost<'static>> {
    let mac = "02:00:00:00:00:05".parse().ok();
    let printer = up(
        "192.0.2.5",
        "1-1000",
        &[
            found(22, PortState::Open, Reason::SynAck, 412),
            found(80, PortState::Open, Reason::SynAck, 1_300),
            found(999, PortState::Filtered, Reason::NoResponse, 0),
        ],
    );
    let mut silent = up("fe80::1%eth0", "1-1000", &[]);
    (silent.default_state, silent.default_reason) = (PortState::Filtered, Reason::NoResponse);
    let mut down = up("192.0.2.7", "22", &[]);
    (down.status, down.coverage) = (HostStatus::Down, PortSet::default());
    let mut partial = up("192.0.2.8", "1-30", &[found(22, PortState::Open, Reason::SynAck, 0)]);
    (partial.status, partial.detail) = (HostStatus::Partial, "the host went \"silent\"".to_owned());
    vec![(printer, mac, Some("printer.lan")), (silent, None, None), (down, None, None), (partial, mac, None)]
}

static NOTHING: BTreeMap<u16, PortIdentification> = BTreeMap::new();

/// The file without this program's version.
fn unversioned(format: Format, run: &ReportInfo<'_>, network: &[NetworkHost<'_>]) -> String {
    written(format, run, network).replace(concat!("portscan ", env!("CARGO_PKG_VERSION")), "portscan VERSION")
}

fn written(format: Format, run: &ReportInfo<'_>, network: &[NetworkHost<'_>]) -> String {
    let hosts = network.iter().map(|(report, mac, name)| ScannedHost {
        reports: std::slice::from_ref(report),
        mac: *mac,
        name: *name,
        identified: &NOTHING,
        started: at(1),
        finished: at(4),
    });
    let mut out = Vec::new();
    let up = network.iter().filter(|(report, ..)| report.status != HostStatus::Down).count();
    write(&mut out, format, run, up, hosts).unwrap();
    String::from_utf8(out).unwrap()
}

fn identified(service: Option<&str>, tls: bool, product: Option<(&str, &str)>) -> PortIdentification {
    PortIdentification {
        service: service.map(str::to_owned),
        tls,
        vendor: None,
        product: product.map(|(product, _)| product.to_owned()),
        version: product.map(|(_, version)| version.to_owned()),
        title: None,
        certificate: None,
        host_key: None,
        device: DeviceIdentification::default(),
        evidence: Evidence { method: IdentifyMethod::Greeting, text: String::new(), time: at(1) },
    }
}

#[test]
fn what_was_identified_is_written_in_nmaps_words() {
    let open = |port| found(port, PortState::Open, Reason::SynAck, 400);
    let report = up("192.0.2.5", "1-1000", &[22, 80, 443, 873].map(open));
    let known = BTreeMap::from([
        (22, identified(Some("ssh"), false, Some(("OpenSSH", "9.2p1")))),
        (80, identified(None, false, None)),
        (443, identified(Some("http"), true, Some(("a/b <c>", "1.\"2\"")))),
        (873, identified(None, true, None)),
    ]);
    let host = ScannedHost {
        reports: &[report],
        mac: None,
        name: None,
        identified: &known,
        started: at(1),
        finished: at(4),
    };
    let requested = requested("1-1000");
    let run = ReportInfo { versions: true, ..run(&requested) };
    let text = |format| {
        let mut out = Vec::new();
        write_host(&mut out, format, &run, &host).unwrap();
        String::from_utf8(out).unwrap()
    };
    let xml = text(Format::Xml);
    for element in [
        "<service name=\"ssh\" product=\"OpenSSH\" version=\"9.2p1\" method=\"probed\" conf=\"10\"/>",
        "<service name=\"http\" method=\"table\" conf=\"3\"/>",
        "<service name=\"http\" product=\"a/b &lt;c&gt;\" version=\"1.&quot;2&quot;\" tunnel=\"ssl\" method=\"probed\" \
         conf=\"10\"/>",
        "<service name=\"unknown\" tunnel=\"ssl\" method=\"probed\" conf=\"10\"/>",
    ] {
        assert!(xml.contains(element), "{element}\n{xml}");
    }
    let normal = text(Format::Normal);
    let rows: Vec<&str> =
        normal.lines().filter(|line| line.contains("/tcp") || line.contains("PORT")).collect();
    assert_eq!(rows[0], "PORT    STATE SERVICE  VERSION");
    assert_eq!(rows[1], "22/tcp  open  ssh      OpenSSH 9.2p1");
    assert_eq!(rows[3], "443/tcp open  ssl/http a/b <c> 1.\"2\"");
    let grepable = text(Format::Grepable);
    assert!(grepable.contains("22/open/tcp//ssh//OpenSSH 9.2p1/, 80/open/tcp//http///,"), "{grepable}");
    assert!(grepable.contains("443/open/tcp//ssl|http//a|b <c> 1.\"2\"/,"), "{grepable}");
}

#[test]
fn the_three_formats_match_their_snapshots() {
    let requested = requested("1-1000");
    let run = run(&requested);
    insta::assert_snapshot!("xml", unversioned(Format::Xml, &run, &network()));
    insta::assert_snapshot!("normal", unversioned(Format::Normal, &run, &network()));
    insta::assert_snapshot!("grepable", unversioned(Format::Grepable, &run, &network()));
}

#[test]
fn verbosity_adds_detail() {
    let requested = requested("1-1000");
    let run = ReportInfo { verbose: 1, reasons: true, unfinished: Some("interrupted"), ..run(&requested) };
    insta::assert_snapshot!("normal_verbose", unversioned(Format::Normal, &run, &network()));
    insta::assert_snapshot!("grepable_verbose", unversioned(Format::Grepable, &run, &network()));
    let xml = written(Format::Xml, &run, &network());
    assert!(
        xml.contains("exit=\"error\" errormsg=\"interrupted\"") && xml.contains("state=\"down\""),
        "{xml}"
    );
}

#[test]
fn lists_only_open_ports_on_request() {
    let requested = requested("1-1000");
    let run = ReportInfo { open_only: true, ..run(&requested) };
    let text = written(Format::Grepable, &run, &network());
    assert!(!text.contains("filtered/") && text.contains("22/open/tcp//ssh///, 80/open"), "{text}");
}

#[test]
fn latencies_have_two_significant_digits() {
    for (micros, expected) in [(130, "0.00013"), (39_000, "0.039"), (1_500_000, "1.50"), (3, "0.000003")] {
        assert_eq!(normal::seconds(Duration::from_micros(micros)), expected);
    }
}

proptest! {
    /// Names and reasons are untrusted text, and the states of all ports must be read back.
    #[test]
    fn written_reports_are_read_back(
        name in r"[^\pC\p{Zl}\p{Zp}]{1,60}",
        detail in ".{0,60}",
        states in prop::collection::btree_map(1..2000_u16, prop::sample::select(PortState::ALL), 0..200),
    ) {
        let findings: Vec<PortFinding> = states
            .into_iter()
            .filter(|&(_, state)| state != PortState::Closed)
            .map(|(port, state)| found(port, state, state.usual_reason(Protocol::Tcp), 0))
            .collect();
        let report = up("192.0.2.5", "1-2000", &findings);
        let mut partial = report.clone();
        (partial.status, partial.detail) = (HostStatus::Partial, detail);
        let requested = requested("1-2000");
        let network = [(report.clone(), None, Some(name.as_str())), (partial, None, None)];
        let text = written(Format::Xml, &run(&requested), &network);
        let mut reading = Report::open(BufReader::new(text.as_bytes())).unwrap();
        let host = reading.next_host().unwrap().unwrap();
        prop_assert_eq!(host.name, Some(name));
        let read = &host.reports[0];
        // The default state may be read back differently; the state of each port may not.
        prop_assert_eq!(&read.coverage, &report.coverage);
        for port in report.coverage.iter() {
            prop_assert_eq!(read.verdict(port).unwrap().state, report.verdict(port).unwrap().state);
        }
        let given_up = reading.next_host().unwrap().unwrap();
        prop_assert_eq!(given_up.reports[0].status, HostStatus::Partial);
        prop_assert_eq!(reading.next_host().unwrap(), None);
    }
}
