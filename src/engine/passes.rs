//! Which port is probed next: passes over the ports without a final mark, each in its own order.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use crate::model::Moment;

use super::{
    board::{Board, BoardChange, Mark},
    limited::{Limited, Sample},
    order::{LIKELY, Permutation, Places},
};

/// Tries at every silent port: without a second one loss cannot be told from filtering.
pub(super) const USUAL_TRIES: u8 = 2;

/// How many ports of `first` get more tries: a tarpit was open on all 65,535 last time.
const MOST_FIRST: usize = 1024;

/// Positions that one step passes over: a late pass is for few of 65,535 ports, and replies must not wait for the
/// search for the next one.
const STEP: usize = 2048;

/// Tries at ports that a user would miss.
const SPECIAL_TRIES: u8 = 3;

/// If more than one in this many replies is lost, another pass is needed.
const LOSSY: u32 = 200;

/// The pass from which on a job may keep to half of T3's pace, whatever its template. A port that is silent by then may
/// belong to a host that limits its refusals or that a fast pass overwhelms, and a third pass happens only if something
/// was lost.
const SLOW_PASS: u8 = 3;

/// So few ports are probed slowly in any case: it takes a quarter of a minute.
const FEW: u32 = 2048;

/// The pause before a slow pass: a host that limits its refusals may have none left for a second.
const RATIONED: Duration = Duration::from_millis(1100);

/// If more than one in this many canaries is lost, the host or the path may be overwhelmed.
const OVERWHELMED: u32 = 8;

/// The passes over a job's ports.
#[derive(Debug)]
pub(super) struct Passes {
    ports: u32,
    key: u64,
    /// Places that come first in every pass: those that were open last time, or are likely.
    head: Vec<u32>,
    /// The same as a set; they get [`SPECIAL_TRIES`].
    special: BTreeSet<u32>,
    /// Places to probe again in this pass, before others: they were silent, which an outage devalued.
    again: VecDeque<u32>,
    /// Places to probe again at the end of this pass, after a local error, which may concern one port alone.
    faulted: VecDeque<u32>,
    /// Places that this machine cannot probe.
    left_out: BTreeSet<u32>,
    /// Tries after which the silence of a port that is not special is its verdict.
    tries: u8,
    most_tries: u8,
    /// The number of the pass, from 1.
    number: u8,
    /// The position in the head, then in the permutation.
    position: u32,
    /// When the pass may begin.
    opens: Moment,
    last_probe: Moment,
    /// When a special port was last probed.
    last_special: Moment,
    seen: Seen,
    /// Whether the pass keeps to a slow pace.
    slow: bool,
    /// Ports without a final mark when the pass began.
    lacked: u32,
    /// Whether the only purpose of the pass is to find out whether the host limits its refusals.
    on_suspicion: bool,
    limited: Limited,
}

/// The result of a search for the next place.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Search {
    Found(u32),
    /// The search takes longer, and must be continued.
    Unfinished,
    /// No place is left in this pass.
    Over,
}

/// What a pass observed, which decides whether another one is needed.
#[derive(Debug, Default)]
struct Seen {
    looks: u32,
    refused: u32,
    /// Whether an open port answered that had been silent before.
    late_open: bool,
    /// Closed ports that did. ICMP errors do not count: they are rate-limited, and late for that reason.
    late: u32,
    canaries: u32,
    canaries_lost: u32,
}

impl Seen {
    /// Whether another pass is worth it: always if an open port answered late, else if more than half a percent was
    /// lost. A single late refusal or lost canary is no reason to probe 65,535 ports again.
    const fn is_lossy(&self) -> bool {
        self.late_open
            || self.late.saturating_mul(LOSSY) > self.looks
            || (self.canaries_lost >= 2 && self.canaries_lost.saturating_mul(LOSSY) > self.canaries)
    }

    /// Whether so many canaries were lost that the pace may be the reason.
    const fn is_overwhelmed(&self) -> bool {
        self.canaries_lost >= 2 && self.canaries_lost.saturating_mul(OVERWHELMED) > self.canaries
    }
}

impl Passes {
    pub(super) fn new(places: &Places, first: &[u16], key: u64, most_tries: u8) -> Self {
        let mut special = BTreeSet::new();
        let likely = first.iter().take(MOST_FIRST).chain(&LIKELY).filter_map(|&port| places.place(port));
        let head = likely.filter(|&place| special.insert(place)).collect();
        Self {
            ports: places.len(),
            key,
            head,
            special,
            again: VecDeque::new(),
            faulted: VecDeque::new(),
            left_out: BTreeSet::new(),
            tries: USUAL_TRIES,
            most_tries,
            number: 1,
            position: 0,
            opens: Moment::ZERO,
            last_probe: Moment::ZERO,
            last_special: Moment::ZERO,
            seen: Seen::default(),
            slow: false,
            lacked: places.len(),
            on_suspicion: false,
            limited: Limited::default(),
        }
    }

    /// Whether this pass keeps to a slow pace.
    pub(super) const fn is_slow(&self) -> bool {
        self.slow
    }

