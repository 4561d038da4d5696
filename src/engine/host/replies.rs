//! What a reply means: for the port, for the host, for every job on it.

use std::time::Duration;

use crate::{
    engine::{
        board::{Ending, Mark},
        faults::Meaning,
        job::{Event, Link},
        probe::{LocalError, Outcome, Reply},
        responsiveness::OUTAGE,
        running_job::RunningJob,
        timing::BEFORE_RETRANSMIT,
        want::Purpose,
    },
    model::{HostReport, Moment},
};

use super::{ActiveHost, ProbeInFlight};

impl ActiveHost {
    /// Takes the outcome of a probe. Ends jobs that it decides.
    pub(in crate::engine) fn reply(&mut self, reply: &Reply, events: &mut Vec<Event>) {
        let Some(flight) = self.flights.remove(&reply.id) else { return };
        self.looked_over = None;
        if let Some(start_by) = flight.start_by {
            let left = Some(reply.left_by).filter(|_| reply.outcome != Outcome::NotStarted);
            self.pacer.left(start_by, left);
            if flight.closes_early && left.is_some() {
                self.pacer.outstayed(reply.left_by, reply.ended);
            }
        }
        let used = self.slots.len();
        flight.timeout.into_iter().for_each(|timeout| _ = self.slots.remove(&(timeout, reply.id)));
        if flight.purpose == Purpose::Canary {
            self.responsiveness.canary_back();
        } else if flight.purpose == Purpose::Trial {
            self.syns.trial_back();
        } else if let Some(answered) = reply.outcome.is_answer() {
            // A canary probes a port that answers, which says nothing about the others.
            self.expected.note(!answered);
        }
        if flight.by_syn && reply.outcome.is_answer() == Some(true) {
            self.syns.answered();
        }
        match reply.outcome {
            Outcome::SynAck if matches!(flight.purpose, Purpose::Port(_)) => {
                self.half_opened(&flight, reply, used, events);
            }
            Outcome::SynAck | Outcome::Accepted => self.answered(&flight, reply, Mark::Open, used, events),
            Outcome::Refused => self.answered(&flight, reply, Mark::Closed, used, events),
            Outcome::Unreachable(reason) => {
                self.answered(&flight, reply, Mark::unreachable(reason), used, events);
            }
            Outcome::Silent => self.silent(&flight, reply, used, events),
            Outcome::NoNeighbour => self.no_neighbour(&flight, reply.ended, events),
            Outcome::Local(LocalError::Denied) if flight.by_syn => {
                self.faults.not_made();
                self.run_of(&flight).into_iter().for_each(|run| run.returned(flight.port, flight.purpose));
                self.give_up_syns(&flight, events);
            }
            // Connects go on meanwhile, so the trial's own error must not hold them up.
            Outcome::Local(_) if flight.purpose == Purpose::Trial => {
                self.faults.not_made();
                self.syn_lost(&flight, events);
            }
            Outcome::Local(error) => self.fault(&flight, error, reply.ended, events),
            Outcome::NotStarted => {
                self.streak.stayed(flight.launched);
                self.faults.not_made();
                self.run_of(&flight).into_iter().for_each(|run| run.unstarted(flight.port, flight.purpose));
            }
        }
    }

    fn run_of(&mut self, flight: &ProbeInFlight) -> Option<&mut RunningJob> {
        self.runs.iter_mut().find(|run| run.id() == flight.job)
    }

