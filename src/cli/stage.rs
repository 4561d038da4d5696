//! The stages of each host of a scan: its MAC is resolved, then it is probed.

use std::{io, pin::Pin};

use super::targets::Target;
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
}

/// The result of a stage.
pub(super) enum Ended {
    Asked(io::Result<Solicited>),
    /// `None`: the scanner stopped.
    Probed(Option<HostReport>),
}

impl Stage<'_> {
    pub(super) async fn end(&mut self) -> Ended {
        match self {
            Self::Asked(answer) => Ended::Asked(answer.await),
            Self::Probed(ticket) => Ended::Probed(ticket.report().await),
        }
    }
}

impl PendingHost<'_> {
    /// Returns the scanner's progress with the host.
    pub(super) fn progress(&self) -> Progress {
        match &self.stage {
            Stage::Asked(_) => Progress::default(),
            Stage::Probed(ticket) => ticket.progress(),
        }
    }

    /// Cancels the host; returns false if no result will follow.
    pub(super) fn cancel(&self) -> bool {
        match &self.stage {
            Stage::Asked(_) => false,
            Stage::Probed(ticket) => {
                ticket.cancel();
                true
            }
        }
    }
}
