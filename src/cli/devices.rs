//! A device as `/v1/hosts` describes it, and the words for what is known of it and what is not.

use std::cmp::Reverse;

use indicatif::HumanCount;
use jiff::{Timestamp, Zoned};
use serde::{Deserialize, Deserializer};

use super::found::sanitize_for_terminal;
use crate::model::{AdviceLevel, Protocol};

/// The number of TCP ports that a device has, without port 0.
const ALL_PORTS: u64 = 65_535;

/// The last line of a table in which a port is marked with `?`.
pub(super) const LEGEND: &str = "? unconfirmed: awaits a second look";

/// A device, as much of it as the tables show. Older appliances do not send the keys that have a default.
#[derive(Debug, Deserialize)]
pub(super) struct DeviceRow {
    pub(super) mac: Option<String>,
    pub(super) address: String,
    pub(super) name: Option<String>,
    #[serde(default)]
    vendor: Option<String>,
    #[serde(default)]
    locally_administered: bool,
    pub(super) last_seen: Timestamp,
    /// `None`: the appliance does not say. `Some(None)`: never scanned.
    #[serde(default, deserialize_with = "present")]
    scanned: Option<Option<ScannedJson>>,
    #[serde(default)]
    scanning: Option<ScanningJson>,
    #[serde(default)]
    presence: Option<String>,
    #[serde(default, rename = "type")]
    device_type: Option<String>,
    #[serde(default)]
    type_evidence: Option<String>,
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    tags: Vec<String>,
    pub(super) ports: Vec<OpenPortJson>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct ScannedJson {
    time: Timestamp,
    ports: u64,
    complete: bool,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct ScanningJson {
    done: u64,
    total: u64,
}

/// An open port, as much of it as the tables show.
#[derive(Debug, Deserialize)]
pub(super) struct OpenPortJson {
    pub(super) port: u16,
    pub(super) protocol: Protocol,
    #[serde(default)]
    unconfirmed: bool,
    /// `None`: the appliance does not say. `Some(None)`: nothing is known about the port.
    #[serde(default, deserialize_with = "present")]
    pub(super) advice: Option<Option<AdviceJson>>,
}

/// What the appliance says of an open port.
#[derive(Debug, Deserialize)]
pub(super) struct AdviceJson {
    pub(super) level: AdviceLevel,
    pub(super) what: String,
    pub(super) why: String,
    pub(super) remedy: String,
}

/// How much of a device has been scanned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScanCoverage {
    /// The appliance is too old to say.
    Unknown,
    /// Nothing yet.
    Never,
    /// So many TCP ports, and more are to come.
    Partial(u64),
    /// All that its scanner asks for.
    Complete,
}

/// Distinguishes a key that is `null` from one that is missing.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(value: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(value).map(Some)
}

impl OpenPortJson {
    /// What the appliance says of it, if it says anything.
    pub(super) fn advice(&self) -> Option<&AdviceJson> {
        self.advice.as_ref()?.as_ref()
    }

    /// `23/tcp`, with a `?` if it is unconfirmed.
    pub(super) fn label(&self) -> String {
        format!("{}/{}{}", self.port, self.protocol, if self.unconfirmed { "?" } else { "" })
    }
}

impl DeviceRow {
    /// Its open ports on which there is advice, those that matter most first.
    pub(super) fn advised_ports(&self) -> Vec<(&OpenPortJson, &AdviceJson)> {
        let mut ports: Vec<_> = self.ports.iter().filter_map(|port| Some((port, port.advice()?))).collect();
        ports.sort_by_key(|(port, advice)| (Reverse(advice.level), port.port, port.protocol));
        ports
    }

    pub(super) fn coverage(&self) -> ScanCoverage {
        match self.scanned {
            None => ScanCoverage::Unknown,
            Some(None) => ScanCoverage::Never,
            Some(Some(scanned)) if scanned.complete => ScanCoverage::Complete,
            Some(Some(scanned)) => ScanCoverage::Partial(scanned.ports),
        }
    }

    /// Whether a port waits for its second look.
    pub(super) fn has_unconfirmed_port(&self) -> bool {
        self.ports.iter().any(|port| port.unconfirmed)
    }

