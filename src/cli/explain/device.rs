//! Explains the open ports of a device, from what its appliance says.

use std::io::{self, Write};

use indicatif::HumanCount;
use jiff::{Zoned, tz::TimeZone};
use serde::Deserialize;
use serde_json::Value;

use super::{
    super::{
        CommandEnv, Terminal,
        appliance::{Appliance, ApplianceError, DatabaseUse, percent_encode},
        devices::{DeviceRow, LEGEND, list},
        found::sanitize_for_terminal,
        table,
    },
    CliError, ExplainArgs, ExplainError,
    topic::DeviceName,
};
use crate::{config::Overrides, model::AdviceLevel, services};

/// A device's names, as `/v1/hosts` has them.
#[derive(Deserialize)]
struct Named {
    mac: Option<String>,
    address: String,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    own_name: Option<String>,
    #[serde(default)]
    names: Vec<OneName>,
}

#[derive(Deserialize)]
struct OneName {
    name: String,
}

/// Asks the appliance, and prints what it says.
pub(super) async fn explain(
    device: &DeviceName,
    args: &ExplainArgs,
    overrides: &Overrides,
    world: &CommandEnv,
    terminal: &mut Terminal<'_>,
) -> Result<(), CliError> {
    let appliance =
        Appliance::find(&args.access, overrides, world, DatabaseUse::Reading).map_err(ExplainError::from)?;
    let found = find(&appliance, device).await;
    appliance.close().await.map_err(ExplainError::from)?;
    let mut found = found?;
    if args.json {
        sort_ports(&mut found);
        // Unparsed: fields that a later appliance adds are passed on.
        serde_json::to_writer_pretty(&mut *terminal.out, &found).map_err(io::Error::from)?;
        return Ok(writeln!(terminal.out)?);
    }
    let row =
        serde_json::from_value(found).map_err(|error| ExplainError::from(ApplianceError::Foreign(error)))?;
    let now = world.clock.wall().to_zoned(TimeZone::system());
    Ok(print(terminal.out, &row, &now, terminal.width)?)
}

async fn find(appliance: &Appliance, device: &DeviceName) -> Result<Value, ExplainError> {
    match device {
        DeviceName::Key(key) => {
            Ok(appliance.get(&format!("/v1/hosts/{}", percent_encode(&key.to_string()))).await?)
        }
        DeviceName::Text(name) => named(appliance.get("/v1/hosts").await?, name),
    }
}

/// Returns the one device of this name.
fn named(hosts: Vec<Value>, name: &str) -> Result<Value, ExplainError> {
    let mut found = Vec::new();
    for host in hosts {
        let names = Named::deserialize(&host).map_err(ApplianceError::Foreign)?;
        if names.has(name) {
            found.push((names, host));
        }
    }
    let name = sanitize_for_terminal(name);
    match found.len() {
        1 => Ok(found.remove(0).1),
        0 => {
            let port = services::ports_of(&name.to_ascii_lowercase()).iter().next();
            let hint = port.map(|port| format!(" (the port of that name: `portscan explain {port}`)"));
            Err(ExplainError::UnknownName { name, hint: hint.unwrap_or_default() })
        }
        _ => {
            let keys = found.iter().map(|(names, _)| names.mac.as_ref().unwrap_or(&names.address));
            let devices = keys.map(|key| sanitize_for_terminal(key)).collect::<Vec<_>>().join(", ");
            Err(ExplainError::Ambiguous { name, devices })
        }
    }
}

impl Named {
    /// Whether it is called so, with its domain or without.
    fn has(&self, wanted: &str) -> bool {
        let all = self.names.iter().map(|name| &name.name).chain(&self.own_name).chain(&self.name);
        let is_wanted = |name: &str| name.eq_ignore_ascii_case(wanted);
        all.into_iter().any(|name| is_wanted(name) || name.split('.').next().is_some_and(is_wanted))
    }
}

/// Puts the ports that matter most first, and those about which nothing is known last.
fn sort_ports(host: &mut Value) {
    let level =
        |port: &Value| port["advice"]["level"].as_str().and_then(|level| level.parse::<AdviceLevel>().ok());
    if let Some(ports) = host["ports"].as_array_mut() {
        ports.sort_by_key(|port| std::cmp::Reverse(level(port)));
    }
}

