//! Decides whether bare SYNs may probe a host in place of connects: only after the host has answered one, and only
//! while it keeps answering them.
//!
//! A firewall of this machine's can drop packets from raw sockets and let connects pass. Then every port would look
//! filtered. So a port that has answered a connect is asked by a SYN first, a *trial*; until that is answered, connects
//! do the work, which costs no time. Later a canary by SYN that is lost is repeated by a connect, as any lost canary is
//! repeated at another port: connects that are answered where SYNs are not end the use of SYNs on this host.

use std::time::Duration;

use crate::model::Moment;

/// Unanswered trials, or canaries by SYN, after which SYNs are given up: at 3 % loss each way one host in 5,000 is
/// scanned by connects for nothing.
const GIVEN_UP: u8 = 3;

/// Least time between two trials.
const AGAIN: Duration = Duration::from_millis(200);

/// Whether SYNs get through to a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Standing {
    #[default]
    Unproven,
    Proven,
    Failed,
}

/// Whether SYNs get through to a host and their answers back.
#[derive(Debug, Default)]
pub(super) struct SynPath {
    standing: Standing,
    in_flight: bool,
    /// When the last trial left.
    tried: Option<Moment>,
    /// Trials and canaries that were lost in a row.
    lost: u8,
}

impl SynPath {
    /// Whether a SYN was answered, and those after it mostly were, too.
    pub(super) fn is_proven(&self) -> bool {
        self.standing == Standing::Proven
    }

    /// Whether the last canary by SYN was lost, so that the silence of SYNs means nothing.
    pub(super) fn is_doubtful(&self) -> bool {
        self.is_proven() && self.lost > 0
    }

    /// When the next trial may leave; `None`: none is needed, or one is in flight.
    pub(super) fn trial(&self) -> Option<Moment> {
        let wanted = self.standing == Standing::Unproven && !self.in_flight;
        wanted.then(|| self.tried.map_or(Moment::ZERO, |tried| tried + AGAIN))
    }

    pub(super) fn trial_left(&mut self, now: Moment) {
        (self.in_flight, self.tried) = (true, Some(now));
    }

    /// Notes that a trial came back, with whatever outcome.
    pub(super) fn trial_back(&mut self) {
        self.in_flight = false;
    }

    /// Notes that a SYN was answered.
    pub(super) fn answered(&mut self) {
        self.lost = 0;
        if self.standing == Standing::Unproven {
            self.standing = Standing::Proven;
        }
    }

    /// Notes that a trial or a canary by SYN stayed unanswered. Returns whether SYNs are given up now.
    pub(super) fn lost(&mut self) -> bool {
        self.lost = self.lost.saturating_add(1);
        self.lost >= GIVEN_UP && self.give_up()
    }

    /// Gives SYNs up; returns whether that is news.
    pub(super) fn give_up(&mut self) -> bool {
        self.lost = 0;
        std::mem::replace(&mut self.standing, Standing::Failed) != Standing::Failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_answer_proves_the_path_and_three_losses_in_a_row_end_it() {
        let mut path = SynPath::default();
        assert_eq!(path.trial(), Some(Moment::ZERO));
        path.trial_left(Moment::ZERO);
        assert_eq!(path.trial(), None, "one at a time");
        path.trial_back();
        assert!(!path.lost() && !path.lost());
        assert_eq!(path.trial(), Some(Moment::ZERO + AGAIN));
        path.answered();
        assert!(path.is_proven() && !path.is_doubtful() && path.trial().is_none());
        assert!(!path.lost() && !path.lost() && path.is_doubtful());
        assert!(path.lost() && !path.is_proven());
        assert_eq!((path.give_up(), path.trial()), (false, None), "told once, and never tried again");
        path.answered();
        assert!(!path.is_proven(), "a late answer does not bring it back");
    }
}
