//! Layer 5: what this machine allows the appliance to do, and what it lacks, each with the line that mends it.
//!
//! `rules` judge what `reader` has read. It differs from `check-config`, which compares one configuration with the
//! machine: this judges the machine, and goes on when the configuration is faulty.

mod facts;
mod package;
mod reader;
mod rules;

pub use package::{ARP_GRANT, UNITS};
pub use reader::Judged;

use crate::{clock::Clock, config::Overrides, model::Diagnosis};

/// Reads and judges this machine. It binds ports for an instant and reads files; it sends nothing. It blocks for some
/// milliseconds, more where many processes run.
pub fn diagnose(overrides: &Overrides, judged: Judged, clock: &dyn Clock) -> Vec<Diagnosis> {
    rules::diagnose(&reader::read(overrides, judged, clock))
}