    /// Whether the host may limit its refusals.
    pub(super) const fn suspects_limit(&self) -> bool {
        self.limited.is_suspected()
    }

    /// Whether another probe of an open port is useful, to see whether it answers while others are silent. In a slow
    /// pass that proves nothing.
    pub(super) const fn wants_witness(&self) -> bool {
        self.number < SLOW_PASS && self.limited.wants_witness()
    }

    /// Counts such a probe.
    pub(super) fn note_witness(&mut self, lost: bool) {
        self.limited.note_witness(lost);
    }

    /// Whether the host limits its refusals, so that silent ports are closed.
    pub(super) const fn is_limited(&self) -> bool {
        self.limited.is_recognised()
    }

    /// When this pass may begin.
    pub(super) const fn opens(&self) -> Moment {
        self.opens
    }

    /// Tries after which the silence of this port is its verdict.
    pub(super) fn tries_at(&self, place: u32) -> u8 {
        let wanted = if self.special.contains(&place) { self.tries.max(SPECIAL_TRIES) } else { self.tries };
        wanted.min(self.most_tries)
    }

    /// Whether the next try is the last at a special port.
    pub(super) fn is_last_chance(&self, place: u32, board: &Board) -> bool {
        self.special.contains(&place) && board.tries(place) + 1 == self.tries_at(place)
    }

    /// The place to probe next in this pass; the same one until its probe has [`left`](Self::left).
    pub(super) fn next(&mut self, board: &Board) -> Search {
        for _ in 0..STEP {
            let Some(place) = self.candidate() else { return Search::Over };
            if self.is_due(place, board) {
                return Search::Found(place);
            }
            self.pass_over(place);
        }
        Search::Unfinished
    }

    fn candidate(&self) -> Option<u32> {
        let again = self.again.front().copied();
        again.or_else(|| self.at_position()).or_else(|| self.faulted.front().copied())
    }

    fn pass_over(&mut self, place: u32) {
        if self.again.front() == Some(&place) {
            self.again.pop_front();
        } else if self.position < count(self.head.len()) + self.ports {
            self.position += 1;
        } else {
            self.faulted.pop_front();
        }
    }

    fn is_due(&self, place: u32, board: &Board) -> bool {
        board.is_due(place, self.tries_at(place).min(self.number)) && !self.left_out.contains(&place)
    }

    fn at_position(&self) -> Option<u32> {
        if let Some(&place) = self.head.get(self.position as usize) {
            return Some(place);
        }
        let position = self.position - count(self.head.len());
        let order = Permutation::new(self.ports, self.key ^ (u64::from(self.number) << 48));
        (position < self.ports).then(|| order.at(position))
    }

    /// Notes that the probe of the place which [`next`](Self::next) returned leaves.
    pub(super) fn left(&mut self, place: u32, now: Moment) {
        self.last_probe = now;
        if self.special.contains(&place) {
            self.last_special = now;
        }
        self.pass_over(place);
    }

    /// Notes that the probe met a local error, which may concern this port alone: other ports come first.
    pub(super) fn faulted(&mut self, place: u32) {
        self.faulted.push_back(place);
    }

    /// Probes the place no more.
    pub(super) fn leave_out(&mut self, place: u32) {
        self.left_out.insert(place);
    }

    /// Probes the place again in this pass, if its tries allow it.
    pub(super) fn again(&mut self, place: u32) {
        self.again.push_back(place);
    }

    /// Counts the reply to a probe.
    pub(super) fn note_look(&mut self, change: BoardChange, mark: Mark) {
        self.seen.looks += 1;
        self.seen.refused += u32::from(mark == Mark::Closed);
        if change == (BoardChange::Answered { late: true }) {
            self.seen.late_open |= mark == Mark::Open;
            self.seen.late += u32::from(mark == Mark::Closed);
        }
        self.limited.note_look(mark == Mark::Closed, change == BoardChange::Looked && mark == Mark::Silent);
        if self.slow {
            self.judge();
        }
    }

    /// Judges what a slow pass has shown so far. If that is conclusive, its remaining ports need no probe.
    fn judge(&mut self) {
        let left = self.lacked.saturating_sub(self.seen.looks);
        match self.limited.judge(self.seen.looks, self.seen.refused, left, self.ports) {
            Sample::Limited => self.tries = self.number - 1,
            Sample::Silent if self.on_suspicion => self.tries = self.number - 1,
            Sample::Silent | Sample::Open => {}
        }
    }

    /// Counts a canary, which came back or was lost.
    pub(super) fn note_canary(&mut self, lost: bool) {
        self.seen.canaries += 1;
        self.seen.canaries_lost += u32::from(lost);
    }

