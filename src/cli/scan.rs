//! `portscan scan`: passes hosts to the scanner, and prints their results as they arrive.

use std::{collections::VecDeque, io, time::Duration};

use futures_util::future::select_all;
use jiff::tz::TimeZone;
use tokio::time;
use tokio_util::sync::CancellationToken;

use super::{
    CliError, CommandEnv, DONE, FAILED, INTERRUPTED, ProbeEngine, ScanArgs, Terminal,
    exclusions::{ExclusionSource, Exclusions, FirstStep, ask_for_mac},
    found::{HostResult, ScanResult},
    identify::{IdentifiedPorts, identify},
    json,
    output::Outputs,
    progress::{Bar, ScanTotals, TICK},
    stage::{Ended, PendingHost, Stage},
    table::{self, Style},
    targets::{Expanded, Target, TargetList},
};
use crate::{
    clock::Clock,
    config::Overrides,
    engine::{HostJob, Link, Liveness, LocalError, Stats},
    model::{Address, HostReport, HostStatus, Mac, Moment, PortSet, ProbeMethod, ScanStatus, phantoms},
    net::{Links, Solicited, check_syn_probing, neighbour},
    service::{identify::pace_of, scanner::Scanner},
};

/// How long a link may be down: for a loose plug, or a switch that restarts.
const OUTAGE: Duration = Duration::from_secs(60);

/// Hosts in progress at once: enough to fill the time that one host's pace leaves, and few enough that the
/// first results come early and the kernel's table of neighbours is not filled with addresses without a host.
const AT_ONCE: usize = 16;

/// Scans, prints, and returns the exit code. Once `interrupted` is cancelled it prints what is known and ends.
pub(super) async fn scan(
    args: &ScanArgs,
    (verbose, overrides): (u8, &Overrides),
    world: &CommandEnv,
    terminal: &mut Terminal<'_>,
    interrupted: CancellationToken,
) -> Result<u8, CliError> {
    let exclusions = Exclusions::read(overrides, args.ignore_exclude).map_err(CliError::Exclusions)?;
    let links = (world.links)().map_err(CliError::Links)?;
    let list = TargetList::read(args, &mut io::stdin())?;
    let Expanded { targets, warnings, left_out: macs } =
        list.expand(&*world.resolver, |address| links.check_host(address)).await?;
    for warning in &warnings {
        terminal.warn(warning);
    }
    let exclusions = exclusions.with_macs(macs);
    let is_left_out = |target: &Target| exclusions.first(&target.address, &links) == FirstStep::LeaveOut;
    let (excluded, targets): (Vec<_>, Vec<_>) = targets.into_iter().partition(is_left_out);
    if let Some(warning) = warning_of_excluded(&excluded) {
        terminal.warn(&warning);
    }
    if targets.is_empty() {
        return Err(CliError::NoTargets);
    }
    if args.method == ProbeMethod::Syn {
        check_syn_probing().map_err(CliError::NoSyns)?;
    }
    // Before anything is sent: a report that cannot be written should not cost a scan.
    let outputs = Outputs::open(args.outputs(), &world.clock.wall().to_zoned(TimeZone::system()))?;
    let ProbeEngine { scanner, thread, limits, .. } = (world.prober)().map_err(CliError::Prober)?;
    let mut run =
        ScanSession::new((args, verbose), (targets, exclusions), (&scanner, &links), &*world.clock, terminal);
    run.drive(&interrupted).await?;
    // Only a thread that has ended has published its last counts.
    thread.join();
    run.conclude(&scanner.stats(), limits.descriptors, outputs)
}

/// What happens next.
enum Step {
    /// The stage of the host at this position in `running` has ended.
    Ended(usize, Ended),
    Tick,
    Interrupted,
}

/// One scan in progress.
struct ScanSession<'a, 'w> {
    args: &'a ScanArgs,
    ports: PortSet,
    style: Style,
    scanner: &'a Scanner,
    links: &'a Links,
    clock: &'a dyn Clock,
    terminal: &'a mut Terminal<'w>,
    exclusions: Exclusions,
    waiting: VecDeque<(usize, Target)>,
    running: Vec<PendingHost<'a>>,
    /// With the index among the targets, because hosts finish in another order.
    found: Vec<(usize, HostResult)>,
    finished: ScanTotals,
    bar: Bar,
    targets: usize,
    started: (Moment, jiff::Timestamp),
    stopping: bool,
    /// Which hosts were left out, and why.
    warnings: Vec<String>,
}

