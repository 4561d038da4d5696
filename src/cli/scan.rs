//! `portscan scan`: passes hosts to the scanner, and prints their results as they arrive.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    sync::Arc,
};

use futures_util::future::select_all;
use jiff::tz::TimeZone;
use tokio::time;
use tokio_util::sync::CancellationToken;

use super::{
    CliError, CommandEnv, ProbeEngine, ScanArgs, Terminal,
    found::HostResult,
    identify::{IdentifiedPorts, identify},
    output::Outputs,
    progress::TICK,
    scan_output::{ScanEnd, ScanOutput},
    stage::{Ended, PendingHost, Stage},
    targets::{Expanded, Target, TargetList},
};
use crate::{
    config::Overrides,
    engine::{Liveness, LocalError, ScanSettings, Stats},
    model::{Address, HostReport, HostStatus, Mac, PortSet, ProbeMethod, Protocol},
    net::{Links, Solicited, check_syn_probing, mac_after_scan},
    service::{
        exclusions::{ExclusionSource, Exclusions, FirstStep, ask_for_mac},
        identify::pace_of,
        scanner::Scanner,
        udp_scan::{UdpReport, UdpScanner},
    },
};

/// Hosts in progress at once: enough to fill the time that one host's pace leaves, and few enough that the
/// first results come early and the kernel's table of neighbours is not filled with addresses without a host.
const AT_ONCE: usize = 16;

/// Hosts in progress at once of a scan of UDP, once they are known to be up: each has four datagrams in flight mostly,
/// and they share 256 sockets.
const UDP_AT_ONCE: usize = 64;

/// The TCP ports by which a scan of UDP finds out whether a host is up: nmap asks the same two.
const CHECKED: [(u16, u16); 2] = [(80, 80), (443, 443)];

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
    if let Some(warning) = warning_of_ports(args) {
        terminal.warn(&warning);
    }
    if args.method == ProbeMethod::Syn {
        check_syn_probing().map_err(CliError::NoSyns)?;
    }
    // Before anything is sent: a report that cannot be written should not cost a scan.
    let outputs = Outputs::open(args.outputs(), &world.clock.wall().to_zoned(TimeZone::system()))?;
    let ProbeEngine { scanner, thread, limits, .. } = (world.prober)().map_err(CliError::Prober)?;
    let output = ScanOutput::new((args, verbose), targets.len(), &*world.clock, terminal);
    let udp = args.udp.then(|| UdpScanner::new(Arc::clone(&world.clock)));
    let mut run = ScanSession::new(output, (targets, exclusions), (&scanner, udp), &links);
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
    output: ScanOutput<'a, 'w>,
    settings: ScanSettings,
    scanner: &'a Scanner,
    /// That of a scan of UDP.
    udp: Option<UdpScanner>,
    /// This machine's faults that it has met.
    faults: BTreeMap<LocalError, u64>,
    links: &'a Links,
    exclusions: Exclusions,
    waiting: VecDeque<(usize, Target)>,
    running: Vec<PendingHost<'a>>,
    stopping: bool,
}

