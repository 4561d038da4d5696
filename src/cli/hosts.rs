//! `portscan hosts`: lists the known devices and their open ports.

use std::io::{self, Write};

use clap::Args;
use serde::Deserialize;
use serde_json::Value;

use super::{
    CliError, CommandEnv, DONE, Terminal,
    appliance::{Appliance, ApplianceArgs, ApplianceError, DatabaseUse, percent_encode},
    found::sanitize_for_terminal,
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
    pub access: ApplianceArgs,
}

/// The data of a device that the table shows.
#[derive(Debug, Deserialize)]
struct DeviceRow {
    mac: Option<String>,
    address: String,
    name: Option<String>,
    // Older appliances send neither.
    #[serde(default)]
    vendor: Option<String>,
    #[serde(default)]
    locally_administered: bool,
    last_seen: jiff::Timestamp,
    ports: Vec<OpenPortJson>,
}

#[derive(Debug, Deserialize)]
struct OpenPortJson {
    port: u16,
    protocol: Protocol,
}

/// Fetches and prints the devices.
pub(super) async fn hosts(
    args: &HostsArgs,
    overrides: &Overrides,
    world: &CommandEnv,
    terminal: &mut Terminal<'_>,
) -> Result<u8, CliError> {
    let appliance = Appliance::find(&args.access, overrides, world, DatabaseUse::Reading)?;
    let asked = match &args.host {
        Some(host) => {
            let path = format!("/v1/hosts/{}", percent_encode(&host.to_string()));
            appliance.get::<Value>(&path).await.map(|host| vec![host])
        }
        None => appliance.get::<Vec<Value>>("/v1/hosts").await,
    };
    appliance.close().await?;
    let hosts = asked?;
    match args.json {
        true => {
            // Unparsed: fields that a later appliance adds are passed on.
            serde_json::to_writer_pretty(&mut *terminal.out, &hosts).map_err(io::Error::from)?;
            writeln!(terminal.out)?;
        }
        false => {
            let hosts = hosts.into_iter().map(serde_json::from_value).collect::<Result<Vec<DeviceRow>, _>>();
            print(terminal.out, &hosts.map_err(ApplianceError::Foreign)?, terminal.width)?;
        }
    }
    terminal.out.flush()?;
    Ok(DONE)
}

/// The minimum width of a column that may be folded.
const LEAST: usize = 10;

/// Between two columns.
const GAP: usize = 2;

/// The parts of the table that are dropped first if it is too wide for the terminal. A device's address and its open
/// ports always stay.
const DISPENSABLE: [&str; 4] = ["SEEN (UTC)", "VENDOR", "DEVICE", "NAME"];

struct Column {
    title: &'static str,
    cells: Vec<String>,
    /// Whether long cells go on in the next line.
    folds: bool,
}

impl Column {
    fn needs(&self) -> usize {
        let lengths = self.cells.iter().map(|cell| cell.chars().count());
        let longest = lengths.fold(self.title.len(), usize::max);
        GAP + if self.folds { longest.min(LEAST) } else { longest }
    }
}

fn print(out: &mut dyn Write, hosts: &[DeviceRow], width: Option<u16>) -> io::Result<()> {
    if hosts.is_empty() {
        return writeln!(out, "no device is known yet");
    }
    let column = |title, folds, cell: fn(&DeviceRow) -> String| Column {
        title,
        cells: hosts.iter().map(cell).collect(),
        folds,
    };
    let mut columns = vec![
        column("DEVICE", false, |host| {
            host.mac.as_deref().map_or_else(|| "-".to_owned(), sanitize_for_terminal)
        }),
        column("ADDRESS", false, |host| sanitize_for_terminal(&host.address)),
        column("SEEN (UTC)", false, |host| host.last_seen.strftime("%Y-%m-%d %H:%M").to_string()),
        column("NAME", true, |host| host.name.as_deref().map(sanitize_for_terminal).unwrap_or_default()),
        column("VENDOR", true, DeviceRow::maker),
        column("OPEN PORTS", true, |host| open(&host.ports)),
    ];
    for title in DISPENSABLE {
        let needed: usize = columns.iter().map(Column::needs).sum();
        if width.is_none_or(|width| needed <= usize::from(width) + GAP) {
            break;
        }
        columns.retain(|column| column.title != title);
    }
    let titles: Vec<&str> = columns.iter().map(|column| column.title).collect();
    let rows = (0..hosts.len()).map(|row| columns.iter().map(|column| column.cells[row].clone()).collect());
    let fixed = columns.iter().filter(|column| !column.folds).count();
    table::write(out, &titles, rows, fixed, width)
}

impl DeviceRow {
    /// Returns the maker of its network interface, or a note that it is unknown.
    fn maker(&self) -> String {
        match &self.vendor {
            Some(vendor) => sanitize_for_terminal(vendor),
            None if self.locally_administered => "random MAC".to_owned(),
            None => String::new(),
        }
    }
}

/// `22, 80; udp 53`
fn open(ports: &[OpenPortJson]) -> String {
    let parts = Protocol::ALL.iter().filter_map(|protocol| {
        let ports: PortSet =
            ports.iter().filter(|open| open.protocol == *protocol).map(|open| open.port).collect();
        let ports = (!ports.is_empty()).then(|| ports.to_string().replace(',', ", "))?;
        Some(if *protocol == Protocol::Tcp { ports } else { format!("{protocol} {ports}") })
    });
    let parts: Vec<String> = parts.collect();
    if parts.is_empty() { "none".to_owned() } else { parts.join("; ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(hosts: &[DeviceRow], width: Option<u16>) -> String {
        let mut out = Vec::new();
        print(&mut out, hosts, width).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn devices_are_a_table_as_wide_as_the_terminal() {
        let host = |text| serde_json::from_str::<DeviceRow>(text).unwrap();
        let hosts = [
            host(
                r#"{"mac":"B8:27:EB:AC:14:3E","address":"192.168.1.7","name":"n\u001b[2Jas","own_name":null,
                    "vendor":"Raspberry Pi Foundation","locally_administered":false,
                    "last_seen":"2026-11-22T09:15:00.123Z","ports":[{"port":22,"protocol":"tcp"},
                    {"port":80,"protocol":"tcp"},{"port":53,"protocol":"udp"}]}"#,
            ),
            host(
                r#"{"mac":"DA:A1:19:00:00:01","address":"192.168.1.101","name":"living-room-tablet.local",
                    "vendor":null,"locally_administered":true,"last_seen":"2026-11-22T09:15:00Z",
                    "ports":[{"port":8008,"protocol":"tcp"},{"port":8009,"protocol":"tcp"},
                    {"port":9000,"protocol":"tcp"},{"port":62078,"protocol":"tcp"}]}"#,
            ),
            host(
                r#"{"mac":null,"address":"2001:db8::1","name":null,"last_seen":"2026-11-21T00:00:00Z","ports":[]}"#,
            ),
        ];
        insta::assert_snapshot!("hosts", printed(&hosts, None));
        for width in [40, 80, 120] {
            let table = printed(&hosts, Some(width));
            assert!(table.lines().all(|line| line.chars().count() <= usize::from(width)), "{table}");
            insta::assert_snapshot!(format!("hosts_{width}"), table);
        }
        assert_eq!(printed(&[], None), "no device is known yet\n");
    }
}