impl<'a, 'w> ScanSession<'a, 'w> {
    fn new(
        (args, verbose): (&'a ScanArgs, u8),
        (targets, exclusions): (Vec<Target>, Exclusions),
        (scanner, links): (&'a Scanner, &'a Links),
        clock: &'a dyn Clock,
        terminal: &'a mut Terminal<'w>,
    ) -> Self {
        let ports = args.port_set();
        let started = (clock.now(), clock.wall());
        let style = Style {
            width: terminal.width,
            verbose,
            open_only: args.open,
            reason: args.reason,
            versions: args.identify,
        };
        Self {
            bar: Bar::new(terminal.progress, targets.len() as u64 * u64::from(ports.len()), started.0),
            targets: targets.len(),
            exclusions,
            waiting: targets.into_iter().enumerate().collect(),
            running: Vec::with_capacity(AT_ONCE),
            found: Vec::new(),
            finished: ScanTotals::default(),
            stopping: false,
            warnings: Vec::new(),
            args,
            ports,
            style,
            scanner,
            links,
            clock,
            terminal,
            started,
        }
    }

    /// Runs until every host is done, or after an interrupt until the hosts in progress are.
    async fn drive(&mut self, interrupted: &CancellationToken) -> Result<(), CliError> {
        let mut tick = time::interval(TICK);
        tick.set_missed_tick_behavior(time::MissedTickBehavior::Skip);
        loop {
            self.submit();
            if self.running.is_empty() {
                break;
            }
            match self.next(interrupted, &mut tick).await {
                Step::Ended(place, Ended::Asked(solicited)) => {
                    let asked = self.running.swap_remove(place);
                    self.answered(asked, solicited)?;
                }
                Step::Ended(place, Ended::Probed(report)) => {
                    let done = self.running.swap_remove(place);
                    self.probed(done, report.ok_or(CliError::Stopped)?, interrupted)?;
                }
                Step::Ended(place, Ended::Identified(report, identified)) => {
                    let done = self.running.swap_remove(place);
                    self.finish(done, *report, Some(identified))?;
                }
                Step::Tick => self.show(),
                Step::Interrupted => {
                    self.stopping = true;
                    self.waiting.clear();
                    self.running.retain(PendingHost::cancel);
                }
            }
        }
        self.bar.clear();
        Ok(())
    }

    /// Starts hosts while slots are free.
    fn submit(&mut self) {
        while self.running.len() < AT_ONCE
            && let Some((index, target)) = self.waiting.pop_front()
        {
            let stage = self.first_stage(&target.address);
            self.running.push(PendingHost { index, target, stage, started: self.clock.wall() });
        }
    }

    /// Resolves a neighbour's MAC first if the decision to scan it depends on it.
    fn first_stage(&self, address: &Address) -> Stage<'a> {
        if self.exclusions.first(address, self.links) != FirstStep::AskForMac {
            return self.probe(address);
        }
        let (links, asked) = (self.links, address.clone());
        Stage::Asked(Box::pin(async move { ask_for_mac(links, &asked).await }))
    }

