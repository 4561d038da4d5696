use std::collections::{BTreeMap, BTreeSet};

use super::{
    file::{FIELDS, PORTS, paragraphs},
    identified::{IDENTIFIED, Rule, is_condition},
    *,
};
use crate::model::{DeviceIdentification, Evidence, IdentifyMethod};

/// The greatest lengths in characters: what a person reads at once, and what an answer about a thousand devices can
/// carry.
const LENGTHS: [(&str, usize); 9] = [
    ("vendor", 200),
    ("host", 60),
    ("for", 130),
    ("on", 150),
    ("level", 4),
    ("why", 180),
    ("always", 150),
    ("remedy", 250),
    ("source", 130),
];

const NOW: &str = "2026-03-01T10:00:00Z";

fn all() -> Vec<PortUse> {
    paragraphs(PORTS)
        .map(|text| PortUse::read(text).unwrap_or_else(|fault| panic!("{fault}:\n{text}")))
        .collect()
}

fn ask<'a>(port: u16, vendor: Option<&'a str>, host_names: &'a [String]) -> Option<Advice> {
    let now = NOW.parse().unwrap();
    advise(&PortFacts { protocol: Protocol::Tcp, port, vendor, host_names, found: None, now })
}

#[test]
fn the_file_is_sorted_and_each_port_has_one_use_for_each_hint() {
    let (mut last, mut taken) = ((0, Protocol::Ip, false), BTreeSet::new());
    for known in all() {
        let ports = known.ports().unwrap();
        let &(protocol, first) = ports.first().unwrap();
        let place = (first, protocol, known.is_general());
        assert!(last <= place, "{} is out of its order", known.name);
        assert!(ports.iter().all(|&(_, port)| port >= first), "{}: its ports are not sorted", known.name);
        last = place;
        for (protocol, port) in ports {
            let hints: Vec<&str> = known.vendors().chain(known.host_names()).collect();
            for hint in if known.is_general() { vec![""] } else { hints } {
                assert!(taken.insert((protocol, port, hint)), "{port}/{protocol} \"{hint}\" is there twice");
            }
        }
    }
    let count = all().len();
    assert!(count >= 150, "{count}");
    assert!(
        count * size_of::<PortUse>() < 64 * 1024,
        "{count} paragraphs take more memory than is allowed for them"
    );
}

#[test]
fn every_text_is_short_and_whole() {
    for (known, text) in all().iter().zip(paragraphs(PORTS)) {
        let name = known.name.to_string();
        assert!((1..=60).contains(&name.len()) && !name.ends_with('.'), "{name}");
        assert!(text.is_ascii() && text.lines().all(|line| line.len() <= 120), "{name}");
        let sentences =
            [Some(known.purpose), Some(known.devices), Some(known.why), known.always, Some(known.remedy)];
        for sentence in sentences.into_iter().flatten().map(|text| text.to_string()) {
            assert!(sentence.ends_with('.') && !sentence.contains(".."), "{name}: {sentence}");
            assert!(sentence.starts_with(|c: char| !c.is_lowercase()), "{name}: {sentence}");
        }
        assert!(!known.source.to_string().ends_with(['.', ';']), "{name}: {}", known.source);
        let fields = text.replace("\n        ", " ");
        for line in fields.lines().skip(1) {
            let (field, value) = line.split_at_checked(8).unwrap_or((line, ""));
            let (_, most) = LENGTHS.iter().find(|(known, _)| *known == field.trim()).unwrap();
            let length = value.trim().len();
            assert!((1..=*most).contains(&length), "{name}: {length} characters of {most}: {line}");
            assert!(!value.contains("  "), "{name}: {line}");
        }
    }
    assert_eq!(LENGTHS.map(|(field, _)| field), FIELDS);
}

#[test]
fn only_ports_that_are_dangerous_whatever_listens_are_act_by_their_number() {
    for known in all() {
        assert_eq!(
            known.is_general() && known.level == AdviceLevel::Act,
            known.always.is_some(),
            "{}",
            known.name
        );
    }
}

#[test]
fn a_name_never_makes_a_port_look_milder() {
    let general: BTreeMap<(Protocol, u16), AdviceLevel> = all()
        .iter()
        .filter(|known| known.is_general())
        .flat_map(|known| known.ports().unwrap().into_iter().map(|port| (port, known.level)))
        .collect();
    for known in all().iter().filter(|known| known.host_names().next().is_some()) {
        for port in known.ports().unwrap() {
            assert!(
                general.get(&port).is_none_or(|level| known.level >= *level),
                "{} at {port:?}",
                known.name
            );
        }
    }
}

