//! `portscan probe HOST PORT`: probes one port once.

use std::{fmt::Write as _, time::Duration};

use serde::Serialize;

use super::{
    CliError, CommandEnv, DONE, FAILED, ProbeArgs, Terminal, found::sanitize_for_terminal,
    table::milliseconds,
};
use crate::{
    config::Overrides,
    engine::{HostJob, Liveness},
    model::{Address, HostReport, PortState, Reason, Timing},
    net::{Links, Solicited},
    service::exclusions::{Exclusions, FirstStep, ask_for_mac},
    services,
};

/// How long a link may be down while its user waits.
const OUTAGE: Duration = Duration::from_secs(2);

/// The result, in the order of its JSON keys.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct ProbeReply {
    host: String,
    address: Address,
    port: u16,
    /// `None`: the host is down, or this machine cannot determine the state; `detail` has the reason.
    state: Option<PortState>,
    reason: Option<Reason>,
    service: Option<&'static str>,
    rtt_ms: Option<f64>,
    #[serde(skip_serializing_if = "String::is_empty")]
    detail: String,
}

/// Probes, prints, returns 0 if the port is open and 1 otherwise.
pub(super) async fn probe(
    args: &ProbeArgs,
    overrides: &Overrides,
    world: &CommandEnv,
    terminal: &mut Terminal<'_>,
) -> Result<u8, CliError> {
    let exclusions = Exclusions::read(overrides, args.ignore_exclude).map_err(CliError::Exclusions)?;
    let found = world.resolver.resolve(&args.host).await?;
    let address = found.into_iter().next().ok_or(CliError::NoTargets)?;
    let links = (world.links)().map_err(CliError::Links)?;
    links.check_host(&address).map_err(|source| match args.host.parse::<Address>() {
        Ok(_) => CliError::Target(source),
        Err(_) => CliError::NameTarget { name: args.host.clone(), source },
    })?;
    let report = match is_there(&exclusions, &links, &address).await? {
        true => look(args.port, &links, address, world).await?,
        false => HostReport::no_neighbour(address),
    };
    let answer = ProbeReply::new(args, &report);
    match args.json {
        true => {
            serde_json::to_writer(&mut *terminal.out, &answer).map_err(std::io::Error::from)?;
            writeln!(terminal.out)?;
        }
        false => writeln!(terminal.out, "{}", answer.line())?,
    }
    terminal.out.flush()?;
    Ok(if answer.state == Some(PortState::Open) { DONE } else { FAILED })
}

/// Whether the address may be probed and, if its MAC had to be resolved, whether a host has the address.
async fn is_there(exclusions: &Exclusions, links: &Links, address: &Address) -> Result<bool, CliError> {
    let solicited = match exclusions.first(address, links) {
        FirstStep::Probe => return Ok(true),
        FirstStep::LeaveOut => return Err(CliError::Excluded(address.clone())),
        FirstStep::AskForMac => ask_for_mac(links, address).await,
    };
    let unsolicited = |source| CliError::Unsolicited { address: address.clone(), source };
    match solicited.map_err(unsolicited)? {
        Solicited::Answered(mac) if exclusions.reason(address, mac).is_some() => {
            Err(CliError::Excluded(address.clone()))
        }
        Solicited::Answered(_) => Ok(true),
        Solicited::Silent => Ok(false),
        Solicited::NotAllowed => Err(CliError::MayNotAsk(address.clone())),
    }
}

async fn look(
    port: u16,
    links: &Links,
    address: Address,
    world: &CommandEnv,
) -> Result<HostReport, CliError> {
    let probing = (world.prober)().map_err(CliError::Prober)?;
    let job = HostJob {
        link: links.link_of(&address),
        address,
        ports: [port].into_iter().collect(),
        first: Vec::new(),
        timing: Timing::T4,
        by_syn: false,
        max_in_flight: 1,
        max_retries: None,
        max_rate: None,
        liveness: Liveness::Assume,
        deadline: None,
        sits_out: OUTAGE,
    };
    let report = probing.scanner.submit(job).report().await.ok_or(CliError::Stopped)?;
    probing.thread.join();
    Ok(report)
}

impl ProbeReply {
    fn new(args: &ProbeArgs, report: &HostReport) -> Self {
        let found = report.verdict(args.port);
        Self {
            host: args.host.clone(),
            address: report.address.clone(),
            port: args.port,
            state: found.map(|found| found.state),
            reason: found.map(|found| found.reason),
            service: services::name(args.port),
            rtt_ms: found.and_then(|found| found.rtt_ms()),
            detail: sanitize_for_terminal(&report.detail),
        }
    }

    /// `10.0.0.5:22 open (ssh) 0.40 ms`
    fn line(&self) -> String {
        let socket = match self.address.ipv4() {
            Some(ip) => format!("{ip}:{}", self.port),
            None => format!("[{}]:{}", self.address, self.port),
        };
        let verdict = match (self.state, self.reason) {
            (Some(PortState::Open), _) => "open".to_owned(),
            (Some(state), Some(reason)) => format!("{state}, {reason}"),
            _ => format!("unknown, {}", self.detail),
        };
        let mut line = format!("{socket} {verdict}");
        if let Some(service) = self.service {
            _ = write!(line, " ({service})");
        }
        if let Some(rtt) = self.rtt_ms {
            _ = write!(line, " {}", milliseconds(Duration::from_secs_f64(rtt / 1e3)));
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::{super::found::tests::host, *};
    use crate::model::{HostStatus, PortSet};

    fn answer(
        address: &str,
        findings: &[(u16, PortState, u64)],
        change: impl FnOnce(&mut HostReport),
    ) -> ProbeReply {
        let mut report = host(address, "22", findings).report;
        change(&mut report);
        ProbeReply::new(
            &ProbeArgs { host: "nas.lan".to_owned(), port: 22, ignore_exclude: false, json: false },
            &report,
        )
    }

    #[test]
    fn a_result_is_one_line() {
        let open = [(22, PortState::Open, 400)];
        let filtered = |report: &mut HostReport| {
            report.default_state = PortState::Filtered;
            report.default_reason = Reason::NoResponse;
        };
        let down = |report: &mut HostReport| {
            report.status = HostStatus::Down;
            report.coverage = PortSet::default();
            report.detail = "no answer to ARP".to_owned();
        };
        for (answer, line) in [
            (answer("10.0.0.5", &open, |_| ()), "10.0.0.5:22 open (ssh) 0.40 ms"),
            (answer("fe80::1%eth0", &open, |_| ()), "[fe80::1%eth0]:22 open (ssh) 0.40 ms"),
            (answer("10.0.0.5", &[], |_| ()), "10.0.0.5:22 closed, conn-refused (ssh)"),
            (answer("10.0.0.5", &[], filtered), "10.0.0.5:22 filtered, no-response (ssh)"),
            (answer("10.0.0.5", &[], down), "10.0.0.5:22 unknown, no answer to ARP (ssh)"),
        ] {
            assert_eq!(answer.line(), line);
        }
    }

    #[test]
    fn json_names_the_target_and_the_result() {
        let open = answer("10.0.0.5", &[(22, PortState::Open, 400)], |_| ());
        assert_eq!(
            serde_json::to_string(&open).unwrap(),
            r#"{"host":"nas.lan","address":"10.0.0.5","port":22,"state":"open","reason":"syn-ack","service":"ssh","rtt_ms":0.4}"#
        );
    }
}
