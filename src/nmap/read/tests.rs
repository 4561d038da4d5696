//! Files as nmap writes them, and malformed ones.

use std::io;

use proptest::prelude::*;

use super::*;
use crate::model::{HostReport, HostStatus, Reason};

/// A report with these hosts, as nmap 7.93 frames them.
fn report(hosts: &str) -> String {
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE nmaprun>
<?xml-stylesheet href="file:///usr/bin/../share/nmap/nmap.xsl" type="text/xsl"?>
<!-- Nmap 7.93 scan initiated Sun Mar  1 10:00:00 2026 as: nmap -oX - 192.0.2.0/24 -->
<nmaprun scanner="nmap" args="nmap" start="1772359200" startstr="x" version="7.93" xmloutputversion="1.05">
<scaninfo type="connect" protocol="tcp" numservices="4" services="22,80,443,8080"/>
<verbose level="1"/>
<debugging level="0"/>
<taskbegin task="Connect Scan" time="1772359200"/>
<hosthint><status state="up" reason="arp-response" reason_ttl="0"/><address addr="192.0.2.9" addrtype="ipv4"/></hosthint>
{hosts}
<runstats><finished time="1772359260" timestr="x" summary="x" elapsed="60" exit="success"/><hosts up="1" down="0" total="1"/>
</runstats>
</nmaprun>
"#
    )
}

const PRINTER: &str = r#"<host starttime="1772359201" endtime="1772359210"><status state="up" reason="arp-response" reason_ttl="0"/>
<address addr="192.0.2.5" addrtype="ipv4"/>
<address addr="B8:27:EB:AC:14:3E" addrtype="mac" vendor="Raspberry Pi Foundation"/>
<hostnames><hostname name="ptr.lan" type="PTR"/><hostname name="printer.lan" type="user"/></hostnames>
<ports><extraports state="closed" count="2"><extrareasons reason="conn-refused" count="2" proto="tcp" ports="443,8080"/></extraports>
<port protocol="tcp" portid="22"><state state="open" reason="syn-ack" reason_ttl="0"/><service name="ssh" method="table" conf="3"/>
<script id="x" output="&lt;a&gt;&#xa;b"><table key="k"><elem key="e">1 &amp; 2</elem></table></script></port>
<port protocol="tcp" portid="80"><state state="filtered" reason="admin-prohibited" reason_ttl="64" reason_ip="192.0.2.1"/></port>
</ports>
<times srtt="129" rttvar="101" to="100000"/>
</host>"#;

/// All hosts and the summary, or the first error.
fn read(text: &str) -> Result<(Vec<ReportedHost>, ReportSummary), ReadError> {
    let mut report = Report::open(text.as_bytes())?;
    let mut hosts = Vec::new();
    while let Some(host) = report.next_host()? {
        hosts.push(host);
    }
    Ok((hosts, report.summary()))
}

fn hosts(text: &str) -> Vec<ReportedHost> {
    read(&report(text)).unwrap().0
}

/// `tcp 22,80 closed; 22 open`
fn describe(host: &ReportedHost) -> Vec<String> {
    let one = |report: &HostReport| {
        let findings: String =
            report.findings.iter().map(|found| format!(" {} {}", found.port, found.state)).collect();
        format!("{} {} {};{findings}", report.protocol, report.coverage, report.default_state)
    };
    host.reports.iter().map(one).collect()
}

#[test]
fn every_part_of_a_host_is_read() {
    let text = report(PRINTER);
    let mut reading = Report::open(text.as_bytes()).unwrap();
    assert_eq!(reading.started().as_second(), 1_772_359_200);
    let host = reading.next_host().unwrap().unwrap();
    assert_eq!(host.address.to_string(), "192.0.2.5");
    assert_eq!(host.mac.unwrap().to_string(), "B8:27:EB:AC:14:3E");
    assert_eq!(host.name.as_deref(), Some("printer.lan"), "the name that was typed");
    assert_eq!((host.started.as_second(), host.finished.as_second()), (1_772_359_201, 1_772_359_210));
    assert_eq!(describe(&host), ["tcp 22,80,443,8080 closed; 22 open 80 filtered"]);
    let found = &host.reports[0].findings;
    assert_eq!((found[0].reason, found[1].reason), (Reason::SynAck, Reason::AdminProhibited));
    assert_eq!(reading.next_host().unwrap(), None);
    let ended = ReportSummary {
        finished: Timestamp::from_second(1_772_359_260).unwrap(),
        status: ScanStatus::Complete,
    };
    assert_eq!(reading.summary(), ended);
}

#[test]
fn progress_and_unknown_elements_are_skipped() {
    let progress = r#"<taskprogress task="Connect Scan" time="1772359203" percent="12.00" remaining="8" etc="1772359211"/>"#;
    let unknown = format!("<novelty><host>{PRINTER}</host></novelty>");
    let second = PRINTER.replace("192.0.2.5", "2001:db8::5").replace("\"ipv4\"", "\"ipv6\"");
    let found = hosts(&format!("{progress}{PRINTER}{progress}{unknown}{second}{progress}"));
    let addresses: Vec<String> = found.iter().map(|host| host.address.to_string()).collect();
    assert_eq!(addresses, ["192.0.2.5", "2001:db8::5"]);
}

