//! One job under way: the check, then passes over the ports that have no answer yet.

use std::time::Duration;

use crate::model::{HostReport, Moment};

use super::{
    blocked_ports::BlockedPorts,
    board::{Board, Change, Ending, Mark},
    check::{self, CHECK_WAIT, Check},
    job::{HostJob, JobId, Link, Liveness, Progress},
    order::{Places, mix},
    pacer::HALF_PACE,
    passes::{Passes, Search, USUAL_TRIES},
    probe::LocalError,
    rate::Rate,
    timing::{BEFORE_RETRANSMIT, MOST_TRIES, Template},
    turn::SOON,
    want::{Ask, Purpose, Want},
};

/// How long each of the two looks of a single-port job waits: with the kernel's retransmit four SYNs in
/// 3.9 s, and an answer while the asker still looks.
const PATIENCE: Duration = Duration::from_millis(1900);

/// What a coarse timer loses is caught up within this.
const PACE_SLACK: Duration = Duration::from_millis(10);

/// Outages that a job sits out. A host that goes silent more often is not fit to be scanned, and the bound
/// makes every job end.
const OUTAGES: u8 = 16;

/// One job under way.
#[derive(Debug)]
pub(super) struct Run {
    id: JobId,
    job: HostJob,
    template: Template,
    places: Places,
    board: Board,
    /// Until somebody is known to be there.
    check: Option<Check>,
    passes: Passes,
    /// Silent since the host's last sign of life.
    doubtful: Vec<u32>,
    pace: Rate,
    /// Probes for ports that are under way.
    under_way: u32,
    probes: u64,
    blocked_ports: BlockedPorts,
    outages: u8,
    submitted: Moment,
    answered: Option<Moment>,
    up: bool,
    cancelled: bool,
    patient: bool,
}

impl Run {
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
            under_way: 0,
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

    /// Whether it is one port that somebody waits for: it goes on while the host is under suspicion, for
    /// its two probes harm nobody.
    pub(super) const fn is_patient(&self) -> bool {
        self.patient
    }

    /// Whether its ports are being looked at, so that the host's silence matters to it.
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

    /// Why it is over, whatever it still wants.
    pub(super) fn stopped(&self, now: Moment) -> Option<Ending> {
        if self.cancelled {
            return Some(Ending::partial("stopped"));
        }
        let overdue = self.deadline().is_some_and(|deadline| deadline <= now);
        overdue.then(|| Ending::partial("out of time: the host's deadline passed"))
    }

