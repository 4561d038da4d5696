//! When the next probe may leave: an even pace in ticks, and hard bounds that hold for any window of time.

use std::{collections::VecDeque, time::Duration};

use crate::model::Moment;

use super::{
    rate::Rate,
    tick::{TICK, tick_from, tick_of},
    timing::BEFORE_RETRANSMIT,
};

/// The contract is 30 SYN in any 100 ms. One millisecond is for the time that a packet waits within this machine. Two
/// SYN are left for probes that were being connected at that moment: a thread that is interrupted between reading the
/// clock and the connect sends one late, and on a busy machine two threads at once were observed to. The reply then
/// bounds how late.
const SPAN: Duration = Duration::from_micros(SPAN_MICROS);
const SPAN_MICROS: u64 = 101_000;
const PER_SPAN: usize = 28;

/// The same bound for probes without a reply yet. Two more SYN are left for those and for the kernel's retransmits,
/// which are never confirmed: a thread that lost the processor sends what was due in one burst when it is back, and 31
/// instead of 28 SYN in 100 ms were observed towards a silent host.
const UNCONFIRMED_PER_SPAN: usize = 26;

/// 277 SYN a second, which leaves 23 of the 300 for retransmits.
pub(super) const INTERVAL: Duration = Duration::from_micros(SPAN_MICROS / PER_SPAN as u64 + 1);

/// Half of that pace, for probes that are not urgent.
pub(super) const HALF_PACE: Duration = Duration::from_micros(2 * SPAN_MICROS / PER_SPAN as u64);

/// What is due within a tick leaves when it begins: three probes at most.
const SLACK: Duration = TICK;

/// The kernel retransmits an unanswered SYN after 1 s and 3 s; from Linux 6.5 on after 1, 2, 3 and 4 s
/// (`tcp_syn_linear_timeouts`). Counting all of them is right for both.
const RETRANSMITS: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(3), Duration::from_secs(4)];

/// A retransmit comes up to this much late: the probe's own delay and the timer wheel's 32 ms at HZ=250.
const RETRANSMIT_LATE: Duration = Duration::from_millis(50);

/// Whether a reply has confirmed when a SYN left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Departure {
    Unconfirmed,
    Confirmed,
}

/// A host's pacer: counts every SYN to the host, and delays probes if the template is paced.
#[derive(Debug)]
pub(super) struct Pacer {
    rate: Rate,
    /// SYNs of the last span, each at the latest moment at which it may have left, ascending.
    recent: VecDeque<(Moment, Departure)>,
    /// Retransmits that the kernel may make, each at the earliest moment, ascending, and whether it is of a paced
    /// probe. They stay counted if a reply prevents them: that errs on the safe side, for a second or two.
    retransmits: VecDeque<(Moment, bool)>,
}

impl Default for Pacer {
    fn default() -> Self {
        Self {
            rate: Rate::new(INTERVAL, SLACK, Moment::ZERO),
            recent: VecDeque::new(),
            retransmits: VecDeque::new(),
        }
    }
}

impl Pacer {
    /// The earliest moment at which a probe may leave, or so much later; a moment in the past means now. If a probe has
    /// to wait, it waits for a tick. One that becomes possible within a tick leaves at once if the pace allowed it when
    /// the tick began.
    pub(super) fn next(&mut self, now: Moment, start_within: Duration) -> Moment {
        self.settle(now);
        let soon = self.retransmits.partition_point(|&(at, _)| at < now + start_within + SPAN);
        let Some(room) = UNCONFIRMED_PER_SPAN.checked_sub(soon).filter(|&room| room > 0) else {
            return tick_from(now + start_within);
        };
        // One more may leave when the last of those that fill the span is a span old.
        let unconfirmed =
            self.recent.iter().rev().filter(|(_, known)| *known == Departure::Unconfirmed).nth(room - 1);
        let any = self.recent.iter().rev().nth(PER_SPAN - soon - 1);
        let pace = tick_from(self.rate.next());
        let due = [unconfirmed, any].into_iter().flatten().map(|&(at, _)| at + SPAN).fold(pace, Moment::max);
        if due > now { tick_from(due) } else { due }
    }

