//! One job under way: the check, then passes over the ports that have no answer yet.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use crate::model::{HostReport, HostStatus, Moment};

use super::{
    board::{Board, Change, Ending, Mark},
    check::{self, CHECK_WAIT, Check},
    job::{HostJob, JobId, Link, Liveness, Progress},
    order::{LIKELY, Permutation, Places, mix},
    pacer::{HALF_PACE, Rate},
    timing::{BEFORE_RETRANSMIT, MOST_TRIES, Template},
};

/// Least time between two looks at one port: a burst of loss, a full queue, a reboot of a small stack's
/// network are over by then.
const BETWEEN_PASSES: Duration = Duration::from_secs(2);

/// Looks at every silent port: loss cannot be told from filtering without a second one.
const USUAL_TRIES: u8 = 2;

/// Looks at ports that a user would miss.
const SPECIAL_TRIES: u8 = 3;

/// How long each of the two looks of a single-port job waits: with the kernel's retransmit four SYNs in
/// 3.9 s, and an answer while the asker still looks.
const PATIENCE: Duration = Duration::from_millis(1900);

/// The pass from which on the pace is halved: what is silent by then may be refused by a host that limits
/// its refusals (200 a second on the BSDs), and little is left.
const SLOW_PASS: u8 = 3;

/// What a coarse timer loses is caught up within this.
const PACE_SLACK: Duration = Duration::from_millis(10);

/// Outages that a job sits out. A host that goes silent more often is not fit to be scanned, and the bound
/// makes every job end.
const OUTAGES: u8 = 16;

/// What a probe is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The verdict of the port at this place.
    Port(u32),
    /// A sign of life; and a verdict, if the port is one that was asked for.
    Check(Option<u32>),
    /// A sign of life while scanning.
    Canary,
}

/// A probe that a job wants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask {
    pub(super) port: u16,
    pub(super) purpose: Purpose,
    /// How long to wait for the answer; `None`: what the host's round trips say.
    pub(super) wait: Option<Duration>,
}

/// What a job wants next.
#[derive(Debug)]
pub(super) enum Want {
    Probe(Ask),
    /// Nothing before this moment.
    Until(Moment),
    /// Nothing before a reply.
    Reply,
    /// To be done, if only the host is still there: silence was the last it heard.
    Confirmation,
    Ended(Ending),
}

#[derive(Debug)]
enum Stage {
    Check(Check),
    Scan(Pass),
}

/// One walk over the ports that are still without answer.
#[derive(Debug)]
struct Pass {
    number: u8,
    position: u32,
    opens: Moment,
    last_probe: Moment,
    /// Whether there was a sign of loss: another look is worth it.
    lossy: bool,
}

impl Pass {
    const fn first() -> Self {
        Self { number: 1, position: 0, opens: Moment::ZERO, last_probe: Moment::ZERO, lossy: false }
    }
}

/// One job under way.
#[derive(Debug)]
pub(super) struct Run {
    id: JobId,
    job: HostJob,
    template: Template,
    places: Places,
    board: Board,
    key: u64,
    /// Places that come first in every pass.
    head: Vec<u32>,
    /// The same, ascending: they get [`SPECIAL_TRIES`].
    special: BTreeSet<u32>,
    stage: Stage,
    /// Probes to be made again: this machine's faults, what an outage devalued.
    again: VecDeque<u32>,
    /// Silent since the host's last sign of life.
    doubtful: Vec<u32>,
    pace: Rate,
    /// Looks at a silent port that is not special.
    tries: u8,
    under_way: u32,
    /// Silent ports that had all their looks.
    quiet: u32,
    probes: u64,
    outages: u8,
    submitted: Moment,
    answered: Option<Moment>,
    up: bool,
    cancelled: bool,
}

impl Run {
    pub(super) fn new(id: JobId, job: HostJob, seed: u64, now: Moment) -> Self {
        let places = Places::new(&job.ports);
        let mut special = BTreeSet::new();
        let likely = job.first.iter().chain(&LIKELY).filter_map(|&port| places.place(port));
        let head = likely.filter(|&place| special.insert(place)).collect();
        let stage = match job.liveness {
            Liveness::Check if job.link != Link::Local => Stage::Check(Check::new(&job, &places)),
            _ => Stage::Scan(Pass::first()),
        };
        let template = Template::of(job.timing);
        let mut run = Self {
            board: Board::new(&places),
            key: mix(seed ^ mix(id.0)),
            pace: Rate::new(Duration::ZERO, PACE_SLACK),
            tries: USUAL_TRIES,
            again: VecDeque::new(),
            doubtful: Vec::new(),
            under_way: 0,
            quiet: 0,
            probes: 0,
            outages: 0,
            submitted: now,
            answered: None,
            up: false,
            cancelled: false,
            id,
            job,
            template,
            places,
            head,
            special,
            stage,
        };
        run.set_pace(1);
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
    /// its two probes harm nobody. Not at T0 to T2, where a kernel's retransmit would break the pause.
    pub(super) fn is_patient(&self) -> bool {
        self.places.len() == 1 && self.job.liveness == Liveness::Assume && self.template.sockets > 1
    }

    /// Whether its ports are being looked at, so that the host's silence matters to it.
    pub(super) fn is_scanning(&self) -> bool {
        matches!(self.stage, Stage::Scan(_)) && !self.is_patient()
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
            settled: self.board.answered() + self.quiet,
            open: self.board.open(),
            probes: self.probes,
        }
    }