#[test]
fn faults_are_named() {
    const SOUND: &str =
        "[1/tcp] A\nfor     B.\non      C.\nlevel   fine\nwhy     D\n        E.\nremedy  F.\nsource  G";
    let known = PortUse::read(SOUND).unwrap();
    assert_eq!((known.why.to_string(), known.level), ("D E.".to_owned(), AdviceLevel::Fine));
    for (paragraph, fault) in [
        ("[1/tcp] A", "heading only"),
        ("1/tcp A\nfor     B.", "does not begin"),
        ("[1/tcp] A\nfor     B.", "no \"on\""),
        ("[1/tcp] A\non      B.\nfor     C.", "\"for\" is unknown or out of its order"),
        ("[1/tcp] A\ncolour  red", "\"colour\" is unknown"),
        ("[1/tcp] A\nfor     B.\non      C.\nlevel   bad", "fine, look, act"),
    ] {
        let found = PortUse::read(paragraph).unwrap_err();
        assert!(found.contains(fault), "{paragraph}: {found}");
    }
    for ports in ["[1] A", "[70000/tcp] A", "[1-x/tcp] A", "[1/xyz] A"] {
        let text = format!("{ports}{}", &SOUND["[1/tcp] A".len()..]).leak();
        assert!(
            PortUse::read(text).unwrap().ports().unwrap_err().contains("is not PORT/PROTOCOL"),
            "{ports}"
        );
    }
}

#[test]
fn a_number_alone_says_what_is_usual() {
    let advice = ask(7000, None, &[]).unwrap();
    assert_eq!((advice.what.to_string().as_str(), advice.level), ("usually AirPlay", AdviceLevel::Fine));
    assert_eq!(ask(23, None, &[]).unwrap().level, AdviceLevel::Act);
    assert_eq!(ask(5902, Some("Apple"), &[]).unwrap().what.to_string(), "usually a remote screen (VNC)");
    for port in [0, 4, 33_333, u16::MAX] {
        assert_eq!(ask(port, Some("Synology"), &[]), None, "{port}");
    }
    let udp = PortFacts {
        protocol: Protocol::Udp,
        port: 23,
        vendor: None,
        host_names: &[],
        found: None,
        now: NOW.parse().unwrap(),
    };
    assert_eq!(advise(&udp), None);
}

/// What a service says of itself by this method.
fn found(service: &str, product: Option<&str>, says: &str, method: IdentifyMethod) -> PortIdentification {
    let (vendor, title, certificate, host_key) = (None, None, None, None);
    PortIdentification {
        service: Some(service.to_owned()),
        tls: method == IdentifyMethod::Tls,
        vendor,
        product: product.map(str::to_owned),
        version: product.map(|_| "1.0".to_owned()),
        title,
        certificate,
        host_key,
        device: DeviceIdentification::default(),
        evidence: Evidence { method, text: says.to_owned(), time: NOW.parse().unwrap() },
    }
}

fn ask_found(port: u16, vendor: Option<&str>, found: &PortIdentification) -> Advice {
    let now = NOW.parse().unwrap();
    let facts = PortFacts { protocol: Protocol::Tcp, port, vendor, host_names: &[], found: Some(found), now };
    advise(&facts).unwrap()
}

#[test]
fn an_identified_service_beats_what_is_usual_at_the_number() {
    for (port, service, product, says, what, level) in [
        (2222, "ssh", Some("OpenSSH"), "SSH-2.0-OpenSSH_1.0", "is OpenSSH 1.0", AdviceLevel::Fine),
        (23, "ssh", None, "SSH-2.0-x", "is SSH", AdviceLevel::Fine),
        (22, "ssh", None, "SSH-1.99-x", "is SSH", AdviceLevel::Fine),
        (22, "ssh", None, "SSH-1.5-x", "is SSH 1", AdviceLevel::Act),
        (2323, "telnet", None, "login:", "is Telnet", AdviceLevel::Act),
        (80, "telnet", Some("BusyBox"), "login:", "is BusyBox 1.0", AdviceLevel::Act),
        (4, "ftp", None, "220 ready", "is FTP", AdviceLevel::Look),
        (6379, "redis", Some("Redis"), "-NOAUTH Authentication required.", "is Redis 1.0", AdviceLevel::Look),
        (6379, "redis", Some("Redis"), "redis_version:1.0", "is Redis 1.0", AdviceLevel::Act),
        (5000, "http", Some("Docker"), "HTTP/1.1 404; Server: Docker/1.0", "is Docker 1.0", AdviceLevel::Act),
        (445, "smb", None, "SMBv1", "is Windows file sharing, version 1", AdviceLevel::Act),
        (33_333, "wonder", None, "hello", "is wonder", AdviceLevel::Look),
    ] {
        let advice = ask_found(port, None, &found(service, product, says, IdentifyMethod::Greeting));
        assert_eq!(
            (advice.what.to_string().as_str(), advice.level),
            (what, level),
            "{port} {service} {says}"
        );
    }
}

