//! Is it still there? A host that falls silent while it is scanned is asked on a port that is known to
//! answer, a *canary*: silence of filtered ports means nothing, silence of that port does.

use std::{collections::VecDeque, time::Duration};

use crate::model::Moment;

use super::{board::Mark, order::LIKELY};

/// Time between open ports asked because the host may limit its refusals.
const WITNESS_PAUSE: Duration = Duration::from_millis(250);

/// Silence after which a canary is sent, and least time between two of them while all is well.
const QUIET: Duration = Duration::from_secs(2);

/// The same for one open port where no closed one is known: each such canary is a connection that a service
/// notices and may log or hold against us. That a host has vanished is then seen up to 8 s later; asking
/// every 2 s would be 450 connections in the quarter of an hour that a silent host takes.
const QUIET_OPEN: Duration = Duration::from_secs(10);

/// The same where a scan presses: in 2 s it would send 20,000 probes into the silence, and it takes seconds,
/// not a quarter of an hour. Longer than the second of which a host that limits its refusals is silent for the
/// most.
const QUIET_PRESSED: Duration = Duration::from_millis(1100);
const QUIET_OPEN_PRESSED: Duration = Duration::from_millis(2500);

/// The same in pauses between two probes: at T0 and T1 most of what is sent would be canaries else.
const QUIET_PAUSES: u32 = 8;

/// Least time between canaries once two in a row are lost.
const AGAIN: Duration = Duration::from_secs(1);

/// Canaries that measure a host's round trips, and the time between them.
const WARM_UP: usize = 32;
const WARM_UP_PAUSE: Duration = Duration::from_millis(20);

/// The same where only open ports are known, for each of them: an SSH server shuts out for a while who comes
/// and goes too often (`sshd_config(5)`, `PerSourcePenalties`), and a whole scan is worth more than its haste.
const WARM_UP_OPEN: usize = 5;
const WARM_UP_OPEN_PAUSE: Duration = Duration::from_millis(100);

/// Canaries lost in a row that make silence an outage: what was silent meanwhile is asked again. One is lost
/// by chance on one in 17 at 3 % loss each way, and is made up for by the passes.
pub(super) const OUTAGE: u8 = 2;

/// Canaries lost in a row, and time since the last sign of life, after which a host is gone. At least six
/// fit into the time: by chance all are lost in 4 of 100 million silences at 3 % loss each way, so in one of
/// 100,000 scans of 65,535 silent ports (some 240 such silences); at 1 % never.
const GONE_LOST: u8 = 5;
const GONE_AFTER: Duration = Duration::from_secs(8);

/// Answers younger than this make a check needless.
const FRESH: Duration = Duration::from_secs(10);

/// Ports of a kind that are remembered as canaries.
const KNOWN: usize = 4;

/// Ports that answer alike, asked in turn: one service's own silence is not the host's.
#[derive(Debug, Default)]
struct KnownPorts(VecDeque<u16>);

impl KnownPorts {
    /// The latest to answer takes the place of the one that was known longest.
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

/// What is lost in a row.
#[derive(Debug, Default)]
struct LossStreak {
    /// Canaries, or what weighs as much.
    lost: u8,
    /// The port of the first.
    first: Option<u16>,
    /// Whether another port was silent, too.
    ports_differ: bool,
}

/// A host's signs of life.
#[derive(Debug, Default)]
pub(super) struct Health {
    heard: Option<Moment>,
    /// Whether any port answered anything, an ICMP error too. Those are no canaries: they are rationed, often
    /// to one a second, and their absence says nothing.
    answered: bool,
    open: KnownPorts,
    closed: KnownPorts,
    /// Whether a probe left since then.
    sent: bool,
    /// Whether somebody wants a canary now.
    wanted: bool,
    under_way: bool,
    asked: Option<Moment>,
    canaries: usize,
    losses: LossStreak,
}

/// What those who scan a host want of its canaries.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CanaryNeeds {
    /// A round trip is worth measuring.
    pub(super) curious: bool,
    /// Refusals may be rationed: open ports tell more.
    pub(super) suspicious: bool,
    /// It is worth knowing whether they answer at this pace.
    pub(super) witness: bool,
    /// The scan is not paced.
    pub(super) pressing: bool,
    /// The pause between two probes.
    pub(super) delay: Duration,
}

