//! Detects whether a host is still up. If it falls silent while it is scanned, a port that is known to answer is
//! probed, a *canary*: the silence of filtered ports means nothing, but the silence of that port does.

use std::{collections::VecDeque, time::Duration};

use crate::model::Moment;

use super::{board::Mark, order::LIKELY};

/// Time between probes of open ports that are made because the host may limit its refusals.
const WITNESS_PAUSE: Duration = Duration::from_millis(250);

/// Silence after which a canary is sent, and least time between two of them while the host answers.
const QUIET: Duration = Duration::from_secs(2);

/// The same if one open port and no closed one is known: each such canary is a connection that a service notices and
/// may log or punish. That a host has vanished is then noticed up to 8 s later; a canary every 2 s would be 450
/// connections in the quarter of an hour that a silent host takes.
const QUIET_OPEN: Duration = Duration::from_secs(10);

/// The same for an unpaced scan: in 2 s it would send 20,000 probes in vain, and it takes seconds, not a quarter of an
/// hour. Longer than a second, of which a host that limits its refusals is silent for the most part.
const QUIET_PRESSED: Duration = Duration::from_millis(1100);
const QUIET_OPEN_PRESSED: Duration = Duration::from_millis(2500);

/// The same in pauses between two probes: at T0 and T1 most probes would be canaries otherwise.
const QUIET_PAUSES: u32 = 8;

/// Least time between canaries once two in a row are lost.
const AGAIN: Duration = Duration::from_secs(1);

/// Canaries that measure a host's round trips, and the time between them.
const WARM_UP: usize = 32;
const WARM_UP_PAUSE: Duration = Duration::from_millis(20);

/// The same if only open ports are known, for each of them: an SSH server blocks an address for a while that connects
/// and leaves too often (`sshd_config(5)`, `PerSourcePenalties`), and a complete scan is worth more than a fast one.
const WARM_UP_OPEN: usize = 5;
const WARM_UP_OPEN_PAUSE: Duration = Duration::from_millis(100);

/// Canaries lost in a row that make a silence an outage: ports that were silent meanwhile are probed again. One in 17
/// is lost by chance at 3 % loss each way, which the passes make up for.
pub(super) const OUTAGE: u8 = 2;

/// Canaries lost in a row, and time since the last reply, after which a host is gone. At least six fit into the time:
/// by chance all are lost in 4 of 100 million silences at 3 % loss each way, so in one of 100,000 scans of 65,535
/// silent ports (some 240 such silences); at 1 % never.
const GONE_LOST: u8 = 5;
const GONE_AFTER: Duration = Duration::from_secs(8);

/// After a reply younger than this no liveness check is needed.
const FRESH: Duration = Duration::from_secs(10);

/// How many ports of a kind are remembered as canaries.
const KNOWN: usize = 4;

/// Ports with the same kind of reply, probed in turn: the silence of one service is not the host's.
#[derive(Debug, Default)]
struct KnownPorts(VecDeque<u16>);

impl KnownPorts {
    /// Adds a port, which replaces the one that has been known longest.
    fn add(&mut self, port: u16) {
        if self.0.contains(&port) {
            return;
        }
        if self.0.len() == KNOWN {
            self.0.pop_front();
        }
        self.0.push_back(port);
    }

    fn first(&self) -> Option<u16> {
        self.0.front().copied()
    }

    fn asked(&mut self, port: u16) {
        if self.first() == Some(port) {
            self.0.rotate_left(1);
        }
    }
}

/// Losses in a row.
#[derive(Debug, Default)]
struct LossStreak {
    /// Lost canaries, or what weighs as much.
    lost: u8,
    /// The port of the first lost canary.
    first: Option<u16>,
    /// Whether a canary to another port was lost, too.
    ports_differ: bool,
}

/// Whether a host still answers.
#[derive(Debug, Default)]
pub(super) struct Responsiveness {
    heard: Option<Moment>,
    /// Whether any port replied, be it with an ICMP error. Ports with ICMP errors are no canaries: those errors are
    /// rate-limited, often to one a second, and their absence says nothing.
    answered: bool,
    open: KnownPorts,
    closed: KnownPorts,
    /// Whether a probe has left since `heard`.
    sent: bool,
    /// Whether a job needs a canary now.
    wanted: bool,
    in_flight: bool,
    asked: Option<Moment>,
    canaries: usize,
    losses: LossStreak,
}

/// What the jobs on a host need of its canaries.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CanaryNeeds {
    /// A round trip is to be measured.
    pub(super) curious: bool,
    /// The host may limit its refusals: open ports tell more.
    pub(super) suspicious: bool,
    /// An open port is to show whether it answers at this pace.
    pub(super) witness: bool,
    /// The scan is not paced.
    pub(super) pressing: bool,
    /// The pause between two probes.
    pub(super) delay: Duration,
}

