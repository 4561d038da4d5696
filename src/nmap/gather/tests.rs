//! Hosts in one element and in many.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::model::{HostReport, HostStatus};

fn framed(scanner: &str, scaninfo: &str, hosts: &str) -> String {
    format!(
        "<nmaprun scanner=\"{scanner}\" start=\"1772359200\">{scaninfo}{hosts}\
         <runstats><finished time=\"1772359260\" exit=\"success\"/></runstats></nmaprun>"
    )
}

fn read(text: &str) -> Result<Vec<ReportedHost>, ReadError> {
    let mut report = Report::open(text.as_bytes())?;
    Ok(gather(&mut report, tempfile::tempfile().unwrap())?.map(Result::unwrap).collect())
}

/// `192.0.2.5 tcp 22,80 closed; 22 open`
fn describe(hosts: &[ReportedHost]) -> Vec<String> {
    let one = |host: &ReportedHost| {
        let report = |report: &HostReport| {
            let found: String = report.findings.iter().map(|f| format!(" {} {}", f.port, f.state)).collect();
            format!(" {} {} {};{found}", report.protocol, report.coverage, report.default_state)
        };
        format!("{}{}", host.address, host.reports.iter().map(report).collect::<String>())
    };
    hosts.iter().map(one).collect()
}

fn port(protocol: &str, number: u32, state: &str) -> String {
    format!("<port protocol=\"{protocol}\" portid=\"{number}\"><state state=\"{state}\"/></port>")
}

/// As masscan writes it: an element for each port.
fn masscanned(address: &str, end: u32, ports: &str) -> String {
    format!(
        "<host endtime=\"{end}\"><address addr=\"{address}\" addrtype=\"ipv4\"/><ports>{ports}</ports></host>"
    )
}

const SCANINFO: &str = "<scaninfo type=\"syn\" protocol=\"tcp\" />";

#[test]
fn ports_and_banners_of_a_host_are_one_host() {
    let banner =
        port("tcp", 22, "open").replace("</port>", "<service name=\"ssh\" banner=\"SSH-2.0\"/></port>");
    let elements = [
        masscanned("192.0.2.6", 1_772_359_203, &port("tcp", 443, "open")),
        masscanned("192.0.2.5", 1_772_359_201, &port("tcp", 22, "open")),
        masscanned("192.0.2.6", 1_772_359_202, &port("udp", 53, "open")),
        masscanned("192.0.2.5", 1_772_359_209, &banner),
        masscanned("192.0.2.5", 1_772_359_205, &port("tcp", 80, "open")),
    ];
    let hosts = read(&framed("masscan", SCANINFO, &elements.concat())).unwrap();
    assert_eq!(
        describe(&hosts),
        [
            "192.0.2.6 tcp 443 closed; 443 open udp 53 closed; 53 open",
            "192.0.2.5 tcp 22,80 closed; 22 open 80 open"
        ]
    );
    let seconds = |host: &ReportedHost| (host.started.as_second(), host.finished.as_second());
    assert_eq!(seconds(&hosts[1]), (1_772_359_201, 1_772_359_209));
}

#[test]
fn masscan_covers_the_ports_it_requested() {
    let scaninfo = "<scaninfo type=\"syn\" protocol=\"tcp\" services=\"1-100\"/>";
    let elements = [
        masscanned("192.0.2.5", 1_772_359_201, &port("tcp", 22, "open")),
        masscanned("192.0.2.6", 1_772_359_201, &port("tcp", 80, "open")),
        masscanned("192.0.2.5", 1_772_359_202, &port("tcp", 80, "open")),
        masscanned("192.0.2.7", 1_772_359_202, &port("icmp", 0, "open")),
    ];
    let hosts = read(&framed("masscan", scaninfo, &elements.concat())).unwrap();
    assert_eq!(
        describe(&hosts),
        [
            "192.0.2.5 tcp 1-100 closed|filtered; 22 open 80 open",
            "192.0.2.6 tcp 1-100 closed|filtered; 80 open",
            "192.0.2.7",
        ],
        "a host that answered a ping was seen"
    );
}

/// As nmap writes it.
fn host(address: &str, more: &str, ports: &str) -> String {
    format!("<host><status state=\"up\"/><address addr=\"{address}\"/>{more}<ports>{ports}</ports></host>")
}

fn closed(ports: &str) -> String {
    format!(
        "<extraports state=\"closed\" count=\"9\"><extrareasons reason=\"reset\" count=\"9\" proto=\"tcp\" \
         ports=\"{ports}\"/></extraports>"
    )
}

