//! Decides which ports of a device are due for identification. Pure: the time is a parameter.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::manner::{Manner, manner_of};
use crate::model::{Address, IdentifyLevel, IdentifyMethod};

/// How long a port stays identified while it is open. Services are updated a few times a year.
const HOLDS: SignedDuration = SignedDuration::from_hours(30 * 24);

/// The most ports of a device that are identified by connections. More are those of a tarpit, or of a machine that its
/// owner knows; and a device is held up for up to five seconds by each.
pub const PORTS_MAX: usize = 64;

/// A port to identify, and how.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DuePort {
    /// At which of the device's addresses.
    pub address: Address,
    /// The open TCP port.
    pub port: u16,
    /// How.
    pub manner: Manner,
}

/// What has been identified of a device's TCP port so far, by one method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Earlier {
    pub(super) port: u16,
    pub(super) method: IdentifyMethod,
    pub(super) time: Timestamp,
    /// The service, by its DNS-SD name.
    pub(super) service: Option<String>,
}

/// Returns the ports that are due: new ones; those that were closed in between, because a port that closes loses its
/// identification; and those that were identified too long ago, or less thoroughly than the level now permits. `open`
/// are the open TCP ports of a device, each at one of its addresses; of these, the first [`PORTS_MAX`] that may be
/// identified count.
pub(super) fn due_ports(
    open: impl IntoIterator<Item = (Address, u16)>,
    earlier: &[Earlier],
    level: IdentifyLevel,
    now: Timestamp,
) -> Vec<DuePort> {
    let mut by_port: BTreeMap<u16, Vec<&Earlier>> = BTreeMap::new();
    for known in earlier {
        by_port.entry(known.port).or_default().push(known);
    }
    let candidates = open.into_iter().filter_map(|(address, port)| {
        let known = by_port.get(&port).map_or(&[][..], Vec::as_slice);
        let announced = known.iter().find(|known| known.method == IdentifyMethod::DnsSd);
        let manner = manner_of(level, port, announced.and_then(|known| known.service.as_deref()))?;
        let holds = known.iter().any(|known| proves(known.method, manner) && is_recent(known.time, now));
        Some((!holds).then_some(DuePort { address, port, manner }))
    });
    candidates.take(PORTS_MAX).flatten().collect()
}

/// Whether a result by this method makes an identification in this manner superfluous. A service that was sent a
/// request has had time to greet first.
fn proves(method: IdentifyMethod, manner: Manner) -> bool {
    match manner {
        Manner::Listen => method.is_proof(),
        _ => method == manner.method(),
    }
}

/// Whether a result still holds. A date in the future comes from a wrong clock; such a result is renewed, too, if it
/// is further away than any valid one.
fn is_recent(time: Timestamp, now: Timestamp) -> bool {
    now.duration_since(time).abs() < HOLDS
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;
    const DAY: i64 = 86_400;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn earlier(port: u16, method: IdentifyMethod, seconds: i64) -> Earlier {
        Earlier { port, method, time: at(seconds), service: None }
    }

    fn due(open: &[u16], earlier: &[Earlier], level: IdentifyLevel) -> Vec<(u16, Manner)> {
        let address: Address = "10.0.0.1".parse().unwrap();
        let open = open.iter().map(|port| (address.clone(), *port));
        due_ports(open, earlier, level, at(NOW)).into_iter().map(|due| (due.port, due.manner)).collect()
    }

    #[test]
    fn a_port_is_due_when_it_is_new_and_again_after_thirty_days() {
        let listen = |port| (port, Manner::Listen);
        let level = IdentifyLevel::Greetings;
        assert_eq!(due(&[22, 80, 9100], &[], level), [listen(22), listen(80)]);
        let known = [
            earlier(22, IdentifyMethod::Greeting, NOW - 29 * DAY),
            earlier(80, IdentifyMethod::Greeting, NOW - 30 * DAY),
            earlier(81, IdentifyMethod::Greeting, NOW + DAY),
            earlier(82, IdentifyMethod::Greeting, NOW + 31 * DAY),
            earlier(83, IdentifyMethod::DnsSd, NOW),
            earlier(84, IdentifyMethod::Http, NOW),
        ];
        assert_eq!(due(&[22, 80, 81, 82, 83, 84], &known, level), [listen(80), listen(82), listen(83)]);
    }

    #[test]
    fn a_higher_level_makes_the_ports_due_that_it_sends_something() {
        let known = [22, 25, 80].map(|port| earlier(port, IdentifyMethod::Greeting, NOW));
        let requests = due(&[22, 25, 80], &known, IdentifyLevel::Requests);
        assert_eq!(requests, [(22, Manner::SshKey), (80, Manner::Page)]);
        assert_eq!(due(&[22, 25, 80], &known, IdentifyLevel::Greetings), []);
        assert_eq!(due(&[22, 25, 80], &[], IdentifyLevel::Announced), []);
    }

    #[test]
    fn an_announced_service_decides_how() {
        let service = Some("http".to_owned());
        let known = [Earlier { service, ..earlier(12_345, IdentifyMethod::DnsSd, NOW) }];
        assert_eq!(due(&[12_345], &known, IdentifyLevel::Requests), [(12_345, Manner::Page)]);
    }

    #[test]
    fn a_device_with_thousands_of_open_ports_is_not_asked_about_more_than_the_first() {
        let open: Vec<u16> = (1..=5000).collect();
        let first = due(&open, &[], IdentifyLevel::Greetings);
        assert_eq!(first.len(), PORTS_MAX);
        let known: Vec<Earlier> =
            first.iter().map(|(port, _)| earlier(*port, IdentifyMethod::Greeting, NOW)).collect();
        assert_eq!(due(&open, &known, IdentifyLevel::Greetings), []);
    }
}