impl<'a, 'w> ScanSession<'a, 'w> {
    fn new(
        output: ScanOutput<'a, 'w>,
        (targets, exclusions): (Vec<Target>, Exclusions),
        (scanner, udp): (&'a Scanner, Option<UdpScanner>),
        links: &'a Links,
    ) -> Self {
        Self {
            settings: match &udp {
                Some(_) => check_of(output.args),
                None => output.args.settings(),
            },
            output,
            scanner,
            udp,
            faults: BTreeMap::new(),
            links,
            exclusions,
            waiting: targets.into_iter().enumerate().collect(),
            running: Vec::with_capacity(AT_ONCE),
            stopping: false,
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
                Step::Ended(place, Ended::Checked(report)) => {
                    let done = self.running.swap_remove(place);
                    self.checked(done, report.ok_or(CliError::Stopped)?)?;
                }
                Step::Ended(place, Ended::Udp(check, found)) => {
                    let done = self.running.swap_remove(place);
                    self.asked_by_udp(done, &check, found.ok_or(CliError::Stopped)?)?;
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
        self.output.clear();
        Ok(())
    }

    /// Starts hosts while slots are free.
    fn submit(&mut self) {
        let slots = |running: &[PendingHost<'_>]| running.iter().filter(|host| host.takes_a_slot()).count();
        while slots(&self.running) < AT_ONCE
            && self.running.len() < UDP_AT_ONCE
            && let Some((index, target)) = self.waiting.pop_front()
        {
            let stage = self.first_stage(&target.address);
            self.running.push(PendingHost { index, target, stage, started: self.output.clock.wall() });
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
        let submit = || self.scanner.submit(self.settings.job(address.clone(), self.links.link_of(address)));
        match &self.udp {
            None => Stage::Probed(submit()),
            Some(_) if self.settings.liveness == Liveness::Check => Stage::Checked(submit()),
            Some(udp) => self.ask_by_udp(udp, HostReport::no_neighbour(address.clone())),
        }
    }

    /// Asks the UDP ports of a host; `check` is what was found before.
    fn ask_by_udp(&self, udp: &UdpScanner, check: HostReport) -> Stage<'a> {
        let args = self.output.args;
        let host = (check.address.clone(), self.links.link_of(&check.address));
        let ticket = udp.submit(host, &args.port_set(), args.udp_settings());
        Stage::Udp(Box::new(check), ticket)
    }

    /// Asks the UDP ports of a host that is up.
    fn checked(&mut self, done: PendingHost<'a>, check: HostReport) -> Result<(), CliError> {
        match &self.udp {
            Some(udp) if check.status == HostStatus::Up && !self.stopping => {
                let stage = self.ask_by_udp(udp, check);
                self.running.push(PendingHost { stage, ..done });
                Ok(())
            }
            // What is known of its TCP ports is not what was asked for.
            _ => {
                let nothing = HostReport::no_neighbour(check.address.clone());
                let (status, detail) = match check.status {
                    HostStatus::Up => (HostStatus::Partial, "stopped".to_owned()),
                    status => (status, check.detail.clone()),
                };
                let found = HostReport { status, detail, protocol: Protocol::Udp, ..nothing };
                self.finish(done, after_check(found, &check), None)
            }
        }
    }

    fn asked_by_udp(
        &mut self,
        done: PendingHost<'a>,
        check: &HostReport,
        found: UdpReport,
    ) -> Result<(), CliError> {
        for (fault, count) in found.faults {
            *self.faults.entry(fault).or_default() += count;
        }
        self.finish(done, after_check(found.report, check), None)
    }

    /// Probes a host once its MAC is known, or leaves it out.
    fn answered(&mut self, asked: PendingHost<'a>, solicited: io::Result<Solicited>) -> Result<(), CliError> {
        let address = &asked.target.address;
        match solicited {
            Ok(Solicited::Answered(mac)) => match self.exclusions.reason(address, mac) {
                Some(reason) => {
                    self.output.leave_out();
                    self.output.warn_at_end(left_out_for(address, mac, reason));
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
        let args = self.output.args;
        if !args.identify {
            return self.finish(done, report, None);
        }
        let open = report.open_ports().collect();
        let pause = pace_of(args.timing);
        let identified =
            identify(report.address.clone(), open, pause, self.output.clock, interrupted.clone());
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
        let mac = mac_after_scan(&report, self.links);
        // By the monotonic clock, since the wall clock may have been set during the scan.
        let finished = done.started + report.preparation + report.scanning;
        if identified.as_ref().is_some_and(|identified| identified.fell_silent) {
            self.output.warn_at_end(format!(
                "{}: it fell silent while its ports were identified, so the rest was left out",
                report.address
            ));
        }
        let times = (done.started, finished);
        let found = HostResult { report, mac, name: done.target.name, identified, times };
        self.output.finish(done.index, found)?;
        self.show();
        Ok(())
    }

    fn show(&mut self) {
        self.output.show(self.running.iter().map(PendingHost::progress), "");
    }

    /// Prints the end of the output, and returns the exit code.
    fn conclude(self, stats: &Stats, descriptors: u32, outputs: Outputs) -> Result<u8, CliError> {
        let mut stats = stats.clone();
        for (fault, count) in self.faults {
            *stats.local.entry(fault).or_default() += count;
        }
        let answered = stats.accepted + stats.refused + stats.silent + stats.unreachable;
        let end = ScanEnd {
            interrupted: self.stopping,
            failed: answered == 0 && !stats.local.is_empty(),
            links: Some(self.links),
            troubles: troubles(&stats, descriptors),
        };
        self.output.conclude(end, outputs)
    }
}

/// How a scan of UDP finds out whether a host is up.
fn check_of(args: &ScanArgs) -> ScanSettings {
    ScanSettings {
        ports: PortSet::from_ranges(CHECKED),
        // Whether the two ports are open does not matter.
        max_retries: Some(0),
        max_in_flight: args.max_parallelism,
        ..args.settings()
    }
}

/// Adds to a report what was done before its UDP ports were asked.
fn after_check(report: HostReport, check: &HostReport) -> HostReport {
    HostReport {
        probes: report.probes.saturating_add(check.probes),
        preparation: report.preparation + check.preparation + check.scanning,
        ..report
    }
}

/// Returns the warning about UDP ports that are never asked.
fn warning_of_ports(args: &ScanArgs) -> Option<String> {
    let left_out = args.never_asked();
    (!left_out.is_empty()).then(|| {
        format!(
            "{} ports of printers and machine controls are left out: they are sent no datagram",
            left_out.len()
        )
    })
}

/// Returns the warning about targets that the configuration excludes by their addresses.
pub(super) fn warning_of_excluded(excluded: &[Target]) -> Option<String> {
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
    use super::*;

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