#[test]
fn a_probable_use_of_a_page_still_says_what_to_do() {
    let page = found("http", Some("nginx"), "HTTP/1.1 200 OK", IdentifyMethod::Http);
    let advice = ask_found(80, Some("Shelly"), &page);
    assert_eq!((advice.what.to_string().as_str(), advice.level), ("is nginx 1.0", AdviceLevel::Look));
    assert!(advice.why.contains("no password"), "{}", advice.why);
}

#[test]
fn an_announcement_is_probable_and_makes_nothing_milder() {
    let announced = found("ssh", None, "_ssh._tcp", IdentifyMethod::DnsSd);
    let advice = ask_found(23, None, &announced);
    assert_eq!((advice.what.to_string().as_str(), advice.level), ("probably SSH", AdviceLevel::Act));
}

#[test]
fn a_certificate_is_to_be_renewed_three_weeks_before_its_end() {
    for (end, level, begins) in [
        ("2026-03-22T10:00:00Z", AdviceLevel::Fine, "It is encrypted."),
        ("2026-03-22T09:59:59Z", AdviceLevel::Look, "Its certificate expires on 2026-03-22. From then"),
        ("2026-03-01T10:00:00Z", AdviceLevel::Look, "Its certificate expires on 2026-03-01."),
        ("2026-03-01T09:59:59Z", AdviceLevel::Act, "Its certificate expired on 2026-03-01. Programs"),
    ] {
        let certificate = Certificate {
            subject: "CN=nas".to_owned(),
            sans: Vec::new(),
            issuer: "CN=nas".to_owned(),
            not_after: end.parse().unwrap(),
            self_signed: true,
            key: String::new(),
            signature: String::new(),
            fingerprint: String::new(),
        };
        let page = PortIdentification {
            certificate: Some(certificate),
            ..found("http", None, "", IdentifyMethod::Tls)
        };
        let advice = ask_found(443, None, &page);
        assert_eq!(advice.level, level, "{end}");
        assert!(advice.why.starts_with(begins), "{end}: {}", advice.why);
    }
}

#[test]
fn the_rules_for_identified_services_are_sound() {
    for text in paragraphs(IDENTIFIED) {
        let rule = Rule::read(text).unwrap_or_else(|fault| panic!("{fault}:\n{text}"));
        assert!(text.is_ascii() && text.lines().all(|line| line.len() <= 120), "{text}");
        assert!(rule.said().is_some(), "it refers to a port without a general paragraph:\n{text}");
        let condition = text.lines().find_map(|line| line.strip_prefix("if      ")).unwrap_or("clear");
        assert!(condition.split(';').all(|one| is_condition(one.trim())), "{text}");
        let fields = text.replace("\n        ", " ");
        for line in fields.lines().filter(|line| line.starts_with("why") || line.starts_with("remedy")) {
            assert!(line.len() <= 260 && line.ends_with('.') && !line[8..].contains("  "), "{line}");
        }
    }
    for name in ["*", "expired", "expires"] {
        assert!(paragraphs(IDENTIFIED).any(|text| text.starts_with(&format!("[{name}]"))), "{name}");
    }
}

#[test]
fn the_maker_or_a_name_says_what_is_probable() {
    let names = |name: &str| [name.to_owned()];
    let what = |advice: Option<Advice>| advice.unwrap().what.to_string();
    assert_eq!(what(ask(5000, Some("Synology"), &[])), "probably DSM (Synology's web page)");
    assert_eq!(what(ask(9100, Some("Brother industries"), &[])), "probably printing (raw)");
    assert_eq!(what(ask(5000, Some("Cisco-Linksys"), &[])), "usually a web page, AirPlay or UPnP");
    assert_eq!(what(ask(80, None, &names("Shelly1-A4CF12.local"))), "probably Shelly's page");
    assert_eq!(what(ask(80, None, &names("my-shelly.local"))), "usually a web page");
    // Hints end within a character of a longer name.
    assert_eq!(what(ask(80, Some("AV\u{1f4a1}"), &names("shell\u{fc}"))), "usually a web page");
}

#[test]
fn the_general_use_is_told_first() {
    let told: Vec<bool> = uses(Protocol::Tcp, 5000).map(PortUse::is_general).collect();
    assert_eq!(told, [true, false, false]);
    assert_eq!(uses(Protocol::Tcp, 4).count(), 0);
}