/// A silence of the host that has ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct EndedSilence {
    /// Canaries lost in a row.
    pub(super) lost: u8,
    /// How long it lasted.
    pub(super) length: Duration,
}

impl Responsiveness {
    /// Whether a port is known to answer.
    pub(super) fn has_canary(&self) -> bool {
        self.known().is_some()
    }

    /// A port that is known to answer; preferably a closed one, which costs the host least.
    pub(super) fn known(&self) -> Option<u16> {
        self.closed.first().or(self.open.first())
    }

    /// An open port that is known to answer.
    pub(super) fn known_open(&self) -> Option<u16> {
        self.open.first()
    }

    /// Whether this is an open port that serves as a canary.
    pub(super) fn is_open(&self, port: u16) -> bool {
        self.open.0.contains(&port)
    }

    /// Whether any port ever replied.
    pub(super) const fn has_answered(&self) -> bool {
        self.answered
    }

    /// Whether there was no sign of life yet: the first probes may have to wait for ARP.
    pub(super) const fn is_unheard(&self) -> bool {
        self.heard.is_none()
    }

    /// Whether the host may be down: only canaries are sent.
    pub(super) const fn is_suspended(&self) -> bool {
        self.losses.lost > 0
    }

    pub(super) fn is_gone(&self, now: Moment) -> bool {
        let one_is_all = self.open.0.len() + self.closed.0.len() < 2;
        self.losses.lost >= GONE_LOST
            && (self.losses.ports_differ || one_is_all)
            && self.heard.is_none_or(|heard| now.since(heard) >= GONE_AFTER)
    }

    pub(super) fn was_heard_lately(&self, now: Moment) -> bool {
        !self.is_suspended() && self.heard.is_some_and(|heard| now.since(heard) < FRESH)
    }

    /// Resets the state for new jobs after a pause: a port that answered then may not answer now.
    pub(super) fn start_afresh(&mut self, now: Moment) {
        if !self.was_heard_lately(now) {
            *self = Self { in_flight: self.in_flight, asked: self.asked, ..Self::default() };
        }
    }

    /// Notes a sign of life; `port`: the port that replied, if one did, and its mark. Returns the silence that has
    /// ended.
    pub(super) fn heard(&mut self, now: Moment, port: Option<(u16, Mark)>) -> EndedSilence {
        let length = self.heard.map_or(Duration::ZERO, |heard| now.since(heard));
        self.heard = self.heard.max(Some(now));
        if let Some((port, mark)) = port {
            self.answered = true;
            match mark {
                Mark::Open => self.open.add(port),
                Mark::Closed => self.closed.add(port),
                _ => {}
            }
        }
        (self.sent, self.wanted) = (false, false);
        EndedSilence { lost: std::mem::take(&mut self.losses).lost, length }
    }

    /// Notes that a probe leaves.
    pub(super) fn sent(&mut self) {
        self.sent = true;
    }

    /// Requests a canary now, to confirm a silence. Returns false if there is none to send, or one is requested or in
    /// flight already.
    pub(super) fn want_canary(&mut self) -> bool {
        self.has_canary() && !self.in_flight && !std::mem::replace(&mut self.wanted, true)
    }

    /// The port of the next canary, and the earliest moment for it.
    ///
    /// After a loss it is a port of the other kind, because the state of the first may have changed. A host that has
    /// only answered with ICMP errors is suspended only if ARP fails, and then any port shows whether it answers again.
    pub(super) fn canary(&self, needs: &CanaryNeeds) -> Option<(u16, Moment)> {
        let witness = needs.witness && !self.is_suspended() && self.open.first().is_some();
        let known = match needs.suspicious == self.losses.lost.is_multiple_of(2) {
            true => self.open.first().or(self.closed.first()),
            false => self.known(),
        };
        let port = known.or(self.is_suspended().then_some(LIKELY[0]))?;
        let asked = self.asked.unwrap_or_default();
        let at = match self.losses.lost {
            _ if self.in_flight => return None,
            0 if self.wanted => asked,
            0 if witness => asked + WITNESS_PAUSE,
            0 if needs.curious && self.canaries < self.warm_up().0 => asked + self.warm_up().1,
            0 if self.sent => {
                let quiet = self.quiet(needs.pressing).max(needs.delay * QUIET_PAUSES);
                self.heard.unwrap_or_default().max(asked) + quiet
            }
            0 => return None,
            1 => asked,
            _ if self.asked.is_none() => asked,
            _ => asked + AGAIN,
        };
        Some((port, at))
    }

    /// How many canaries may be spent on measuring, and the pause between them.
    fn warm_up(&self) -> (usize, Duration) {
        match self.closed.first() {
            Some(_) => (WARM_UP, WARM_UP_PAUSE),
            None => (WARM_UP_OPEN * self.open.0.len(), WARM_UP_OPEN_PAUSE),
        }
    }

