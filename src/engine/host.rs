//! What the jobs on one address share: round trips, window, pace, responsiveness and sockets. This file decides which
//! probes leave; `replies` handles what comes back.

mod replies;
mod waiting;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::model::{Address, Moment};

use super::{
    backoff::Backoff,
    board::Ending,
    check::CHECK_WAIT,
    faults::Faults,
    job::{Event, JobId, Link, Progress},
    pacer::Pacer,
    probe::{Probe, ProbeId},
    quota::{QuotaLevel, SilentShare},
    responsiveness::{CanaryNeeds, Responsiveness},
    rtt::{ENOUGH, Rtt},
    running_job::RunningJob,
    spread::Spread,
    streak::{Streak, stays_awake},
    syn_path::SynPath,
    tick::{TICK, tick_from},
    timing::BEFORE_RETRANSMIT,
    turn::{SOON, SendBudget, TurnStep},
    want::{Ask, Purpose, Want},
    window::Window,
};
use waiting::{Denied, Waiting};

/// First tries after which the share of unanswered ones is significant.
const TELLING: u32 = 64;

/// Unanswered first tries after which round trips are measured on a port that answers.
const SILENCES: u32 = 8;

/// The time-out towards a neighbour that never replied: ARP has shown that it is near, and a dozing Wi-Fi client takes
/// 0.3 s. To wait longer for each of 65,535 silent ports would cost hours; a host that takes longer to wake is kept
/// awake instead.
const MUTE_NEIGHBOUR: Duration = Duration::from_millis(300);

/// Least time between probes that only wake a host: their silence means nothing, so few are enough.
const WAKING: Duration = Duration::from_millis(15);

/// How long a reply may wait if no probe needs it. Usually the next tick collects it without a wake-up of its own;
/// this limit matters for a host to which no probe leaves in the next tick.
const REPLY_WITHIN: Duration = TICK.saturating_mul(2);

/// Probes that may leave before such a reply is collected, at three in a tick.
const BEFORE_REPLY: usize = 9;

/// How late an unpaced probe may leave.
const START_EVENTUALLY: Duration = Duration::from_secs(1);

/// A probe in flight.
#[derive(Debug)]
struct ProbeInFlight {
    job: JobId,
    port: u16,
    purpose: Purpose,
    /// Whether a bare SYN asks in place of a connect.
    by_syn: bool,
    /// Whether it may have waited for ARP, so that its time is no round trip.
    woke: bool,
    /// Until when it could leave, if it is paced.
    start_by: Option<Moment>,
    /// Whether its socket is to be closed before the kernel retransmits its SYN.
    closes_early: bool,
    /// When its window slot is given to another probe; `None`: it has no slot.
    timeout: Option<Moment>,
    launched: Moment,
    /// A time-out before this moment means nothing, because the host may have dozed.
    counts_from: Option<Moment>,
}

/// One address.
#[derive(Debug)]
pub(super) struct ActiveHost {
    address: Address,
    runs: Vec<RunningJob>,
    /// The index of the job that is next.
    turn: usize,
    /// When the jobs that are over were last ended, unless something has come back since: of many probes that leave at
    /// one moment, only the first needs to look.
    looked_over: Option<Moment>,
    /// A tree, which gives its memory back: a thousand hosts without jobs are remembered.
    flights: BTreeMap<ProbeId, ProbeInFlight>,
    /// Probes that hold a window slot, by the moment at which they lose it.
    slots: BTreeSet<(Moment, ProbeId)>,
    rtt: Rtt,
    window: Window,
    pacer: Pacer,
    spread: Spread,
    streak: Streak,
    responsiveness: Responsiveness,
    syns: SynPath,
    faults: Faults,
    backoff: Backoff,
    expected: SilentShare,
    /// First tries that ended, and those of them that stayed unanswered.
    first_tries: u32,
    silences: u32,
}

