//! `portscan status`: queries a running appliance over HTTP.

use std::{
    io::{self, Write},
    net::SocketAddr,
    time::Duration,
};

use clap::Args;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};

use super::{
    CliError, CommandEnv, DONE, FAILED, Terminal, appliance::url_of, found::sanitize_for_terminal, table,
};
use crate::{
    client::{ClientError, HttpClient, ResponseLimits},
    config::{Config, Overrides},
    model::{Mac, PortSet, one_line},
};

/// The most characters that are shown of a problem: several sentences, each with the remedy.
const MOST_SAID: usize = 1000;

/// Which appliance.
#[derive(Args, Debug, Clone, PartialEq)]
pub struct StatusArgs {
    /// Where it is [default: this machine, at the configured address]
    #[arg(long, value_name = "http://HOST[:PORT]")]
    pub url: Option<String>,
    /// Print JSON instead of text
    #[arg(long)]
    pub json: bool,
}

/// Why an appliance's status is unavailable.
#[derive(Debug, thiserror::Error)]
pub(super) enum StatusError {
    #[error("{url}: {error}. Is `portscan serve` running there? Name another appliance with --url")]
    Unreachable { url: String, error: ClientError },
    #[error("{url}: the answer is not an appliance's ({error}); is it another program's port?")]
    Foreign { url: String, error: serde_json::Error },
}

/// An appliance's report on its health and its contents.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct ApplianceStatus {
    url: String,
    health: Health,
    /// `None`: the appliance is unhealthy and cannot read them.
    devices: Option<Vec<ScannedDevice>>,
}

/// `/healthz`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Health {
    status: String,
    /// Why the appliance is unhealthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(default)]
    notices: Vec<String>,
}

impl Health {
    fn is_well(&self) -> bool {
        self.status == "ok"
    }
}

/// `/portscan/json`.
#[derive(Deserialize)]
struct Macs {
    macs: Vec<Mac>,
}

