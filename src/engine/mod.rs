//! Layer 1: the scan engine, sans-io. It decides which probe leaves when and what a reply means; it has no clock, no
//! socket and no runtime. Its driver passes `now`, launches the [`Probe`]s that it returns, and hands back one
//! [`Reply`] for each.
//!
//! ```text
//!  HostJob ─► Engine ─► ActiveHost (one per address) ─► RunningJob (one per job) ─► Board (one byte per port)
//!             scheduler       window, pacer, rtt,           check, passes,              verdicts, report
//!             global window,  responsiveness, backoff,      blocked ports
//!             quota, start    faults, spread,
//!             deadline        streak
//! ```
//!
//! What may be sent is decided from left to right: by this machine's sockets and its quota of unanswered probes, then
//! by the host's sockets, window and pace. What is worth sending is decided from right to left: by ports without a
//! verdict, passes and canaries. A reply travels from left to right, to every job that it concerns. No call iterates
//! over all hosts, because deadlines are kept in ordered sets. A pass visits each port of a job once, by a
//! permutation that is computed, not stored.
//!
//! [`Ways`] judges whether the route to a host was open; the prober calls it before and after each probe.
//!
//! Each constant stands beside the decision that it belongs to, with its reason.

mod backoff;
mod blocked_ports;
mod board;
mod check;
mod faults;
mod host;
mod job;
mod limited;
mod order;
mod pacer;
mod passes;
mod probe;
mod quota;
mod rate;
mod responsiveness;
mod rtt;
mod running_job;
mod scheduler;
#[cfg(test)]
mod simulation;
mod spread;
mod start_deadline;
mod stats;
mod streak;
mod syn_path;
mod tick;
mod timing;
mod turn;
mod want;
mod ways;
mod window;

pub use job::{Event, HostJob, JobId, Link, Liveness, Progress, ScanSettings};
pub use probe::{LocalError, Outcome, Probe, ProbeId, Prober, Reply};
pub use scheduler::Engine;
pub use stats::{Bounds, Stats};
pub use ways::{Closed, LinkFacts, Passage, Reach, Ways};
