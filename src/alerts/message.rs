//! What a message says, in the words that every channel uses.

use std::fmt::Write as _;

use crate::model::{
    Address, AlertKind, AlertSeverity, ChangeEvent, ChangeKind, DeviceKey, PortSet, one_line,
};

/// The most lines of a text: a phone shows fewer, and who needs all of a digest opens the page.
const MOST_LINES: usize = 20;

/// The most characters of a device's name, which comes from the network.
const MOST_NAME: usize = 60;

/// The most characters of a list of ports.
const MOST_PORTS: usize = 80;

/// Which appliance sends, and where its page is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Unique to this database.
    pub appliance: String,
    /// The page's URL, without a slash at its end.
    pub page: String,
}

/// One change of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertChange {
    /// The change itself.
    pub event: ChangeEvent,
    /// What it is about; where it ends an earlier alert, what that was about.
    pub about: AlertKind,
    /// The id of the change that it undoes: then it is good news.
    pub resolves: Option<i64>,
    /// How urgent it is on this channel.
    pub severity: AlertSeverity,
    /// The device's name, as the network says it.
    pub name: Option<String>,
}

/// A message on its way to a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertMessage {
    /// The same for every attempt, and for no other message of the channel.
    pub key: String,
    /// The key of the message that this one brings up to date, or its own.
    pub thread: String,
    /// One line.
    pub title: String,
    /// Further lines.
    pub text: String,
    /// The highest of its changes.
    pub severity: AlertSeverity,
    /// Whether it brings good news alone: what an earlier message told of is over.
    pub is_resolved: bool,
    /// The page to look at.
    pub link: String,
    /// What it tells of, in the order in which it happened; empty: a test, or the appliance's own trouble.
    pub changes: Vec<AlertChange>,
}

impl Origin {
    /// The key of a message whose first event this is.
    pub fn key(&self, first: i64) -> String {
        format!("{}-{first}", self.appliance)
    }

    /// Writes a message. `first` is its first event, `updates` that of the message that it brings up to date.
    pub fn message(&self, first: i64, changes: Vec<AlertChange>, updates: Option<i64>) -> AlertMessage {
        let mut device = changes.first().map(|change| &change.event.device);
        if changes.iter().any(|change| Some(&change.event.device) != device) {
            device = None;
        }
        let link = match device {
            Some(device) => format!("{}/#/device/{}", self.page, device.to_string().replace('%', "%25")),
            None => format!("{}/#/changes", self.page),
        };
        AlertMessage {
            key: self.key(first),
            thread: self.key(updates.unwrap_or(first)),
            title: title(&changes, device.is_some()),
            text: text(&changes, device.is_some()),
            severity: changes.iter().map(|change| change.severity).max().unwrap_or(AlertSeverity::Normal),
            is_resolved: !changes.is_empty() && changes.iter().all(|change| change.resolves.is_some()),
            link,
            changes,
        }
    }

    /// A message about the appliance's own trouble; without a sentence it is over. `number` tells such messages apart.
    pub fn trouble(&self, number: i64, sentences: &[String], severity: AlertSeverity) -> AlertMessage {
        let is_resolved = sentences.is_empty();
        let (title, text) = match is_resolved {
            true => ("portscan works again", "The trouble of the appliance is over.".to_owned()),
            false => ("portscan needs attention", sentences.join("\n")),
        };
        AlertMessage {
            key: format!("{}-appliance-{number}", self.appliance),
            // One message that is always up to date.
            thread: format!("{}-appliance", self.appliance),
            title: title.to_owned(),
            text,
            severity: if is_resolved { AlertSeverity::Low } else { severity },
            is_resolved,
            link: format!("{}/#/health", self.page),
            changes: Vec::new(),
        }
    }

    /// A message that shows that a channel works. `number` tells tests apart.
    pub fn test(&self, channel: &str, number: i64) -> AlertMessage {
        let key = format!("{}-test-{number}", self.appliance);
        AlertMessage {
            thread: key.clone(),
            key,
            title: "portscan: test".to_owned(),
            text: format!("This is a test of the channel \"{channel}\". Alerts arrive here."),
            severity: AlertSeverity::Normal,
            is_resolved: false,
            link: format!("{}/", self.page),
            changes: Vec::new(),
        }
    }
}

impl AlertChange {
    /// Its device in a text: the name, and the address it had.
    fn device(&self) -> String {
        let address = &self.event.address;
        match &self.name {
            Some(name) => format!("{} ({address})", one_line(name, MOST_NAME)),
            None => address.to_string(),
        }
    }

    /// What happened, as the end of a sentence about the device.
    fn what(&self) -> String {
        let over = self.resolves.is_some();
        match &self.event.kind {
            ChangeKind::Opened(protocol, ports) if over => {
                format!("{} is open again", listed(ports, protocol.as_str()))
            }
            ChangeKind::Opened(protocol, ports) => {
                format!("{} opened, unexpected", listed(ports, protocol.as_str()))
            }
            ChangeKind::Closed(protocol, ports) if over => {
                format!("{} is closed again", listed(ports, protocol.as_str()))
            }
            ChangeKind::Closed(protocol, ports) => {
                format!("{} closed, expected open", listed(ports, protocol.as_str()))
            }
            ChangeKind::New => match &self.event.device {
                DeviceKey::Mac(mac) => format!("new device, {mac}"),
                DeviceKey::Address(_) => "new device".to_owned(),
            },
            ChangeKind::Gone => "device is gone".to_owned(),
            ChangeKind::Back => "device is back".to_owned(),
            ChangeKind::Moved { from } => moved(from),
        }
    }
}

fn moved(from: &Address) -> String {
    format!("moved from {from}")
}

/// `port 22/tcp`, or `ports 22,80/tcp`.
fn listed(ports: &PortSet, protocol: &str) -> String {
    let word = if ports.len() == 1 { "port" } else { "ports" };
    let mut list = ports.to_string();
    if list.len() > MOST_PORTS {
        // Digits, commas and hyphens: every byte is a character.
        list.truncate(MOST_PORTS);
        list.push_str("...");
    }
    format!("{word} {list}/{protocol}")
}

fn title(changes: &[AlertChange], is_one_device: bool) -> String {
    match changes {
        [] => "portscan".to_owned(),
        [change] => format!("{}: {}", change.device(), change.what()),
        [change, ..] if is_one_device => format!("{}: {} changes", change.device(), changes.len()),
        changes => {
            let mut devices: Vec<_> = changes.iter().map(|change| &change.event.device).collect();
            devices.sort_unstable();
            devices.dedup();
            format!("{} changes on {} devices", changes.len(), devices.len())
        }
    }
}

fn text(changes: &[AlertChange], is_one_device: bool) -> String {
    let mut text = String::new();
    for change in changes.iter().take(MOST_LINES) {
        let separator = if text.is_empty() { "" } else { "\n" };
        // Writing to a string cannot fail.
        _ = match is_one_device {
            true => write!(text, "{separator}{}", change.what()),
            false => write!(text, "{separator}{}: {}", change.device(), change.what()),
        };
    }
    if changes.len() > MOST_LINES {
        _ = write!(text, "\nand {} more", changes.len() - MOST_LINES);
    }
    text
}