    /// Begins another pass, if one is needed, `between` after the last probe; returns how many ports it is for.
    pub(super) fn turn(&mut self, board: &Board, between: Duration) -> u32 {
        let suspicious = self.limited.is_credible() && self.seen.late > 0;
        if (self.seen.is_lossy() || suspicious) && self.number >= self.tries && !self.is_limited() {
            self.tries = self.number.saturating_add(1).min(self.most_tries).max(self.tries);
            self.on_suspicion = !self.seen.is_lossy();
        }
        let lacking = self.lacking(board);
        if lacking > 0 {
            self.number = self.number.saturating_add(1);
            let last = if board.lacking(self.tries) > 0 { self.last_probe } else { self.last_special };
            let doubtful = self.limited.is_suspected() || self.seen.is_overwhelmed();
            self.slow = self.number >= SLOW_PASS && (lacking <= FEW || doubtful);
            self.opens = last + if self.slow { between.max(RATIONED) } else { between };
            self.lacked = lacking;
            (self.position, self.seen) = (0, Seen::default());
        }
        lacking
    }

    /// Ports that need another probe as far as is known.
    pub(super) fn lacking(&self, board: &Board) -> u32 {
        let tries = self.tries.min(self.most_tries);
        let lacks =
            |&place: &u32| board.is_settled(place, tries) && !board.is_settled(place, self.tries_at(place));
        let special = self.head.iter().filter(|place| lacks(place)).count();
        let left_out = self.left_out.iter().filter(|&&place| !board.is_settled(place, self.tries_at(place)));
        board.lacking(tries) + count(special) - count(left_out.count())
    }
}

fn count(places: usize) -> u32 {
    u32::try_from(places).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::model::PortSet;

    const PAUSE: Duration = Duration::from_secs(2);

    /// Walks one pass in which every port stays silent.
    fn walk(passes: &mut Passes, board: &mut Board) -> Vec<u32> {
        let mut walked = Vec::new();
        while let Search::Found(place) = passes.next(board) {
            passes.left(place, Moment::ZERO);
            board.start(place);
            board.settle(place, Mark::Silent, Duration::ZERO);
            walked.push(place);
        }
        walked
    }

    #[test]
    fn visits_every_port_once_a_pass_in_another_order_and_special_ports_thrice() {
        let places = Places::new(&"1-500".parse().unwrap());
        let mut board = Board::new(&places);
        let mut passes = Passes::new(&places, &[300], 7, 5);
        let (first, lacking) = (walk(&mut passes, &mut board), passes.turn(&board, PAUSE));
        assert_eq!((places.port(first[0]), places.port(first[1]), lacking), (300, 80, 500));
        assert_eq!(passes.opens(), Moment::ZERO + PAUSE);
        let (second, lacking) = (walk(&mut passes, &mut board), passes.turn(&board, PAUSE));
        assert_ne!(first, second);
        for walked in [&first, &second] {
            assert_eq!(walked.len(), 500);
            assert_eq!(walked.iter().copied().collect::<BTreeSet<_>>().len(), 500);
        }
        let third = walk(&mut passes, &mut board);
        assert_eq!((third.len(), lacking, passes.turn(&board, PAUSE)), (14, 14, 0), "300 and 13 likely ones");
    }

    #[test]
    fn ports_open_last_time_are_special_up_to_a_bound() {
        let places = Places::new(&PortSet::all());
        let all: Vec<u16> = (1..=u16::MAX).collect();
        assert_eq!(
            Passes::new(&places, &all, 7, 5).special.len(),
            MOST_FIRST + 14,
            "likely ones above come on top"
        );
    }

    #[test]
    fn a_long_search_is_divided_into_steps() {
        let places = Places::new(&"1000-60000".parse().unwrap());
        let mut board = Board::new(&places);
        let mut passes = Passes::new(&places, &[], 7, 5);
        (0..places.len()).for_each(|place| _ = board.settle(place, Mark::Closed, Duration::ZERO));
        let steps = (0..).take_while(|_| passes.next(&board) == Search::Unfinished).count();
        assert_eq!(steps, 59_001 / STEP);
        assert_eq!((passes.next(&board), passes.turn(&board, PAUSE)), (Search::Over, 0));
    }

    #[test]
    fn ports_with_local_errors_come_last_and_those_given_up_are_left_out() {
        let places = Places::new(&"1000-1009".parse().unwrap());
        let mut board = Board::new(&places);
        let mut passes = Passes::new(&places, &[], 7, 1);
        let Search::Found(blocked) = passes.next(&board) else { panic!() };
        passes.left(blocked, Moment::ZERO);
        passes.faulted(blocked);
        let walked = walk(&mut passes, &mut board);
        assert_eq!((walked.len(), walked.last()), (10, Some(&blocked)));
        board.forget_try(blocked);
        assert_eq!(passes.lacking(&board), 1);
        passes.leave_out(blocked);
        assert_eq!((passes.lacking(&board), walk(&mut passes, &mut board)), (0, vec![]));
    }

    #[test]
    fn loss_leads_to_more_passes_up_to_the_bound() {
        let places = Places::new(&"1000-1099".parse().unwrap());
        let mut board = Board::new(&places);
        let mut passes = Passes::new(&places, &[], 7, 5);
        for pass in 1..=5 {
            assert_eq!((walk(&mut passes, &mut board).len(), passes.number), (100, pass));
            passes.note_look(BoardChange::Answered { late: true }, Mark::Open);
            passes.turn(&board, PAUSE);
        }
        assert_eq!((walk(&mut passes, &mut board).len(), passes.turn(&board, PAUSE)), (0, 0));
    }
}
