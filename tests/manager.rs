//! The notifications to a service manager (`sd_notify(3)`): started, alive, stopping.

use std::{os::unix::net::UnixDatagram, time::Duration};

use nix::sys::signal::Signal;

use crate::{harness::Portscan, lab::Lab};

#[test]
fn a_service_manager_is_notified_of_start_life_and_stop() {
    let lab = Lab::enter("near");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let next_message = || {
        let mut message = [0; 64];
        let length = manager.recv(&mut message).expect("a notification within the time limit");
        String::from_utf8(message[..length].to_vec()).unwrap()
    };
    let running = Portscan::new(&lab, "[feed]\nurl = []\n")
        .env("NOTIFY_SOCKET", path.to_str().unwrap())
        .env("WATCHDOG_USEC", "400000")
        .start();
    let first: Vec<String> = (0..5).map(|_| next_message()).collect();
    assert_eq!(first.iter().filter(|word| *word == "READY=1\n").count(), 1, "{first:?}");
    assert_eq!(first.iter().filter(|word| *word == "WATCHDOG=1\n").count(), 4, "{first:?}");

    running.signal(Signal::SIGTERM);
    assert!((0..100).any(|_| next_message() == "STOPPING=1\n"));
    assert!(running.wait(Duration::from_secs(60)).success());
}
