//! What alerts add to the bytes that a day of hourly scans writes.

use super::{
    command,
    five::{FiveChannels, delivered},
};
use crate::{
    disk::DAY,
    harness::{Portscan, Running, feed_of, scanner},
    lab::Lab,
};

/// As many as are in progress at once: they end together, and their results are one commit, however slow the machine.
const DEVICES: usize = 16;

/// Scans of each kind that are measured.
const SCANS: u64 = 2;

#[test]
fn alerts_through_five_channels_every_hour_write_little() {
    let lab = Lab::enter("big");
    let Some(servers) = FiveChannels::start(&lab) else { return };
    let config = feed_of(lab.hosts().take(DEVICES)) + &scanner("lan", "1d", "20-47") + &servers.config();
    // Beside the test program, because /tmp may be in memory, where the kernel counts writes only together with what goes
    // to sockets.
    let beside = std::env::current_exe().unwrap();
    let data = tempfile::tempdir_in(beside.parent().unwrap()).unwrap();
    let portscan = servers.trusted(Portscan::new(&lab, &config).data_dir(data.path()));
    let running = portscan.start();
    let scan = |running: &Running| command(&portscan, running, &["run", "--wait"]);
    // The first scan, which starts with the appliance, creates all rows.
    scan(&running);
    command(&portscan, &running, &["expected", "accept", "--all"]);
    let before = running.written_to_disk();
    for _ in 0..SCANS {
        scan(&running);
    }
    let quiet = (running.written_to_disk() - before) / SCANS;
    let host = lab.hosts().next().unwrap();
    // None of those calls for advice, which would be an alert of its own.
    let closed: Vec<u16> = (30..=47).filter(|port| !host.open_ports().contains(*port)).collect();
    let before = running.written_to_disk();
    for (messages, port) in (1..=SCANS).zip(&closed) {
        host.open(*port);
        scan(&running);
        delivered(&running, messages);
    }
    let alerting = (running.written_to_disk() - before) / SCANS;
    let alerts = alerting.saturating_sub(quiet);
    // The scans of a hundred devices, and each hour an alert on every channel.
    let day = 24 * (quiet * 100 / DEVICES as u64 + alerts);
    eprintln!(
        "{DEVICES} devices scanned again: {quiet} bytes written, {alerting} with an alert on five channels; 100 of them \
         hourly, with an alert each hour: {day} a day"
    );
    assert!(quiet > 0 && day <= DAY, "{day} bytes a day");
    running.stop();
}