    /// For how long a silence needs no canary.
    fn quiet(&self, pressing: bool) -> Duration {
        let open = u32::try_from(self.open.0.len().max(1)).unwrap_or(u32::MAX);
        let (quiet, quiet_open) = match pressing {
            true => (QUIET_PRESSED, QUIET_OPEN_PRESSED),
            false => (QUIET, QUIET_OPEN),
        };
        if self.closed.first().is_some() { quiet } else { quiet.max(quiet_open / open) }
    }

    /// Whether the host was silent for so long that a canary is due: an unanswered probe is then no sign that all is
    /// well.
    pub(super) fn is_overdue(&self, now: Moment, pressing: bool) -> bool {
        self.has_canary() && self.heard.is_some_and(|heard| now.since(heard) >= self.quiet(pressing))
    }

    pub(super) fn canary_left(&mut self, port: u16, now: Moment) {
        (self.in_flight, self.asked, self.wanted) = (true, Some(now), false);
        self.canaries += 1;
        self.open.asked(port);
        self.closed.asked(port);
    }

    /// Notes that the canary came back, with whatever outcome.
    pub(super) fn canary_back(&mut self) {
        self.in_flight = false;
    }

    /// Notes that a canary stayed unanswered.
    pub(super) fn canary_lost(&mut self, port: u16) {
        self.losses.lost = self.losses.lost.saturating_add(1);
        self.losses.ports_differ |= *self.losses.first.get_or_insert(port) != port;
    }

    /// Notes that ARP failed: that is three unanswered requests already, whatever the port.
    pub(super) fn neighbour_lost(&mut self) {
        self.losses.lost = self.losses.lost.saturating_add(2);
        self.losses.ports_differ = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::from_start(Duration::from_millis(millis))
    }

    /// The ports and moments of the canaries from 1 s on until the host is gone, if it stays silent.
    fn canaries(responsiveness: &mut Responsiveness, delay: Duration) -> Vec<(u16, Moment)> {
        let mut sent = Vec::new();
        let mut now = at(1000);
        while !responsiveness.is_gone(now) {
            responsiveness.sent();
            let (port, due) =
                responsiveness.canary(&CanaryNeeds { delay, ..CanaryNeeds::default() }).unwrap();
            now = now.max(due);
            responsiveness.canary_left(port, now);
            sent.push((port, now));
            now += Duration::from_millis(900);
            responsiveness.canary_back();
            responsiveness.canary_lost(port);
        }
        sent
    }

    #[test]
    fn closed_ports_are_probed_first_and_all_in_turn() {
        let mut responsiveness = Responsiveness::default();
        responsiveness.heard(at(1000), Some((22, Mark::Open)));
        (1..=9).for_each(|port| _ = responsiveness.heard(at(1000), Some((port, Mark::Closed))));
        let sent = canaries(&mut responsiveness, Duration::ZERO);
        assert_eq!(sent[0], (6, at(3000)), "the oldest of the four latest");
        assert_eq!(sent.iter().map(|&(port, _)| port).collect::<Vec<_>>()[..4], [6, 22, 7, 22]);
        assert!(sent.last().unwrap().1 < at(11_000), "{sent:?}");
    }

    #[test]
    fn an_open_port_is_probed_seldom_and_pauses_are_respected() {
        let open = |ports: u16, delay| {
            let mut responsiveness = Responsiveness::default();
            (0..ports).for_each(|port| _ = responsiveness.heard(at(1000), Some((port, Mark::Open))));
            canaries(&mut responsiveness, delay)[0].1
        };
        assert_eq!(open(1, Duration::ZERO), at(11_000));
        assert_eq!(open(2, Duration::ZERO), at(6_000));
        assert_eq!(open(1, Duration::from_secs(15)), at(121_000));
    }

    #[test]
    fn one_silent_port_does_not_make_a_host_gone_if_two_are_known() {
        let mut responsiveness = Responsiveness::default();
        responsiveness.heard(at(0), Some((80, Mark::Open)));
        (0..9).for_each(|_| responsiveness.canary_lost(80));
        assert!(responsiveness.is_gone(at(60_000)));
        responsiveness.heard(at(0), Some((81, Mark::Closed)));
        (0..9).for_each(|_| responsiveness.canary_lost(80));
        assert!(!responsiveness.is_gone(at(60_000)));
        responsiveness.canary_lost(81);
        assert!(responsiveness.is_gone(at(60_000)));
    }

    #[test]
    fn icmp_errors_are_signs_of_life_and_no_canaries() {
        let mut responsiveness = Responsiveness::default();
        responsiveness.heard(at(0), Some((80, Mark::AdminProhibited)));
        assert!(responsiveness.has_answered() && !responsiveness.has_canary());
        responsiveness.sent();
        assert_eq!(responsiveness.canary(&CanaryNeeds { curious: true, ..CanaryNeeds::default() }), None);
    }
}
