//! The stages of each host of a scan: its MAC is resolved, it is probed, and its open ports are identified. Of a scan
//! of UDP: its MAC is resolved, it is found to be up, and its UDP ports are asked.

use std::{io, pin::Pin};

use super::{identify::IdentifiedPorts, targets::Target};
use crate::{
    engine::Progress,
    model::HostReport,
    net::Solicited,
    service::{
        scanner::Ticket,
        udp_scan::{UdpReport, UdpTicket},
    },
};

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
    /// Whether it is up is being found out, before its UDP ports are asked.
    Checked(Ticket),
    /// Its UDP ports are being asked; this was found before.
    Udp(Box<HostReport>, UdpTicket),
    /// This was found, and its open ports are being identified.
    Identified(Box<HostReport>, Pin<Box<dyn Future<Output = IdentifiedPorts> + 'a>>),
}

/// The result of a stage.
pub(super) enum Ended {
    Asked(io::Result<Solicited>),
    /// `None`: the scanner stopped.
    Probed(Option<HostReport>),
    /// The same.
    Checked(Option<HostReport>),
    /// What was found before, and now.
    Udp(Box<HostReport>, Option<UdpReport>),
    Identified(Box<HostReport>, IdentifiedPorts),
}

impl Stage<'_> {
    pub(super) async fn end(&mut self) -> Ended {
        match self {
            Self::Asked(answer) => Ended::Asked(answer.await),
            Self::Probed(ticket) => Ended::Probed(ticket.report().await),
            Self::Checked(ticket) => Ended::Checked(ticket.report().await),
            Self::Udp(check, ticket) => {
                let found = ticket.report().await;
                Ended::Udp(check.clone(), found)
            }
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
            // Its ports are not those that the user asked for.
            Stage::Checked(ticket) => Progress { probes: ticket.progress().probes, ..Progress::default() },
            Stage::Udp(check, ticket) => {
                let progress = ticket.progress();
                Progress { probes: progress.probes.saturating_add(check.probes), ..progress }
            }
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
            Stage::Probed(ticket) | Stage::Checked(ticket) => {
                ticket.cancel();
                true
            }
            Stage::Udp(_, ticket) => {
                ticket.cancel();
                true
            }
        }
    }

    /// Whether its address is being resolved, or it is being probed or found to be up.
    pub(super) fn takes_a_slot(&self) -> bool {
        !matches!(self.stage, Stage::Udp(..))
    }
}
