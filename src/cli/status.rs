//! `portscan status`: queries a running appliance over HTTP.

use std::{
    io::{self, Write},
    net::SocketAddr,
    time::Duration,
};

use clap::Args;
use hyper::StatusCode;
use jiff::{Zoned, tz::TimeZone};
use serde::{Deserialize, Serialize};

use super::{
    CliError, CommandEnv, DONE, FAILED, Terminal,
    appliance::url_of,
    columns::{self, Column},
    devices::{DeviceRow, LEGEND, ScanCoverage},
    found::sanitize_for_terminal,
    runs::RunStatus,
    table::counted,
};
use crate::{
    client::{ClientError, HttpClient, ResponseLimits},
    config::{Config, Overrides},
    model::{Mac, one_line},
};

/// The most characters that are shown of a problem: several sentences, each with the remedy.
const MOST_SAID: usize = 1000;

/// The limits of a list of devices: a thousand with all they have are 2 MB.
const LIST: ResponseLimits = ResponseLimits { timeout: Duration::from_secs(60), max_bytes: 64 << 20 };

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

/// An appliance's report on its health and its contents, as `--json` prints it.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct StatusDocument {
    url: String,
    health: Health,
    /// `None`: it is not healthy and cannot read them.
    counts: Option<DeviceCounts>,
    /// Those with a result; `None` as above.
    devices: Option<Vec<ScannedDevice>>,
}

/// How many devices there are, and how many of them are scanned.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct DeviceCounts {
    known: usize,
    /// Those with a result, of some ports or of all; `None`: the appliance is too old to say it.
    scanned: Option<usize>,
    /// Those with a result that covers all the ports that are to be scanned; `None` as above.
    complete: Option<usize>,
}

impl DeviceCounts {
    fn of(devices: &[DeviceRow]) -> Self {
        let count = |is_meant: fn(ScanCoverage) -> bool| {
            devices.iter().filter(|device| is_meant(device.coverage())).count()
        };
        let is_said = count(|coverage| coverage == ScanCoverage::Unknown) == 0;
        let complete = count(|coverage| coverage == ScanCoverage::Complete);
        let partial = count(|coverage| matches!(coverage, ScanCoverage::Partial(_)));
        Self {
            known: devices.len(),
            scanned: is_said.then_some(complete + partial),
            complete: is_said.then_some(complete),
        }
    }
}

/// The devices and the runs, as they are printed for people.
#[derive(Debug)]
struct Overview {
    devices: Vec<DeviceRow>,
    runs: Vec<RunStatus>,
}

/// `/healthz`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Health {
    status: String,
    /// Why it is not healthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(default)]
    notices: Vec<String>,
}

