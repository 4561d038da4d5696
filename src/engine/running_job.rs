//! One running job: the liveness check, then passes over the ports without a final mark.

use std::{collections::BTreeSet, time::Duration};

use crate::model::{HostReport, Moment};

use super::{
    blocked_ports::BlockedPorts,
    board::{Board, BoardChange, Ending, Mark},
    check::{CHECK_WAIT, Check, CheckStep},
    job::{HostJob, JobId, Link, Liveness, Progress},
    order::{Places, mix},
    pacer::HALF_PACE,
    passes::{Passes, Search, USUAL_TRIES},
    probe::LocalError,
    rate::Rate,
    tick::TICK,
    timing::{BEFORE_RETRANSMIT, MOST_TRIES, Template},
    turn::SOON,
    want::{Ask, Purpose, Want},
};

/// The time-out of each of the two tries of a single-port job: with the kernel's retransmits four SYNs in 3.9 s, and a
/// result while the user still waits.
const PATIENCE: Duration = Duration::from_millis(1900);

/// How far ahead of its pace a job may be: what is due within a tick leaves when the tick begins.
const PACE_SLACK: Duration = TICK;

/// Outages that a job tolerates. A host that goes silent more often cannot be scanned, and the bound makes every job
/// end.
const OUTAGES: u8 = 16;

/// One running job.
#[derive(Debug)]
pub(super) struct RunningJob {
    id: JobId,
    job: HostJob,
    template: Template,
    places: Places,
    board: Board,
    /// Until the host is known to be up.
    check: Option<Check>,
    passes: Passes,
    /// Places with probes that stayed unanswered since the host's last sign of life.
    doubtful: Vec<u32>,
    /// Places that answered a bare SYN by a SYN-ACK, which a connect is to confirm.
    unconfirmed: BTreeSet<u32>,
    pace: Rate,
    /// Probes for ports that are in flight.
    in_flight: u32,
    probes: u64,
    blocked_ports: BlockedPorts,
    outages: u8,
    submitted: Moment,
    answered: Option<Moment>,
    up: bool,
    cancelled: bool,
    patient: bool,
}

impl RunningJob {
    pub(super) fn new(id: JobId, job: HostJob, seed: u64, now: Moment) -> Self {
        let places = Places::new(&job.ports);
        let template = Template::of(job.timing);
        let checks = job.liveness == Liveness::Check && job.link != Link::Local;
        let check = checks.then(|| Check::new(&job, &places));
        let patient = is_patient(&job, &template);
        let asked = job.max_retries.map_or(template.tries, |retries| retries.saturating_add(1));
        let tries = asked.min(if patient { USUAL_TRIES } else { MOST_TRIES });
        let passes = Passes::new(&places, &job.first, mix(seed ^ mix(id.0)), tries);
        let mut run = Self {
            board: Board::new(&places),
            pace: Rate::new(Duration::ZERO, PACE_SLACK, Moment::ZERO),
            doubtful: Vec::new(),
            unconfirmed: BTreeSet::new(),
            in_flight: 0,
            probes: 0,
            blocked_ports: BlockedPorts::default(),
            outages: 0,
            submitted: now,
            answered: None,
            up: false,
            cancelled: false,
            id,
            job,
            template,
            places,
            check,
            passes,
            patient,
        };
        run.set_pace();
        run
    }

    pub(super) const fn id(&self) -> JobId {
        self.id
    }

    pub(super) const fn job(&self) -> &HostJob {
        &self.job
    }

    pub(super) const fn template(&self) -> &Template {
        &self.template
    }

    /// Whether there was a sign of life since it was submitted.
    pub(super) const fn is_up(&self) -> bool {
        self.up
    }

    /// Whether it is a single port that a user waits for: it continues while the host may be down, because its two
    /// probes do no harm.
    pub(super) const fn is_patient(&self) -> bool {
        self.patient
    }

    /// Whether its ports are being probed, so that the host's silence matters to it.
    pub(super) const fn is_scanning(&self) -> bool {
        self.check.is_none() && !self.patient
    }