/// The part of `/portscan/MAC/json` that is shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct ScannedDevice {
    host: DeviceAddress,
    time: Time,
    ports: Vec<u16>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct DeviceAddress {
    ipv4: String,
    mac: Mac,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Time {
    utc: String,
}

/// Fetches and prints the status; returns 0 if the appliance is healthy.
pub(super) async fn status(
    args: &StatusArgs,
    overrides: &Overrides,
    world: &CommandEnv,
    terminal: &mut Terminal<'_>,
) -> Result<u8, CliError> {
    let config = match (&args.url, Config::read(overrides)) {
        (_, Ok(config)) => config,
        // An appliance on another machine can be queried even if the configuration here is faulty.
        (Some(_), Err(_)) => Config::default(),
        (None, Err(error)) => return Err(error.into()),
    };
    let url = match &args.url {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => url_of(&config.listen),
    };
    let status = fetch(&HttpClient::new(world.resolver.clone()), url, &config.base_url).await?;
    match args.json {
        true => {
            serde_json::to_writer_pretty(&mut *terminal.out, &status).map_err(io::Error::from)?;
            writeln!(terminal.out)?;
        }
        false => print(terminal.out, &status, terminal.width)?,
    }
    terminal.out.flush()?;
    Ok(if status.health.is_well() { DONE } else { FAILED })
}

async fn fetch(client: &HttpClient, url: String, base_url: &str) -> Result<ApplianceStatus, StatusError> {
    let health = health(client, &url, ResponseLimits::default()).await?;
    let devices = match devices(client, &format!("{url}/{base_url}")).await {
        Ok(devices) => Some(devices),
        // The health report already has the reason.
        Err(StatusError::Unreachable { error: ClientError::Status { .. }, .. }) if !health.is_well() => None,
        Err(error) => return Err(error),
    };
    Ok(ApplianceStatus { url, health, devices })
}

/// Reads the health report: status 200 if the appliance is healthy, else 503 with the same keys.
async fn health(client: &HttpClient, url: &str, limits: ResponseLimits) -> Result<Health, StatusError> {
    match client.get(&format!("{url}/healthz"), limits).await {
        Ok(body) | Err(ClientError::Status { status: StatusCode::SERVICE_UNAVAILABLE, body }) => {
            read(url, &body)
        }
        Err(error) => Err(StatusError::Unreachable { url: url.to_owned(), error }),
    }
}

async fn devices(client: &HttpClient, base: &str) -> Result<Vec<ScannedDevice>, StatusError> {
    let macs: Macs = get(client, &format!("{base}/json")).await?;
    let mut devices = Vec::with_capacity(macs.macs.len());
    for mac in macs.macs {
        match get(client, &format!("{base}/{mac}/json")).await {
            Ok(device) => devices.push(device),
            // Forgotten between the list and now: the answer is then {"error":"host not found"}.
            Err(StatusError::Foreign { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(devices)
}

/// Whether an appliance answers at this address, healthy or not.
pub(super) async fn is_appliance(client: &HttpClient, address: SocketAddr) -> bool {
    // Any program may hold the port, and never answer.
    let limits = ResponseLimits { timeout: Duration::from_secs(1), max_bytes: 64 << 10 };
    health(client, &url_of(&[address]), limits).await.is_ok()
}

async fn get<T: for<'de> Deserialize<'de>>(client: &HttpClient, url: &str) -> Result<T, StatusError> {
    let answer = client.get(url, ResponseLimits::default()).await;
    let body = answer.map_err(|error| StatusError::Unreachable { url: url.to_owned(), error })?;
    read(url, &body)
}

fn read<T: for<'de> Deserialize<'de>>(url: &str, body: &[u8]) -> Result<T, StatusError> {
    serde_json::from_slice(body).map_err(|error| StatusError::Foreign { url: url.to_owned(), error })
}

fn print(out: &mut dyn Write, status: &ApplianceStatus, width: Option<u16>) -> io::Result<()> {
    writeln!(
        out,
        "{}: {}",
        sanitize_for_terminal(&status.url),
        if status.health.is_well() { "ok" } else { "not well" }
    )?;
    if let Some(error) = &status.health.error {
        writeln!(out, "error: {}", one_line(error, MOST_SAID))?;
    }
    for notice in &status.health.notices {
        writeln!(out, "note: {}", one_line(notice, MOST_SAID))?;
    }
    let Some(devices) = &status.devices else {
        return writeln!(out, "its results cannot be read; its log may say more: journalctl -u portscan");
    };
    writeln!(out, "{} with a result", table::counted(devices.len(), "device"))?;
    if devices.is_empty() {
        return Ok(());
    }
    let rows = devices.iter().map(|device| {
        let ports: PortSet = device.ports.iter().copied().collect();
        let open = if ports.is_empty() { "none".to_owned() } else { ports.to_string().replace(',', ", ") };
        vec![
            device.host.mac.to_string(),
            sanitize_for_terminal(&device.host.ipv4),
            sanitize_for_terminal(&device.time.utc),
            open,
        ]
    });
    table::write(out, &["DEVICE", "ADDRESS", "SCANNED (UTC)", "OPEN PORTS"], rows, 3, width)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> ApplianceStatus {
        let device = |text| serde_json::from_str(text).unwrap();
        ApplianceStatus {
            url: "http://127.0.0.1:8080".to_owned(),
            health: serde_json::from_str(r#"{"status":"ok","notices":["the feed is\u001b[2J silent"]}"#)
                .unwrap(),
            devices: Some(vec![
                device(
                    r#"{"host":{"ipv4":"192.168.1.5","mac":"B8:27:EB:AC:14:3E"},"ports":[22,80,443,8080,8081],
                        "time":{"utc":"2026-11-22 21:18:02","prep_sec":0.1,"scan_sec":1,"total_sec":1},"count":5}"#,
                ),
                device(
                    r#"{"host":{"ipv4":"192.168.1.9","mac":"02:00:00:00:00:09"},"ports":[],
                        "time":{"utc":"2026-11-22 21:20:00"},"count":0}"#,
                ),
            ]),
        }
    }

    #[test]
    fn prints_the_health_and_the_devices() {
        for width in [None, Some(60)] {
            let mut out = Vec::new();
            print(&mut out, &status(), width).unwrap();
            let name = format!("status_{}", width.unwrap_or_default());
            insta::assert_snapshot!(name, String::from_utf8(out).unwrap());
        }
    }

    #[test]
    fn prints_why_the_appliance_is_unhealthy() {
        assert!(status().health.is_well());
        let health = r#"{"status":"failing","error":"the disk is full; free some space","notices":[]}"#;
        let status =
            ApplianceStatus { health: serde_json::from_str(health).unwrap(), devices: None, ..status() };
        assert!(!status.health.is_well());
        let mut out = Vec::new();
        print(&mut out, &status, None).unwrap();
        let expected = "http://127.0.0.1:8080: not well\nerror: the disk is full; free some space\n\
                        its results cannot be read; its log may say more: journalctl -u portscan\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