    fn probe(&self, address: &Address) -> Stage<'a> {
        Stage::Probed(self.scanner.submit(self.job(address)))
    }

    /// Probes a host once its MAC is known, or leaves it out.
    fn answered(&mut self, asked: PendingHost<'a>, solicited: io::Result<Solicited>) -> Result<(), CliError> {
        let address = &asked.target.address;
        match solicited {
            Ok(Solicited::Answered(mac)) => match self.exclusions.reason(address, mac) {
                Some(reason) => {
                    self.warnings.push(left_out_for(address, mac, reason));
                    self.targets -= 1;
                    self.finished.settled += u64::from(self.ports.len());
                }
                None => {
                    let stage = self.probe(address);
                    self.running.push(PendingHost { stage, ..asked });
                }
            },
            Ok(Solicited::Silent) => {
                let report = HostReport::no_neighbour(address.clone());
                self.finish(asked, report, None)?;
            }
            Ok(Solicited::NotAllowed) => return Err(CliError::MayNotAsk(address.clone())),
            Err(source) => return Err(CliError::Unsolicited { address: address.clone(), source }),
        }
        Ok(())
    }

    fn job(&self, address: &Address) -> HostJob {
        HostJob {
            address: address.clone(),
            ports: self.ports.clone(),
            first: Vec::new(),
            timing: self.args.timing,
            by_syn: self.args.method.allows_syns(),
            // Without a limit by the user the template's applies, which is never higher.
            max_in_flight: self.args.max_parallelism.unwrap_or(u16::MAX),
            max_retries: self.args.max_retries,
            max_rate: self.args.max_rate,
            liveness: if self.args.skip_liveness { Liveness::Assume } else { Liveness::Check },
            link: self.links.link_of(address),
            deadline: self.args.host_timeout,
            sits_out: OUTAGE,
        }
    }

    async fn next(&mut self, interrupted: &CancellationToken, tick: &mut time::Interval) -> Step {
        let ended = select_all(self.running.iter_mut().map(|running| Box::pin(running.stage.end())));
        tokio::select! {
            (ended, place, _) = ended => Step::Ended(place, ended),
            // Handled once: a second interrupt ends the process elsewhere.
            () = interrupted.cancelled(), if !self.stopping => Step::Interrupted,
            _ = tick.tick() => Step::Tick,
        }
    }

    /// Has the open ports of a host identified, if that was asked for.
    fn probed(
        &mut self,
        done: PendingHost<'a>,
        report: HostReport,
        interrupted: &CancellationToken,
    ) -> Result<(), CliError> {
        if !self.args.identify {
            return self.finish(done, report, None);
        }
        let open = report.open_ports().collect();
        let pause = pace_of(self.args.timing);
        let identified = identify(report.address.clone(), open, pause, self.clock, interrupted.clone());
        let stage = Stage::Identified(Box::new(report), Box::pin(identified));
        self.running.push(PendingHost { stage, ..done });
        Ok(())
    }

    fn finish(
        &mut self,
        done: PendingHost<'_>,
        report: HostReport,
        identified: Option<IdentifiedPorts>,
    ) -> Result<(), CliError> {
        let mac = mac_of(&report, self.links);
        // By the monotonic clock, since the wall clock may have been set during the scan.
        let finished = done.started + report.preparation + report.scanning;
        if identified.as_ref().is_some_and(|identified| identified.fell_silent) {
            self.warnings.push(format!(
                "{}: it fell silent while its ports were identified, so the rest was left out",
                report.address
            ));
        }
        let times = (done.started, finished);
        let found = HostResult { report, mac, name: done.target.name, identified, times };
        self.finished.settled += u64::from(self.ports.len());
        self.finished.open += found.open() as u64;
        self.finished.probes += found.report.probes;
        if !self.args.is_quiet() {
            let out = &mut *self.terminal.out;
            self.bar.above(|| table::host(out, &found, &self.style).and_then(|()| out.flush()))?;
        }
        self.found.push((done.index, found));
        self.show();
        Ok(())
    }

    fn show(&mut self) {
        let totals = self.running.iter().fold(self.finished, |sum, running| sum.with(running.progress()));
        self.bar.show(totals, self.clock.now());
    }

    /// Prints the end of the output, and returns the exit code.
    fn conclude(mut self, stats: &Stats, descriptors: u32, outputs: Outputs) -> Result<u8, CliError> {
        self.found.sort_by_key(|(index, _)| *index);
        let found: Vec<HostResult> = self.found.into_iter().map(|(_, found)| found).collect();
        let scan = ScanResult {
            started: self.started.1,
            elapsed: self.clock.now().since(self.started.0),
            status: status(&found, self.targets, stats),
            targets: self.targets,
            interrupted: self.stopping,
        };
        match (self.args.json, self.args.is_quiet()) {
            (true, _) => json::write(self.terminal.out, &scan, &found, self.args.open)?,
            (false, true) => {}
            (false, false) => table::summary(self.terminal.out, &scan, &found)?,
        }
        outputs.write(self.terminal.out, self.args, self.style.verbose, &scan, &found)?;
        self.terminal.out.flush()?;
        let doubts = doubts(&found, self.links).into_iter().chain(troubles(stats, descriptors));
        for warning in self.warnings.into_iter().chain(doubts) {
            self.terminal.warn(&warning);
        }
        Ok(match scan.status {
            _ if self.stopping => INTERRUPTED,
            ScanStatus::Failed => FAILED,
            _ => DONE,
        })
    }
}

/// Returns the warning about targets that the configuration excludes by their addresses.
fn warning_of_excluded(excluded: &[Target]) -> Option<String> {
    let others = match excluded.len() {
        0 => return None,
        1 => String::new(),
        count => format!(" and {} more", count - 1),
    };
    let first = &excluded.first()?.address;
    Some(format!(
        "{first}{others}: left out, as the configuration excludes them; --ignore-exclude scans them"
    ))
}

fn left_out_for(address: &Address, mac: Mac, reason: ExclusionSource) -> String {
    match reason {
        ExclusionSource::CommandLine => format!("{address} is left out: it has the MAC {mac}"),
        ExclusionSource::Configuration => format!(
            "{address} is left out: the configuration excludes it by its MAC {mac}; --ignore-exclude scans it"
        ),
    }
}