    /// When the job's own pace allows its next probe.
    pub(super) fn paced_until(&self) -> Moment {
        self.pace.next()
    }

    pub(super) fn deadline(&self) -> Option<Moment> {
        self.job.deadline.map(|after| self.submitted + after)
    }

    pub(super) fn cancel(&mut self) {
        self.cancelled = true;
    }

    pub(super) fn progress(&self) -> Progress {
        Progress {
            ports: self.places.len(),
            settled: self.places.len() - self.passes.lacking(&self.board),
            open: self.board.open(),
            probes: self.probes,
        }
    }

    /// The open ports found so far, in the order of the replies.
    pub(super) fn open_ports(&self) -> impl Iterator<Item = u16> {
        self.board.open_places().map(|place| self.places.port(place))
    }

    /// Why it is over, if it was cancelled or its deadline has passed.
    pub(super) fn stopped(&self, now: Moment) -> Option<Ending> {
        if self.cancelled {
            return Some(Ending::partial("stopped"));
        }
        let overdue = self.deadline().is_some_and(|deadline| deadline <= now);
        overdue.then(|| Ending::partial("out of time: the host's deadline passed"))
    }

    /// What it wants now. A repeated call changes nothing but that it continues a long search, which may show that the
    /// job is over.
    pub(super) fn want(&mut self, now: Moment) -> Want {
        match self.check.as_ref().map(Check::next) {
            Some(CheckStep::Probe(port)) => {
                let purpose = Purpose::Check(self.places.place(port));
                Want::Probe(Ask { port, purpose, wait: Some(CHECK_WAIT) })
            }
            Some(CheckStep::Reply) => Want::Reply,
            Some(CheckStep::Down) => {
                Want::Ended(Ending::down("no answer on the ports that hosts most often answer on"))
            }
            Some(CheckStep::Up) | None => {
                self.check = None;
                self.want_port(now)
            }
        }
    }

    fn want_port(&mut self, now: Moment) -> Want {
        if self.passes.opens() > now {
            return Want::Until(self.passes.opens());
        }
        let search = self.passes.next(&self.board);
        if search == Search::Unfinished {
            return Want::Until(now + SOON);
        }
        if let Search::Found(place) = search {
            let wait = match self.passes.is_last_chance(place, &self.board) {
                _ if self.patient => Some(PATIENCE),
                true => Some(BEFORE_RETRANSMIT),
                false => None,
            };
            return Want::Probe(Ask { port: self.places.port(place), purpose: Purpose::Port(place), wait });
        }
        if self.in_flight > 0 {
            return Want::Reply;
        }
        let lacking = self.passes.turn(&self.board, self.template.between);
        self.set_pace();
        match lacking {
            0 if self.doubtful.is_empty() => Want::Ended(self.over()),
            0 => Want::Confirmation,
            _ => self.want_port(now),
        }
    }

    fn set_pace(&mut self) {
        let rate = self.job.max_rate.map(|rate| Duration::from_secs(1) / rate.get());
        let slow = self.passes.is_slow().then_some(HALF_PACE);
        self.pace
            .set_interval(self.template.delay.max(rate.unwrap_or_default()).max(slow.unwrap_or_default()));
    }

    /// Notes that the probe which it wanted, or a canary that it is charged for, leaves.
    pub(super) fn left(&mut self, ask: &Ask, now: Moment) {
        self.probes += 1;
        self.pace.take(now);
        let place = match ask.purpose {
            Purpose::Port(place) => Some(place),
            Purpose::Check(place) => place,
            Purpose::Canary | Purpose::Trial => None,
        };
        if let Some(place) = place {
            self.board.start(place);
            self.in_flight += 1;
        }
        match (ask.purpose, &mut self.check) {
            (Purpose::Check(_), Some(check)) => check.started(),
            (Purpose::Port(place), _) => self.passes.left(place, now),
            _ => {}
        }
    }

