//! The text of a summary.

use std::fmt::Write as _;

use super::message::{AlertMessage, MOST_LINES, MOST_NAME, Origin, listed};
use crate::model::{Address, AlertSeverity, DeviceKey, PortSet, Protocol, one_line};

/// Marks the key of a summary; no other message's key contains it.
const SUMMARY: &str = "-summary-";

/// The state of the network in a summary.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkSummary {
    /// Devices with a complete result.
    pub devices: u32,
    /// Open ports.
    pub open: u64,
    /// Open ports that are not expected to be open.
    pub unexpected: u64,
    /// Ports that are expected to be open and were not found open.
    pub missing: u64,
    /// Devices that were seen for the first time since the last summary.
    pub new_devices: u64,
    /// Devices with snoozed alerts; of the counts above only `devices` and `open` include them.
    pub snoozed: usize,
    /// The first devices with differences.
    pub deviating: Vec<DeviatingPorts>,
    /// The names and addresses of the first new devices.
    pub newcomers: Vec<(Option<String>, Address)>,
}

/// Ports of a device that differ from what is expected in the same way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviatingPorts {
    /// The device: its address, else its MAC.
    pub host: DeviceKey,
    /// Its name, as the network says it.
    pub name: Option<String>,
    /// The protocol.
    pub protocol: Protocol,
    /// The ports.
    pub ports: PortSet,
    /// Whether they are missing, rather than unexpected.
    pub is_missing: bool,
}

impl NetworkSummary {
    /// Whether nothing needs the owner's attention.
    pub fn is_as_expected(&self) -> bool {
        (self.unexpected, self.missing, self.new_devices) == (0, 0, 0)
    }

    /// One line.
    pub fn title(&self) -> String {
        if self.is_as_expected() {
            return format!("portscan: all as expected: {}", self.totals());
        }
        let counts = [
            (self.unexpected, "unexpected port"),
            (self.missing, "missing port"),
            (self.new_devices, "new device"),
        ];
        let told =
            counts.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| plural(count, what));
        format!("portscan: {}", told.collect::<Vec<_>>().join(", "))
    }

    /// Further lines.
    pub fn text(&self) -> String {
        let mut text = format!("{} open.", self.totals());
        let called = |name: Option<&String>, host: &str| {
            name.map_or(host.to_owned(), |name| format!("{} ({host})", one_line(name, MOST_NAME)))
        };
        let ports = self.deviating.iter().map(|it| {
            let word = if it.is_missing { "missing" } else { "unexpected" };
            let device = called(it.name.as_ref(), &it.host.to_string());
            format!("{device}: {} {word}", listed(&it.ports, it.protocol.as_str()))
        });
        let newcomers = self
            .newcomers
            .iter()
            .map(|(name, address)| format!("{}: new device", called(name.as_ref(), &address.to_string())));
        let lines: Vec<_> = ports.chain(newcomers).collect();
        for line in lines.iter().take(MOST_LINES) {
            // Writing to a string cannot fail.
            _ = write!(text, "\n{line}");
        }
        let shown = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let told: u64 = self.deviating.iter().map(|it| shown(it.ports.len() as usize)).sum();
        let is_cut = told < self.unexpected + self.missing
            || shown(self.newcomers.len()) < self.new_devices
            || lines.len() > MOST_LINES;
        if is_cut {
            text.push_str("\nand more: see the page");
        }
        match self.snoozed {
            0 => {}
            1 => text.push_str("\n1 device is snoozed and left out."),
            more => _ = write!(text, "\n{more} devices are snoozed and left out."),
        }
        text
    }

    fn totals(&self) -> String {
        format!("{}, {}", plural(u64::from(self.devices), "device"), plural(self.open, "port"))
    }
}

impl Origin {
    /// Makes the message of a stored summary. `number` tells the summaries of a channel apart.
    pub fn summary(&self, number: &str, title: &str, text: &str, is_as_expected: bool) -> AlertMessage {
        AlertMessage {
            key: format!("{}{SUMMARY}{number}", self.appliance),
            // All summaries update one message.
            thread: format!("{}{}", self.appliance, SUMMARY.trim_end_matches('-')),
            title: title.to_owned(),
            text: text.to_owned(),
            severity: if is_as_expected { AlertSeverity::Low } else { AlertSeverity::Normal },
            is_resolved: false,
            link: format!("{}/#/{}", self.page, if is_as_expected { "devices" } else { "differences" }),
            site: self.site.clone(),
            changes: Vec::new(),
        }
    }
}

impl AlertMessage {
    /// Whether it is a summary, not a message about events.
    pub fn is_summary(&self) -> bool {
        self.key.contains(SUMMARY)
    }
}

fn plural(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quiet() -> NetworkSummary {
        NetworkSummary { devices: 41, open: 312, ..NetworkSummary::default() }
    }

    #[test]
    fn a_network_as_expected_is_one_line() {
        assert_eq!(quiet().title(), "portscan: all as expected: 41 devices, 312 ports");
        assert_eq!(quiet().text(), "41 devices, 312 ports open.");
    }

    #[test]
    fn what_is_not_as_expected_is_listed() {
        let ports = |ports: &str, is_missing| DeviatingPorts {
            host: "192.0.2.7".parse().unwrap(),
            name: Some("pri\nnter".to_owned()),
            protocol: Protocol::Tcp,
            ports: ports.parse().unwrap(),
            is_missing,
        };
        let summary = NetworkSummary {
            unexpected: 2,
            missing: 1,
            new_devices: 1,
            snoozed: 1,
            deviating: vec![ports("23,80", false), ports("22", true)],
            newcomers: vec![(None, "192.0.2.9".parse().unwrap())],
            ..quiet()
        };
        assert_eq!(summary.title(), "portscan: 2 unexpected ports, 1 missing port, 1 new device");
        let lines = [
            "41 devices, 312 ports open.",
            "pri\u{fffd}nter (192.0.2.7): ports 23,80/tcp unexpected",
            "pri\u{fffd}nter (192.0.2.7): port 22/tcp missing",
            "192.0.2.9: new device",
            "1 device is snoozed and left out.",
        ];
        assert_eq!(summary.text(), lines.join("\n"));
        let cut = NetworkSummary { unexpected: 3, snoozed: 0, ..summary };
        assert!(cut.text().ends_with("\nand more: see the page"), "{}", cut.text());
    }
}
