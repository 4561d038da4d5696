//! From a port that opens to the message about it, on the owner's own channels.

pub(crate) mod channels;
mod faults;
pub(crate) mod five;
mod home_assistant;
mod http;
mod kills;
mod mail;
mod mqtt;
mod newcomer;
mod receivers;
mod summaries;
mod syslog;
mod written;

use std::time::Duration;

use rusqlite::Connection;

use crate::harness::{Portscan, Running, eventually};

/// A closed port is confirmed by a second look, at least a minute later.
const LONG: Duration = Duration::from_secs(180);

/// A network without devices.
pub(crate) const NOTHING: &str = "[feed]\nurl = []\nhosts = []\n";

/// How often the appliance is killed; `make alerts` sets forty.
fn rounds(every_day: i64) -> i64 {
    std::env::var("PORTSCAN_TEST_ALERT_KILLS")
        .map_or(every_day, |text| text.parse().expect("a number of kills"))
}

/// Starts the appliance, and kills it once its channels have a place: what happens from then on is theirs to send.
pub(crate) fn begin(portscan: &Portscan, channels: i64) {
    let running = portscan.start();
    eventually(LONG, "the channels begin", || {
        let database = Connection::open(portscan.database()).ok()?;
        let count: i64 =
            database.query_row("SELECT count(*) FROM alert_channels", [], |row| row.get(0)).ok()?;
        (count == channels).then_some(())
    });
    running.kill();
}

/// Runs a subcommand on the appliance.
fn command(portscan: &Portscan, running: &Running, arguments: &[&str]) {
    let finished = portscan.run(&[arguments, &["--url", running.base()]].concat(), LONG);
    assert!(finished.status.success(), "{arguments:?}: {}\n{}", finished.status, finished.stderr);
}
