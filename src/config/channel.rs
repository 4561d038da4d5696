//! Where alerts go, and which.

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
    /// What is spoken there.
    pub kind: ChannelKind,
    /// Where it is.
    pub url: ChannelUrl,
    /// A file that holds the receiver's secret: a bearer token, or Gotify's key.
    pub token_file: Option<PathBuf>,
    /// A file that holds the key with which webhooks are signed.
    pub sign_file: Option<PathBuf>,
    /// The authorities (PEM) that are trusted in place of the machine's.
    pub ca_file: Option<PathBuf>,
    /// The owner's words in place of the built-in ones.
    pub templates: MessageTemplates,
    /// When messages are held; none is dropped.
    pub quiet: Option<QuietHours>,
    /// When a summary is due, if the owner wants one.
    pub summary: Option<SummaryTime>,
    /// How long a message waits for further events; default 30 s.
    pub group: Duration,
    /// The most messages within ten minutes, then one with all that waits; default 10.
    pub burst: usize,
}

/// What a channel speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChannelKind {
    /// ntfy's: a topic's URL.
    Ntfy,
    /// A POST of JSON.
    Webhook {
        /// What the JSON looks like.
        shape: WebhookShape,
    },
    /// A line to a syslog server.
    Syslog {
        /// What the line looks like.
        format: SyslogFormat,
    },
    /// A mail to each recipient.
    Email(MailConfig),
    /// Publishes to an MQTT broker.
    Mqtt(Box<MqttConfig>),
}

/// What the JSON of a webhook looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebhookShape {
    /// Our own, with all there is.
    Generic,
    /// Slack's incoming webhooks, which Mattermost and Rocket.Chat take, too.
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

/// What a line of syslog looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyslogFormat {
    /// With a full date and structured data.
    Rfc5424,
    /// The older one, which some receivers alone understand.
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

/// A channel's URL. All of it but the scheme and the host may be a secret, so only these are displayed.
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
    /// Its begin.
    pub from: Time,
    /// Its end, which is no longer part of it.
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

/// Chooses alerts.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertRule {
    /// What they are about; never empty.
    pub events: Vec<AlertKind>,
    /// The devices that they are about; empty: all.
    pub devices: Vec<DevicePattern>,
    /// Where they go; empty: to every channel.
    pub channels: Vec<String>,
    /// In place of the kind's own.
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
    /// What a URL asks for.
    pub(super) fn of(url: &str) -> Self {
        match url.split_once("://") {
            Some(("smtps", _)) => Self::Tls,
            Some(("smtp+starttls", _)) => Self::StartTls,
            _ => Self::Clear,
        }
    }

    /// The port where the URL has none.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Tls => 465,
            Self::StartTls => 587,
            Self::Clear => 25,
        }
    }
}

impl ChannelUrl {
    /// A URL of which the parts were checked.
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
    /// Whether this time of day is in it.
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