impl ActiveHost {
    pub(super) fn new(address: Address) -> Self {
        Self {
            address,
            runs: Vec::new(),
            turn: 0,
            looked_over: None,
            flights: BTreeMap::new(),
            slots: BTreeSet::new(),
            rtt: Rtt::default(),
            window: Window::new(0, 0),
            pacer: Pacer::default(),
            spread: Spread::default(),
            streak: Streak::default(),
            responsiveness: Responsiveness::default(),
            syns: SynPath::default(),
            faults: Faults::default(),
            backoff: Backoff::default(),
            expected: SilentShare::default(),
            first_tries: 0,
            silences: 0,
        }
    }

    pub(super) const fn address(&self) -> &Address {
        &self.address
    }

    /// Whether it has no job and no probe in flight.
    pub(super) fn is_idle(&self) -> bool {
        self.runs.is_empty() && self.flights.is_empty()
    }

    /// Takes a job. For the first one after a pause, round trips and backoff are kept, and everything else is reset.
    pub(super) fn add(&mut self, run: RunningJob, now: Moment) {
        if self.runs.is_empty() {
            let template = run.template();
            self.window = Window::new(template.window, template.threshold);
            (self.first_tries, self.silences) = (0, 0);
            self.backoff.restart_calm(now);
        }
        if !self.runs.iter().any(RunningJob::is_scanning) {
            self.responsiveness.start_afresh(now);
            self.syns = SynPath::default();
        }
        self.runs.push(run);
        self.looked_over = None;
    }

    pub(super) fn forget_round_trips(&mut self) {
        self.rtt = Rtt::default();
    }

    pub(super) fn cancel(&mut self, job: JobId) {
        self.runs.iter_mut().filter(|run| run.id() == job).for_each(RunningJob::cancel);
        self.looked_over = None;
    }

    pub(super) fn progress(&self, job: JobId) -> Option<Progress> {
        self.runs.iter().find(|run| run.id() == job).map(RunningJob::progress)
    }

    pub(super) fn open_ports(&self, job: JobId) -> impl Iterator<Item = u16> {
        self.runs.iter().filter(move |run| run.id() == job).flat_map(RunningJob::open_ports)
    }

    /// The next probe, or how long to wait for one.
    pub(super) fn next(
        &mut self,
        id: ProbeId,
        now: Moment,
        budget: SendBudget,
        events: &mut Vec<Event>,
    ) -> TurnStep {
        while self.slots.first().is_some_and(|&(timeout, _)| timeout <= now) {
            self.slots.pop_first();
        }
        if self.looked_over.replace(now) != Some(now) {
            self.end_over(now, events);
        }
        if self.backoff.relax(now) {
            self.apply_backoff(now);
        }
        let mut wait = Waiting::default();
        self.runs.iter().filter_map(RunningJob::deadline).for_each(|deadline| wait.until(deadline));
        let own = self.canary(now, &mut wait).or_else(|| self.trial(now, &mut wait));
        if let Some((run, ask)) = own {
            match self.allow(run, &ask, now, budget) {
                Ok(()) => return TurnStep::Launch(self.launch(id, run, &ask, now, budget)),
                Err(denied) => wait.note(denied),
            }
        }
        for _ in 0..self.runs.len() {
            let run = self.turn % self.runs.len();
            self.turn = run + 1;
            match self.want(run, now) {
                Want::Until(at) => wait.until(at),
                Want::Confirmation if self.responsiveness.want_canary() => {
                    return self.next(id, now, budget, events);
                }
                Want::Probe(ask) => match self.allow(run, &ask, now, budget) {
                    Ok(()) => return TurnStep::Launch(self.launch(id, run, &ask, now, budget)),
                    Err(denied) => wait.note(denied),
                },
                // Jobs that were over have been ended above; the search has just shown that this one is over, too.
                Want::Ended(_) => wait.until(now + SOON),
                Want::Reply | Want::Confirmation => {}
            }
        }
        wait.step()
    }

