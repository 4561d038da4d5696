//! `portscan hosts`: lists the known devices and their open ports.

use std::io::{self, Write};

use clap::Args;
use jiff::{Zoned, tz::TimeZone};
use serde_json::Value;

use super::{
    CliError, CommandEnv, DONE, Terminal,
    appliance::{Appliance, ApplianceArgs, DatabaseUse, not_rows, percent_encode},
    columns::{self, Column},
    devices::{DeviceRow, LEGEND, date_and_time},
    found::sanitize_for_terminal,
};
use crate::{config::Overrides, model::DeviceKey};

/// Which devices.
#[derive(Args, Debug, Clone, PartialEq)]
#[command(
    after_help = "With -v the devices of which a type, a model or tags are known follow, and each open port of which \
                        something is known, with its level: fine, look or act. \
                        `portscan explain DEVICE` says why, and what to do."
)]
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

/// Asks and prints.
pub(super) async fn hosts(
    args: &HostsArgs,
    (verbose, overrides): (u8, &Overrides),
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
            let foreign = not_rows(&hosts);
            let hosts = hosts.into_iter().map(serde_json::from_value).collect::<Result<Vec<DeviceRow>, _>>();
            let hosts = hosts.map_err(foreign)?;
            let now = world.clock.wall().to_zoned(TimeZone::system());
            print(terminal.out, &hosts, &now, terminal.width)?;
            if verbose > 0 {
                print_kinds(terminal.out, &hosts, terminal.width)?;
                print_advice(terminal.out, &hosts, terminal.width)?;
            }
        }
    }
    terminal.out.flush()?;
    Ok(DONE)
}

/// The columns that are dropped first if the table is too wide for the terminal. A device's address and its open ports
/// always stay.
const DISPENSABLE: [&str; 4] = ["SEEN", "VENDOR", "DEVICE", "NAME"];

fn print(out: &mut dyn Write, hosts: &[DeviceRow], now: &Zoned, width: Option<u16>) -> io::Result<()> {
    if hosts.is_empty() {
        return writeln!(out, "no device is known yet");
    }
    let columns = vec![
        Column::fixed("DEVICE", hosts.iter().map(DeviceRow::mac_or_dash)),
        Column::fixed("ADDRESS", hosts.iter().map(|host| sanitize_for_terminal(&host.address))),
        Column::fixed("SEEN", hosts.iter().map(|host| date_and_time(host.last_seen, now))),
        Column::folding(
            "NAME",
            hosts.iter().map(|host| host.name.as_deref().map(sanitize_for_terminal).unwrap_or_default()),
        ),
        Column::folding("VENDOR", hosts.iter().map(DeviceRow::maker)),
        Column::folding("OPEN PORTS", hosts.iter().map(|host| host.open_ports(now))),
    ];
    columns::write(out, columns, &DISPENSABLE, width)?;
    match hosts.iter().any(DeviceRow::has_unconfirmed_port) {
        true => writeln!(out, "{LEGEND}"),
        false => Ok(()),
    }
}

/// Lists what devices are.
fn print_kinds(out: &mut dyn Write, hosts: &[DeviceRow], width: Option<u16>) -> io::Result<()> {
    let known = || hosts.iter().filter(|host| host.has_kind());
    if known().next().is_none() {
        return Ok(());
    }
    writeln!(out)?;
    let columns = vec![
        Column::fixed("ADDRESS", known().map(|host| sanitize_for_terminal(&host.address))),
        Column::fixed("TYPE", known().map(DeviceRow::kind)),
        Column::folding("MODEL", known().map(DeviceRow::model)),
        Column::folding("TAGS", known().map(DeviceRow::tags)),
        Column::folding("BECAUSE", known().map(DeviceRow::kind_evidence)),
    ];
    columns::write(out, columns, &["BECAUSE", "MODEL"], width)
}

/// Lists what the open ports are, and how much each matters.
fn print_advice(out: &mut dyn Write, hosts: &[DeviceRow], width: Option<u16>) -> io::Result<()> {
    let advised =
        || hosts.iter().flat_map(|host| host.advised_ports().into_iter().map(move |port| (host, port)));
    if advised().next().is_none() {
        return Ok(());
    }
    writeln!(out)?;
    let columns = vec![
        Column::fixed("ADDRESS", advised().map(|(host, _)| sanitize_for_terminal(&host.address))),
        Column::fixed("PORT", advised().map(|(_, (port, _))| port.label())),
        Column::fixed("LEVEL", advised().map(|(_, (_, advice))| advice.level.to_string())),
        Column::folding("WHAT", advised().map(|(_, (_, advice))| sanitize_for_terminal(&advice.what))),
    ];
    columns::write(out, columns, &[], width)
}

#[cfg(test)]
mod tests {
    use super::{super::devices::tests::at, *};