#[test]
fn every_protocol_has_its_own_report() {
    let text = report(
        r#"<host><status state="up"/><address addr="192.0.2.5" addrtype="ipv4"/><ports>
<port protocol="tcp" portid="22"><state state="open" reason="syn-ack"/></port>
<port protocol="udp" portid="53"><state state="open|filtered" reason="no-response"/></port>
<port protocol="sctp" portid="2905"><state state="closed" reason="abort"/></port>
<port protocol="ip" portid="0"><state state="open" reason="proto-response"/></port>
<port protocol="ipx" portid="1"><state state="open"/></port>
<port protocol="tcp" portid="65536"><state state="open"/></port>
<port protocol="tcp" portid="23"><state state="ajar"/></port>
</ports></host>"#,
    );
    let mut reading = Report::open(text.as_bytes()).unwrap();
    let host = reading.next_host().unwrap().unwrap();
    assert_eq!(reading.left_out(), Omissions { unreadable_ports: 3, ..Omissions::default() });
    assert_eq!(
        describe(&host),
        [
            "ip 0 closed; 0 open",
            "tcp 22 closed; 22 open",
            "udp 53 closed; 53 open|filtered",
            "sctp 2905 closed;"
        ]
    );
}

const PORTS: &str = r#"<ports><port protocol="tcp" portid="22"><state state="open"/></port></ports>"#;

#[test]
fn a_timed_out_host_has_no_ports() {
    let text = report(&format!(
        r#"<host timedout="true"><status state="up"/><address addr="192.0.2.7" addrtype="ipv4"/>{PORTS}</host>"#
    ));
    let mut reading = Report::open(text.as_bytes()).unwrap();
    let host = reading.next_host().unwrap().unwrap();
    assert_eq!((host.reports.len(), host.reports[0].status), (1, HostStatus::Partial));
    assert!(host.reports[0].coverage.is_empty() && host.reports[0].detail.contains("timed out"));
    assert_eq!(reading.next_host().unwrap(), None);
    assert_eq!(reading.left_out(), Omissions { given_up_ports: 1, ..Omissions::default() });
}

#[test]
fn a_host_that_is_up_and_has_no_ports_was_seen() {
    let text = report(
        r#"<host><status state="up" reason="arp-response"/><address addr="192.0.2.9" addrtype="ipv4"/>
<address addr="02:00:00:00:00:09" addrtype="mac"/><hostnames><hostname name="nas.lan" type="PTR"/></hostnames></host>"#,
    );
    let found = read(&text).unwrap().0;
    let [host] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((host.address.to_string(), host.name.as_deref()), ("192.0.2.9".to_owned(), Some("nas.lan")));
    assert_eq!(host.mac.unwrap().to_string(), "02:00:00:00:00:09");
    assert!(host.reports.is_empty());
}

#[test]
fn absent_hosts_are_left_out_and_counted() {
    let text = report(&format!(
        r#"<host><status state="down" reason="no-response"/><address addr="192.0.2.6" addrtype="ipv4"/></host>
<host><status state="down"/><address addr="192.0.2.10" addrtype="ipv4"/>{PORTS}</host>
<host><status state="down"/><address addr="225.0.0.1" addrtype="ipv4"/></host>
<host><status state="unknown"/><address addr="192.0.2.8" addrtype="ipv4"/>{PORTS}</host>
<host><status state="skipped"/><address addr="192.0.2.8" addrtype="ipv4"/></host>
<host><address addr="192.0.2.8" addrtype="ipv4"/></host>
<host><status state="up"/><address addr="00:00:00:00:00:00" addrtype="mac"/>{PORTS}</host>
<host><status state="up"/><address addr="224.0.0.1" addrtype="ipv4"/>{PORTS}</host>"#
    ));
    let mut reading = Report::open(text.as_bytes()).unwrap();
    assert_eq!(reading.next_host().unwrap(), None);
    let expected = Omissions { down: 3, unknown: 3, unaddressed: 2, ..Omissions::default() };
    assert_eq!(reading.left_out(), expected);
}

#[test]
fn masscans_format_is_read() {
    let text = r#"<?xml version="1.0"?>
<!-- masscan v1.0 scan -->
<nmaprun scanner="masscan" start="1772359200" version="1.0-BETA"  xmloutputversion="1.03">
<scaninfo type="syn" protocol="tcp" />
<host endtime="1772359205"><address addr="192.0.2.5" addrtype="ipv4"/><ports><port protocol="tcp" portid="80"><state state="open" reason="syn-ack" reason_ttl="64"/></port></ports></host>
<runstats><finished time="1772359206" timestr="x" elapsed="6" /><hosts up="1" down="0" total="1" /></runstats>
</nmaprun>"#;
    let (found, ended) = read(text).unwrap();
    assert_eq!(describe(&found[0]), ["tcp 80 closed; 80 open"]);
    assert_eq!((found[0].started.as_second(), ended.status), (1_772_359_205, ScanStatus::Complete));
}

