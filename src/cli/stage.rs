//! The stages of each host of a scan: asked for its MAC, then probed.

use std::{io, pin::Pin};

use super::targets::Target;
use crate::{engine::Progress, model::HostReport, net::Solicited, service::scanner::Ticket};

/// A host under way.
pub(super) struct PendingHost<'a> {
    pub(super) index: usize,
    pub(super) target: Target,
    pub(super) stage: Stage<'a>,
    pub(super) started: jiff::Timestamp,
}

/// How far a host is.
pub(super) enum Stage<'a> {
    /// Asked for its MAC: nothing was sent to its ports.
    Asked(Pin<Box<dyn Future<Output = io::Result<Solicited>> + 'a>>),
    /// Probed.
    Probed(Ticket),
}

/// What a stage ends with.
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
    /// What the scanner says of it.
    pub(super) fn progress(&self) -> Progress {
        match &self.stage {
            Stage::Asked(_) => Progress::default(),
            Stage::Probed(ticket) => ticket.progress(),
        }
    }

    /// Leaves it; false if nothing more is to come of it.
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
