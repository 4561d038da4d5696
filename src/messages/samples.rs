//! One message of each kind, to try a template on before it is needed.

use super::{
    message::{AlertChange, AlertMessage, Origin, PortExplanation},
    summary::NetworkSummary,
};
use crate::model::{
    AdviceLevel, AlertKind, AlertSeverity, ChangeEvent, ChangeKind, DeviceKey, Mac, PortSet, Protocol,
};

/// The changes of the longest message.
const MANY: u8 = 100;

/// The messages, each with its name.
pub fn samples() -> Vec<(&'static str, AlertMessage)> {
    let origin = Origin {
        appliance: "5d0c4ffb2a9e11aa".to_owned(),
        page: "http://portscan.local".to_owned(),
        site: None,
    };
    let one = |about, kind, resolves| origin.message(41, vec![change(7, about, kind, resolves)], resolves);
    let opened = || ChangeKind::Opened(Protocol::Tcp, ports());
    let many = (0..MANY).map(|device| change(device, AlertKind::Unexpected, opened(), None)).collect();
    let trouble = ["the feed http://lanscan.local/... has not answered for 12 min".to_owned()];
    let all = NetworkSummary { devices: 41, open: 312, ..NetworkSummary::default() };
    vec![
        ("unexpected", one(AlertKind::Unexpected, opened(), None)),
        ("missing", one(AlertKind::Missing, ChangeKind::Closed(Protocol::Tcp, ports()), None)),
        ("new-device", one(AlertKind::NewDevice, ChangeKind::New, None)),
        ("resolved", one(AlertKind::Unexpected, ChangeKind::Closed(Protocol::Tcp, ports()), Some(40))),
        ("appliance", origin.trouble(1, &trouble, AlertSeverity::High)),
        ("digest", origin.message(1, many, None)),
        ("summary", origin.summary("2026-11-29T08:00", &all.title(), &all.text(), true)),
        ("test", origin.test("phone", 1_780_000_000_000)),
    ]
}

fn ports() -> PortSet {
    std::iter::once(23).collect()
}

/// Some devices have no name.
fn change(device: u8, about: AlertKind, kind: ChangeKind, resolves: Option<i64>) -> AlertChange {
    let event = ChangeEvent {
        id: 41 + i64::from(device),
        at: jiff::Timestamp::UNIX_EPOCH,
        scan: None,
        device: DeviceKey::Mac(Mac::new([2, 0, 0, 0, 0, device])),
        address: std::net::Ipv4Addr::new(192, 0, 2, device).into(),
        kind,
        alert: resolves.is_none(),
    };
    let known = PortExplanation {
        protocol: Protocol::Tcp,
        port: 23,
        level: AdviceLevel::Act,
        what: "usually Telnet".to_owned(),
        advice: "Passwords travel in the clear. Switch it off.".to_owned(),
    };
    AlertChange {
        event,
        about,
        resolves,
        severity: if resolves.is_some() { AlertSeverity::Low } else { about.severity() },
        name: (device % 2 == 1).then(|| "printer".to_owned()),
        explanations: if about == AlertKind::Unexpected { vec![known] } else { Vec::new() },
        elsewhere: Vec::new(),
    }
}
