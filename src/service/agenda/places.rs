//! Bounds how many looks may be in progress at once.

use std::time::Duration;

use super::{Agenda, Assignment, Run, Scope};
use crate::model::Moment;

/// Devices in progress at once, over all runs: few enough that the first results come early, enough to keep a Pi busy
/// while single hosts are paced. This also bounds how many addresses wait for ARP at once: the kernel's table holds
/// 512 entries for more than 5 s (`gc_thresh2`, arp(7)).
pub const MAX_IN_PROGRESS: usize = 16;

/// Second looks allowed in addition. At a port or two they take seconds, and should not wait for a place that a slow
/// host keeps for hours.
pub(super) const CONFIRMING: usize = 4;

/// Looks at the commonest ports allowed in addition, for the same reason.
pub(super) const COMMON: usize = 4;

/// The most looks at the commonest ports that give up their place because they last longer than [`ANSWERED`]. If each
/// kept its place, 50 silent devices among 250 would delay the first result of the others by 50 s. Such looks are a
/// small load: a silent host gets some 100 SYNs a second, a host that answers up to 300.
pub(super) const SILENT: usize = 48;

/// How long a look at the commonest ports takes, if the host answers: 1,000 ports at 300 a second take 3.4 s.
const ANSWERED: Duration = Duration::from_secs(5);

impl Agenda {
    /// Whether a look of this run may start.
    pub(super) fn has_place(&self, run: &Run, now: Moment) -> bool {
        let is_silent = |look: &&Assignment| look.scope == Scope::Common && now.since(look.began) >= ANSWERED;
        let extra = match run.scope {
            _ if run.is_confirming() => CONFIRMING,
            Scope::Common => COMMON + self.looks.values().filter(is_silent).count().min(SILENT),
            Scope::Usual | Scope::Exact => 0,
        };
        self.looks.len() < MAX_IN_PROGRESS + extra
    }
}
