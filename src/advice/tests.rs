use std::collections::{BTreeMap, BTreeSet};

use super::{
    file::{FIELDS, PORTS, paragraphs},
    *,
};

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

fn all() -> Vec<PortUse> {
    paragraphs(PORTS)
        .map(|text| PortUse::read(text).unwrap_or_else(|fault| panic!("{fault}:\n{text}")))
        .collect()
}

fn ask<'a>(port: u16, vendor: Option<&'a str>, host_names: &'a [String]) -> Option<Advice> {
    advise(&PortFacts { protocol: Protocol::Tcp, port, vendor, host_names })
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
    let udp = PortFacts { protocol: Protocol::Udp, port: 23, vendor: None, host_names: &[] };
    assert_eq!(advise(&udp), None);
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
