//! The channels of alerts, and the rules that choose alerts for them.

use std::{fmt, path::PathBuf, time::Duration};

use hyper::http::uri::Authority;
use jiff::civil::{Time, Weekday};

use super::{
    broker::MqttConfig,
    device_pattern::{AlertSubject, DevicePattern},
};
use crate::{
    messages::MessageTemplates,
    model::{AlertKind, AlertSeverity},
};

/// One receiver of alerts.
#[derive(Clone, Debug, PartialEq)]
pub struct ChannelConfig {
    /// Unique; 1 to 32 of a-z, 0-9 and hyphen.
    pub name: String,
    /// Its type.
    pub kind: ChannelKind,
    /// The URL of the receiver.
    pub url: ChannelUrl,
    /// A file with the receiver's secret: a bearer token, or Gotify's key.
    pub token_file: Option<PathBuf>,
    /// A file that holds the key with which webhooks are signed.
    pub sign_file: Option<PathBuf>,
    /// The authorities (PEM) that are trusted in place of the machine's.
    pub ca_file: Option<PathBuf>,
    /// The templates that replace the built-in texts.
    pub templates: MessageTemplates,
    /// The quiet hours, in which messages are held; none is dropped.
    pub quiet: Option<QuietHours>,
    /// When a summary is due, if the owner wants one.
    pub summary: Option<SummaryTime>,
    /// How long a message waits for further events; default 30 s.
    pub group: Duration,
    /// The most messages within ten minutes; the rest waits for one message; default 10.
    pub burst: usize,
}

/// The type of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChannelKind {
    /// ntfy: publishes to a topic.
    Ntfy,
    /// A POST of JSON.
    Webhook {
        /// The shape of the JSON.
        shape: WebhookShape,
    },
    /// A line to a syslog server.
    Syslog {
        /// The format of the line.
        format: SyslogFormat,
    },
    /// A mail to each recipient.
    Email(MailConfig),
    /// Publishes to an MQTT broker.
    Mqtt(Box<MqttConfig>),
}

/// The shape of a webhook's JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebhookShape {
    /// This project's own, with every field.
    Generic,
    /// Slack's incoming webhooks, which Mattermost and Rocket.Chat understand, too.
    Slack,
    /// Discord's webhooks.
    Discord,
    /// Gotify's messages.
    Gotify,
    /// The Apprise API.
    Apprise,
    /// Alertmanager's API, version 2.
    Alertmanager,
}

/// The format of a syslog line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyslogFormat {
    /// RFC 5424: with a full date and structured data.
    Rfc5424,
    /// RFC 3164: the older format, the only one that some receivers understand.
    Rfc3164,
}

/// How mail is sent: the server, the sender, the recipients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailConfig {
    /// How the connection is secured.
    pub security: MailSecurity,
    /// The sender's address.
    pub from: String,
    /// The recipients' addresses: 1 to 20, unique.
    pub to: Vec<String>,
    /// The user, if the server asks for one; then there is a password, too.
    pub user: Option<String>,
    /// A file that holds that user's password.
    pub password_file: Option<PathBuf>,
}

/// How the connection to a mail server is secured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailSecurity {
    /// TLS from the start (RFC 8314).
    Tls,
    /// STARTTLS, without which nothing is sent (RFC 3207).
    StartTls,
    /// None.
    Clear,
}

/// A channel's URL. Everything except the scheme and the host may be a secret, so only these are displayed.
#[derive(Clone, PartialEq, Eq)]
pub struct ChannelUrl {
    whole: String,
    shown: String,
    host: String,
    port: Option<u16>,
    has_path: bool,
}

/// A span of the local day in which messages are held; it may pass midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuietHours {
    /// Its beginning.
    pub from: Time,
    /// Its end, exclusive.
    pub until: Time,
}

/// When a summary is due, by the local time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SummaryTime {
    /// The day of the week; `None`: every day.
    pub weekday: Option<Weekday>,
    /// The time of day.
    pub at: Time,
}

/// A rule that chooses alerts.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertRule {
    /// The kinds of alerts; never empty.
    pub events: Vec<AlertKind>,
    /// The devices; empty: all.
    pub devices: Vec<DevicePattern>,
    /// The channels; empty: all.
    pub channels: Vec<String>,
    /// Replaces the kind's own severity.
    pub severity: Option<AlertSeverity>,
}

