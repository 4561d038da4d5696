//! What a scan prints: each host as it is finished, how far it is, and at its end the summary, the reports and the warnings.

use jiff::Timestamp;

use super::{
    CliError, DONE, FAILED, INTERRUPTED, ScanArgs, Terminal,
    found::{HostResult, ScanResult},
    json,
    output::Outputs,
    progress::{Bar, ScanTotals},
    table::{self, Style},
};
use crate::{
    clock::Clock,
    engine::{Link, Progress},
    model::{HostStatus, Moment, ScanStatus, phantoms},
    net::Links,
};

/// The output of one scan.
pub(super) struct ScanOutput<'a, 'w> {
    pub(super) args: &'a ScanArgs,
    pub(super) clock: &'a dyn Clock,
    terminal: &'a mut Terminal<'w>,
    style: Style,
    /// Ports of a host.
    ports: u64,
    targets: usize,
    /// With the index among the targets, because hosts finish in another order.
    found: Vec<(usize, HostResult)>,
    finished: ScanTotals,
    bar: Bar,
    started: (Moment, Timestamp),
    /// Which hosts were left out, and why; printed at the end.
    warnings: Vec<String>,
}

/// How a scan has ended.
pub(super) struct ScanEnd<'a> {
    /// Whether the user stopped it.
    pub(super) interrupted: bool,
    /// Whether this machine's own faults are all that came of it.
    pub(super) failed: bool,
    /// This machine's networks, if it has scanned itself.
    pub(super) links: Option<&'a Links>,
    /// This machine's own faults.
    pub(super) troubles: Vec<String>,
}

impl<'a, 'w> ScanOutput<'a, 'w> {
    pub(super) fn new(
        (args, verbose): (&'a ScanArgs, u8),
        targets: usize,
        clock: &'a dyn Clock,
        terminal: &'a mut Terminal<'w>,
    ) -> Self {
        let ports = u64::from(args.port_set().len());
        let started = (clock.now(), clock.wall());
        let style = Style {
            width: terminal.width,
            verbose,
            open_only: args.open,
            reason: args.reason,
            versions: args.identify,
        };
        Self {
            bar: Bar::new(terminal.progress, targets as u64 * ports, started.0),
            args,
            clock,
            terminal,
            style,
            ports,
            targets,
            found: Vec::new(),
            finished: ScanTotals::default(),
            started,
            warnings: Vec::new(),
        }
    }

    /// Keeps a warning for the end.
    pub(super) fn warn_at_end(&mut self, warning: String) {
        self.warnings.push(warning);
    }

    /// So many targets cannot be scanned, which leaves the scan incomplete.
    pub(super) fn miss(&mut self, targets: usize) {
        self.finished.settled += targets as u64 * self.ports;
    }

    /// Prints a warning at once.
    pub(super) fn warn(&mut self, warning: &str) {
        let terminal = &mut *self.terminal;
        self.bar.above(|| terminal.warn(warning));
    }

    /// A target is not scanned.
    pub(super) fn leave_out(&mut self) {
        self.targets = self.targets.saturating_sub(1);
        self.finished.settled += self.ports;
    }

    /// Whether all targets were left out.
    pub(super) fn has_no_targets(&self) -> bool {
        self.targets == 0
    }

    /// Prints the result of the target at this place.
    pub(super) fn finish(&mut self, place: usize, found: HostResult) -> Result<(), CliError> {
        self.finished.settled += self.ports;
        self.finished.open += found.open() as u64;
        self.finished.probes = self.finished.probes.saturating_add(found.report.probes);
        if !self.args.is_quiet() {
            let (out, style) = (&mut *self.terminal.out, &self.style);
            self.bar.above(|| table::host(out, &found, style).and_then(|()| out.flush()))?;
        }
        self.found.push((place, found));
        Ok(())
    }

    /// Shows how far it is, with the hosts in progress, and more words.
    pub(super) fn show(&mut self, in_progress: impl Iterator<Item = Progress>, more: &str) {
        let totals = in_progress.fold(self.finished, ScanTotals::with);
        self.bar.show(totals, self.clock.now(), more);
    }

    /// Removes the progress bar.
    pub(super) fn clear(&self) {
        self.bar.clear();
    }

    /// Prints the end of the output, and returns the exit code.
    pub(super) fn conclude(mut self, end: ScanEnd<'_>, outputs: Outputs) -> Result<u8, CliError> {
        self.found.sort_by_key(|(place, _)| *place);
        let found: Vec<HostResult> = self.found.into_iter().map(|(_, found)| found).collect();
        let scan = ScanResult {
            started: self.started.1,
            elapsed: self.clock.now().since(self.started.0),
            status: status(&found, self.targets, end.failed),
            targets: self.targets,
            interrupted: end.interrupted,
        };
        match (self.args.json, self.args.is_quiet()) {
            (true, _) => json::write(self.terminal.out, &scan, &found, self.args.open)?,
            (false, true) => {}
            (false, false) => table::summary(self.terminal.out, &scan, &found)?,
        }
        outputs.write(self.terminal.out, self.args, self.style.verbose, &scan, &found)?;
        self.terminal.out.flush()?;
        let doubts = doubts(&found, end.links);
        for warning in self.warnings.into_iter().chain(doubts).chain(end.troubles) {
            self.terminal.warn(&warning);
        }
        Ok(match scan.status {
            _ if end.interrupted => INTERRUPTED,
            ScanStatus::Failed => FAILED,
            _ => DONE,
        })
    }
}

fn status(found: &[HostResult], targets: usize, failed: bool) -> ScanStatus {
    if failed {
        ScanStatus::Failed
    } else if found.len() < targets || found.iter().any(|host| host.report.status == HostStatus::Partial) {
        ScanStatus::Partial
    } else {
        ScanStatus::Complete
    }
}

/// Returns warnings of open ports that may not exist. Which hosts are neighbours is known only of this machine.
fn doubts(found: &[HostResult], links: Option<&Links>) -> Vec<String> {
    let mut doubts = Vec::new();
    for HostResult { report, mac, .. } in found {
        let address = &report.address;
        if let Some(open) = phantoms::too_many_open(report) {
            doubts.push(format!(
                "{address}: {open} ports are open, more than anybody offers; a tarpit or a firewall may answer for \
                 services that are not there"
            ));
        }
        let is_neighbour = links.is_some_and(|links| links.link_of(address) == Link::OnLink);
        // The interface may be gone since a host was left in the middle, and its neighbours with it.
        let is_whole = report.status == HostStatus::Up;
        if is_neighbour && is_whole && mac.is_none() && report.open_ports().next().is_some() {
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
        let up = [with(HostStatus::Up), with(HostStatus::Down)];
        assert_eq!(status(&up, 2, false), ScanStatus::Complete);
        assert_eq!(status(&up, 3, false), ScanStatus::Partial);
        assert_eq!(status(&[with(HostStatus::Partial)], 1, false), ScanStatus::Partial);
        assert_eq!(status(&[with(HostStatus::Down)], 1, true), ScanStatus::Failed);
    }
}
