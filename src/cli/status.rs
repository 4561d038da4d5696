//! `portscan status`: asks a running appliance over HTTP.

use std::{
    io::{self, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{CliError, DONE, FAILED, StatusArgs, Terminal, World, found::harmless, table};
use crate::{
    client::{Client, ClientError, Limits},
    config::{Config, Overrides},
    model::{Mac, PortSet},
};

/// Why an appliance cannot be asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum StatusError {
    #[error("{url}: {error}. Is `portscan serve` running there? Name another appliance with --url")]
    Unreachable { url: String, error: ClientError },
    #[error("{url}: the answer is not what an appliance says ({error}); is it another program's port?")]
    Foreign { url: String, error: serde_json::Error },
}

/// What an appliance says of itself, and what it knows.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Told {
    url: String,
    /// As /healthz has it; `None`: it says that it is not well, and no more could be read.
    health: Option<Value>,
    devices: Vec<Device>,
}

/// `/portscan/json`.
#[derive(Deserialize)]
struct Macs {
    macs: Vec<Mac>,
}

/// `/portscan/MAC/json`, what we show of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Device {
    host: Host,
    time: Time,
    ports: Vec<u16>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Host {
    ipv4: String,
    mac: Mac,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Time {
    utc: String,
}

/// Asks, prints, returns 0 if the appliance is well.
pub(super) async fn status(
    args: &StatusArgs,
    overrides: &Overrides,
    world: &World,
    terminal: &mut Terminal<'_>,
) -> Result<u8, CliError> {
    let config = match (&args.url, Config::read(overrides)) {
        (_, Ok(config)) => config,
        // Another machine's appliance can be asked whatever is wrong with the configuration here.
        (Some(_), Err(_)) => Config::default(),
        (None, Err(error)) => return Err(error.into()),
    };
    let url = match &args.url {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => url_of(&config.listen),
    };
    let told = ask(&Client::new(world.resolver.clone()), url, &config.base_url).await?;
    match args.json {
        true => {
            serde_json::to_writer_pretty(&mut *terminal.out, &told).map_err(io::Error::from)?;
            writeln!(terminal.out)?;
        }
        false => print(terminal.out, &told, terminal.width)?,
    }
    terminal.out.flush()?;
    Ok(if told.is_well() { DONE } else { FAILED })
}

/// Where an appliance that listens on these addresses is reached from its own machine.
fn url_of(listen: &[SocketAddr]) -> String {
    let own = |address: &SocketAddr| {
        let ip = match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        match address.port() {
            80 if ip.is_ipv4() => format!("http://{ip}"),
            port => format!("http://{}", SocketAddr::new(ip, port)),
        }
    };
    listen.first().map_or_else(|| "http://localhost".to_owned(), own)
}

async fn ask(client: &Client, url: String, base_url: &str) -> Result<Told, StatusError> {
    let health = match client.get(&format!("{url}/healthz"), Limits::default()).await {
        Ok(body) => Some(read(&url, &body)?),
        Err(ClientError::Status(code)) if code.as_u16() == 503 => None,
        Err(error) => return Err(StatusError::Unreachable { url, error }),
    };
    let macs: Macs = get(client, &format!("{url}/{base_url}/json")).await?;
    let mut devices = Vec::with_capacity(macs.macs.len());
    for mac in macs.macs {
        match get(client, &format!("{url}/{base_url}/{mac}/json")).await {
            Ok(device) => devices.push(device),
            // Forgotten between the list and now: the answer is then {"error":"host not found"}.
            Err(StatusError::Foreign { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Told { url, health, devices })
}

/// Whether something that answers as the appliance does is at this address.
pub(super) async fn is_appliance(client: &Client, address: SocketAddr) -> bool {
    let url = format!("{}/healthz", url_of(&[address]));
    match client.get(&url, Limits::default()).await {
        Ok(body) => serde_json::from_slice::<Value>(&body).is_ok_and(|health| health["status"].is_string()),
        Err(_) => false,
    }
}

async fn get<T: for<'de> Deserialize<'de>>(client: &Client, url: &str) -> Result<T, StatusError> {
    let answer = client.get(url, Limits::default()).await;
    let body = answer.map_err(|error| StatusError::Unreachable { url: url.to_owned(), error })?;
    read(url, &body)
}

fn read<T: for<'de> Deserialize<'de>>(url: &str, body: &[u8]) -> Result<T, StatusError> {
    serde_json::from_slice(body).map_err(|error| StatusError::Foreign { url: url.to_owned(), error })
}

impl Told {
    fn is_well(&self) -> bool {
        self.health.as_ref().is_some_and(|health| health["status"] == "ok")
    }
}

fn print(out: &mut dyn Write, told: &Told, width: Option<u16>) -> io::Result<()> {
    let well = if told.is_well() { "ok" } else { "not well; its log says why: journalctl -u portscan" };
    writeln!(out, "{}: {well}", harmless(&told.url))?;
    let notices = told.health.as_ref().and_then(|health| health["notices"].as_array());
    for notice in notices.into_iter().flatten().filter_map(Value::as_str) {
        writeln!(out, "note: {}", harmless(notice))?;
    }
    writeln!(out, "{} with a result", table::counted(told.devices.len(), "device"))?;
    if told.devices.is_empty() {
        return Ok(());
    }
    let rows = told.devices.iter().map(|device| {
        let ports: PortSet = device.ports.iter().copied().collect();
        let open = if ports.is_empty() { "none".to_owned() } else { ports.to_string().replace(',', ", ") };
        vec![device.host.mac.to_string(), harmless(&device.host.ipv4), harmless(&device.time.utc), open]
    });
    table::write(out, &["DEVICE", "ADDRESS", "SCANNED (UTC)", "OPEN PORTS"], rows, 3, width)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told() -> Told {
        let device = |text| serde_json::from_str(text).unwrap();
        Told {
            url: "http://127.0.0.1:8080".to_owned(),
            health: serde_json::from_str(r#"{"status":"ok","notices":["the feed is\u001b[2J silent"]}"#).ok(),
            devices: vec![
                device(
                    r#"{"host":{"ipv4":"192.168.1.5","mac":"B8:27:EB:AC:14:3E"},"ports":[22,80,443,8080,8081],
                        "time":{"utc":"2026-11-22 21:18:02","prep_sec":0.1,"scan_sec":1,"total_sec":1},"count":5}"#,
                ),
                device(
                    r#"{"host":{"ipv4":"192.168.1.9","mac":"02:00:00:00:00:09"},"ports":[],
                        "time":{"utc":"2026-11-22 21:20:00"},"count":0}"#,
                ),
            ],
        }
    }

    #[test]
    fn says_how_it_is_and_what_it_knows() {
        for width in [None, Some(60)] {
            let mut out = Vec::new();
            print(&mut out, &told(), width).unwrap();
            let name = format!("status_{}", width.unwrap_or_default());
            insta::assert_snapshot!(name, String::from_utf8(out).unwrap());
        }
    }

    #[test]
    fn not_well_is_an_exit_code() {
        assert!(told().is_well());
        assert!(!Told { health: None, ..told() }.is_well());
    }

    #[test]
    fn the_appliance_is_asked_where_it_listens() {
        for (listen, url) in [
            ("0.0.0.0:80", "http://127.0.0.1"),
            ("0.0.0.0:8080", "http://127.0.0.1:8080"),
            ("[::]:8080", "http://[::1]:8080"),
            ("192.168.1.2:80", "http://192.168.1.2"),
        ] {
            assert_eq!(url_of(&[listen.parse().unwrap()]), url);
        }
    }
}
