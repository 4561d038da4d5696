//! `portscan changes`: lists what has changed.

use std::{
    io::{self, Write},
    time::Duration,
};

use clap::Args;
use serde::{Deserialize, Serialize};

use super::{
    CliError, CommandEnv, DONE, Terminal,
    appliance::{Appliance, ApplianceArgs, ApplianceInfo, DatabaseUse, percent_encode},
    found::sanitize_for_terminal,
    table,
};
use crate::{
    config::Overrides,
    model::{DeviceKey, parse_duration},
};

/// A hundred years: longer ago than any change, and still a date.
const LONGEST: Duration = Duration::from_secs(100 * 366 * 86_400);

/// Which changes.
#[derive(Args, Debug, Clone, PartialEq)]
pub struct ChangesArgs {
    /// Those of the last so many s, m, h or d
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = since)]
    pub since: Duration,
    /// Those of this device: its MAC, or its address where it has none
    #[arg(long, value_name = "MAC|ADDRESS")]
    pub host: Option<DeviceKey>,
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub access: ApplianceArgs,
}

/// A change, as /v1/changes reports it.
#[derive(Debug, Serialize, Deserialize)]
struct Change {
    id: i64,
    time: jiff::Timestamp,
    scan_id: Option<i64>,
    kind: String,
    address: String,
    mac: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ports: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    to: Option<String>,
    alert: bool,
}

/// Fetches and prints the changes.
pub(super) async fn changes(
    args: &ChangesArgs,
    overrides: &Overrides,
    world: &CommandEnv,
    terminal: &mut Terminal<'_>,
) -> Result<u8, CliError> {
    let since = world.clock.wall() - args.since;
    let host = args.host.as_ref().map(|host| format!("&mac={}", percent_encode(&host.to_string())));
    let appliance = Appliance::find(&args.access, overrides, world, DatabaseUse::Reading)?;
    let path =
        format!("/v1/changes?since={}{}", percent_encode(&since.to_string()), host.unwrap_or_default());
    let found: Result<Vec<Change>, _> = appliance.get(&path).await;
    // Without any scan there is nothing that could have changed.
    let info = match &found {
        Ok(found) if found.is_empty() && !args.json => {
            appliance.get::<ApplianceInfo>("/v1/info").await.map(Some)
        }
        _ => Ok(None),
    };
    appliance.close().await?;
    let (found, info) = (found?, info?);
    if args.json {
        serde_json::to_writer(&mut *terminal.out, &found).map_err(io::Error::from)?;
        writeln!(terminal.out)?;
    } else if let Some(info) = info {
        writeln!(terminal.out, "{}", nothing(&info, since))?;
    } else {
        print(&found, terminal.out, terminal.width)?;
    }
    terminal.out.flush()?;
    Ok(DONE)
}

/// Explains why no change is listed.
fn nothing(info: &ApplianceInfo, since: jiff::Timestamp) -> String {
    match info.last_scan {
        None => "no changes: nothing has been scanned yet".to_owned(),
        Some(_) => {
            let since = since.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M");
            format!("no changes since {since}; --since 30d looks further back")
        }
    }
}

fn print(found: &[Change], out: &mut dyn Write, width: Option<u16>) -> io::Result<()> {
    let zone = jiff::tz::TimeZone::system();
    let rows = found.iter().map(|change| {
        let time = change.time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string();
        let alert = if change.alert { "!" } else { "" };
        vec![
            time,
            sanitize_for_terminal(&change.address),
            change.what(),
            alert.to_owned(),
            sanitize_for_terminal(change.mac.as_deref().unwrap_or_default()),
        ]
    });
    table::write(out, &["TIME", "ADDRESS", "WHAT", "", "MAC"], rows, 4, width)
}

impl Change {
    /// `opened 80/tcp`, `moved from 192.168.1.6`, `product 80/tcp from nginx to lighttpd`, `advice 23/tcp: usually Telnet.`
    fn what(&self) -> String {
        let ports = self.port.map(|port| port.to_string()).or_else(|| self.ports.clone());
        let ports = ports.zip(self.protocol.as_ref()).map(|(ports, protocol)| format!(" {ports}/{protocol}"));
        let from = self.from.as_ref().map(|from| format!(" from {from}"));
        let before_to = if self.from.is_some() { " to " } else { ": " };
        let to = self.to.as_ref().map(|to| format!("{before_to}{to}"));
        sanitize_for_terminal(&format!(
            "{}{}{}{}",
            self.kind,
            ports.unwrap_or_default(),
            from.unwrap_or_default(),
            to.unwrap_or_default()
        ))
    }
}

/// `24h`, `30d`
fn since(text: &str) -> Result<Duration, String> {
    let malformed = || format!("\"{text}\" is not a span of time; write 90s, 30m, 24h or 7d");
    let since = parse_duration(text, &["s", "m", "h", "d"]).ok();
    since.filter(|since| *since <= LONGEST).ok_or_else(malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_a_number_and_a_unit() {
        for (text, seconds) in [("90s", 90), ("30m", 1800), ("24h", 86_400), ("7d", 604_800), ("0s", 0)] {
            assert_eq!(since(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "h", "24", "24 h", "-1h", "1w", "99999999999d", "1é"] {
            assert!(since(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_empty_list_says_why() {
        let info = |last: Option<&str>| ApplianceInfo {
            baseline: Some(false),
            last_scan: last.map(|last| last.parse().unwrap()),
        };
        let since = "2026-03-01T10:00:00Z".parse().unwrap();
        assert_eq!(nothing(&info(None), since), "no changes: nothing has been scanned yet");
        let said = nothing(&info(Some("2026-03-02T10:00:00Z")), since);
        assert!(said.starts_with("no changes since 2026-0") && said.ends_with("further back"), "{said}");
    }

    #[test]
    fn describes_a_change_in_a_few_words() {
        let change = |more: &str| -> Change {
            let common =
                r#""id":1,"time":"2026-03-01T10:00:00Z","scan_id":7,"address":"192.0.2.1","mac":null"#;
            serde_json::from_str(&format!("{{{common},{more}}}")).unwrap()
        };
        for (more, what) in [
            (r#""kind":"opened","protocol":"tcp","port":80,"alert":true"#, "opened 80/tcp"),
            (r#""kind":"closed","protocol":"tcp","ports":"1-99","alert":false"#, "closed 1-99/tcp"),
            (r#""kind":"moved","from":"192.0.2.9","alert":false"#, "moved from 192.0.2.9"),
            (r#""kind":"new","alert":false"#, "new"),
            (
                r#""kind":"advice","protocol":"tcp","port":23,"to":"usually Telnet.","alert":true"#,
                "advice 23/tcp: usually Telnet.",
            ),
        ] {
            assert_eq!(change(more).what(), what);
        }
    }
}