#[test]
fn a_report_without_a_successful_end_is_partial() {
    let text = report(PRINTER).replace("exit=\"success\"", "exit=\"error\" errormsg=\"No route\"");
    assert_eq!(read(&text).unwrap().1.status, ScanStatus::Partial);
    let (start, end) = (text.find("<runstats>").unwrap(), text.find("</nmaprun>").unwrap());
    let silent = format!("{}{}", &text[..start], &text[end..]);
    assert_eq!(read(&silent).unwrap().1.status, ScanStatus::Partial, "the report does not state its success");
}

#[test]
fn every_truncation_is_refused() {
    let text = report(PRINTER);
    let whole = text.trim_end().len();
    for length in 0..whole {
        let error = read(&text[..length]).expect_err("half a report");
        // Before its first tag a truncated file may belong to any program.
        let expected = if length > text.find("<nmaprun").unwrap() + 1 { "in the middle" } else { "report" };
        let message = error.to_string();
        let within_a_reference = message.contains("before end of input");
        assert!(
            message.contains(expected) || within_a_reference || matches!(error, ReadError::NoElement),
            "{length}: {message}"
        );
    }
    assert!(read(&text[..whole]).is_ok());
}

#[test]
fn an_xml_bomb_is_refused() {
    let bomb = r#"<?xml version="1.0"?>
<!DOCTYPE nmaprun [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>
<nmaprun start="1772359200"><host><hostnames><hostname name="&b;"/></hostnames></host></nmaprun>"#;
    assert!(matches!(read(bomb), Err(ReadError::Declarations)));
    let external = bomb.replace(
        "[<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;\">]",
        "SYSTEM \"nmap.dtd\"",
    );
    assert!(matches!(read(&external), Err(ReadError::Malformed(_))), "an undeclared entity");
    let late = report(PRINTER).replace("<verbose", "<!DOCTYPE x [<!ENTITY a \"b\">]><verbose");
    assert!(read(&late).is_err());
}

#[test]
fn other_files_are_refused_with_the_reason() {
    for (text, why) in [
        ("", "no XML element"),
        ("hello", "no XML element"),
        ("{\"macs\":[]}", "no XML element"),
        ("<html><body/></html>", "<html>"),
        ("<nmaprun/>", "when its scan started"),
        ("<nmaprun start=\"soon\"/>", "when its scan started"),
        ("<nmaprun start=\"0\"/>", "when its scan started"),
        ("<nmaprun start=\"99999999999999\"/>", "when its scan started"),
        ("<nmaprun start=\"1772359200\"></nmapruns>", "not well-formed"),
        ("<nmaprun start=\"1772359200\"/><nmaprun start=\"1772359200\"/>", "follows the end"),
    ] {
        let message = read(text).unwrap_err().to_string();
        assert!(message.contains(why), "{text}: {message}");
    }
    assert!(read("\u{feff}<nmaprun start=\"1772359200\"/>").is_ok(), "a byte order mark is accepted");
    assert!(matches!(
        Report::open(&b"<nmaprun start=\"1772359200\" args=\"\xff\"/>"[..]).map(|_| ()),
        Err(ReadError::Malformed(_))
    ));
}

/// An endless file, generated while it is read.
struct Endless {
    head: Vec<u8>,
    line: Vec<u8>,
    at: usize,
}

impl io::Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at >= self.head.len() {
            (self.head, self.at) = (self.line.clone(), 0);
        }
        let count = buffer.len().min(self.head.len() - self.at);
        buffer[..count].copy_from_slice(&self.head[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

#[test]
fn endless_input_is_refused() {
    for (head, line, why) in [
        ("<nmaprun start='1772359200' args='", "aaaaaaaa", "more than"),
        ("<nmaprun start='1772359200'", " a='b'", "more than"),
        ("<nmaprun start='1772359200'><!--", "aaaaaaaa", "more than"),
        ("<nmaprun start='1772359200'>", "aaaaaaaa", "more than"),
        ("<nmaprun start='1772359200'><host>", "<a>", "deep"),
        ("<nmaprun start='1772359200'><host><ports>", "<extraports state='closed'/>", "groups"),
    ] {
        let source = Endless { head: head.as_bytes().to_vec(), line: line.as_bytes().to_vec(), at: 0 };
        let reading = || -> Result<(), ReadError> {
            let mut report = Report::open(io::BufReader::new(source))?;
            while report.next_host()?.is_some() {}
            Ok(())
        };
        let message = reading().unwrap_err().to_string();
        assert!(message.contains(why), "{head}: {message}");
    }
}

proptest! {
    /// For any modification of a report, the result is a report or an error.
    #[test]
    fn damage_never_panics(at in 0..2000_usize, with in ".{0,8}", cut in 0..40_usize) {
        let mut text = report(PRINTER);
        let at = (0..=at.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap();
        let end = (at..=(at + cut).min(text.len())).rev().find(|&end| text.is_char_boundary(end)).unwrap();
        text.replace_range(at..end, &with);
        let _ = read(&text);
    }
}