/// Returns the MAC at the address; read after the scan, while the kernel's entry is fresh.
fn mac_of(report: &HostReport, links: &Links) -> Option<Mac> {
    match links.link_of(&report.address) {
        _ if report.status == HostStatus::Down => None,
        Link::Local => links.own_mac(&report.address),
        // A table that cannot be read is no reason to withhold the ports.
        Link::OnLink => neighbour(&report.address).ok().flatten().map(|known| known.mac),
        Link::Routed => None,
    }
}

fn status(found: &[HostResult], targets: usize, stats: &Stats) -> ScanStatus {
    let answered = stats.accepted + stats.refused + stats.silent + stats.unreachable;
    if answered == 0 && !stats.local.is_empty() {
        ScanStatus::Failed
    } else if found.len() < targets || found.iter().any(|host| host.report.status == HostStatus::Partial) {
        ScanStatus::Partial
    } else {
        ScanStatus::Complete
    }
}

/// Returns a warning of open ports that may not exist.
fn doubts(found: &[HostResult], links: &Links) -> Vec<String> {
    let mut doubts = Vec::new();
    for HostResult { report, mac, .. } in found {
        let address = &report.address;
        if let Some(open) = phantoms::too_many_open(report) {
            doubts.push(format!(
                "{address}: {open} ports are open, more than anybody offers; a tarpit or a firewall may answer for \
                 services that are not there"
            ));
        }
        let claimed = mac.is_some() || links.link_of(address) != Link::OnLink;
        if !claimed && report.open_ports().next().is_some() {
            doubts.push(format!(
                "{address}: ports are open, but no device on the own network has this address; something on the \
                 way may answer for it (a proxy, a firewall)"
            ));
        }
    }
    let everywhere = phantoms::open_nearly_everywhere(found.iter().map(|found| &found.report));
    doubts.extend(everywhere.into_iter().map(|(port, hosts)| {
        format!(
            "port {port} is open on {hosts} hosts, nearly all; if that surprises you, something on the way may \
             answer for them (an antivirus, a proxy)"
        )
    }));
    doubts
}

/// Warns of this machine's own faults: they cost time, and the user can mend them.
fn troubles(stats: &Stats, descriptors: u32) -> Vec<String> {
    let describe = |(kind, count): (&LocalError, &u64)| {
        let trouble = match kind {
            LocalError::Descriptors => format!(
                "descriptors ran out (this process may have {descriptors}), which slows the scan down; \
                 raise the limit with `ulimit -n`"
            ),
            LocalError::Ports => "local ports ran out; wait a minute, or scan less at once".to_owned(),
            LocalError::Memory => "the kernel ran out of memory for sockets; scan less at once".to_owned(),
            LocalError::Denied => "probes were denied by this machine's own firewall; allow outgoing \
                                   connections"
                .to_owned(),
            LocalError::NoRoute => {
                "this machine has no route to some of the addresses; see `ip route`".to_owned()
            }
            LocalError::LinkDown => {
                let link = "the link to some of the addresses was down";
                format!("{link}; check the cable, the switch or the access point")
            }
            LocalError::SelfConnect => return None,
            LocalError::Other => "probes failed on this machine for an unusual reason".to_owned(),
        };
        Some(format!("{trouble} ({count} times)"))
    };
    stats.local.iter().filter_map(describe).collect()
}

#[cfg(test)]
mod tests {
    use super::{super::found::tests::host, *};

    fn with(status: HostStatus) -> HostResult {
        let mut found = host("10.0.0.1", "22", &[]);
        found.report.status = status;
        found
    }

    #[test]
    fn the_status_shows_whether_results_are_missing() {
        let answered = Stats { refused: 1, ..Stats::default() };
        let up = [with(HostStatus::Up), with(HostStatus::Down)];
        assert_eq!(status(&up, 2, &answered), ScanStatus::Complete);
        assert_eq!(status(&up, 3, &answered), ScanStatus::Partial);
        assert_eq!(status(&[with(HostStatus::Partial)], 1, &answered), ScanStatus::Partial);
        let no_route = Stats { local: [(LocalError::NoRoute, 3)].into(), ..Stats::default() };
        assert_eq!(status(&[with(HostStatus::Down)], 1, &no_route), ScanStatus::Failed);
    }

    #[test]
    fn local_faults_are_reported_with_the_remedy() {
        let local = [(LocalError::Descriptors, 7), (LocalError::SelfConnect, 9)].into();
        let warnings = troubles(&Stats { local, ..Stats::default() }, 64);
        assert_eq!(warnings.len(), 1);
        assert!(
            warnings[0].contains("may have 64")
                && warnings[0].contains("ulimit")
                && warnings[0].ends_with("(7 times)")
        );
    }
}
