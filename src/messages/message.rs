//! The text of a message, which is the same on every channel.

use std::fmt::Write as _;

use jiff::Timestamp;

use crate::model::{
    Address, AdviceLevel, AlertKind, AlertSeverity, ChangeEvent, ChangeKind, DeviceKey, PortSet, Protocol,
    one_line,
};

/// The most lines of a text: a phone shows fewer, and the page lists all changes of a digest.
pub const MOST_LINES: usize = 20;

/// The most characters of a device's name, which comes from the network.
pub(super) const MOST_NAME: usize = 60;

/// The most characters of a list of ports.
const MOST_PORTS: usize = 80;

/// The most characters of what a service says about itself.
const MOST_IDENTITY: usize = 80;

/// The most characters of a finding about a port.
const MOST_FINDING: usize = 200;

/// Marks the key of a test; no other message's key contains it.
const TEST: &str = "-test-";

/// The appliance that sends: its id and its page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Unique to this database.
    pub appliance: String,
    /// The page's URL, without a slash at its end.
    pub page: String,
    /// At a hub, the site that the message is about.
    pub site: Option<String>,
}

/// One change of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertChange {
    /// The change itself.
    pub event: ChangeEvent,
    /// What the alert is about; if the change ends an earlier alert, what that one was about.
    pub about: AlertKind,
    /// The id of the change that this one undoes, which makes it good news.
    pub resolves: Option<i64>,
    /// How urgent it is on this channel.
    pub severity: AlertSeverity,
    /// The device's name, as the network says it.
    pub name: Option<String>,
    /// What is known of its ports: of some, if there are many.
    pub explanations: Vec<PortExplanation>,
    /// At a hub, the other sites that know a device that is new at this one; the one where it was seen last first.
    pub elsewhere: Vec<KnownElsewhere>,
}

/// Another site that knows a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownElsewhere {
    /// The site's name, which has neither spaces nor markup.
    pub site: String,
    /// The device's address there.
    pub address: Address,
    /// When it was last seen there.
    pub last_seen: Timestamp,
}

/// What is known about a port in an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortExplanation {
    /// The port's protocol.
    pub protocol: Protocol,
    /// 0 to 65535.
    pub port: u16,
    /// How much it matters if it is open.
    pub level: AdviceLevel,
    /// What listens there, and how certain that is, as `usually Telnet`; may hold words of the network.
    pub what: String,
    /// What can go wrong, and how to close or to secure it, in whole sentences; empty where there is nothing to do.
    pub advice: String,
}

impl PortExplanation {
    /// All of it, as one line.
    pub fn sentence(&self) -> String {
        let what = one_line(&self.what, MOST_IDENTITY);
        let end = if self.advice.is_empty() { String::new() } else { format!(". {}", self.advice) };
        format!("{}/{}: {what}{end}", self.port, self.protocol.as_str())
    }
}

/// A message on its way to a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertMessage {
    /// The same at every attempt, and unique among the messages of the channel.
    pub key: String,
    /// The key of the message that this one updates, else its own.
    pub thread: String,
    /// One line.
    pub title: String,
    /// Further lines.
    pub text: String,
    /// The highest of its changes.
    pub severity: AlertSeverity,
    /// Whether it has only good news: what an earlier message reported is over.
    pub is_resolved: bool,
    /// The page to look at.
    pub link: String,
    /// The site, if a hub sends it about one.
    pub site: Option<String>,
    /// The changes, in the order in which they happened; empty for a test or the appliance's own trouble.
    pub changes: Vec<AlertChange>,
}

/// Returns the device, if all changes belong to one.
fn one_device(changes: &[AlertChange]) -> Option<&DeviceKey> {
    let (first, rest) = changes.split_first()?;
    let device = &first.event.device;
    rest.iter().all(|change| change.event.device == *device).then_some(device)
}

impl AlertMessage {
    /// Returns the device, if the message is about one only.
    pub fn device(&self) -> Option<&DeviceKey> {
        one_device(&self.changes)
    }

    /// Returns the lines of the text, each with its explanations.
    pub fn explained_lines(&self) -> impl Iterator<Item = (&str, &[PortExplanation])> {
        let explained = self.changes.iter().take(MOST_LINES).map(|change| &change.explanations[..]);
        self.text.lines().zip(explained.chain(std::iter::repeat(&[][..])))
    }