    /// Counts a probe that leaves now or so much later. Until its reply says when it left, it counts as leaving as late
    /// as possible: with 5 ms, 272 a second leave towards a host that answers and 230 towards one that is silent.
    /// `give_up` decides which retransmits the kernel may make of it. Only a paced probe is charged to the rate:
    /// unpaced ones must not delay a paced job that comes later.
    pub(super) fn take(&mut self, now: Moment, start_within: Duration, give_up: Duration, paced: bool) {
        self.settle(now);
        insert(&mut self.recent, (now + start_within, Departure::Unconfirmed));
        if paced {
            self.rate.take(tick_of(now));
        }
        for after in RETRANSMITS.into_iter().filter(|&after| give_up > BEFORE_RETRANSMIT && give_up >= after)
        {
            insert(&mut self.retransmits, (now + after, paced));
        }
    }

    /// Notes when a paced probe with this `start_by` left; `None`: it did not leave at all.
    pub(super) fn left(&mut self, start_by: Moment, then: Option<Moment>) {
        if let Ok(place) = self.recent.binary_search(&(start_by, Departure::Unconfirmed)) {
            self.recent.remove(place);
            then.into_iter().for_each(|then| insert(&mut self.recent, (then, Departure::Confirmed)));
        }
        if then.is_none() {
            self.rate.give_back();
        }
    }

    /// Notes that a probe which left by the first moment kept its socket until the second, although it was to be closed
    /// before the kernel retransmits its SYN: the prober's thread had to wait for the processor. The retransmits count
    /// like other SYNs, as late as possible, and delay the next probes.
    pub(super) fn outstayed(&mut self, left_by: Moment, closed: Moment) {
        for _ in RETRANSMITS.into_iter().filter(|&after| left_by + after <= closed) {
            self.rate.take(closed);
            insert(&mut self.recent, (closed, Departure::Confirmed));
        }
    }

    /// Notes that this many earlier probes waited in the kernel for ARP and left together only now.
    pub(super) fn held_up(&mut self, probes: usize, now: Moment) {
        (0..probes).for_each(|_| insert(&mut self.recent, (now, Departure::Confirmed)));
    }

    /// Paces no faster than this from now on, and without bursts if that is slower than the usual pace.
    pub(super) fn slow_down(&mut self, interval: Duration, now: Moment) {
        let slack = if interval > INTERVAL { Duration::ZERO } else { SLACK };
        self.rate = Rate::new(interval, slack, now);
    }

    fn settle(&mut self, now: Moment) {
        while let Some((at, paced)) = self.retransmits.front().copied().filter(|&(at, _)| at <= now) {
            self.retransmits.pop_front();
            if paced {
                self.rate.take(at);
            }
            insert(&mut self.recent, (at + RETRANSMIT_LATE, Departure::Unconfirmed));
        }
        while self.recent.front().is_some_and(|&(at, _)| at + SPAN <= now) {
            self.recent.pop_front();
        }
    }
}

