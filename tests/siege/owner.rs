//! The owner, on the appliance's own machine: asks, writes down what is expected, and believes what the appliance says.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use portscan::{
    clock::{Clock, SystemClock},
    model::PortSet,
};
use serde_json::json;

use super::ground::Ground;
use crate::harness::Site;

/// An owner who waits longer for an answer gives up.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What the owner looks at.
const PATHS: [&str; 5] = ["/healthz", "/portscan/json", "/", "/v1/info", "/v1/hosts/02:00:00:00:00:10"];

/// What the owner has seen.
#[derive(Default)]
pub struct Diary {
    /// How long each answer took, and for what it was.
    pub answers: Mutex<Vec<(Duration, &'static str)>>,
    /// Questions that had no answer, or one of another status than 200 and, of the health, 503.
    pub unanswered: Mutex<Vec<String>>,
    /// Results that were wrong.
    pub lies: Mutex<Vec<String>>,
    /// How often a result was compared with the truth.
    pub compared: AtomicUsize,
    /// The ports that the appliance has acknowledged to be expected.
    pub acknowledged: Mutex<Vec<u16>>,
}

/// The truth: the open ports of each device, by its MAC.
pub fn truth(ground: &Ground) -> BTreeMap<String, PortSet> {
    ground.lab.hosts().map(|host| (host.mac().to_string(), host.open_ports())).collect()
}

/// Asks something four times a second.
pub fn ask(ground: &Ground, diary: &Diary) {
    let clock = SystemClock::start();
    let site = Site::new("http://127.0.0.1".to_owned(), PATIENCE);
    let mut next = PATHS.iter().cycle();
    while ground.goes_on_after(Duration::from_millis(250)) {
        let path = next.next().expect("it has no end");
        ground.weigh();
        // Between two kills, so that no answer is cut off by one.
        let (asked, answer) = ground.with_appliance(|_| (clock.now(), site.try_get(path)));
        let took = clock.now().since(asked);
        match answer {
            Ok(answer) if answer.status == 200 || (*path == "/healthz" && answer.status == 503) => {
                diary.answers.lock().unwrap().push((took, path));
            }
            other => diary.unanswered.lock().unwrap().push(format!("{path} after {took:?}: {other:?}")),
        }
    }
}

/// Compares what is served of each device with the truth, all the time.
pub fn compare(ground: &Ground, diary: &Diary) {
    let truth = truth(ground);
    let site = Site::new("http://127.0.0.1".to_owned(), PATIENCE);
    while ground.goes_on_after(Duration::from_secs(1)) {
        for (mac, open) in &truth {
            // What cannot be asked for is the other one's to note.
            let Ok(answer) = site.try_get(&format!("/portscan/{mac}/json")) else { continue };
            let Some(served) = answer.open_ports() else { continue };
            diary.compared.fetch_add(1, Ordering::Relaxed);
            if served != *open {
                diary.lies.lock().unwrap().push(format!("{mac}: {served}, not {open}"));
            }
        }
        let Ok(figures) = site.try_get("/metrics") else { continue };
        let down =
            figures.body.lines().filter(|line| line.starts_with("portscan_host_up{") && line.ends_with(" 0"));
        let down = down.filter(|line| truth.keys().any(|mac| line.contains(mac.as_str())));
        diary.lies.lock().unwrap().extend(down.map(|line| format!("said to be down: {line}")));
    }
}

/// Writes down one more expected port at a time; killed in the middle, it may or may not be there, but what was
/// acknowledged must.
pub fn write(ground: &Ground, diary: &Diary) {
    let site = Site::new("http://127.0.0.1".to_owned(), PATIENCE);
    let mut port = 0;
    while ground.goes_on_after(Duration::from_millis(200)) {
        port += 1;
        let row = json!([{ "address": "198.51.100.7", "port": port, "protocol": "tcp", "state": "open" }]);
        if site.try_patch("/v1/expected", &row).is_ok_and(|answer| answer.status == 204) {
            diary.acknowledged.lock().unwrap().push(port);
        }
    }
}