    /// What it wants now. Asking again sends nothing, but goes on with a long search, and so may have come to
    /// the end.
    pub(super) fn want(&mut self, now: Moment) -> Want {
        match self.check.as_ref().map(Check::next) {
            Some(check::Next::Probe(port)) => {
                let purpose = Purpose::Check(self.places.place(port));
                Want::Probe(Ask { port, purpose, wait: Some(CHECK_WAIT) })
            }
            Some(check::Next::Reply) => Want::Reply,
            Some(check::Next::Down) => {
                Want::Ended(Ending::down("no answer on the ports that hosts most often answer on"))
            }
            Some(check::Next::Up) | None => {
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
        if self.under_way > 0 {
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

    /// The probe that it wanted (or a canary on its account) leaves.
    pub(super) fn left(&mut self, ask: &Ask, now: Moment) {
        self.probes += 1;
        self.pace.take(now);
        let place = match ask.purpose {
            Purpose::Port(place) => Some(place),
            Purpose::Check(place) => place,
            Purpose::Canary => None,
        };
        if let Some(place) = place {
            self.board.start(place);
            self.under_way += 1;
        }
        match (ask.purpose, &mut self.check) {
            (Purpose::Check(_), Some(check)) => check.started(),
            (Purpose::Port(place), _) => self.passes.left(place, now),
            _ => {}
        }
    }

    /// The host was heard a moment ago, for another job: no check is needed.
    pub(super) fn assume_up(&mut self) {
        self.check = None;
    }

    /// A sign of life of the host's, from whatever probe. True the first time.
    pub(super) fn hear(&mut self) -> bool {
        self.check = None;
        !std::mem::replace(&mut self.up, true)
    }

    /// A probe of its own was answered.
    pub(super) fn note_answer(&mut self, at: Moment) {
        self.answered = self.answered.or(Some(at));
    }

    /// A probe was not made, so it is not counted.
    pub(super) fn unstarted(&mut self, port: u16, purpose: Purpose) {
        self.probes -= 1;
        self.pace.give_back();
        self.returned(port, purpose);
    }

    /// A probe came back that says nothing about its port.
    pub(super) fn returned(&mut self, port: u16, purpose: Purpose) {
        self.released(port, purpose).into_iter().for_each(|place| self.passes.again(place));
    }

    /// A probe met a fault of this machine's. Only one that can be this port's own counts against the port: the last
    /// port that lacks an answer must not be given up because the cable is pulled, or descriptors are short.
    pub(super) fn faulted(&mut self, port: u16, purpose: Purpose, error: LocalError) {
        let Some(place) = self.released(port, purpose) else { return };
        self.passes.faulted(place);
        let is_of_port = matches!(error, LocalError::Denied | LocalError::Other);
        if is_of_port && self.blocked_ports.note_fault(place, port) {
            self.passes.leave_out(place);
        }
    }

    fn released(&mut self, port: u16, purpose: Purpose) -> Option<u32> {
        if let (Purpose::Check(_), Some(check)) = (purpose, &mut self.check) {
            check.returned(port);
        }
        let (Purpose::Port(place) | Purpose::Check(Some(place))) = purpose else { return None };
        self.board.release(place);
        self.under_way -= 1;
        Some(place)
    }

    /// How it ended, all ports having been looked at that could be.
    fn over(&self) -> Ending {
        match self.blocked_ports.port() {
            None => Ending::up(),
            Some(port) => Ending::partial(&format!(
                "this machine could not ask port {port}: does its firewall forbid it?"
            )),
        }
    }

    /// A probe came back with a mark for its port; `doubt`: silence is to be confirmed by a sign of life.
    /// True if an open port answered only now: evidence of loss.
    pub(super) fn settle(&mut self, purpose: Purpose, mark: Mark, rtt: Duration, doubt: bool) -> bool {
        let (Purpose::Port(place) | Purpose::Check(Some(place))) = purpose else { return false };
        self.under_way -= 1;
        let change = self.board.settle(place, mark, rtt);
        self.passes.note_look(change, mark);
        self.blocked_ports.note_sent(place);
        if change == Change::Looked && doubt && self.is_scanning() {
            self.doubtful.push(place);
        }
        change == (Change::Answered { late: true }) && mark == Mark::Open
    }

    /// Whether this probe is the first look at a port.
    pub(super) fn is_first_look(&self, purpose: Purpose) -> bool {
        matches!(purpose, Purpose::Port(place) if self.board.tries(place) == 0)
    }

    /// Whether this is the look after which the silence of a port is its verdict.
    pub(super) fn is_last_look(&self, purpose: Purpose) -> bool {
        matches!(purpose, Purpose::Port(place) if self.board.tries(place) + 1 >= self.passes.tries_at(place))
    }

    /// A liveness probe ended without a sign of life. Whether that shows that a neighbour is there.
    pub(super) fn check_silent(&mut self) -> bool {
        self.check.as_mut().is_some_and(|check| {
            check.silent();
            check.is_resolved()
        })
    }

    /// A port is known to answer: the check asks that one.
    pub(super) fn prefer(&mut self, port: u16) {
        self.check.iter_mut().for_each(|check| check.prefer(port));
    }

    /// Whether it is not known yet that anybody is there.
    pub(super) const fn is_checking(&self) -> bool {
        self.check.is_some()
    }

    /// Whether its next liveness probe is its first, which waits for those of others at the same host.
    pub(super) fn is_check_fresh(&self) -> bool {
        self.check.as_ref().is_some_and(Check::is_fresh)
    }

    /// A canary came back, or did not.
    pub(super) fn note_canary(&mut self, lost: bool) {
        self.passes.note_canary(lost);
    }

    /// Whether the host may limit its refusals, so that a silent closed port says little.
    pub(super) const fn suspects_limit(&self) -> bool {
        self.passes.suspects_limit()
    }

    /// Whether another answer of an open port would tell whether the host limits its refusals.
    pub(super) const fn wants_witness(&self) -> bool {
        self.is_scanning() && self.template.delay.is_zero() && self.passes.wants_witness()
    }

    /// A canary to an open port came back, or did not.
    pub(super) fn note_witness(&mut self, lost: bool) {
        if self.wants_witness() {
            self.passes.note_witness(lost);
        }
    }

    /// The host is there, so what was silent was meant so.
    pub(super) fn trust_silence(&mut self) {
        self.doubtful.clear();
    }

    /// The host was away, so what was silent says nothing. False if that happened too often.
    pub(super) fn distrust_silence(&mut self) -> bool {
        self.forget_doubtful();
        self.outages += 1;
        self.outages <= OUTAGES
    }

    fn forget_doubtful(&mut self) {
        let mut doubtful = std::mem::take(&mut self.doubtful);
        doubtful.iter().for_each(|&place| self.board.forget_try(place));
        doubtful.sort_unstable();
        doubtful.dedup();
        doubtful.into_iter().for_each(|place| self.passes.again(place));
    }

    /// The report, at the end. What is in doubt is no verdict.
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

/// Not at T0 to T2, where a kernel's retransmit would break the pause.
fn is_patient(job: &HostJob, template: &Template) -> bool {
    job.ports.len() == 1 && job.liveness == Liveness::Assume && template.sockets > 1
}