    /// Skips the liveness check, because the host has just answered another job.
    pub(super) fn assume_up(&mut self) {
        self.check = None;
    }

    /// Notes a sign of life of the host, from any probe. Returns true the first time.
    pub(super) fn note_sign_of_life(&mut self) -> bool {
        self.check = None;
        !std::mem::replace(&mut self.up, true)
    }

    /// Notes that a probe of its own was answered.
    pub(super) fn note_answer(&mut self, at: Moment) {
        self.answered = self.answered.or(Some(at));
    }

    /// Discounts a probe that was not made.
    pub(super) fn unstarted(&mut self, port: u16, purpose: Purpose) {
        self.probes -= 1;
        self.pace.give_back();
        self.returned(port, purpose);
    }

    /// Notes a probe that came back without saying anything about its port.
    pub(super) fn returned(&mut self, port: u16, purpose: Purpose) {
        self.released(port, purpose).into_iter().for_each(|place| self.passes.again(place));
    }

    /// Notes a local error. It counts against the port only if it can concern this port alone: the last port without a
    /// verdict must not be given up because the cable is pulled, or descriptors are short.
    pub(super) fn faulted(&mut self, port: u16, purpose: Purpose, error: LocalError) {
        let Some(place) = self.released(port, purpose) else { return };
        self.passes.faulted(place);
        let is_of_port = matches!(error, LocalError::Denied | LocalError::Other);
        if is_of_port && self.blocked_ports.note_fault(place, port) {
            self.passes.leave_out(place);
        }
    }

    /// Notes a SYN-ACK to a bare SYN: a connect asks the port next.
    pub(super) fn half_opened(&mut self, port: u16, purpose: Purpose) {
        if let Some(place) = self.released(port, purpose) {
            self.unconfirmed.insert(place);
            self.passes.again(place);
        }
    }

    /// Whether a bare SYN may probe for this purpose: not on a single port that a user waits for, and not where a
    /// connect must confirm what a SYN has found.
    pub(super) fn asks_by_syn(&self, purpose: Purpose) -> bool {
        let is_for_syn = match purpose {
            Purpose::Port(place) => !self.unconfirmed.contains(&place),
            Purpose::Canary | Purpose::Trial => true,
            Purpose::Check(_) => false,
        };
        is_for_syn && self.job.by_syn && self.job.link != Link::Local && !self.patient
    }

    /// How many probes have asked for this purpose before.
    pub(super) fn attempt(&self, purpose: Purpose) -> u8 {
        match purpose {
            Purpose::Port(place) => self.board.tries(place),
            // Canaries ask the same few ports again and again.
            Purpose::Check(_) | Purpose::Canary | Purpose::Trial => {
                u8::try_from(self.probes % 251).unwrap_or(0)
            }
        }
    }

    fn released(&mut self, port: u16, purpose: Purpose) -> Option<u32> {
        if let (Purpose::Check(_), Some(check)) = (purpose, &mut self.check) {
            check.returned(port);
        }
        let (Purpose::Port(place) | Purpose::Check(Some(place))) = purpose else { return None };
        self.board.release(place);
        self.in_flight -= 1;
        Some(place)
    }

    /// How the job ends after all ports that can be probed have been.
    fn over(&self) -> Ending {
        match self.blocked_ports.port() {
            None => Ending::up(),
            Some(port) => Ending::partial(&format!(
                "this machine could not ask port {port}: does its firewall forbid it?"
            )),
        }
    }

    /// Notes the mark that a probe gives its port; `doubt`: silence is to be confirmed by a sign of life. Returns true
    /// if an open port answered only now, which is evidence of loss.
    pub(super) fn settle(&mut self, purpose: Purpose, mark: Mark, rtt: Duration, doubt: bool) -> bool {
        let (Purpose::Port(place) | Purpose::Check(Some(place))) = purpose else { return false };
        self.in_flight -= 1;
        if mark != Mark::Silent {
            self.unconfirmed.remove(&place);
        }
        let change = self.board.settle(place, mark, rtt);
        self.passes.note_look(change, mark);
        self.blocked_ports.note_sent(place);
        if change == BoardChange::Looked && doubt && self.is_scanning() {
            self.doubtful.push(place);
        }
        change == (BoardChange::Answered { late: true }) && mark == Mark::Open
    }

