//! A message as the JSON that each kind of receiver takes.

use serde_json::{Value, json};

use super::message::{AlertChange, AlertMessage, KnownElsewhere, PortExplanation};
use crate::model::AlertSeverity;

/// The most characters of a text for Discord, with its limit of 4,096.
const DISCORD_MOST: usize = 4000;

/// Writes the generic JSON, which has every field.
pub fn generic(message: &AlertMessage) -> Value {
    let changes: Vec<_> = message.changes.iter().map(change).collect();
    json!({
        "key": message.key,
        "thread": message.thread,
        "title": message.title,
        "text": message.text,
        "severity": message.severity.as_str(),
        "resolved": message.is_resolved,
        "url": message.link,
        "site": message.site,
        "changes": changes,
    })
}

/// With the keys of /v1/changes where it has them.
fn change(change: &AlertChange) -> Value {
    let event = &change.event;
    let (protocol, ports) = event.kind.ports().unzip();
    json!({
        "id": event.id,
        "time": event.at,
        "event": change.about.as_str(),
        "kind": event.kind.as_str(),
        "resolves": change.resolves,
        "severity": change.severity.as_str(),
        "mac": event.device.mac().map(|mac| mac.to_string()),
        "address": event.address.to_string(),
        "name": change.name,
        "protocol": protocol.map(|protocol| protocol.as_str()),
        "ports": ports.map(ToString::to_string),
        "from": event.kind.previous_address().map(ToString::to_string),
        "explanations": change.explanations.iter().map(explanation).collect::<Vec<_>>(),
        "elsewhere": change.elsewhere.iter().map(elsewhere).collect::<Vec<_>>(),
    })
}

/// With the keys of `elsewhere` in a hub's /v1/hosts.
fn elsewhere(known: &KnownElsewhere) -> Value {
    json!({ "site": known.site, "address": known.address.to_string(), "last_seen": known.last_seen })
}

fn explanation(known: &PortExplanation) -> Value {
    json!({
        "protocol": known.protocol.as_str(),
        "port": known.port,
        "level": known.level.as_str(),
        "what": known.what,
        "advice": known.advice,
    })
}

/// Writes the JSON that ntfy publishes. Not ntfy's headers, which do not take every character. `sequence_id` updates
/// an earlier message; servers before 2.16 ignore it and show a second message.
pub fn ntfy(message: &AlertMessage, topic: &str) -> Value {
    let priority = match message.severity {
        AlertSeverity::Low => 2,
        AlertSeverity::Normal => 3,
        AlertSeverity::High => 4,
    };
    let tag = match (message.is_resolved, message.severity) {
        (true, _) => "white_check_mark",
        (false, AlertSeverity::High) => "warning",
        (false, _) => "mag",
    };
    let mut tags = vec![tag.to_owned()];
    tags.extend(kinds(message).into_iter().map(ToOwned::to_owned));
    json!({
        "topic": topic,
        "title": message.title,
        "message": message.text,
        "priority": priority,
        "tags": tags,
        "click": message.link,
        "actions": [{ "action": "view", "label": "Open", "url": message.link }],
        "sequence_id": message.thread,
    })
}

/// Returns the events of a message, each once, in the order of the changes.
fn kinds(message: &AlertMessage) -> Vec<&'static str> {
    let mut kinds = Vec::new();
    for change in &message.changes {
        if !kinds.contains(&change.about.as_str()) {
            kinds.push(change.about.as_str());
        }
    }
    kinds
}

pub fn slack(message: &AlertMessage) -> Value {
    // In Slack these three characters begin markup, and the names of devices come from the network.
    let escaped = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    json!({
        "text": format!("*{}*\n{}\n<{}|Open>", escaped(&message.title), escaped(&message.text), message.link),
    })
}

pub fn discord(message: &AlertMessage) -> Value {
    let colour = match (message.is_resolved, message.severity) {
        (true, _) => 0x2e_a0_43,
        (false, AlertSeverity::High) => 0xd1_24_2f,
        (false, AlertSeverity::Normal) => 0xbf_87_00,
        (false, AlertSeverity::Low) => 0x57_60_6a,
    };
    let text: String = message.text.chars().take(DISCORD_MOST).collect();
    json!({
        "username": "portscan",
        // A device that calls itself "@everyone" must not notify everyone.
        "allowed_mentions": { "parse": [] },
        "embeds": [{ "title": message.title, "description": text, "url": message.link, "color": colour }],
    })
}

pub fn gotify(message: &AlertMessage) -> Value {
    let priority = match message.severity {
        AlertSeverity::Low => 2,
        AlertSeverity::Normal => 5,
        AlertSeverity::High => 8,
    };
    json!({
        "title": message.title,
        "message": message.text,
        "priority": priority,
        "extras": { "client::notification": { "click": { "url": message.link } } },
    })
}

pub fn apprise(message: &AlertMessage) -> Value {
    let kind = match (message.is_resolved, message.severity) {
        (true, _) => "success",
        (false, AlertSeverity::High) => "warning",
        (false, _) => "info",
    };
    json!({ "title": message.title, "body": format!("{}\n{}", message.text, message.link), "type": kind, "format": "text" })
}

/// One alert for each change. Alertmanager ends it when `endsAt` has passed, or after its own `resolve_timeout`.
pub fn alertmanager(message: &AlertMessage) -> Value {
    let alert = |change: &AlertChange| {
        let event = &change.event;
        let mut labels = json!({
            "alertname": change.about.as_str(),
            "severity": change.severity.as_str(),
            "device": event.device.to_string(),
            "host": event.address.to_string(),
        });
        if let Some((protocol, ports)) = event.kind.ports() {
            labels["protocol"] = protocol.as_str().into();
            labels["port"] = ports.to_string().into();
        }
        let mut alert = json!({
            "labels": labels,
            "annotations": { "summary": message.title, "description": message.text, "key": message.key },
            "generatorURL": message.link,
        });
        let when = if change.resolves.is_some() { "endsAt" } else { "startsAt" };
        alert[when] = event.at.to_string().into();
        alert
    };
    // Alertmanager cannot end an alert that was never begun, and ends this one after its time-out.
    if message.changes.is_empty() && message.is_resolved {
        return json!([]);
    }
    if message.changes.is_empty() {
        let name = match message {
            test if test.is_test() => "test",
            summary if summary.is_summary() => "summary",
            _ => "appliance",
        };
        return json!([{
            "labels": { "alertname": name, "severity": message.severity.as_str() },
            "annotations": { "summary": message.title, "description": message.text, "key": message.key },
            "generatorURL": message.link,
        }]);
    }
    message.changes.iter().map(alert).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::Origin;

    fn hostile() -> AlertMessage {
        let origin =
            Origin { appliance: "a1".to_owned(), page: "http://portscan.local".to_owned(), site: None };
        AlertMessage { title: "<!channel> & @everyone".to_owned(), ..origin.test("phone", 1) }
    }

    #[test]
    fn a_devices_name_is_no_markup() {
        let text = slack(&hostile())["text"].as_str().unwrap().to_owned();
        assert!(text.starts_with("*&lt;!channel&gt; &amp; @everyone*\n"), "{text}");
        assert_eq!(discord(&hostile())["allowed_mentions"], json!({ "parse": [] }));
    }

    #[test]
    fn ntfy_takes_the_topic_in_the_body() {
        let sent = ntfy(&hostile(), "topic");
        assert_eq!((&sent["topic"], &sent["click"]), (&json!("topic"), &json!("http://portscan.local/")));
        assert_eq!(sent["actions"][0]["action"], "view");
    }
}