#[test]
fn the_later_scan_of_a_target_given_twice_counts() {
    let name = "<hostnames><hostname name=\"nas.lan\" type=\"user\"/></hostnames>";
    let mac = "<address addr=\"02:00:00:00:00:05\" addrtype=\"mac\"/>";
    let elements = [
        host("192.0.2.5", name, &(closed("1-9") + &port("tcp", 22, "open") + &port("tcp", 80, "open"))),
        host("192.0.2.5", mac, &(closed("1-22") + &port("tcp", 443, "open"))),
    ];
    let hosts = read(&framed("nmap", "", &elements.concat())).unwrap();
    assert_eq!(describe(&hosts), ["192.0.2.5 tcp 1-22,80,443 closed; 80 open 443 open"]);
    assert_eq!((hosts[0].name.as_deref(), hosts[0].mac.is_some()), (Some("nas.lan"), true));
}

#[test]
fn a_host_is_partial_only_if_no_element_has_its_ports() {
    let given_up = host("192.0.2.5", "", "").replace("<host>", "<host timedout=\"true\">");
    let whole = host("192.0.2.5", "", &port("tcp", 22, "open"));
    let hosts = read(&framed("nmap", "", &(whole + &given_up))).unwrap();
    assert_eq!(describe(&hosts), ["192.0.2.5 tcp 22 closed; 22 open"]);
    let hosts = read(&framed("nmap", "", &(given_up.clone() + &given_up))).unwrap();
    assert_eq!(
        hosts[0].reports.iter().map(|report| report.status).collect::<Vec<_>>(),
        [HostStatus::Partial]
    );
}

#[test]
fn a_host_seen_once_and_scanned_once_counts_as_scanned() {
    let seen = "<host><status state=\"up\"/><address addr=\"192.0.2.5\"/></host>";
    let down = seen.replace("up", "down");
    let scanned = host("192.0.2.5", "", &port("tcp", 22, "open"));
    let hosts = read(&framed("nmap", "", &format!("{scanned}{down}{seen}"))).unwrap();
    assert_eq!(describe(&hosts), ["192.0.2.5 tcp 22 closed; 22 open"]);
}

#[test]
fn a_hundred_thousand_elements_are_two_hosts() {
    let mut elements = String::new();
    for number in 0..100_000_u32 {
        let address = if number % 2 == 0 { "192.0.2.5" } else { "192.0.2.6" };
        write!(elements, "{}", masscanned(address, 1_772_359_201, &port("tcp", 1 + number / 2, "open")))
            .unwrap();
    }
    let hosts = read(&framed("masscan", SCANINFO, &elements)).unwrap();
    let ports: Vec<_> = hosts.iter().map(|host| host.reports[0].open_ports().count()).collect();
    assert_eq!(ports, [50_000, 50_000]);
}

#[test]
fn distinct_hosts_are_bounded_but_not_their_elements() {
    let element = |number: u32| {
        let [_, a, b, c] = number.to_be_bytes();
        masscanned(&format!("10.{a}.{b}.{c}"), 1_772_359_201, &port("tcp", 80, "open"))
    };
    let most: String = (1..=65_536).chain(1..=5000).map(element).collect();
    assert_eq!(read(&framed("masscan", SCANINFO, &most)).unwrap().len(), HOSTS_MAX);
    let more: String = (1..=65_537).map(element).collect();
    assert!(matches!(read(&framed("masscan", SCANINFO, &more)), Err(ReadError::TooManyHosts)));
    let down = "<host><status state=\"down\"/><address addr=\"192.0.2.1\"/></host>".repeat(70_000);
    assert_eq!(read(&framed("nmap", "", &down)).unwrap(), []);
}

const STATES: [&str; 4] = ["open", "closed", "filtered", "open|filtered"];

proptest! {
    /// Compares with a naive model: a table of ports to which each element in turn is written.
    #[test]
    fn each_port_has_its_newest_verdict(
        elements in prop::collection::vec(
            (0..2_u8, (1..40_u16, 0..40_u16, 1..4_usize), prop::collection::btree_map(1..80_u16, 0..4_usize, 0..5)),
            1..8,
        ),
    ) {
        let mut naive = BTreeMap::<(u8, u16), &str>::new();
        let mut text = String::new();
        for (last, (first, more, state), listed) in elements {
            let range = (first..=first + more).filter(|port| !listed.contains_key(port));
            let rest: PortSet = range.collect();
            let mut ports: String =
                listed.iter().map(|(&number, &state)| port("tcp", number.into(), STATES[state])).collect();
            if !rest.is_empty() {
                ports += &closed(&rest.to_string()).replace("\"closed\"", &format!("{:?}", STATES[state]));
            }
            naive.extend(rest.iter().map(|port| ((last, port), STATES[state])));
            naive.extend(listed.iter().map(|(&number, &state)| ((last, number), STATES[state])));
            text += &host(&format!("192.0.2.{}", last + 1), "", &ports);
        }
        let mut found = BTreeMap::new();
        for host in read(&framed("nmap", "", &text)).unwrap() {
            let last = u8::from(host.address.to_string() == "192.0.2.2");
            for report in host.reports {
                prop_assert!(report.default_state != PortState::Open);
                found.extend(report.verdicts().map(|found| ((last, found.port), found.state.as_str())));
            }
        }
        prop_assert_eq!(found, naive);
    }
}