    /// Whether it is a test of its channel.
    pub fn is_test(&self) -> bool {
        self.key.contains(TEST)
    }
}

impl Origin {
    /// The key of a message that begins with this event.
    pub fn key(&self, first: i64) -> String {
        format!("{}-{first}", self.appliance)
    }

    /// Writes a message. `first` is its first event, `updates` the first event of the message that it updates.
    pub fn message(&self, first: i64, changes: Vec<AlertChange>, updates: Option<i64>) -> AlertMessage {
        let device = one_device(&changes);
        let link = match device {
            Some(device) => format!("{}/#/device/{}", self.page, device.to_string().replace('%', "%25")),
            None => format!("{}/#/changes", self.page),
        };
        AlertMessage {
            key: self.key(first),
            thread: self.key(updates.unwrap_or(first)),
            title: self.of_site(title(&changes, device.is_some())),
            text: text(&changes, device.is_some()),
            severity: changes.iter().map(|change| change.severity).max().unwrap_or(AlertSeverity::Normal),
            is_resolved: !changes.is_empty() && changes.iter().all(|change| change.resolves.is_some()),
            link,
            site: self.site.clone(),
            changes,
        }
    }

    fn of_site(&self, title: String) -> String {
        match &self.site {
            Some(site) => format!("{site}: {title}"),
            None => title,
        }
    }

    /// Writes a message about the appliance's own trouble; without sentences, it reports that the trouble is over.
    /// `number` tells such messages apart.
    pub fn trouble(&self, number: i64, sentences: &[String], severity: AlertSeverity) -> AlertMessage {
        let is_resolved = sentences.is_empty();
        let (title, text) = match is_resolved {
            true => ("portscan works again", "The trouble of the appliance is over.".to_owned()),
            false => ("portscan needs attention", sentences.join("\n")),
        };
        AlertMessage {
            key: format!("{}-appliance-{number}", self.appliance),
            // All of these update one message.
            thread: format!("{}-appliance", self.appliance),
            title: title.to_owned(),
            text,
            severity: if is_resolved { AlertSeverity::Low } else { severity },
            is_resolved,
            link: format!("{}/#/health", self.page),
            site: self.site.clone(),
            changes: Vec::new(),
        }
    }

    /// Writes a test of a channel. `number` tells tests apart.
    pub fn test(&self, channel: &str, number: i64) -> AlertMessage {
        let key = format!("{}{TEST}{number}", self.appliance);
        AlertMessage {
            thread: key.clone(),
            key,
            title: "portscan: test".to_owned(),
            text: format!("This is a test of the channel \"{channel}\". Alerts arrive here."),
            severity: AlertSeverity::Normal,
            is_resolved: false,
            link: format!("{}/", self.page),
            site: self.site.clone(),
            changes: Vec::new(),
        }
    }
}

impl AlertChange {
    /// Formats the device: its name, and its address at that time.
    fn device(&self) -> String {
        let address = &self.event.address;
        match &self.name {
            Some(name) => format!("{} ({address})", one_line(name, MOST_NAME)),
            None => address.to_string(),
        }
    }

    /// Formats the change as the end of a sentence about the device.
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
                DeviceKey::Mac(mac) => format!("new device, {mac}{}", known(&self.elsewhere)),
                DeviceKey::Address(_) => "new device".to_owned(),
            },
            ChangeKind::Gone => "device is gone".to_owned(),
            ChangeKind::Back => "device is back".to_owned(),
            ChangeKind::Moved { from } => moved(from),
            ChangeKind::Replaced { part, protocol, ports, from, to } => format!(
                "{} shows another {}: {}, before {}",
                listed(ports, protocol.as_str()),
                part.as_str().replace('-', " "),
                one_line(to, MOST_IDENTITY),
                one_line(from, MOST_IDENTITY)
            ),
            ChangeKind::Found { protocol, ports, text, .. } => {
                format!("{}: {}", listed(ports, protocol.as_str()), one_line(text, MOST_FINDING))
            }
            ChangeKind::SnoozeEnded { .. } => "alerts are on again".to_owned(),
        }
    }
}

/// Where else the device is known, as the end of a sentence.
fn known(elsewhere: &[KnownElsewhere]) -> String {
    let Some((KnownElsewhere { site, last_seen, .. }, others)) = elsewhere.split_first() else {
        return String::new();
    };
    let at = last_seen.strftime("%Y-%m-%d %H:%M UTC");
    match others {
        [] => format!(", known at {site}, last seen there {at}"),
        _ => format!(", known at {site} and other sites, last seen at {site} {at}"),
    }
}