    /// What it wants now. Asking twice changes nothing.
    pub(super) fn want(&mut self, now: Moment) -> Want {
        if self.cancelled {
            return Want::Ended(Ending::partial("stopped"));
        }
        if self.deadline().is_some_and(|deadline| deadline <= now) {
            return Want::Ended(Ending::partial("out of time: the host's deadline passed"));
        }
        if let Stage::Check(check) = &self.stage {
            match check.next() {
                check::Next::Probe(port) => {
                    let purpose = Purpose::Check(self.places.place(port));
                    return Want::Probe(Ask { port, purpose, wait: Some(CHECK_WAIT) });
                }
                check::Next::Reply => return Want::Reply,
                check::Next::Down => {
                    return Want::Ended(Ending::down(
                        "no answer on the ports that hosts most often answer on",
                    ));
                }
                check::Next::Up => self.stage = Stage::Scan(Pass::first()),
            }
        }
        self.want_port(now)
    }

    fn want_port(&mut self, now: Moment) -> Want {
        let Stage::Scan(pass) = &self.stage else { return Want::Reply };
        if pass.opens > now {
            return Want::Until(pass.opens);
        }
        if let Some(place) = self.next_place() {
            let wait = if self.is_patient() {
                Some(PATIENCE)
            } else {
                // The last look at a port that would be missed is a long one.
                let last = self.board.tries(place) + 1 == self.tries_at(place);
                (last && self.is_special(place)).then_some(BEFORE_RETRANSMIT)
            };
            return Want::Probe(Ask { port: self.places.port(place), purpose: Purpose::Port(place), wait });
        }
        if self.under_way > 0 {
            return Want::Reply;
        }
        match self.turn() {
            Some(opens) if opens > now => Want::Until(opens),
            Some(_) => self.want_port(now),
            None if self.doubtful.is_empty() => Want::Ended(Ending::up()),
            None => Want::Confirmation,
        }
    }

    /// The place of the next port to look at in this pass.
    fn next_place(&mut self) -> Option<u32> {
        while let Some(&place) = self.again.front() {
            if self.is_due(place) {
                return Some(place);
            }
            self.again.pop_front();
        }
        while let Some(place) = self.place_at_position() {
            if self.is_due(place) {
                return Some(place);
            }
            self.skip();
        }
        None
    }

    fn place_at_position(&self) -> Option<u32> {
        let Stage::Scan(pass) = &self.stage else { return None };
        if let Some(&place) = self.head.get(pass.position as usize) {
            return Some(place);
        }
        let position = pass.position - u32::try_from(self.head.len()).unwrap_or(u32::MAX);
        let order = Permutation::new(self.places.len(), self.key ^ u64::from(pass.number) << 48);
        (position < self.places.len()).then(|| order.at(position))
    }

    fn skip(&mut self) {
        if let Stage::Scan(pass) = &mut self.stage {
            pass.position += 1;
        }
    }

    fn is_due(&self, place: u32) -> bool {
        let Stage::Scan(pass) = &self.stage else { return false };
        self.board.is_due(place, self.tries_at(place).min(pass.number))
    }

    fn is_special(&self, place: u32) -> bool {
        self.special.contains(&place)
    }

    /// Looks after which silence is the verdict.
    fn tries_at(&self, place: u32) -> u8 {
        let wanted = if self.is_special(place) { self.tries.max(SPECIAL_TRIES) } else { self.tries };
        wanted.min(self.most_tries())
    }

    fn most_tries(&self) -> u8 {
        let asked = self.job.max_retries.map_or(self.template.tries, |retries| retries.saturating_add(1));
        if self.is_patient() { asked.min(USUAL_TRIES) } else { asked.min(MOST_TRIES) }
    }

    /// Ends a pass; the moment from which on the next one may start, if one is needed.
    fn turn(&mut self) -> Option<Moment> {
        let Stage::Scan(pass) = &self.stage else { return None };
        let (number, lossy, last_probe) = (pass.number, pass.lossy, pass.last_probe);
        if lossy && number >= self.tries {
            self.tries = number.saturating_add(1).min(self.most_tries()).max(self.tries);
        }
        let all = 0..self.places.len();
        let lacking = all.filter(|&place| !self.board.is_settled(place, self.tries_at(place))).count();
        self.quiet = self.places.len() - self.board.answered() - u32::try_from(lacking).unwrap_or(u32::MAX);
        if lacking == 0 {
            return None;
        }
        let number = number.saturating_add(1);
        let opens = last_probe + BETWEEN_PASSES;
        self.stage = Stage::Scan(Pass { number, opens, ..Pass::first() });
        self.set_pace(number);
        Some(opens)
    }

