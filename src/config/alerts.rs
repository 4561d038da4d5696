//! `[[channel]]` and `[[alert]]` of the file.

use std::time::Duration;

use super::{
    channel::{AlertRule, ChannelConfig, ChannelKind, SyslogFormat, WebhookShape},
    mail, mqtt, parse,
    table::Section,
};
use crate::{
    messages::{MessagePart, MessageTemplates},
    model::{AlertKind, AlertSeverity},
};

/// The most channels: each keeps messages in memory, on a machine with 1 GB.
const MOST_CHANNELS: usize = 16;

/// How long a message waits for further events: one scan of a device finds several.
const GROUP: Duration = Duration::from_secs(30);

/// The most messages within ten minutes.
const BURST: usize = 10;

/// Reads both lists, the channels first, because the rules name them.
pub(super) fn read(file: &mut Section<'_, '_>) -> (Vec<ChannelConfig>, Vec<AlertRule>) {
    let mut names = Vec::new();
    let channels = file.tables("channel", |section| channel(section, &mut names)).unwrap_or_default();
    if names.len() > MOST_CHANNELS {
        file.fault_of("channel", format!("these are more than {MOST_CHANNELS} channels; drop some"));
    }
    let rules = file.tables("alert", |section| rule(section, &names)).unwrap_or_default();
    (channels, rules)
}

/// The types, before their further keys are read.
#[derive(Clone, Copy)]
enum TypeKey {
    Ntfy,
    Webhook,
    Syslog,
    Email,
    Mqtt,
}

fn channel(section: &mut Section<'_, '_>, names: &mut Vec<String>) -> Option<ChannelConfig> {
    const TYPES: [(&str, TypeKey); 5] = [
        ("ntfy", TypeKey::Ntfy),
        ("webhook", TypeKey::Webhook),
        ("syslog", TypeKey::Syslog),
        ("email", TypeKey::Email),
        ("mqtt", TypeKey::Mqtt),
    ];
    let name = section.required("name", "\"phone\"", parse::channel_name);
    // The name counts even if the rest is faulty, so that a rule which refers to it is no second fault.
    if let Some(name) = &name {
        if names.contains(name) {
            section
                .fault_of("name", format!("a channel \"{name}\" is there already; name this one otherwise"));
        }
        names.push(name.clone());
    }
    let kind = section.required("type", "\"ntfy\"", |text| parse::word(text, "a type of channel", &TYPES));
    let (schemes, example): (&[&str], _) = match kind {
        Some(TypeKey::Syslog) => (&["udp", "tcp"], "\"udp://192.0.2.1:514\""),
        Some(TypeKey::Email) => (&mail::SCHEMES, "\"smtps://mail.example.org:465\""),
        Some(TypeKey::Mqtt) => (&["mqtt", "mqtts"], "\"mqtts://192.0.2.1\""),
        Some(TypeKey::Ntfy) => (&["http", "https"], "\"https://ntfy.sh/my-topic\""),
        _ => (&["http", "https"], "\"https://192.0.2.1/path\""),
    };
    let url = match kind {
        Some(_) => section.required("url", example, |text| parse::channel_url(text, schemes, example)),
        None => {
            section.one("url", |_| Err::<_, &str>("the type decides what a URL looks like; mend that first"))
        }
    };
    let quiet = section.one("quiet", parse::quiet_hours);
    let summary = section.one("summary", parse::summary_time);
    if summary.zip(quiet).is_some_and(|(summary, quiet)| quiet.contains(summary.at)) {
        section.fault_of(
            "summary",
            "this is within the quiet hours, in which nothing is sent; choose another time of day",
        );
    }
    let group = section.one("group", parse::duration).unwrap_or(GROUP);
    let burst = section.one("burst", parse::message_count).unwrap_or(BURST);
    let templates = MessageTemplates {
        title: section.one("title", |text| MessageTemplates::check(MessagePart::Title, text)),
        text: section.one("text", |text| MessageTemplates::check(MessagePart::Text, text)),
    };
    let speaks_tls = !matches!(kind, Some(TypeKey::Syslog));
    let ca_file = speaks_tls.then(|| section.one("ca_file", parse::path)).flatten();
    let speaks_http = speaks_tls && !matches!(kind, Some(TypeKey::Email | TypeKey::Mqtt));
    let broker = matches!(kind, Some(TypeKey::Mqtt)).then(|| mqtt::read(section, url.as_ref()));
    let token_file = speaks_http.then(|| section.one("token_file", parse::path)).flatten();
    let is_webhook = matches!(kind, Some(TypeKey::Webhook) | None);
    let sign_file = is_webhook.then(|| section.one("sign_file", parse::path)).flatten();
    let shape =
        is_webhook.then(|| section.one("shape", |text| parse::word(text, "a shape", &WebhookShape::ALL)));
    let format = matches!(kind, Some(TypeKey::Syslog) | None)
        .then(|| section.one("format", |text| parse::word(text, "a format of syslog", &SyslogFormat::ALL)));
    let mail = matches!(kind, Some(TypeKey::Email)).then(|| mail::read(section, url.as_ref())).flatten();
    let kind = match kind? {
        TypeKey::Email => ChannelKind::Email(mail?),
        TypeKey::Ntfy => ChannelKind::Ntfy,
        TypeKey::Webhook => ChannelKind::Webhook { shape: shape.flatten().unwrap_or(WebhookShape::Generic) },
        TypeKey::Syslog => ChannelKind::Syslog { format: format.flatten().unwrap_or(SyslogFormat::Rfc5424) },
        TypeKey::Mqtt => ChannelKind::Mqtt(Box::new(broker?)),
    };
    let url = url?;
    if matches!(kind, ChannelKind::Ntfy)
        && url.reveal().trim_end_matches('/') == url.to_string().trim_end_matches('/')
    {
        section.fault_of("url", "this URL names no topic; write it as \"https://ntfy.sh/my-topic\"");
    }
    if ca_file.is_some() && ["http", "smtp", "mqtt"].iter().any(|scheme| url.has_scheme(scheme)) {
        section.fault_of(
            "ca_file",
            "this channel's URL uses no TLS, so no certificate is checked; drop this key",
        );
    }
    let name = name?;
    Some(ChannelConfig {
        name,
        kind,
        url,
        token_file,
        sign_file,
        ca_file,
        templates,
        quiet,
        summary,
        group,
        burst,
    })
}

fn rule(section: &mut Section<'_, '_>, names: &[String]) -> Option<AlertRule> {
    let kinds: Vec<_> = AlertKind::ALL.iter().map(|&kind| (kind.as_str(), kind)).collect();
    let severities: Vec<_> =
        AlertSeverity::ALL.iter().map(|&severity| (severity.as_str(), severity)).collect();
    let events = section.list("events", |text| parse::word(text, "an event", &kinds));
    if events.as_ref().is_some_and(Vec::is_empty) {
        section.fault_of(
            "events",
            "this is empty, so the rule chooses nothing; drop the key to choose all events",
        );
    }
    let channel = |text: &str| match names.iter().any(|name| name == text) {
        true => Ok(text.to_owned()),
        false => Err(format!("no [[channel]] has the name \"{text}\"")),
    };
    Some(AlertRule {
        events: events.unwrap_or_else(|| AlertKind::ALL.to_vec()),
        devices: section.list("devices", parse::device_pattern).unwrap_or_default(),
        channels: section.list("channels", channel).unwrap_or_default(),
        severity: section.one("severity", |text| parse::word(text, "a severity", &severities)),
    })
}