fn moved(from: &Address) -> String {
    format!("moved from {from}")
}

/// `port 22/tcp`, or `ports 22,80/tcp`.
pub(super) fn listed(ports: &PortSet, protocol: &str) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn change(id: i64, device: u8, kind: ChangeKind, resolves: Option<i64>) -> AlertChange {
        let address = format!("192.0.2.{device}").parse().unwrap();
        AlertChange {
            event: ChangeEvent {
                id,
                at: "2026-11-29T10:00:00Z".parse().unwrap(),
                scan: None,
                device: DeviceKey::Mac(crate::model::Mac::new([2, 0, 0, 0, 0, device])),
                address,
                kind,
                alert: resolves.is_none(),
            },
            about: AlertKind::Unexpected,
            resolves,
            severity: if resolves.is_some() { AlertSeverity::Low } else { AlertSeverity::High },
            name: (device == 7).then(|| "pri\u{202e}nter\n".to_owned()),
            explanations: Vec::new(),
            elsewhere: Vec::new(),
        }
    }

    fn ports(text: &str) -> PortSet {
        text.parse().unwrap()
    }

    fn origin() -> Origin {
        Origin { appliance: "a1".to_owned(), page: "http://portscan.local".to_owned(), site: None }
    }

    #[test]
    fn one_change_is_the_title() {
        let opened = change(41, 7, ChangeKind::Opened(Protocol::Tcp, ports("23")), None);
        let message = origin().message(41, vec![opened], None);
        assert_eq!(message.title, "pri\u{fffd}nter\u{fffd} (192.0.2.7): port 23/tcp opened, unexpected");
        assert_eq!((message.key.as_str(), message.thread.as_str()), ("a1-41", "a1-41"));
        assert_eq!(message.link, "http://portscan.local/#/device/02:00:00:00:00:07");
        assert!(!message.is_resolved && message.severity == AlertSeverity::High);
    }

    #[test]
    fn good_news_brings_the_earlier_message_up_to_date() {
        let closed = change(50, 8, ChangeKind::Closed(Protocol::Tcp, ports("23")), Some(42));
        let message = origin().message(50, vec![closed], Some(41));
        assert_eq!(message.title, "192.0.2.8: port 23/tcp is closed again");
        assert_eq!((message.key.as_str(), message.thread.as_str()), ("a1-50", "a1-41"));
        assert!(message.is_resolved && message.severity == AlertSeverity::Low);
    }

    #[test]
    fn a_new_device_that_other_sites_know_is_told_as_such() {
        let mut new = change(41, 8, ChangeKind::New, None);
        let at = |site: &str, last_seen: &str| KnownElsewhere {
            site: site.to_owned(),
            address: "192.168.1.9".parse().unwrap(),
            last_seen: last_seen.parse().unwrap(),
        };
        new.elsewhere = vec![at("house-1", "2026-11-30T18:02:59Z")];
        let title = |change: &AlertChange| origin().message(41, vec![change.clone()], None).title;
        assert_eq!(
            title(&new),
            "192.0.2.8: new device, 02:00:00:00:00:08, known at house-1, last seen there 2026-11-30 18:02 UTC"
        );
        new.elsewhere.push(at("house-3", "2026-11-02T00:00:00Z"));
        assert_eq!(
            title(&new),
            "192.0.2.8: new device, 02:00:00:00:00:08, known at house-1 and other sites, last seen at house-1 \
             2026-11-30 18:02 UTC"
        );
    }

    #[test]
    fn a_digest_counts_what_it_does_not_list() {
        let opened = |id: i64| {
            let device = u8::try_from(id % 3).unwrap();
            change(id, device, ChangeKind::Opened(Protocol::Tcp, ports("1-65535")), None)
        };
        let message = origin().message(1, (1..=30).map(opened).collect(), None);
        assert_eq!(message.title, "30 changes on 3 devices");
        assert!(
            message.text.starts_with("192.0.2.1: ports 1-65535/tcp opened, unexpected\n"),
            "{}",
            message.text
        );
        assert!(message.text.ends_with("\nand 10 more"), "{}", message.text);
        assert_eq!(message.link, "http://portscan.local/#/changes");
    }
}
