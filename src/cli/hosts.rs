//! `portscan hosts`: who is known, and what is open there.

use std::io::{self, Write};

use clap::Args;
use serde::Deserialize;
use serde_json::Value;

use super::{
    CliError, DONE, Terminal, World,
    appliance::{Access, Appliance, ApplianceError, in_path},
    found::harmless,
    table,
};
use crate::{
    config::Overrides,
    model::{DeviceKey, PortSet, Protocol},
};

/// Which devices.
#[derive(Args, Debug, Clone, PartialEq)]
pub struct HostsArgs {
    /// Just this one: its MAC, or an address [default: all]
    pub host: Option<DeviceKey>,
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub access: Access,
}

/// A device, as much of it as the table shows.
#[derive(Debug, Deserialize)]
struct Host {
    mac: Option<String>,
    address: String,
    name: Option<String>,
    last_seen: jiff::Timestamp,
    ports: Vec<Open>,
}

#[derive(Debug, Deserialize)]
struct Open {
    port: u16,
    protocol: Protocol,
}

/// Asks and prints.
pub(super) async fn hosts(
    args: &HostsArgs,
    overrides: &Overrides,
    world: &World,
    terminal: &mut Terminal<'_>,
) -> Result<u8, CliError> {
    let appliance = Appliance::find(&args.access, overrides, world)?;
    let asked = match &args.host {
        Some(host) => {
            let path = format!("/v1/hosts/{}", in_path(&host.to_string()));
            appliance.get::<Value>(&path).await.map(|host| vec![host])
        }
        None => appliance.get::<Vec<Value>>("/v1/hosts").await,
    };
    appliance.close().await?;
    let hosts = asked?;
    match args.json {
        true => {
            // As it came: whatever a later appliance has to say of them is passed on.
            serde_json::to_writer_pretty(&mut *terminal.out, &hosts).map_err(io::Error::from)?;
            writeln!(terminal.out)?;
        }
        false => {
            let hosts = hosts.into_iter().map(serde_json::from_value).collect::<Result<Vec<Host>, _>>();
            print(terminal.out, &hosts.map_err(ApplianceError::Foreign)?, terminal.width)?;
        }
    }
    terminal.out.flush()?;
    Ok(DONE)
}

fn print(out: &mut dyn Write, hosts: &[Host], width: Option<u16>) -> io::Result<()> {
    if hosts.is_empty() {
        return writeln!(out, "no device is known yet");
    }
    let rows = hosts.iter().map(|host| {
        vec![
            host.mac.as_deref().map_or_else(|| "-".to_owned(), harmless),
            harmless(&host.address),
            host.last_seen.strftime("%Y-%m-%d %H:%M").to_string(),
            host.name.as_deref().map(harmless).unwrap_or_default(),
            open(&host.ports),
        ]
    });
    table::write(out, &["DEVICE", "ADDRESS", "SEEN (UTC)", "NAME", "OPEN PORTS"], rows, 3, width)
}

/// `22, 80; udp 53`
fn open(ports: &[Open]) -> String {
    let told = Protocol::ALL.iter().filter_map(|protocol| {
        let ports: PortSet =
            ports.iter().filter(|open| open.protocol == *protocol).map(|open| open.port).collect();
        let ports = (!ports.is_empty()).then(|| ports.to_string().replace(',', ", "))?;
        Some(if *protocol == Protocol::Tcp { ports } else { format!("{protocol} {ports}") })
    });
    let told: Vec<String> = told.collect();
    if told.is_empty() { "none".to_owned() } else { told.join("; ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_a_table() {
        let host = |text| serde_json::from_str::<Host>(text).unwrap();
        let hosts = [
            host(
                r#"{"mac":"B8:27:EB:AC:14:3E","address":"192.168.1.7","name":"n\u001b[2Jas","own_name":null,
                    "last_seen":"2026-11-22T09:15:00.123Z","ports":[{"port":22,"protocol":"tcp"},
                    {"port":80,"protocol":"tcp"},{"port":53,"protocol":"udp"}]}"#,
            ),
            host(
                r#"{"mac":null,"address":"2001:db8::1","name":null,"last_seen":"2026-11-21T00:00:00Z","ports":[]}"#,
            ),
        ];
        let mut out = Vec::new();
        print(&mut out, &hosts, None).unwrap();
        insta::assert_snapshot!("hosts", String::from_utf8(out).unwrap());
        let mut out = Vec::new();
        print(&mut out, &[], None).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "no device is known yet\n");
    }
}