    /// Whether this probe is the first try at a port.
    pub(super) fn is_first_try(&self, purpose: Purpose) -> bool {
        matches!(purpose, Purpose::Port(place) if self.board.tries(place) == 0)
    }

    /// Whether this is the try after which the silence of a port is its verdict.
    pub(super) fn is_last_try(&self, purpose: Purpose) -> bool {
        matches!(purpose, Purpose::Port(place) if self.board.tries(place) + 1 >= self.passes.tries_at(place))
    }

    /// Notes a liveness probe without a sign of life. Returns whether that shows that a neighbour is up.
    pub(super) fn check_silent(&mut self) -> bool {
        self.check.as_mut().is_some_and(|check| {
            check.silent();
            check.is_resolved()
        })
    }

    /// Makes the liveness check probe this port, which is known to answer.
    pub(super) fn prefer(&mut self, port: u16) {
        self.check.iter_mut().for_each(|check| check.prefer(port));
    }

    /// Whether it is not known yet that the host is up.
    pub(super) const fn is_checking(&self) -> bool {
        self.check.is_some()
    }

    /// Whether its next liveness probe is its first, which waits for those of other jobs on the host.
    pub(super) fn is_check_fresh(&self) -> bool {
        self.check.as_ref().is_some_and(Check::is_fresh)
    }

    /// Counts a canary, which came back or was lost.
    pub(super) fn note_canary(&mut self, lost: bool) {
        self.passes.note_canary(lost);
    }

    /// Whether the host may limit its refusals, so that a silent closed port says little.
    pub(super) const fn suspects_limit(&self) -> bool {
        self.passes.suspects_limit()
    }

    /// Whether another reply of an open port would show whether the host limits its refusals.
    pub(super) const fn wants_witness(&self) -> bool {
        self.is_scanning() && self.template.delay.is_zero() && self.passes.wants_witness()
    }

    /// Counts a canary to an open port, which came back or was lost.
    pub(super) fn note_witness(&mut self, lost: bool) {
        if self.wants_witness() {
            self.passes.note_witness(lost);
        }
    }

    /// The host is up, so unanswered probes count.
    pub(super) fn trust_silence(&mut self) {
        self.doubtful.clear();
    }

    /// The host was away, so unanswered probes mean nothing. Returns false if that happened too often.
    pub(super) fn distrust_silence(&mut self) -> bool {
        self.forget_doubtful();
        self.outages += 1;
        self.outages <= OUTAGES
    }

    /// Unanswered probes since the last sign of life mean nothing, though the host was there.
    pub(super) fn forget_silence(&mut self) {
        self.forget_doubtful();
    }

    fn forget_doubtful(&mut self) {
        let mut doubtful = std::mem::take(&mut self.doubtful);
        doubtful.iter().for_each(|&place| self.board.forget_try(place));
        doubtful.sort_unstable();
        doubtful.dedup();
        doubtful.into_iter().for_each(|place| self.passes.again(place));
    }

    /// The final report. Ports in doubt have no verdict.
    pub(super) fn report(&mut self, ending: Ending, now: Moment) -> HostReport {
        self.forget_doubtful();
        let needed = |place| self.passes.tries_at(place);
        let limited = self.passes.is_limited();
        let report = self.board.report(self.job.address.clone(), &self.places, needed, limited, ending);
        let answered = self.answered.unwrap_or(now);
        HostReport {
            probes: self.probes,
            preparation: answered.since(self.submitted),
            scanning: now.since(answered),
            ..report
        }
    }
}

/// Not at T0 to T2, where a retransmit of the kernel's would break the pause.
fn is_patient(job: &HostJob, template: &Template) -> bool {
    job.ports.len() == 1 && job.liveness == Liveness::Assume && template.sockets > 1
}