/// What the host's silence was, now that it has ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Silence {
    /// Canaries lost in a row.
    pub(super) lost: u8,
    /// How long it was.
    pub(super) length: Duration,
}

impl Health {
    /// Whether a port is known to answer.
    pub(super) fn has_canary(&self) -> bool {
        self.known().is_some()
    }

    /// A port that is known to answer. A closed one first: it costs the host least.
    pub(super) fn known(&self) -> Option<u16> {
        self.closed.first().or(self.open.first())
    }

    /// Whether this is an open port that serves as canary.
    pub(super) fn is_open(&self, port: u16) -> bool {
        self.open.0.contains(&port)
    }

    /// Whether any port ever answered anything.
    pub(super) const fn has_answered(&self) -> bool {
        self.answered
    }

    /// Whether there was no sign of life yet: the first probes wait for ARP, too.
    pub(super) const fn is_unheard(&self) -> bool {
        self.heard.is_none()
    }

    /// Whether the host is under suspicion: nothing but canaries is sent.
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

    /// New jobs after a pause: what answered then may not now.
    pub(super) fn start_afresh(&mut self, now: Moment) {
        if !self.was_heard_lately(now) {
            *self = Self { under_way: self.under_way, asked: self.asked, ..Self::default() };
        }
    }

    /// A sign of life; `port` and its answer, if it was a port that answered. Returns what it ended.
    pub(super) fn heard(&mut self, now: Moment, port: Option<(u16, Mark)>) -> Silence {
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
        Silence { lost: std::mem::take(&mut self.losses).lost, length }
    }

    /// A probe of any kind leaves.
    pub(super) fn sent(&mut self) {
        self.sent = true;
    }

    /// Asks for a canary now: a silence is to be confirmed. False if there is none to send, or one is wanted
    /// or under way already.
    pub(super) fn want_canary(&mut self) -> bool {
        self.has_canary() && !self.under_way && !std::mem::replace(&mut self.wanted, true)
    }