fn print(out: &mut dyn Write, host: &DeviceRow, now: &Zoned, width: Option<u16>) -> io::Result<()> {
    let maker = host.maker();
    let facts = [host.mac.clone().unwrap_or_default(), host.name.clone().unwrap_or_default(), maker];
    let facts: Vec<String> =
        facts.iter().filter(|fact| !fact.is_empty()).map(|fact| sanitize_for_terminal(fact)).collect();
    let facts = if facts.is_empty() { String::new() } else { format!(" ({})", facts.join(", ")) };
    writeln!(out, "{}{facts}", sanitize_for_terminal(&host.address))?;
    for (label, text) in [
        ("Type", [host.kind(), host.kind_evidence()].join(": ")),
        ("Model", host.model()),
        ("Tags", host.tags()),
    ] {
        let text = text.trim_matches([':', ' ']);
        if !text.is_empty() {
            writeln!(out, "{label}: {text}")?;
        }
    }
    writeln!(out, "Open ports: {}", host.open_ports(now))?;
    if host.has_unconfirmed_port() {
        writeln!(out, "{LEGEND}")?;
    }
    if host.ports.iter().any(|port| port.advice.is_none()) {
        return writeln!(out, "The appliance gives no advice on ports; update it to this version.");
    }
    let advised = host.advised_ports();
    let rows = advised.iter().map(|(port, advice)| {
        let texts = [&advice.what, &advice.why, &advice.remedy].map(|text| sanitize_for_terminal(text));
        // An empty line after each.
        vec![advice.level.to_string(), port.label(), texts.join("\n") + "\n "]
    });
    if !advised.is_empty() {
        writeln!(out)?;
        table::write(out, &[] as &[&str], rows, 2, width)?;
    }
    let unknown = host.ports.len() - advised.len();
    if unknown > 0 {
        let ports = list(&host.ports, |port| port.advice().is_none());
        let what = if unknown == 1 { "port" } else { "ports" };
        writeln!(out, "Nothing is known about {} open {what}: {ports}", HumanCount(unknown as u64))?;
        writeln!(out, "`portscan explain PORT` says how to find out.")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::super::devices::tests::at, *};

    fn host(ports: &Value) -> Value {
        json!({"mac": "00:11:32:00:00:01", "address": "192.168.1.7", "name": "n\u{1b}as.local", "own_name": "files",
            "names": [{"name": "files"}, {"name": "nas.local"}], "vendor": "Synology",
            "locally_administered": false, "last_seen": "2026-11-22T14:00:00Z", "presence": "online",
            "scanned": {"time": "2026-11-22T14:00:00Z", "ports": 65535, "complete": true}, "ports": ports})
    }

    fn advised(port: u16, level: &str) -> Value {
        let advice = json!({"level": level, "what": "usually Web page", "why": "Such a page\u{1b}[2J is normal.",
            "remedy": "Set a password of your own on the page, and have it redirect to HTTPS."});
        json!({"port": port, "protocol": "tcp", "unconfirmed": port == 81, "advice": advice})
    }

    fn printed(host: Value, width: Option<u16>) -> String {
        let mut out = Vec::new();
        let row = serde_json::from_value(host).unwrap();
        print(&mut out, &row, &at("2026-11-22T14:30:00Z"), width).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_ports_that_matter_most_come_first() {
        let unknown = |port: u16| json!({"port": port, "protocol": "tcp", "advice": null});
        let ports = json!([
            advised(80, "fine"),
            advised(23, "act"),
            unknown(6),
            unknown(7),
            advised(81, "look"),
            unknown(9)
        ]);
        insta::assert_snapshot!("device", printed(host(&ports), Some(80)));
        assert!(printed(host(&ports), Some(40)).lines().all(|line| line.chars().count() <= 60));
        let mut sorted = host(&ports);
        sort_ports(&mut sorted);
        let order: Vec<u64> =
            sorted["ports"].as_array().unwrap().iter().map(|port| port["port"].as_u64().unwrap()).collect();
        assert_eq!(order, [23, 81, 80, 6, 7, 9]);
    }

    #[test]
    fn says_what_the_device_is() {
        let mut printer = host(&json!([]));
        printer["type"] = json!("printer");
        printer["type_evidence"] = json!("announces _ipp._tcp\u{1b}");
        printer["tags"] = json!(["office"]);
        let text = printed(printer, None);
        assert!(text.contains("\nType: printer: announces _ipp._tcp\u{fffd}\nTags: office\nOpen"), "{text}");
    }

    #[test]
    fn says_so_where_there_is_nothing_to_explain() {
        let text = printed(host(&json!([])), None);
        assert!(text.ends_with("Open ports: no open ports\n"), "{text}");
        let old = json!([{"port": 80, "protocol": "tcp"}]);
        assert!(printed(host(&old), None).contains("gives no advice"));
    }

    #[test]
    fn a_name_means_one_device() {
        let other = json!({"mac": null, "address": "192.0.2.9", "name": "TV.lan", "names": [{"name": "TV.lan"}],
            "last_seen": "2026-11-22T14:00:00Z", "ports": []});
        let hosts = || vec![host(&json!([])), other.clone()];
        for name in ["files", "NAS.local", "nas"] {
            assert_eq!(named(hosts(), name).unwrap()["address"], "192.168.1.7", "{name}");
        }
        let error = named(hosts(), "ssh\u{1b}").unwrap_err().to_string();
        assert!(error.contains("no device is called") && !error.contains('\u{1b}'), "{error}");
        assert!(named(hosts(), "ssh").unwrap_err().to_string().contains("`portscan explain 22`"));
        let twins = vec![other.clone(), other.clone()];
        let error = named(twins, "tv").unwrap_err().to_string();
        assert_eq!(error, "\"tv\" is the name of several devices: 192.0.2.9, 192.0.2.9; name one of these");
    }
}
