//! From a port that opens to the message that tells of it, on the owner's own channels.

mod channels;
mod home_assistant;
mod mail;
mod mqtt;
mod receivers;

use std::time::Duration;

use crate::harness::{Portscan, Running};

/// A closed port is confirmed by a second look, at least a minute later.
const LONG: Duration = Duration::from_secs(180);

/// Runs a subcommand on the appliance.
fn command(portscan: &Portscan, running: &Running, arguments: &[&str]) {
    let finished = portscan.run(&[arguments, &["--url", running.base()]].concat(), LONG);
    assert!(finished.status.success(), "{arguments:?}: {}\n{}", finished.status, finished.stderr);
}
