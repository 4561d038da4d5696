//! The summary of an import: what it stored of a report, and what it left out and why.

use crate::{
    model::{HostReport, HostStatus},
    nmap::Omissions,
    store::{Imported, ImportedHost},
};

/// What an import stored, and what it left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The id under which it is stored, and whether it was stored before: then no hosts are counted.
    pub imported: Imported,
    /// How much was stored.
    pub counts: Counts,
    /// What was left out.
    pub left_out: Omissions,
}

/// How much of a report is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Hosts with port states.
    pub scanned: u64,
    /// Hosts without any port state.
    pub seen: u64,
    /// Hosts that the scanner gave up.
    pub unfinished: u64,
    /// Ports that are listed one by one, because they are not in their host's default state.
    pub listed: u64,
    /// How many of them are open.
    pub open: u64,
}

impl Counts {
    /// Counts a host.
    pub(super) fn add(&mut self, host: &ImportedHost) {
        let is_scanned = host.reports.iter().any(|report| report.status == HostStatus::Up);
        let number = match (is_scanned, host.reports.is_empty()) {
            (true, _) => &mut self.scanned,
            (_, true) => &mut self.seen,
            _ => &mut self.unfinished,
        };
        *number += 1;
        let sum = |count: fn(&HostReport) -> usize| host.reports.iter().map(count).sum::<usize>() as u64;
        self.listed += sum(|report| report.findings.len());
        self.open += sum(|report| report.open_ports().count());
    }
}

impl Taken {
    /// Whether the store had the report before.
    pub const fn is_known(&self) -> bool {
        matches!(self.imported, Imported::Known(_))
    }

    /// Returns what was left out, `hosts` or `ports`, how many, and why; without zeros.
    pub fn reasons(&self) -> impl Iterator<Item = (&'static str, u64, &'static str)> {
        let Omissions { down, unknown, unaddressed, unreadable_ports, given_up_ports } = self.left_out;
        [
            ("hosts", down, "down"),
            ("hosts", unknown, "not scanned (-sL, or skipped)"),
            ("hosts", unaddressed, "without the address of one host"),
            ("ports", unreadable_ports, "of a protocol, number or state that is not known here"),
            ("ports", given_up_ports, "of hosts that nmap gave up"),
        ]
        .into_iter()
        .filter(|(_, count, _)| *count > 0)
    }
}