    /// Ends the jobs that are over, before a probe is sent for them.
    fn end_over(&mut self, now: Moment, events: &mut Vec<Event>) {
        let mut run = 0;
        while run < self.runs.len() {
            match self.ending(run, now) {
                Some(ending) => self.end(run, ending, now, events),
                None => run += 1,
            }
        }
    }

    fn ending(&mut self, run: usize, now: Moment) -> Option<Ending> {
        if !self.responsiveness.has_canary() {
            self.runs[run].trust_silence();
        }
        if let Some(ending) = self.runs[run].stopped(now) {
            return Some(ending);
        }
        if self.responsiveness.is_gone(now) && self.runs[run].is_scanning() {
            return Some(Ending::partial("the host went silent while it was scanned"));
        }
        if self.responsiveness.is_gone(now) && self.runs[run].is_checking() {
            return Some(Ending::down("the host went silent while it was scanned for others"));
        }
        match self.want(run, now) {
            Want::Ended(ending) => Some(ending),
            _ => None,
        }
    }

    /// What a job wants, as far as the host's responsiveness allows it.
    fn want(&mut self, run: usize, now: Moment) -> Want {
        let fresh = self.responsiveness.was_heard_lately(now);
        let run = &mut self.runs[run];
        self.responsiveness.known().into_iter().for_each(|port| run.prefer(port));
        if fresh && run.is_check_fresh() {
            run.assume_up();
        }
        // Not even the end of a pass may be decided while it is unknown whether silence means anything.
        if run.is_scanning() && self.responsiveness.is_suspended() { Want::Reply } else { run.want(now) }
    }

    /// A canary, if one is due, charged to the job that is next.
    fn canary(&mut self, now: Moment, wait: &mut Waiting) -> Option<(usize, Ask)> {
        let mut turns = (0..self.runs.len()).map(|offset| (self.turn + offset) % self.runs.len());
        let run = turns.find(|&run| self.runs[run].is_scanning())?;
        let (port, at) = self.responsiveness.canary(&self.canary_needs(self.runs[run].template().delay))?;
        if at > now {
            wait.until(at);
            return None;
        }
        // If no port ever answered, the canary shows only whether ARP fails.
        let patience = if self.responsiveness.has_canary() { BEFORE_RETRANSMIT } else { CHECK_WAIT };
        Some((run, Ask { port, purpose: Purpose::Canary, wait: Some(patience) }))
    }

    /// A trial of bare SYNs, if one is due, charged to the job that is next.
    fn trial(&mut self, now: Moment, wait: &mut Waiting) -> Option<(usize, Ask)> {
        let at = self.syns.trial().filter(|_| !self.responsiveness.is_suspended())?;
        let mut turns = (0..self.runs.len()).map(|offset| (self.turn + offset) % self.runs.len());
        let run =
            turns.find(|&run| self.runs[run].is_scanning() && self.runs[run].asks_by_syn(Purpose::Trial))?;
        // Refusals may be limited; a SYN-ACK is not.
        let port = self.responsiveness.known_open().or(self.responsiveness.known())?;
        if at > now {
            wait.until(at);
            return None;
        }
        Some((run, Ask { port, purpose: Purpose::Trial, wait: Some(BEFORE_RETRANSMIT) }))
    }

    /// Whether a bare SYN asks in place of a connect. After a lost canary connects do: they tell whether ARP fails, and
    /// whether SYNs alone are lost.
    fn asks_by_syn(&self, run: usize, purpose: Purpose) -> bool {
        let is_proven = match purpose {
            Purpose::Trial => true,
            Purpose::Canary => self.syns.is_proven() && !self.responsiveness.is_suspended(),
            _ => self.syns.is_proven(),
        };
        is_proven && self.runs[run].asks_by_syn(purpose)
    }

    /// What its jobs need of a canary; `delay`: the pause between probes of the job that is charged for it.
    fn canary_needs(&self, delay: Duration) -> CanaryNeeds {
        CanaryNeeds {
            curious: delay.is_zero() && self.silences >= SILENCES && self.rtt.samples() < ENOUGH,
            suspicious: self.runs.iter().any(RunningJob::suspects_limit),
            witness: self.runs.iter().any(RunningJob::wants_witness),
            pressing: !self.is_paced(),
            delay,
        }
    }

