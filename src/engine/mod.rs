//! F1: the scan engine, sans-io. It decides which probe goes when and what an answer means; it has no
//! clock, no socket and no runtime. Whoever drives it passes `now`, launches the [`Probe`]s it gives,
//! and brings back one [`Reply`] for each.

mod api;

pub use api::{
    Bounds, Engine, Event, HostJob, JobId, Link, Liveness, LocalError, Outcome, Probe, ProbeId, Prober,
    Progress, Reply, Stats,
};