    /// The port to ask and the earliest moment for it.
    ///
    /// The other kind of port after a loss, for one of them may have changed sides. A host that never
    /// answered but with ICMP errors is suspended only when ARP fails, and then any port shows whether it
    /// works again.
    pub(super) fn canary(&self, needs: &CanaryNeeds) -> Option<(u16, Moment)> {
        let witness = needs.witness && !self.is_suspended() && self.open.first().is_some();
        let known = match needs.suspicious == self.losses.lost.is_multiple_of(2) {
            true => self.open.first().or(self.closed.first()),
            false => self.known(),
        };
        let port = known.or(self.is_suspended().then_some(LIKELY[0]))?;
        let asked = self.asked.unwrap_or_default();
        let at = match self.losses.lost {
            _ if self.under_way => return None,
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

    /// Canaries that may be spent on measuring, and the pause between them.
    fn warm_up(&self) -> (usize, Duration) {
        match self.closed.first() {
            Some(_) => (WARM_UP, WARM_UP_PAUSE),
            None => (WARM_UP_OPEN * self.open.0.len(), WARM_UP_OPEN_PAUSE),
        }
    }

    /// How long a silence is left alone.
    fn quiet(&self, pressing: bool) -> Duration {
        let open = u32::try_from(self.open.0.len().max(1)).unwrap_or(u32::MAX);
        let (quiet, quiet_open) = match pressing {
            true => (QUIET_PRESSED, QUIET_OPEN_PRESSED),
            false => (QUIET, QUIET_OPEN),
        };
        if self.closed.first().is_some() { quiet } else { quiet.max(quiet_open / open) }
    }

    /// Whether it was silent for so long that it ought to be asked: silence on filtered ports then says nothing
    /// good.
    pub(super) fn is_overdue(&self, now: Moment, pressing: bool) -> bool {
        self.has_canary() && self.heard.is_some_and(|heard| now.since(heard) >= self.quiet(pressing))
    }

    pub(super) fn canary_left(&mut self, port: u16, now: Moment) {
        (self.under_way, self.asked, self.wanted) = (true, Some(now), false);
        self.canaries += 1;
        self.open.asked(port);
        self.closed.asked(port);
    }

    /// It came back, whatever it says.
    pub(super) fn canary_back(&mut self) {
        self.under_way = false;
    }

    /// No answer to a canary.
    pub(super) fn canary_lost(&mut self, port: u16) {
        self.losses.lost = self.losses.lost.saturating_add(1);
        self.losses.ports_differ |= *self.losses.first.get_or_insert(port) != port;
    }

    /// Nobody answers ARP: that is three unanswered requests already, whatever the port.
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

    /// Silent from 1 s on: the ports and moments of the canaries until it is gone.
    fn canaries(health: &mut Health, delay: Duration) -> Vec<(u16, Moment)> {
        let mut sent = Vec::new();
        let mut now = at(1000);
        while !health.is_gone(now) {
            health.sent();
            let (port, due) = health.canary(&CanaryNeeds { delay, ..CanaryNeeds::default() }).unwrap();
            now = now.max(due);
            health.canary_left(port, now);
            sent.push((port, now));
            now += Duration::from_millis(900);
            health.canary_back();
            health.canary_lost(port);
        }
        sent
    }

    #[test]
    fn closed_ports_are_asked_first_and_all_in_turn() {
        let mut health = Health::default();
        health.heard(at(1000), Some((22, Mark::Open)));
        (1..=9).for_each(|port| _ = health.heard(at(1000), Some((port, Mark::Closed))));
        let sent = canaries(&mut health, Duration::ZERO);
        assert_eq!(sent[0], (6, at(3000)), "the oldest of the four latest");
        assert_eq!(sent.iter().map(|&(port, _)| port).collect::<Vec<_>>()[..4], [6, 22, 7, 22]);
        assert!(sent.last().unwrap().1 < at(11_000), "{sent:?}");
    }

    #[test]
    fn an_open_port_is_asked_seldom_and_pauses_are_respected() {
        let open = |ports: u16, delay| {
            let mut health = Health::default();
            (0..ports).for_each(|port| _ = health.heard(at(1000), Some((port, Mark::Open))));
            canaries(&mut health, delay)[0].1
        };
        assert_eq!(open(1, Duration::ZERO), at(11_000));
        assert_eq!(open(2, Duration::ZERO), at(6_000));
        assert_eq!(open(1, Duration::from_secs(15)), at(121_000));
    }

    #[test]
    fn one_port_alone_does_not_make_a_host_gone_where_two_are_known() {
        let mut health = Health::default();
        health.heard(at(0), Some((80, Mark::Open)));
        (0..9).for_each(|_| health.canary_lost(80));
        assert!(health.is_gone(at(60_000)));
        health.heard(at(0), Some((81, Mark::Closed)));
        (0..9).for_each(|_| health.canary_lost(80));
        assert!(!health.is_gone(at(60_000)));
        health.canary_lost(81);
        assert!(health.is_gone(at(60_000)));
    }

    #[test]
    fn icmp_errors_are_signs_of_life_and_no_canaries() {
        let mut health = Health::default();
        health.heard(at(0), Some((80, Mark::AdminProhibited)));
        assert!(health.has_answered() && !health.has_canary());
        health.sent();
        assert_eq!(health.canary(&CanaryNeeds { curious: true, ..CanaryNeeds::default() }), None);
    }
}