    /// Returns the maker of its network interface, or a note that it is unknown.
    pub(super) fn maker(&self) -> String {
        match &self.vendor {
            Some(vendor) => sanitize_for_terminal(vendor),
            None if self.locally_administered => "random MAC".to_owned(),
            None => String::new(),
        }
    }

    /// Whether anything is known of its kind.
    pub(super) fn has_kind(&self) -> bool {
        self.device_type.is_some() || self.model.is_some() || !self.tags.is_empty()
    }

    /// Its type; empty if unknown.
    pub(super) fn kind(&self) -> String {
        self.device_type.as_deref().map(sanitize_for_terminal).unwrap_or_default()
    }

    /// What its type rests on; empty if unknown.
    pub(super) fn kind_evidence(&self) -> String {
        self.type_evidence.as_deref().map(sanitize_for_terminal).unwrap_or_default()
    }

    /// Its model, as it says itself; empty if unknown.
    pub(super) fn model(&self) -> String {
        self.model.as_deref().map(sanitize_for_terminal).unwrap_or_default()
    }

    /// `critical, floor-2`
    pub(super) fn tags(&self) -> String {
        sanitize_for_terminal(&self.tags.join(", "))
    }

    /// Its MAC, or a dash where it is behind a router.
    pub(super) fn mac_or_dash(&self) -> String {
        self.mac.as_deref().map_or_else(|| "-".to_owned(), sanitize_for_terminal)
    }

    /// When its last scan ended; a dash where the appliance does not say.
    pub(super) fn scan_time(&self, now: &Zoned) -> String {
        match self.scanned {
            None => "-".to_owned(),
            Some(None) => "not yet".to_owned(),
            Some(Some(scanned)) => date_and_time(scanned.time, now),
        }
    }

    /// `22, 8080? (1,000 of 65,535 ports); scanning 45 %; offline since 14:05`
    pub(super) fn open_ports(&self, now: &Zoned) -> String {
        let mut words = Vec::new();
        let open = list(&self.ports, |_| true);
        let scanning = self.scanning.map(|ScanningJson { done, total }| {
            let percent = (done * 100).checked_div(total).unwrap_or_default().min(100);
            format!("scanning {percent} %")
        });
        match (open.is_empty(), self.coverage()) {
            // A scan that runs says the same.
            (true, ScanCoverage::Never) if scanning.is_some() => {}
            (true, ScanCoverage::Never) => words.push("not scanned yet".to_owned()),
            (true, ScanCoverage::Partial(ports)) => {
                words.push(format!("none open among {} ports", HumanCount(ports)));
            }
            (true, ScanCoverage::Complete) => words.push("no open ports".to_owned()),
            (true, ScanCoverage::Unknown) => words.push("not known".to_owned()),
            (false, ScanCoverage::Partial(ports)) => {
                words.push(format!("{open} ({} of {} ports)", HumanCount(ports), HumanCount(ALL_PORTS)));
            }
            (false, _) => words.push(open),
        }
        words.extend(scanning);
        if self.presence.as_deref() == Some("offline") {
            words.push(format!("offline since {}", time_of(self.last_seen, now)));
        }
        words.join("; ")
    }
}

/// `22, 80, 8080?; udp 53`: those of the ports that are wanted.
pub(super) fn list(ports: &[OpenPortJson], is_wanted: impl Fn(&OpenPortJson) -> bool) -> String {
    let of_protocol = Protocol::ALL.iter().filter_map(|protocol| {
        let mut marked: Vec<(u16, bool)> = ports
            .iter()
            .filter(|port| port.protocol == *protocol && is_wanted(port))
            .map(|port| (port.port, port.unconfirmed))
            .collect();
        marked.sort_unstable();
        marked.dedup_by_key(|(port, _)| *port);
        // Neighbours form one range where both are confirmed, or neither is.
        let ranges =
            marked.chunk_by(|(port, mark), (next, next_mark)| port + 1 == *next && mark == next_mark);
        let ranges: Vec<String> = ranges
            .filter_map(|range| {
                let ((first, mark), (last, _)) = (range.first()?, range.last()?);
                let mark = if *mark { "?" } else { "" };
                Some(if first == last { format!("{first}{mark}") } else { format!("{first}-{last}{mark}") })
            })
            .collect();
        let prefix = if *protocol == Protocol::Tcp { String::new() } else { format!("{protocol} ") };
        (!ranges.is_empty()).then(|| prefix + &ranges.join(", "))
    });
    of_protocol.collect::<Vec<_>>().join("; ")
}