impl ChannelKind {
    /// Its name in the file.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Ntfy => "ntfy",
            Self::Webhook { .. } => "webhook",
            Self::Syslog { .. } => "syslog",
            Self::Email(_) => "email",
            Self::Mqtt(_) => "mqtt",
        }
    }
}

impl WebhookShape {
    /// All, as the file names them.
    pub const ALL: [(&'static str, Self); 6] = [
        ("generic", Self::Generic),
        ("slack", Self::Slack),
        ("discord", Self::Discord),
        ("gotify", Self::Gotify),
        ("apprise", Self::Apprise),
        ("alertmanager", Self::Alertmanager),
    ];

    /// Its name in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Generic => "generic",
            Self::Slack => "slack",
            Self::Discord => "discord",
            Self::Gotify => "gotify",
            Self::Apprise => "apprise",
            Self::Alertmanager => "alertmanager",
        }
    }
}

impl SyslogFormat {
    /// All, as the file names them.
    pub const ALL: [(&'static str, Self); 2] = [("rfc5424", Self::Rfc5424), ("rfc3164", Self::Rfc3164)];

    /// Its name in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rfc5424 => "rfc5424",
            Self::Rfc3164 => "rfc3164",
        }
    }
}

impl MailSecurity {
    /// Returns the security that the scheme of a URL asks for.
    pub(super) fn of(url: &str) -> Self {
        match url.split_once("://") {
            Some(("smtps", _)) => Self::Tls,
            Some(("smtp+starttls", _)) => Self::StartTls,
            _ => Self::Clear,
        }
    }

    /// Returns the default port of the scheme.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Tls => 465,
            Self::StartTls => 587,
            Self::Clear => 25,
        }
    }
}

impl ChannelUrl {
    /// Makes a URL from checked parts.
    pub(super) fn new(whole: &str, scheme: &str, authority: &Authority) -> Self {
        let path = &whole[(scheme.len() + "://".len() + authority.as_str().len()).min(whole.len())..];
        let rest = if path.trim_matches('/').is_empty() { "" } else { "/..." };
        Self {
            whole: whole.to_owned(),
            shown: format!("{scheme}://{authority}{rest}"),
            host: authority.host().trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: authority.port_u16(),
            has_path: !matches!(path, "" | "/"),
        }
    }

    /// Its host: a name, or an address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its port, if it names one.
    pub const fn port(&self) -> Option<u16> {
        self.port
    }

    /// Whether it has a path other than `/`, or a query.
    pub const fn has_path(&self) -> bool {
        self.has_path
    }

    /// Whether it has this scheme.
    pub fn has_scheme(&self, scheme: &str) -> bool {
        self.whole.strip_prefix(scheme).is_some_and(|rest| rest.starts_with("://"))
    }

    /// All of it, for the request itself.
    pub fn reveal(&self) -> &str {
        &self.whole
    }
}

impl fmt::Display for ChannelUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for ChannelUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.shown, f)
    }
}

impl QuietHours {
    /// Whether a time of day is within these hours.
    pub fn contains(&self, time: Time) -> bool {
        if self.from < self.until {
            (self.from..self.until).contains(&time)
        } else {
            time >= self.from || time < self.until
        }
    }
}

impl fmt::Display for QuietHours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.from.strftime("%H:%M:%S"), self.until.strftime("%H:%M:%S"))
    }
}

impl SummaryTime {
    /// The days of the week, as the file names them.
    pub const DAYS: [(&'static str, Weekday); 7] = [
        ("monday", Weekday::Monday),
        ("tuesday", Weekday::Tuesday),
        ("wednesday", Weekday::Wednesday),
        ("thursday", Weekday::Thursday),
        ("friday", Weekday::Friday),
        ("saturday", Weekday::Saturday),
        ("sunday", Weekday::Sunday),
    ];
}

impl fmt::Display for SummaryTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((name, _)) = Self::DAYS.iter().find(|(_, day)| Some(*day) == self.weekday) {
            write!(f, "{name} ")?;
        }
        self.at.strftime("%H:%M:%S").fmt(f)
    }
}

impl AlertRule {
    /// Whether the rule sends such an alert to a channel. Without a device, only a rule for all devices does.
    pub fn chooses(&self, channel: &str, kind: AlertKind, subject: Option<&AlertSubject<'_>>) -> bool {
        let is_device = |pattern: &DevicePattern| subject.is_some_and(|subject| pattern.matches(subject));
        self.events.contains(&kind)
            && (self.channels.is_empty() || self.channels.iter().any(|name| name == channel))
            && (self.devices.is_empty() || self.devices.iter().any(is_device))
    }
}