    fn answered(
        &mut self,
        flight: &ProbeInFlight,
        reply: &Reply,
        mark: Mark,
        used: usize,
        events: &mut Vec<Event>,
    ) {
        self.faults.clear();
        let rtt = reply.ended.since(reply.started);
        let routed = self.runs.iter().any(|run| run.job().link == Link::Routed);
        // "Host unreachable" is a router's reply for a host that is down.
        let alive = !(routed && matches!(mark, Mark::NetUnreach | Mark::HostUnreach));
        if matches!(mark, Mark::Open | Mark::Closed) && !flight.woke {
            self.rtt.sample(rtt);
        }
        if alive {
            self.alive(reply.ended, Some((flight.port, mark)), events);
            self.window.grow(used);
        }
        self.count_first_try(flight, false);
        if let Some(run) = self.run_of(flight) {
            if alive {
                run.note_answer(reply.ended);
            } else if matches!(flight.purpose, Purpose::Check(_)) {
                let _ = run.check_silent(); // behind a router silence never shows that a host is up
            }
            if run.settle(flight.purpose, mark, rtt, false) {
                self.shrink(reply.ended);
            }
        }
        if flight.purpose == Purpose::Canary {
            if alive {
                self.runs.iter_mut().for_each(|run| run.note_canary(false));
                self.note_witness(flight.port, false);
            } else {
                self.canary_lost(flight.port, reply.ended);
            }
        }
        if flight.purpose == Purpose::Trial && !matches!(mark, Mark::Open | Mark::Closed) {
            self.syn_lost(flight, events);
        }
    }

    /// A bare SYN was answered by a SYN-ACK: a sign of life, but no verdict yet.
    fn half_opened(&mut self, flight: &ProbeInFlight, reply: &Reply, used: usize, events: &mut Vec<Event>) {
        self.faults.clear();
        if !flight.woke {
            self.rtt.sample(reply.ended.since(reply.started));
        }
        self.alive(reply.ended, Some((flight.port, Mark::Open)), events);
        self.window.grow(used);
        if let Some(run) = self.run_of(flight) {
            run.note_answer(reply.ended);
            run.half_opened(flight.port, flight.purpose);
        }
    }

    /// SYNs are lost that connects show to be answered: connects ask from now on, those ports included that stayed
    /// silent since the last sign of life.
    fn give_up_syns(&mut self, flight: &ProbeInFlight, events: &mut Vec<Event>) {
        if self.syns.give_up() {
            self.tell_syns_lost(flight, events);
        }
    }

    /// A trial or a canary by SYN stayed unanswered.
    fn syn_lost(&mut self, flight: &ProbeInFlight, events: &mut Vec<Event>) {
        if flight.by_syn && self.syns.lost() {
            self.tell_syns_lost(flight, events);
        }
    }

    fn tell_syns_lost(&mut self, flight: &ProbeInFlight, events: &mut Vec<Event>) {
        self.runs.iter_mut().for_each(RunningJob::forget_silence);
        events.push(Event::SynsLost(flight.job));
    }

    fn silent(&mut self, flight: &ProbeInFlight, reply: &Reply, used: usize, events: &mut Vec<Event>) {
        self.faults.clear();
        self.count_first_try(flight, true);
        match flight.purpose {
            // The kernel would have reported it if ARP had failed.
            Purpose::Canary if !self.responsiveness.has_canary() => self.alive(reply.ended, None, events),
            Purpose::Canary => {
                self.canary_lost(flight.port, reply.ended);
                self.syn_lost(flight, events);
            }
            Purpose::Trial => self.syn_lost(flight, events),
            Purpose::Check(_) => {
                let resolved = self.run_of(flight).is_some_and(RunningJob::check_silent);
                // If a port is known to answer, the canary went to that one, and this silence proves nothing.
                if resolved && !self.responsiveness.has_canary() {
                    self.alive(reply.ended, None, events);
                }
            }
            Purpose::Port(_) if self.responsiveness.is_overdue(reply.ended, !self.is_paced()) => {}
            Purpose::Port(_) => self.window.grow(used),
        }
        let doubt = self.responsiveness.has_canary();
        let dozed = flight.counts_from.is_some_and(|from| reply.ended < from);
        if let Some(run) = self.run_of(flight) {
            if dozed {
                return run.returned(flight.port, flight.purpose);
            }
            run.settle(flight.purpose, Mark::Silent, Duration::ZERO, doubt);
        }
    }