    fn set_pace(&mut self, pass: u8) {
        let rate = self.job.max_rate.map(|rate| Duration::from_secs(1) / rate.get());
        let slow = (pass >= SLOW_PASS && self.template.paced).then_some(HALF_PACE);
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
        match &mut self.stage {
            Stage::Check(check) => check.started(),
            Stage::Scan(pass) => {
                if let Purpose::Port(place) = ask.purpose {
                    pass.last_probe = now;
                    if self.again.front() == Some(&place) {
                        self.again.pop_front();
                    } else {
                        self.skip();
                    }
                }
            }
        }
    }

    /// The host was heard a moment ago, for another job: no check is needed.
    pub(super) fn assume_up(&mut self) {
        self.stage = Stage::Scan(Pass::first());
    }

    /// A sign of life of the host's, from whatever probe. True the first time.
    pub(super) fn hear(&mut self) -> bool {
        if matches!(self.stage, Stage::Check(_)) {
            self.assume_up();
        }
        !std::mem::replace(&mut self.up, true)
    }

    /// A probe of its own was answered.
    pub(super) fn note_answer(&mut self, at: Moment) {
        self.answered = self.answered.or(Some(at));
    }

    /// A probe came back that says nothing about its port.
    pub(super) fn returned(&mut self, port: u16, purpose: Purpose) {
        if let (Purpose::Check(_), Stage::Check(check)) = (purpose, &mut self.stage) {
            check.returned(port);
        }
        if let Purpose::Port(place) | Purpose::Check(Some(place)) = purpose {
            self.board.release(place);
            self.under_way -= 1;
            self.again.push_back(place);
        }
    }

    /// A probe came back with a mark for its port; `doubt`: silence is to be confirmed by a sign of life.
    /// True if an open port answered only now: evidence of loss.
    pub(super) fn settle(&mut self, purpose: Purpose, mark: Mark, rtt: Duration, doubt: bool) -> bool {
        let (Purpose::Port(place) | Purpose::Check(Some(place))) = purpose else { return false };
        self.under_way -= 1;
        let change = self.board.settle(place, mark, rtt);
        if mark == Mark::Silent {
            self.quiet += u32::from(self.board.tries(place) == self.tries_at(place));
            if doubt && self.is_scanning() {
                self.doubtful.push(place);
            }
        }
        let late = change == Change::Settled { late: true };
        if late {
            self.note_loss();
        }
        late && mark == Mark::Open
    }

    /// Whether this probe is the first look at a port.
    pub(super) fn is_first_look(&self, purpose: Purpose) -> bool {
        matches!(purpose, Purpose::Port(place) if self.board.tries(place) == 0)
    }

    /// A liveness probe ended without a sign of life.
    pub(super) fn check_silent(&mut self) {
        if let Stage::Check(check) = &mut self.stage {
            check.silent();
        }
    }

    /// Whether its next liveness probe is its first, which waits for those of others at the same host.
    pub(super) fn is_check_fresh(&self) -> bool {
        matches!(&self.stage, Stage::Check(check) if check.is_fresh())
    }

    /// A sign of loss: another pass is worth it.
    pub(super) fn note_loss(&mut self) {
        if let Stage::Scan(pass) = &mut self.stage {
            pass.lossy = true;
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
        for &place in &doubtful {
            let settled = self.board.tries(place) == self.tries_at(place);
            let forgotten = self.board.forget_try(place);
            self.quiet -= u32::from(settled && forgotten);
        }
        doubtful.sort_unstable();
        doubtful.dedup();
        self.again.extend(doubtful);
    }

    /// The report, at the end. What is in doubt is no verdict.
    pub(super) fn report(&mut self, ending: Ending, now: Moment) -> HostReport {
        self.forget_doubtful();
        let needed = |place| self.tries_at(place);
        let report = self.board.report(self.job.address.clone(), &self.places, needed, ending);
        let answered = self.answered.unwrap_or(now);
        HostReport {
            probes: self.probes,
            preparation: answered.since(self.submitted),
            scanning: now.since(answered),
            ..report
        }
    }
}

impl Ending {
    fn up() -> Self {
        Self { status: HostStatus::Up, detail: String::new() }
    }

    pub(super) fn partial(detail: &str) -> Self {
        Self { status: HostStatus::Partial, detail: detail.to_owned() }
    }

    pub(super) fn down(detail: &str) -> Self {
        Self { status: HostStatus::Down, detail: detail.to_owned() }
    }
}
