//! `portscan run`: has the appliance scan now.

use std::{io, time::Duration};

use clap::Args;
use hyper::Method;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::{
    CliError, CommandEnv, DONE, FAILED, INTERRUPTED, Terminal,
    appliance::{Appliance, ApplianceArgs, ApplianceError, percent_encode},
    found::sanitize_for_terminal,
    ports,
    progress::Bar,
    table::counted,
};
use crate::{
    config::Overrides,
    model::{DeviceKey, PortSet},
};

/// The interval at which the appliance's progress is polled.
const TICK: Duration = Duration::from_secs(1);

/// What the appliance is to look at now.
#[derive(Args, Debug, Clone, PartialEq)]
#[command(
    after_help = "Exit: 0 started, or complete with --wait; 1 not; 2 wrong usage; 130 no longer waited for."
)]
pub struct RunArgs {
    /// Which scanner's devices [default: all scanners']
    pub name: Option<String>,
    /// Just this device: its MAC or address
    #[arg(long, value_name = "MAC|ADDRESS")]
    pub host: Option<DeviceKey>,
    /// Just these ports of that device
    #[arg(short, long, value_name = "PORTS", value_parser = ports::parse, requires = "host", allow_hyphen_values = true)]
    pub ports: Option<PortSet>,
    /// Wait until it is complete
    #[arg(long)]
    pub wait: bool,
    /// Print JSON instead of a line
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub access: ApplianceArgs,
}

#[derive(Deserialize)]
struct StartedRuns {
    runs: Vec<RunRef>,
}

#[derive(Deserialize)]
struct RunRef {
    id: i64,
}

/// The data of a run that is shown.
#[derive(Debug, Serialize, Deserialize)]
struct RunStatus {
    id: i64,
    scanner: String,
    status: String,
    hosts: Share,
    progress: Option<Progress>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Share {
    done: u64,
    total: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Progress {
    ports: Share,
    rate: f64,
    seconds_left: Option<f64>,
}

/// Starts the runs, waits for them if requested, and prints them.
pub(super) async fn run(
    args: &RunArgs,
    overrides: &Overrides,
    world: &CommandEnv,
    terminal: &mut Terminal<'_>,
    interrupted: CancellationToken,
) -> Result<u8, CliError> {
    let appliance = Appliance::find_running(&args.access, overrides, world)?;
    let started = appliance.request(Method::POST, &args.path(), None::<&()>).await?;
    let started: StartedRuns = serde_json::from_slice(&started).map_err(ApplianceError::Foreign)?;
    let mut runs = read(&appliance, &started).await?;
    if args.wait {
        let bar = Bar::new(terminal.progress, 0, world.clock.now());
        while runs.iter().any(RunStatus::is_under_way) {
            let (done, total) = ports_of(&runs);
            bar.show_counts(done, total, message(&runs));
            tokio::select! {
                () = tokio::time::sleep(TICK) => {}
                () = interrupted.cancelled() => {
                    bar.clear();
                    terminal.warn("it goes on; DELETE /v1/runs/ID stops it");
                    return Ok(INTERRUPTED);
                }
            }
            runs = read(&appliance, &started).await?;
        }
        bar.clear();
    }
    match args.json {
        true => {
            serde_json::to_writer(&mut *terminal.out, &runs).map_err(io::Error::from)?;
            writeln!(terminal.out)?;
        }
        false => runs.iter().try_for_each(|run| writeln!(terminal.out, "{}", run.line()))?,
    }
    terminal.out.flush()?;
    let good = runs.iter().all(|run| run.status == "complete" || !args.wait);
    Ok(if good { DONE } else { FAILED })
}

async fn read(appliance: &Appliance, started: &StartedRuns) -> Result<Vec<RunStatus>, ApplianceError> {
    let mut runs = Vec::with_capacity(started.runs.len());
    for RunRef { id } in &started.runs {
        runs.push(appliance.get(&format!("/v1/runs/{id}")).await?);
    }
    Ok(runs)
}

impl RunStatus {
    fn is_under_way(&self) -> bool {
        self.status == "running"
    }

    /// `lan: running, 12 of 40 devices; /v1/runs/1669065600`
    fn line(&self) -> String {
        let Self { id, scanner, status, hosts: Share { done, total }, .. } = self;
        let total = usize::try_from(*total).unwrap_or(usize::MAX);
        let (scanner, status) = (sanitize_for_terminal(scanner), sanitize_for_terminal(status));
        format!("{scanner}: {status}, {done} of {}; /v1/runs/{id}", counted(total, "device"))
    }
}

/// Returns the ports with a verdict, and the ports in all, of all runs together.
fn ports_of(runs: &[RunStatus]) -> (u64, u64) {
    let known = || runs.iter().filter_map(|run| run.progress.as_ref());
    (known().map(|progress| progress.ports.done).sum(), known().map(|progress| progress.ports.total).sum())
}

/// `276 ports/s  12 of 40 devices`
fn message(runs: &[RunStatus]) -> String {
    let rate: f64 = runs.iter().filter_map(|run| run.progress.as_ref()).map(|progress| progress.rate).sum();
    let done: u64 = runs.iter().map(|run| run.hosts.done).sum();
    let total: u64 = runs.iter().map(|run| run.hosts.total).sum();
    format!(
        "{rate:.0} ports/s  {done} of {}",
        counted(usize::try_from(total).unwrap_or(usize::MAX), "device")
    )
}

impl RunArgs {
    fn path(&self) -> String {
        let mut path = "/v1/run".to_owned();
        if let Some(name) = &self.name {
            path.push('/');
            path.extend(percent_encode(name));
        }
        if let Some(host) = &self.host {
            path.push_str("?host=");
            path.extend(percent_encode(&host.to_string()));
        }
        if let Some(ports) = &self.ports {
            path.push_str("&ports=");
            path.push_str(&ports.to_string());
        }
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_path_is_escaped() {
        let args = |name: Option<&str>, host: Option<&str>, ports: Option<&str>| RunArgs {
            name: name.map(str::to_owned),
            host: host.map(|host| host.parse().unwrap()),
            ports: ports.map(|ports| ports.parse().unwrap()),
            wait: false,
            json: false,
            access: ApplianceArgs::default(),
        };
        assert_eq!(args(None, None, None).path(), "/v1/run");
        assert_eq!(args(Some("../x?y"), None, None).path(), "/v1/run/..%2Fx%3Fy");
        let host = args(Some("lan"), Some("fe80::1%eth0"), Some("22,80-90"));
        assert_eq!(host.path(), "/v1/run/lan?host=fe80::1%25eth0&ports=22,80-90");
    }
}