/// `2026-11-22 14:05`, by this machine's clock.
pub(super) fn date_and_time(time: Timestamp, now: &Zoned) -> String {
    time.to_zoned(now.time_zone().clone()).strftime("%Y-%m-%d %H:%M").to_string()
}

/// `14:05`, with the date unless it is today's.
fn time_of(time: Timestamp, now: &Zoned) -> String {
    let zoned = time.to_zoned(now.time_zone().clone());
    match zoned.date() == now.date() {
        true => zoned.strftime("%H:%M").to_string(),
        false => date_and_time(time, now),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A device at 192.0.2.1 with these further keys.
    pub(in crate::cli) fn device(more: &str) -> DeviceRow {
        let common = r#""mac":null,"address":"192.0.2.1","name":null,"last_seen":"2026-11-22T14:05:30Z""#;
        serde_json::from_str(&format!("{{{common},{more}}}")).unwrap()
    }

    pub(in crate::cli) fn at(time: &str) -> Zoned {
        time.parse::<Timestamp>().unwrap().to_zoned(jiff::tz::TimeZone::UTC)
    }

    #[test]
    fn the_open_ports_say_how_much_is_known() {
        let quick = r#""scanned":{"time":"2026-11-22T14:00:00Z","ports":1000,"complete":false}"#;
        let all = r#""scanned":{"time":"2026-11-22T14:00:00Z","ports":65535,"complete":true}"#;
        let ports = r#""ports":[{"port":8080,"protocol":"tcp","unconfirmed":true},
            {"port":22,"protocol":"tcp","unconfirmed":false},{"port":8081,"protocol":"tcp","unconfirmed":true},
            {"port":8082,"protocol":"tcp"},{"port":53,"protocol":"udp"}]"#;
        let none = r#""ports":[]"#;
        let scanning = r#""scanning":{"done":450,"total":1000}"#;
        for (more, words) in [
            // What an older appliance sends.
            (none.to_owned(), "not known"),
            (r#""ports":[{"port":22,"protocol":"tcp"}]"#.to_owned(), "22"),
            (format!(r#""scanned":null,{none}"#), "not scanned yet"),
            (format!(r#""scanned":null,"scanning":null,"presence":"unknown",{none}"#), "not scanned yet"),
            (format!(r#""scanned":null,{scanning},{none}"#), "scanning 45 %"),
            (format!(r#""scanned":null,{scanning},{ports}"#), "22, 8080-8081?, 8082; udp 53; scanning 45 %"),
            (format!("{quick},{none}"), "none open among 1,000 ports"),
            (format!("{quick},{ports}"), "22, 8080-8081?, 8082; udp 53 (1,000 of 65,535 ports)"),
            (format!("{quick},{scanning},{none}"), "none open among 1,000 ports; scanning 45 %"),
            (format!("{all},{none}"), "no open ports"),
            (format!("{all},{ports}"), "22, 8080-8081?, 8082; udp 53"),
            (format!(r#"{all},"presence":"offline",{none}"#), "no open ports; offline since 14:05"),
            (format!(r#"{all},"presence":"later than today's",{none}"#), "no open ports"),
            (format!(r#""scanned":null,"scanning":{{"done":0,"total":0}},{none}"#), "scanning 0 %"),
        ] {
            assert_eq!(device(&more).open_ports(&at("2026-11-22T20:00:00Z")), words, "{more}");
        }
        let offline = device(&format!(r#"{all},"presence":"offline",{none}"#));
        let words = offline.open_ports(&at("2026-11-23T00:00:00Z"));
        assert_eq!(words, "no open ports; offline since 2026-11-22 14:05");
    }

    #[test]
    fn the_time_of_the_scan_is_a_dash_where_the_appliance_does_not_say() {
        let now = at("2026-11-22T20:00:00Z");
        assert_eq!(device(r#""ports":[]"#).scan_time(&now), "-");
        assert_eq!(device(r#""scanned":null,"ports":[]"#).scan_time(&now), "not yet");
    }
}