fn insert<T: Ord>(ascending: &mut VecDeque<T>, at: T) {
    ascending.insert(ascending.partition_point(|other| *other <= at), at);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The most events in any window of this length.
    fn peak(times: &[Moment], span: Duration) -> usize {
        (0..times.len())
            .map(|i| times[i..].iter().take_while(|t| t.since(times[i]) < span).count())
            .max()
            .unwrap_or(0)
    }

    proptest! {
        #[test]
        fn keeps_both_bounds_for_any_sequence(
            steps in prop::collection::vec(
                (
                    0_u64..3_000, prop::bool::weighted(0.1), 0.0..1.2, prop::bool::weighted(0.7),
                    prop_oneof![9 => Just(5), 1 => 5_u64..160],
                ),
                1..900
            ),
        ) {
            let mut pacer = Pacer::default();
            let mut now = Moment::ZERO;
            let mut sent = Vec::new();
            for (wait, patient, late, told, within) in steps {
                let within = Duration::from_millis(within);
                now += Duration::from_micros(wait);
                loop {
                    let next = pacer.next(now, within);
                    if next <= now { break }
                    now = next;
                }
                let give_up = Duration::from_millis(if patient { 3900 } else { 900 });
                pacer.take(now, within, give_up, true);
                let start_by = now + within;
                let left = Some(now + within.mul_f64(late)).filter(|&left| left <= start_by);
                if told {
                    pacer.left(start_by, left);
                }
                sent.extend(left);
                if let (Some(left), true) = (left, patient) {
                    sent.extend([1, 3].map(|seconds| left + Duration::from_millis(seconds * 1000) + Duration::from_millis(40).mul_f64(late / 1.2)));
                }
            }
            sent.sort_unstable();
            prop_assert!(peak(&sent, Duration::from_millis(100)) <= 30);
            prop_assert!(peak(&sent, Duration::from_secs(1)) <= 300);
        }
    }

    const WITHIN: Duration = Duration::from_millis(5);

    /// How many seconds 2,660 probes take if this is noted of each at once.
    fn seconds(within: Duration, told: impl Fn(&mut Pacer, Moment)) -> f64 {
        let mut pacer = Pacer::default();
        let mut now = Moment::ZERO;
        for _ in 0..2660 {
            now = now.max(pacer.next(now, within));
            pacer.take(now, within, BEFORE_RETRANSMIT, true);
            told(&mut pacer, now);
        }
        now.since(Moment::ZERO).as_secs_f64()
    }

    #[test]
    fn spaces_evenly_and_nearly_as_fast_as_allowed() {
        let silent = seconds(WITHIN, |_, _| {});
        assert!((11.5..11.7).contains(&silent), "{silent} s");
        let answered = seconds(WITHIN, |pacer, now| pacer.left(now + WITHIN, Some(now)));
        assert!((9.7..9.9).contains(&answered), "{answered} s");
    }

    #[test]
    fn is_slower_if_departures_may_be_late_and_stay_unconfirmed() {
        let late = Duration::from_millis(160);
        let silent = seconds(late, |_, _| {});
        assert!((27.0..28.0).contains(&silent), "{silent} s");
        let answered = seconds(late, |pacer, now| pacer.left(now + late, Some(now)));
        assert!((9.7..9.9).contains(&answered), "{answered} s");
    }

    #[test]
    fn retransmits_of_a_socket_that_is_closed_late_delay_the_next_probe() {
        let mut pacer = Pacer::default();
        let mut sent = Vec::new();
        let mut now = Moment::ZERO;
        for _ in 0..600 {
            now = now.max(pacer.next(now, WITHIN));
            pacer.take(now, WITHIN, BEFORE_RETRANSMIT, true);
            sent.push(now);
        }
        // From here on the process waits for the processor; its sockets stay open meanwhile.
        let stalled = now;
        let awake = stalled + Duration::from_millis(180);
        let closed = |left: Moment| (left + BEFORE_RETRANSMIT).max(awake);
        let open = sent.iter().filter(|&&left| left + BEFORE_RETRANSMIT > stalled);
        let late: Vec<Moment> = open.copied().filter(|&left| closed(left) == awake).collect();
        let again: Vec<Moment> =
            late.iter().map(|&left| left + RETRANSMITS[0]).filter(|&at| at <= awake).collect();
        assert!(again.len() > 15, "{}", again.len());
        late.iter().for_each(|&left| pacer.outstayed(left, awake));
        now = awake;
        let resumed = sent.len();
        for _ in 0..60 {
            now = now.max(pacer.next(now, WITHIN));
            pacer.take(now, WITHIN, BEFORE_RETRANSMIT, true);
            sent.push(now);
        }
        assert!(sent[resumed] > awake, "the next probe waits");
        sent.extend(again);
        sent.sort_unstable();
        assert!(peak(&sent, Duration::from_millis(100)) <= 30, "{}", peak(&sent, Duration::from_millis(100)));
    }

    #[test]
    fn a_probe_that_never_left_costs_nothing() {
        let took = seconds(WITHIN, |pacer, now| pacer.left(now + WITHIN, None));
        assert!(took < 0.001, "{took} s");
    }
}