    fn printed(hosts: &[DeviceRow], width: Option<u16>) -> String {
        let mut out = Vec::new();
        print(&mut out, hosts, &at("2026-11-22T14:30:00Z"), width).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn devices_are_a_table_as_wide_as_the_terminal() {
        let host = |text| serde_json::from_str::<DeviceRow>(text).unwrap();
        let hosts = [
            host(
                r#"{"mac":"B8:27:EB:AC:14:3E","address":"192.168.1.7","name":"n\u001b[2Jas","own_name":null,
                    "vendor":"Raspberry Pi Foundation","locally_administered":false,
                    "scanned":{"time":"2026-11-22T09:14:00Z","ports":65535,"complete":true},"scanning":null,
                    "presence":"online","last_seen":"2026-11-22T09:15:00.123Z",
                    "ports":[{"port":22,"protocol":"tcp","unconfirmed":false},
                    {"port":80,"protocol":"tcp","unconfirmed":false},{"port":8080,"protocol":"tcp","unconfirmed":true},
                    {"port":53,"protocol":"udp","unconfirmed":false}]}"#,
            ),
            host(
                r#"{"mac":"DA:A1:19:00:00:01","address":"192.168.1.101","name":"living-room-tablet.local",
                    "vendor":null,"locally_administered":true,"last_seen":"2026-11-22T09:15:00Z",
                    "scanned":{"time":"2026-11-22T09:14:00Z","ports":1000,"complete":false},
                    "scanning":{"done":29500,"total":65535},"presence":"online",
                    "ports":[{"port":8008,"protocol":"tcp"},{"port":8009,"protocol":"tcp"},
                    {"port":9000,"protocol":"tcp"},{"port":62078,"protocol":"tcp"}]}"#,
            ),
            host(
                r#"{"mac":null,"address":"2001:db8::1","name":null,"last_seen":"2026-11-21T00:00:00Z",
                    "scanned":null,"scanning":null,"presence":"unknown","ports":[]}"#,
            ),
            host(
                r#"{"mac":"B8:27:EB:00:00:09","address":"192.168.1.9","name":"printer","last_seen":"2026-11-22T14:05:00Z",
                    "scanned":{"time":"2026-11-22T09:14:00Z","ports":1000,"complete":false},"scanning":null,
                    "presence":"offline","ports":[]}"#,
            ),
            // Of an appliance without the keys that say how much is known.
            host(
                r#"{"mac":null,"address":"2001:db8::2","name":null,"last_seen":"2026-11-21T00:00:00Z","ports":[]}"#,
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

    #[test]
    fn what_devices_are_is_listed_if_it_is_known() {
        let host = |text| serde_json::from_str::<DeviceRow>(text).unwrap();
        let hosts = [
            host(
                r#"{"mac":null,"address":"192.0.2.1","name":null,"last_seen":"2026-11-21T00:00:00Z","ports":[],
                    "type":"printer","type_evidence":"announces _ipp._tcp","model":"MFC\u001b","tags":["office","a"]}"#,
            ),
            host(
                r#"{"mac":null,"address":"192.0.2.2","name":null,"last_seen":"2026-11-21T00:00:00Z","ports":[]}"#,
            ),
        ];
        let listed = |hosts: &[DeviceRow]| {
            let mut out = Vec::new();
            print_kinds(&mut out, hosts, Some(100)).unwrap();
            String::from_utf8(out).unwrap()
        };
        let table = listed(&hosts);
        let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("192")).collect();
        assert_eq!(rows.len(), 1, "{table}");
        for text in ["printer", "office, a", "announces _ipp._tcp", "MFC"] {
            assert!(rows[0].contains(text), "{table}");
        }
        assert!(!table.contains('\u{1b}'), "{table}");
        assert_eq!(listed(&hosts[1..]), "");
    }

    #[test]
    fn advice_is_listed_by_device_and_level() {
        let host = |text| serde_json::from_str::<DeviceRow>(text).unwrap();
        let hosts = [
            host(
                r#"{"mac":null,"address":"192.0.2.1","name":null,"last_seen":"2026-11-21T00:00:00Z","ports":[
                    {"port":80,"protocol":"tcp","unconfirmed":true,"advice":{"level":"fine","what":"usually a web page",
                    "why":"A.","remedy":"B."}},{"port":6,"protocol":"tcp","advice":null},
                    {"port":23,"protocol":"tcp","advice":{"level":"act","what":"usually Tel\u001bnet","why":"A.",
                    "remedy":"B."}}]}"#,
            ),
            host(
                r#"{"mac":null,"address":"192.0.2.2","name":null,"last_seen":"2026-11-21T00:00:00Z","ports":[]}"#,
            ),
        ];
        let listed = |hosts: &[DeviceRow], width| {
            let mut out = Vec::new();
            print_advice(&mut out, hosts, width).unwrap();
            String::from_utf8(out).unwrap()
        };
        insta::assert_snapshot!("hosts_advice", listed(&hosts, Some(80)));
        assert_eq!(listed(&hosts[1..], None), "");
    }
}