    /// Whether this probe may leave now.
    fn allow(&mut self, run: usize, ask: &Ask, now: Moment, budget: SendBudget) -> Result<(), Denied> {
        let paced = self.is_paced();
        let not_before = |at: Moment| match at {
            _ if at <= now => Ok(()),
            _ if paced => Err(Denied::Until(tick_from(at))),
            _ => Err(Denied::Until(at)),
        };
        not_before(self.faults.until())?;
        if self.faults.is_trying() || self.flights.len() >= self.sockets() {
            return Err(Denied::Reply);
        }
        let checking = |flight: &ProbeInFlight| matches!(flight.purpose, Purpose::Check(_));
        if self.runs[run].is_check_fresh() && self.flights.values().any(checking) {
            return Err(Denied::Reply);
        }
        let window = self.window(self.timeout(run));
        let windowed = matches!(ask.purpose, Purpose::Port(_)) && !self.runs[run].is_patient();
        if let Some(&(timeout, _)) = self.slots.first().filter(|_| windowed && self.slots.len() >= window) {
            return Err(Denied::Until(timeout));
        }
        if windowed && self.may_doze() {
            not_before(self.spread.next())?;
        }
        not_before(self.runs[run].paced_until())?;
        if paced {
            not_before(self.pacer.next(now, budget.start_within))?;
        }
        match budget.quota {
            _ if !budget.has_socket => {
                self.spread.note_shortage(self.flights.len(), now);
                Err(Denied::Sockets)
            }
            QuotaLevel::Enough => Ok(()),
            QuotaLevel::Low if !self.expects_silence() => Ok(()),
            QuotaLevel::Low | QuotaLevel::Exhausted => Err(Denied::Quota),
        }
    }

    /// Whether its next probe is likely to stay unanswered.
    pub(super) fn expects_silence(&self) -> bool {
        self.expected.is_silence()
    }

    /// Most sockets that may be open towards the host: the smallest bound of all jobs and their templates.
    fn sockets(&self) -> usize {
        let bound = |run: &RunningJob| run.job().max_in_flight.clamp(1, run.template().sockets);
        self.runs.iter().map(bound).min().unwrap_or(1).into()
    }

    /// Probes that may hold a window slot at once.
    fn window(&self, timeout: Duration) -> usize {
        self.backoff.window(timeout).unwrap_or_else(|| self.window.size())
    }

    fn apply_backoff(&mut self, now: Moment) {
        self.backoff.interval().into_iter().for_each(|interval| self.pacer.slow_down(interval, now));
    }

    fn is_paced(&self) -> bool {
        self.backoff.interval().is_some() || self.runs.iter().any(|run| run.template().paced)
    }

    fn is_mute(&self) -> bool {
        self.first_tries >= TELLING && self.silences * 2 > self.first_tries
    }

    /// Whether it may doze between two probes, and seem silent because of that.
    fn may_doze(&self) -> bool {
        self.is_mute() && !self.rtt.is_prompt()
    }

    fn timeout(&self, run: usize) -> Duration {
        let near = self.runs[run].job().link == Link::OnLink && self.is_mute();
        self.rtt.timeout(if near { MUTE_NEIGHBOUR } else { BEFORE_RETRANSMIT }, !self.is_paced())
    }

    /// Whether the next probes need neither the socket nor the window slot of this one, so that its reply may wait.
    fn can_spare(&self, ask: &Ask, timeout: Duration) -> bool {
        let has_room = |used: usize, bound: usize| used + BEFORE_REPLY <= bound;
        matches!(ask.purpose, Purpose::Port(_))
            && has_room(self.flights.len(), self.sockets())
            && has_room(self.slots.len(), self.window(timeout))
    }

