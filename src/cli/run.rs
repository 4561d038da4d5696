//! `portscan run`: has the appliance scan now.

use std::{io, pin::pin, time::Duration};

use clap::Args;
use hyper::Method;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    CliError, CommandEnv, DONE, FAILED, INTERRUPTED, Terminal,
    appliance::{Appliance, ApplianceArgs, ApplianceError, percent_encode},
    findings::{EventReader, Findings, OpenEvent, ResultRow},
    ports,
    progress::Bar,
    runs::{RunStatus, ports_of},
    table::counted,
};
use crate::{
    config::Overrides,
    model::{DeviceKey, PortSet},
};

/// The interval at which the appliance's progress is polled. The appliance itself may be most of a second behind, and
/// no open port is to be shown later than one second after its verdict where events are not available.
const TICK: Duration = Duration::from_millis(500);

/// The time from the end of an event stream to the next try.
const RETRY: Duration = Duration::from_secs(5);

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
    /// Wait until it is complete, and print each open port as soon as it is found
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

/// Starts the runs and prints them; waits if requested.
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
        let waiting = wait(&appliance, &started, runs, args.json, &bar, terminal);
        let ended = interrupted.run_until_cancelled(waiting).await;
        bar.clear();
        match ended {
            Some(ended) => runs = ended?,
            None => {
                terminal.warn("the scan goes on; DELETE /v1/runs/ID stops it");
                return Ok(INTERRUPTED);
            }
        }
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

/// Waits until the runs are over, and prints each open port as soon as the appliance reports it: by an event, in the
/// progress of the runs, or at last in their results.
async fn wait(
    appliance: &Appliance,
    started: &StartedRuns,
    mut runs: Vec<RunStatus>,
    is_quiet: bool,
    bar: &Bar,
    terminal: &mut Terminal<'_>,
) -> Result<Vec<RunStatus>, CliError> {
    let mut findings = Findings::default();
    let (sender, mut events) = mpsc::unbounded_channel();
    let mut listening = pin!(listen(appliance, &sender));
    let mut tick = tokio::time::interval(TICK);
    let mut print = |lines: Vec<String>| -> io::Result<()> {
        if is_quiet || lines.is_empty() {
            return Ok(());
        }
        bar.above(|| {
            lines.iter().try_for_each(|line| writeln!(terminal.out, "{line}"))?;
            terminal.out.flush()
        })
    };
    while runs.iter().any(RunStatus::is_under_way) {
        tokio::select! {
            () = &mut listening => {}
            Some(event) = events.recv() => print(findings.of_event(&event, &runs).into_iter().collect())?,
            _ = tick.tick() => {
                runs = read(appliance, started).await?;
                let (done, total) = ports_of(&runs);
                bar.show_counts(done, total, message(&runs));
                print(findings.of_progress(&runs))?;
            }
        }
    }
    // Older appliances report no port before, and a short scan may end between two polls.
    if !is_quiet {
        for run in &runs {
            let rows: Vec<ResultRow> = appliance.get(&format!("/v1/scan/{}", run.id)).await?;
            print(findings.of_result(&rows))?;
        }
    }
    Ok(runs)
}

/// Listens to the appliance's events until it is dropped. If that fails, polling still reports every port.
async fn listen(appliance: &Appliance, events: &mpsc::UnboundedSender<OpenEvent>) {
    loop {
        let mut reader = EventReader::default();
        let take = |piece: &[u8]| {
            // The receiver lives as long as this.
            reader.take(piece, |event| _ = events.send(event));
            Ok(())
        };
        _ = appliance.read_long("/v1/events", take).await;
        tokio::time::sleep(RETRY).await;
    }
}

async fn read(appliance: &Appliance, started: &StartedRuns) -> Result<Vec<RunStatus>, ApplianceError> {
    let mut runs = Vec::with_capacity(started.runs.len());
    for RunRef { id } in &started.runs {
        runs.push(appliance.get(&format!("/v1/runs/{id}")).await?);
    }
    Ok(runs)
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
