//! The stages of each host of a scan: its MAC is resolved, it is probed, and its open ports are identified.

use std::{io, pin::Pin};

use super::{identify::IdentifiedPorts, targets::Target};
use crate::{engine::Progress, model::HostReport, net::Solicited, service::scanner::Ticket};

/// A host in progress.
pub(super) struct PendingHost<'a> {
    pub(super) index: usize,
    pub(super) target: Target,
    pub(super) stage: Stage<'a>,
    pub(super) started: jiff::Timestamp,
}

/// The stage that a host has reached.
pub(super) enum Stage<'a> {
    /// Its MAC is being resolved: nothing has been sent to its ports.
    Asked(Pin<Box<dyn Future<Output = io::Result<Solicited>> + 'a>>),
    /// It is being probed.
    Probed(Ticket),
    /// This was found, and its open ports are being identified.
    Identified(Box<HostReport>, Pin<Box<dyn Future<Output = IdentifiedPorts> + 'a>>),
}

/// The result of a stage.
pub(super) enum Ended {
    Asked(io::Result<Solicited>),
    /// `None`: the scanner stopped.
    Probed(Option<HostReport>),
    Identified(Box<HostReport>, IdentifiedPorts),
}

impl Stage<'_> {
    pub(super) async fn end(&mut self) -> Ended {
        match self {
            Self::Asked(answer) => Ended::Asked(answer.await),
            Self::Probed(ticket) => Ended::Probed(ticket.report().await),
            Self::Identified(report, identified) => {
                let identified = identified.await;
                Ended::Identified(report.clone(), identified)
            }
        }
    }
}

impl PendingHost<'_> {
    /// Returns the scanner's progress with the host.
    pub(super) fn progress(&self) -> Progress {
        match &self.stage {
            Stage::Asked(_) => Progress::default(),
            Stage::Probed(ticket) => ticket.progress(),
            Stage::Identified(report, _) => {
                let (ports, open) = (report.coverage.len(), report.open_ports().count());
                let open = u32::try_from(open).unwrap_or(u32::MAX);
                Progress { ports, settled: ports, open, probes: report.probes }
            }
        }
    }

    /// Cancels the host; returns false if no result will follow.
    pub(super) fn cancel(&self) -> bool {
        match &self.stage {
            Stage::Asked(_) => false,
            // It ends by itself.
            Stage::Identified(..) => true,
            Stage::Probed(ticket) => {
                ticket.cancel();
                true
            }
        }
    }
}