    fn launch(&mut self, id: ProbeId, run: usize, ask: &Ask, now: Moment, budget: SendBudget) -> Probe {
        let timeout = self.timeout(run);
        let by_syn = self.asks_by_syn(run, ask.purpose);
        let attempt = self.runs[run].attempt(ask.purpose);
        self.streak.left(now, budget.start_within);
        let (counts_from, patience) = self.keep_awake(run, ask, timeout, now, budget);
        let crowded = self.flights.len() * 2 > self.sockets();
        // A socket that is kept past the time-out lets a late reply count. If most probes are unanswered, or sockets
        // run out, that costs more than another pass.
        let paced = self.is_paced();
        let usual = || match self.runs[run].template().give_up {
            most if budget.is_tight || crowded || self.is_mute() => timeout.min(most),
            // The pacer has not admitted a retransmit of the kernel's; and a bare SYN has none.
            most if paced || by_syn => most.min(BEFORE_RETRANSMIT),
            most => most,
        };
        let give_up = ask.wait.or(patience).unwrap_or_else(usual);
        let reply_within = if paced && !budget.is_tight && self.can_spare(ask, timeout) {
            REPLY_WITHIN
        } else {
            Duration::ZERO
        };
        let slot = matches!(ask.purpose, Purpose::Port(_)).then(|| now + timeout.min(give_up));
        self.pacer.take(now, budget.start_within, give_up, paced);
        self.responsiveness.sent();
        self.faults.left();
        if ask.purpose == Purpose::Canary {
            self.responsiveness.canary_left(ask.port, now);
        }
        if ask.purpose == Purpose::Trial {
            self.syns.trial_left(now);
        }
        self.slots.extend(slot.map(|timeout| (timeout, id)));
        self.runs[run].left(ask, now);
        let woke = self.responsiveness.is_unheard();
        let (job, port, purpose) = (self.runs[run].id(), ask.port, ask.purpose);
        let start_by = now + if paced { budget.start_within } else { START_EVENTUALLY };
        let (launched, held, closes_early) = (now, paced.then_some(start_by), give_up <= BEFORE_RETRANSMIT);
        let flight = ProbeInFlight {
            job,
            port,
            purpose,
            by_syn,
            woke,
            start_by: held,
            closes_early,
            timeout: slot,
            launched,
            counts_from,
        };
        self.flights.insert(id, flight);
        let link = self.runs[run].job().link;
        Probe {
            id,
            address: self.address.clone(),
            link,
            port: ask.port,
            by_syn,
            attempt,
            start_by,
            give_up,
            reply_within,
        }
    }

    /// Ensures that a host which may doze is awake when a port is probed for the last time. Returns from when on the
    /// probe's silence counts, and its time-out if the probe is to wake the host itself.
    ///
    /// So long a time-out for every port would treble the duration of a scan. It is needed only if the probes are too
    /// far apart to keep the host awake; and if round trips were measured, they determine the time-out.
    fn keep_awake(
        &mut self,
        run: usize,
        ask: &Ask,
        timeout: Duration,
        now: Moment,
        budget: SendBudget,
    ) -> (Option<Moment>, Option<Duration>) {
        if !self.may_doze() {
            return (None, None);
        }
        let even = self.spread.interval(timeout, self.window(timeout).min(self.sockets()), now);
        let decides = ask.wait.is_none() && self.runs[run].is_last_try(ask.purpose);
        let counts_from = if decides { self.streak.counts_from(now + timeout) } else { None };
        let only_wakes = counts_from.is_some_and(|from| now + timeout < from);
        self.spread.take(if only_wakes { even.max(WAKING) } else { even }, now);
        let waits = self.rtt.samples() == 0 || stays_awake(even, budget.start_within);
        let patience = (decides && waits && counts_from.is_none()).then_some(BEFORE_RETRANSMIT);
        (counts_from, patience)
    }

    fn end(&mut self, run: usize, ending: Ending, now: Moment, events: &mut Vec<Event>) {
        let mut run = self.runs.remove(run);
        events.push(Event::Finished(run.id(), Box::new(run.report(ending, now))));
    }
}
