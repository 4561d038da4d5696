//! Is it still there? A host that falls silent while it is scanned is asked on a port that is known to
//! answer, a *canary*: silence of filtered ports means nothing, silence of that port does.

use std::time::Duration;

use crate::model::Moment;

use super::order::LIKELY;

/// Silence after which a canary is sent, and least time between two of them while all is well.
const QUIET: Duration = Duration::from_secs(2);

/// Least time between canaries once two in a row are lost.
const AGAIN: Duration = Duration::from_secs(1);

/// Canaries lost in a row that make silence an outage: what was silent meanwhile is asked again. One is lost
/// by chance on one in 17 at 3 % loss each way, and is made up for by the passes.
pub(super) const OUTAGE: u8 = 2;

/// Canaries lost in a row after which the host is treated as fragile when it comes back. By chance: 2 in
/// 10,000 silences of 2 s at 3 % loss each way, 8 in a million at 1 %.
pub(super) const FRAGILE: u8 = 3;

/// Canaries lost in a row, and time since the last sign of life, after which a host is gone. At least six
/// fit into the time: by chance all are lost in 4 of 100 million silences at 3 % loss each way, so in one of
/// 100,000 scans of 65,535 silent ports (some 240 such silences); at 1 % never.
const GONE_LOST: u8 = 5;
const GONE_AFTER: Duration = Duration::from_secs(8);

/// Answers younger than this make a check needless.
const FRESH: Duration = Duration::from_secs(10);

/// A host's signs of life.
#[derive(Debug, Default)]
pub(super) struct Health {
    heard: Option<Moment>,
    open: Option<u16>,
    closed: Option<u16>,
    /// Whether a probe left since then.
    sent: bool,
    /// Whether somebody wants a canary now.
    wanted: bool,
    under_way: bool,
    asked: Option<Moment>,
    lost: u8,
}

impl Health {
    /// Whether a port is known to answer.
    pub(super) const fn has_canary(&self) -> bool {
        self.open.is_some() || self.closed.is_some()
    }

    /// Whether the host is under suspicion: nothing but canaries is sent.
    pub(super) const fn is_suspended(&self) -> bool {
        self.lost > 0
    }

    pub(super) fn is_gone(&self, now: Moment) -> bool {
        self.lost >= GONE_LOST && self.heard.is_none_or(|heard| now.since(heard) >= GONE_AFTER)
    }

    pub(super) fn was_heard_lately(&self, now: Moment) -> bool {
        self.lost == 0 && self.heard.is_some_and(|heard| now.since(heard) < FRESH)
    }

    /// New jobs after a pause: what answered then may not now.
    pub(super) fn start_afresh(&mut self, now: Moment) {
        if !self.was_heard_lately(now) {
            *self = Self { under_way: self.under_way, asked: self.asked, ..Self::default() };
        }
    }

    /// A sign of life; `port` with whether it is open, if it was a port that answered. Returns how many
    /// canaries had been lost in a row.
    pub(super) fn heard(&mut self, now: Moment, port: Option<(u16, bool)>) -> u8 {
        self.heard = self.heard.max(Some(now));
        match port {
            Some((port, true)) => self.open = Some(port),
            Some((port, false)) => self.closed = Some(port),
            None => {}
        }
        (self.sent, self.wanted) = (false, false);
        std::mem::take(&mut self.lost)
    }

    /// A probe of any kind leaves.
    pub(super) fn sent(&mut self) {
        self.sent = true;
    }

    /// Asks for a canary now: a round trip is to be measured, a silence to be confirmed. False if there is
    /// none to send, or one is wanted or under way already.
    pub(super) fn want_canary(&mut self) -> bool {
        self.has_canary() && !self.under_way && !std::mem::replace(&mut self.wanted, true)
    }

    /// The port to ask and the earliest moment for it. A closed one first: it costs the host least. The
    /// other kind after a loss, for one of them may have changed sides. A host that never answered on a
    /// port is suspended only when ARP fails, and then any port shows whether it works again.
    pub(super) fn canary(&self) -> Option<(u16, Moment)> {
        let known = if self.lost % 2 == 0 { self.closed.or(self.open) } else { self.open.or(self.closed) };
        let port = known.or(self.is_suspended().then_some(LIKELY[0]))?;
        let asked = self.asked.unwrap_or_default();
        let at = match self.lost {
            _ if self.under_way => return None,
            0 if self.wanted => asked,
            0 if self.sent => self.heard.unwrap_or_default().max(asked) + QUIET,
            0 => return None,
            1 => asked,
            _ if self.asked.is_none() => asked,
            _ => asked + AGAIN,
        };
        Some((port, at))
    }

    pub(super) fn canary_left(&mut self, now: Moment) {
        (self.under_way, self.asked, self.wanted) = (true, Some(now), false);
    }

    /// It came back, whatever it says.
    pub(super) fn canary_back(&mut self) {
        self.under_way = false;
    }

    /// No answer to a canary.
    pub(super) fn canary_lost(&mut self) {
        self.lost = self.lost.saturating_add(1);
    }

    /// Nobody answers ARP: that is three unanswered requests already.
    pub(super) fn neighbour_lost(&mut self) {
        self.lost = self.lost.saturating_add(2);
    }
}
