//! What a service manager hears, by `sd_notify(3)`'s protocol: that it has started, that it is alive, that it stops.

use std::{os::unix::net::UnixDatagram, time::Duration};

use nix::sys::signal::Signal;

use crate::{harness::Portscan, lab::Lab};

#[test]
fn a_service_manager_hears_that_it_is_alive() {
    let lab = Lab::enter("near");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let heard = || {
        let mut message = [0; 64];
        let length = manager.recv(&mut message).expect("it speaks in time");
        String::from_utf8(message[..length].to_vec()).unwrap()
    };
    let running = Portscan::new(&lab, "[feed]\nurl = []\n")
        .env("NOTIFY_SOCKET", path.to_str().unwrap())
        .env("WATCHDOG_USEC", "400000")
        .start();
    let first: Vec<String> = (0..5).map(|_| heard()).collect();
    assert_eq!(first.iter().filter(|word| *word == "READY=1\n").count(), 1, "{first:?}");
    assert_eq!(first.iter().filter(|word| *word == "WATCHDOG=1\n").count(), 4, "{first:?}");

    running.signal(Signal::SIGTERM);
    assert!((0..100).any(|_| heard() == "STOPPING=1\n"));
    assert!(running.wait(Duration::from_secs(60)).success());
}
