//! The owner, on the appliance's own machine: sends requests, writes expectations, and checks what is served.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use portscan::clock::{Clock, SystemClock};
use serde_json::json;
use testkit::Ports;

use super::setup::Siege;
use crate::harness::Site;

/// An owner who waits longer for an answer gives up.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The paths that the owner requests.
const PATHS: [&str; 5] = ["/healthz", "/portscan/json", "/", "/v1/info", "/v1/hosts/02:00:00:00:00:10"];

/// The owner's observations.
#[derive(Default)]
pub struct Observations {
    /// The duration and the path of each answered request.
    pub answers: Mutex<Vec<(Duration, &'static str)>>,
    /// Requests without a response, or with another status than 200 (or 503 for the health).
    pub unanswered: Mutex<Vec<String>>,
    /// Wrong results.
    pub wrong_results: Mutex<Vec<String>>,
    /// The number of comparisons with the truth.
    pub compared: AtomicUsize,
    /// The expected ports that the appliance has acknowledged.
    pub acknowledged: Mutex<Vec<u16>>,
}

/// The truth: the open ports of each device, by its MAC.
pub fn truth(siege: &Siege) -> BTreeMap<String, Ports> {
    siege.lab.hosts().map(|host| (host.mac().to_string(), host.open_ports())).collect()
}

/// Sends four requests a second.
pub fn ask(siege: &Siege, seen: &Observations) {
    let clock = SystemClock::start();
    let site = Site::new("http://127.0.0.1".to_owned(), PATIENCE);
    let mut next = PATHS.iter().cycle();
    while siege.continues_after(Duration::from_millis(250)) {
        let path = next.next().expect("a cycle has no end");
        siege.record_memory();
        // Holds back kills, so that none cuts the response off.
        let (sent, answer) = siege.with_appliance(|_| (clock.now(), site.try_get(path)));
        let took = clock.now().since(sent);
        match answer {
            Ok(answer) if answer.status == 200 || (*path == "/healthz" && answer.status == 503) => {
                seen.answers.lock().unwrap().push((took, path));
            }
            other => seen.unanswered.lock().unwrap().push(format!("{path} after {took:?}: {other:?}")),
        }
    }
}

/// Compares the served results with the truth, all the time.
pub fn compare(siege: &Siege, seen: &Observations) {
    let truth = truth(siege);
    let site = Site::new("http://127.0.0.1".to_owned(), PATIENCE);
    while siege.continues_after(Duration::from_secs(1)) {
        for (mac, open) in &truth {
            // `ask` records failed requests.
            let Ok(answer) = site.try_get(&format!("/portscan/{mac}/json")) else { continue };
            let Some(served) = answer.open_ports() else { continue };
            seen.compared.fetch_add(1, Ordering::Relaxed);
            if served != *open {
                seen.wrong_results.lock().unwrap().push(format!("{mac}: {served}, not {open}"));
            }
        }
        let Ok(figures) = site.try_get("/metrics") else { continue };
        let down =
            figures.body.lines().filter(|line| line.starts_with("portscan_host_up{") && line.ends_with(" 0"));
        let down = down.filter(|line| truth.keys().any(|mac| line.contains(mac.as_str())));
        seen.wrong_results.lock().unwrap().extend(down.map(|line| format!("reported as down: {line}")));
    }
}

/// Writes one more expected port at a time; a write that a kill interrupts may be lost or kept, but an acknowledged one
/// must be kept.
pub fn write(siege: &Siege, seen: &Observations) {
    let site = Site::new("http://127.0.0.1".to_owned(), PATIENCE);
    let mut port = 0;
    while siege.continues_after(Duration::from_millis(200)) {
        port += 1;
        let row = json!([{ "address": "198.51.100.7", "port": port, "protocol": "tcp", "state": "open" }]);
        if site.try_patch("/v1/expected", &row).is_ok_and(|answer| answer.status == 204) {
            seen.acknowledged.lock().unwrap().push(port);
        }
    }
}
