//! Layer 3: the tasks of the appliance. Feeds say who is there, the agenda what to look at next, the runner has
//! it looked at by the scanner, and the store keeps what was found.

pub mod absence;
pub mod agenda;
pub mod differences;
pub mod discovery;
pub mod feeds;
pub mod health;
pub mod import;
mod lines;
pub mod look;
pub mod names;
pub mod probe;
pub mod queries;
pub mod retention;
pub mod retry;
pub mod runner;
pub mod scanner;
pub mod schedule;
pub mod snapshot;
pub mod spool;
mod told;
mod witness;