impl Health {
    fn is_healthy(&self) -> bool {
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
    let client = HttpClient::new(world.resolver.clone());
    let health = health(&client, &url, ResponseLimits::default()).await?;
    let is_healthy = health.is_healthy();
    match args.json {
        true => {
            let devices =
                if_readable(devices(&client, &format!("{url}/{}", config.base_url)).await, &health)?;
            let rows = if_readable(device_rows(&client, &url).await, &health)?;
            let counts = rows.as_deref().map(DeviceCounts::of);
            let document = StatusDocument { url, health, counts, devices };
            serde_json::to_writer_pretty(&mut *terminal.out, &document).map_err(io::Error::from)?;
            writeln!(terminal.out)?;
        }
        false => {
            let overview = if_readable(overview(&client, &url).await, &health)?;
            let now = world.clock.wall().to_zoned(TimeZone::system());
            print_health(terminal.out, &url, &health)?;
            match overview {
                Some(overview) => print_overview(terminal.out, &overview, &now, terminal.width)?,
                None => writeln!(
                    terminal.out,
                    "its results cannot be read; its log may say more: journalctl -u portscan"
                )?,
            }
        }
    }
    terminal.out.flush()?;
    Ok(if is_healthy { DONE } else { FAILED })
}

/// `None` for a refusal of an appliance that is not healthy: what is wrong with it is already known.
fn if_readable<T>(read: Result<T, StatusError>, health: &Health) -> Result<Option<T>, StatusError> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(StatusError::Unreachable { error: ClientError::Status { .. }, .. }) if !health.is_healthy() => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

async fn overview(client: &HttpClient, url: &str) -> Result<Overview, StatusError> {
    let devices = device_rows(client, url).await?;
    Ok(Overview { devices, runs: get_within(client, &format!("{url}/v1/runs"), LIST).await? })
}

async fn device_rows(client: &HttpClient, url: &str) -> Result<Vec<DeviceRow>, StatusError> {
    get_within(client, &format!("{url}/v1/hosts"), LIST).await
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
    get_within(client, url, ResponseLimits::default()).await
}

async fn get_within<T: for<'de> Deserialize<'de>>(
    client: &HttpClient,
    url: &str,
    limits: ResponseLimits,
) -> Result<T, StatusError> {
    let answer = client.get(url, limits).await;
    let body = answer.map_err(|error| StatusError::Unreachable { url: url.to_owned(), error })?;
    read(url, &body)
}

fn read<T: for<'de> Deserialize<'de>>(url: &str, body: &[u8]) -> Result<T, StatusError> {
    serde_json::from_slice(body).map_err(|error| StatusError::Foreign { url: url.to_owned(), error })
}

fn print_health(out: &mut dyn Write, url: &str, health: &Health) -> io::Result<()> {
    let word = if health.is_healthy() { "healthy" } else { "not healthy" };
    writeln!(out, "{}: {word}", sanitize_for_terminal(url))?;
    if let Some(error) = &health.error {
        writeln!(out, "error: {}", one_line(error, MOST_SAID))?;
    }
    health.notices.iter().try_for_each(|notice| writeln!(out, "note: {}", one_line(notice, MOST_SAID)))
}

fn print_overview(
    out: &mut dyn Write,
    overview: &Overview,
    now: &Zoned,
    width: Option<u16>,
) -> io::Result<()> {
    let Overview { devices, runs } = overview;
    writeln!(out, "{}", device_counts(devices))?;
    let running: Vec<&RunStatus> = runs.iter().filter(|run| run.is_under_way()).collect();
    if running.is_empty() {
        writeln!(out, "no scan is running")?;
    }
    running.iter().try_for_each(|run| writeln!(out, "running: {}", run.summary()))?;
    if devices.is_empty() {
        return Ok(());
    }
    let columns = vec![
        Column::fixed("DEVICE", devices.iter().map(DeviceRow::mac_or_dash)),
        Column::fixed("ADDRESS", devices.iter().map(|device| sanitize_for_terminal(&device.address))),
        Column::fixed("SCANNED", devices.iter().map(|device| device.scan_time(now))),
        Column::folding("OPEN PORTS", devices.iter().map(|device| device.open_ports(now))),
    ];
    columns::write(out, columns, &["SCANNED", "DEVICE"], width)?;
    match devices.iter().any(DeviceRow::has_unconfirmed_port) {
        true => writeln!(out, "{LEGEND}"),
        false => Ok(()),
    }
}

/// `12 devices known; 9 scanned, 3 of them completely; 3 not scanned yet`
fn device_counts(devices: &[DeviceRow]) -> String {
    if devices.is_empty() {
        return "no device is known yet".to_owned();
    }
    let DeviceCounts { known, scanned, complete } = DeviceCounts::of(devices);
    let mut text = format!("{} known", counted(known, "device"));
    let (Some(scanned), Some(complete)) = (scanned, complete) else {
        return text + "; this appliance does not say which of them it has scanned";
    };
    if scanned > 0 {
        text += &format!("; {scanned} scanned, {complete} of them completely");
    }
    if known > scanned {
        text += &format!("; {} not scanned yet", known - scanned);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{
        super::devices::tests::{at, device},
        *,
    };

    fn printed(overview: &Overview, width: Option<u16>) -> String {
        let mut out = Vec::new();
        print_overview(&mut out, overview, &at("2026-11-22T21:30:00Z"), width).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn overview() -> Overview {
        let scanned = |ports, complete| {
            format!(r#""scanned":{{"time":"2026-11-22T21:18:02Z","ports":{ports},"complete":{complete}}}"#)
        };
        let open =
            r#""ports":[{"port":22,"protocol":"tcp"},{"port":8080,"protocol":"tcp","unconfirmed":true}]"#;
        let run = r#"{"id":7,"scanner":"lan","kind":"run","status":"running","hosts":{"done":2,"total":4},
            "progress":{"ports":{"done":450,"total":1000},"rate":250.0,"seconds":40.0,"seconds_left":240.0,
            "devices":[]}}"#;
        Overview {
            devices: vec![
                device(&format!("{},{open}", scanned(65_535, true))),
                device(&format!(r#"{},"ports":[]"#, scanned(1000, false))),
                device(r#""scanned":null,"scanning":{"done":450,"total":1000},"ports":[]"#),
                device(r#""scanned":null,"ports":[]"#),
            ],
            runs: vec![serde_json::from_str(run).unwrap()],
        }
    }

    #[test]
    fn says_how_it_is_and_what_it_knows() {
        let mut out = Vec::new();
        let health: Health =
            serde_json::from_str(r#"{"status":"ok","notices":["the feed is\u001b[2J silent"]}"#).unwrap();
        assert!(health.is_healthy());
        print_health(&mut out, "http://127.0.0.1:8080", &health).unwrap();
        let health = String::from_utf8(out).unwrap();
        for width in [None, Some(40), Some(60), Some(80), Some(120)] {
            let name = format!("status_{}", width.unwrap_or_default());
            insta::assert_snapshot!(name, health.clone() + &printed(&overview(), width));
        }
    }

    #[test]
    fn says_what_is_not_known() {
        let empty = Overview { devices: Vec::new(), runs: Vec::new() };
        assert_eq!(printed(&empty, None), "no device is known yet\nno scan is running\n");
        let old = Overview { devices: vec![device(r#""ports":[]"#)], runs: Vec::new() };
        let said = printed(&old, None);
        assert!(said.starts_with("1 device known; this appliance does not say which"), "{said}");
        assert!(said.ends_with("not known\n"), "{said}");
    }

    #[test]
    fn says_why_it_is_not_healthy() {
        let health = r#"{"status":"failing","error":"the disk is full; free some space","notices":[]}"#;
        let health: Health = serde_json::from_str(health).unwrap();
        let mut out = Vec::new();
        print_health(&mut out, "http://127.0.0.1:8080", &health).unwrap();
        let expected = "http://127.0.0.1:8080: not healthy\nerror: the disk is full; free some space\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        let refusal = || StatusError::Unreachable {
            url: String::new(),
            error: ClientError::Status { status: StatusCode::SERVICE_UNAVAILABLE, body: Vec::new().into() },
        };
        assert!(matches!(if_readable(Err::<(), _>(refusal()), &health), Ok(None)));
        let healthy = Health { status: "ok".to_owned(), ..health };
        assert!(if_readable(Err::<(), _>(refusal()), &healthy).is_err());
    }
}