    /// ARP failed: a fact about the host, never about a port. A host that never replied had counted as up only because
    /// ARP had not failed.
    fn no_neighbour(&mut self, flight: &ProbeInFlight, now: Moment, events: &mut Vec<Event>) {
        self.faults.clear();
        self.run_of(flight).into_iter().for_each(|run| run.returned(flight.port, flight.purpose));
        if flight.purpose == Purpose::Canary || !self.responsiveness.is_suspended() {
            self.responsiveness.neighbour_lost();
        }
        let mute = !self.responsiveness.has_answered();
        let absent = |run: &RunningJob| mute || !run.is_up() || (run.is_patient() && run.id() == flight.job);
        let detail = HostReport::no_neighbour_detail(&self.address);
        self.end_all(absent, &Ending::down(detail), now, events);
    }

    /// A local error: it never leads to a verdict.
    fn fault(&mut self, flight: &ProbeInFlight, error: LocalError, now: Moment, events: &mut Vec<Event>) {
        self.streak.stayed(flight.launched);
        self.run_of(flight).into_iter().for_each(|run| run.faulted(flight.port, flight.purpose, error));
        match self.faults.note(error, now) {
            Meaning::Passing => {}
            Meaning::Interrupted(lasts) => {
                let ending = Ending::partial("the link to the host's network is down");
                self.end_all(|run| run.job().sits_out <= lasts, &ending, now, events);
            }
            Meaning::NoRoute => {
                self.end_all(|_| true, &Ending::partial("no route from this machine"), now, events);
            }
        }
    }

    fn note_witness(&mut self, port: u16, lost: bool) {
        if self.responsiveness.is_open(port) {
            self.runs.iter_mut().for_each(|run| run.note_witness(lost));
        }
    }

    fn canary_lost(&mut self, port: u16, now: Moment) {
        self.note_witness(port, true);
        self.responsiveness.canary_lost(port);
        self.backoff.restart_calm(now);
        self.shrink(now);
        self.runs.iter_mut().for_each(|run| run.note_canary(true));
    }

    fn shrink(&mut self, now: Moment) {
        let timeout = self.rtt.timeout(BEFORE_RETRANSMIT, false);
        self.window.shrink(now, timeout);
    }

    fn count_first_try(&mut self, flight: &ProbeInFlight, silent: bool) {
        let purpose = flight.purpose;
        if self.run_of(flight).is_some_and(|run| run.is_first_try(purpose)) {
            self.first_tries += 1;
            self.silences += u32::from(silent);
        }
    }

    /// Notes a sign of life for every job, and what it means for the silence before.
    fn alive(&mut self, now: Moment, port: Option<(u16, Mark)>, events: &mut Vec<Event>) {
        if self.responsiveness.is_unheard() {
            let held_up = 1 + self.flights.values().filter(|flight| flight.woke).count();
            self.pacer.held_up(held_up, now);
        }
        let silence = self.responsiveness.heard(now, port);
        let lost = silence.lost;
        // A connect was answered and the last canary by SYN was not: the silence of SYNs means nothing.
        let doubts_syns = self.syns.is_doubtful();
        if self.backoff.note_silence(silence, !self.is_paced(), now) {
            self.apply_backoff(now);
        }
        let mut given_up = Vec::new();
        for run in &mut self.runs {
            if run.note_sign_of_life() {
                events.push(Event::HostUp(run.id()));
            }
            if lost < OUTAGE && doubts_syns {
                run.forget_silence();
            } else if lost < OUTAGE {
                run.trust_silence();
            } else if run.is_scanning() && !run.distrust_silence() {
                given_up.push(run.id());
            }
        }
        let ending = Ending::partial("the host went silent again and again while it was scanned");
        self.end_all(|run| given_up.contains(&run.id()), &ending, now, events);
    }

    fn end_all(
        &mut self,
        which: impl Fn(&RunningJob) -> bool,
        ending: &Ending,
        now: Moment,
        events: &mut Vec<Event>,
    ) {
        while let Some(run) = self.runs.iter().position(&which) {
            self.end(run, ending.clone(), now, events);
        }
    }
}
