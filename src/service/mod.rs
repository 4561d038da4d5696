//! Layer 3: the tasks of the appliance. Feeds name the devices, the agenda decides which device is next, the runner
//! has it scanned, and the store keeps the results.

pub mod absence;
pub mod agenda;
pub mod alerts;
pub mod announcements;
pub mod device_type;
pub mod differences;
pub mod directory;
pub mod discovery;
pub mod evidence;
pub mod exclusions;
pub mod expectations;
pub mod feeds;
pub mod fleet;
pub mod health;
pub mod host_lease;
pub mod identify;
pub mod import;
mod inquiry;
mod lines;
pub mod look;
#[cfg(test)]
mod month;
pub mod names;
mod neighbour;
pub mod pages;
pub mod port_findings;
pub mod port_watch;
pub mod probe;
mod questions;
mod reported;
pub mod retention;
pub mod retry;
pub mod runner;
pub mod scanner;
pub mod schedule;
pub mod snapshot;
pub mod spool;
pub mod udp_scan;
pub mod watched;
mod witness;
