//! The state of a run as `/v1/runs` describes it.

use serde::{Deserialize, Serialize};

use super::{found::sanitize_for_terminal, table::counted};

/// A run, as much of it as is shown. What `--json` prints is this without the keys that are only read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct RunStatus {
    pub(super) id: i64,
    pub(super) scanner: String,
    pub(super) status: String,
    pub(super) hosts: ReportedShare,
    pub(super) progress: Option<ReportedProgress>,
    /// `run`, `seen`, `manual`, `confirm`
    #[serde(default, skip_serializing)]
    kind: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct ReportedShare {
    pub(super) done: u64,
    pub(super) total: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ReportedProgress {
    pub(super) ports: ReportedShare,
    pub(super) rate: f64,
    pub(super) seconds_left: Option<f64>,
    #[serde(default, skip_serializing)]
    seconds: Option<f64>,
    /// The devices that are being scanned.
    #[serde(default, skip_serializing)]
    pub(super) devices: Vec<DeviceProgress>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct DeviceProgress {
    pub(super) address: String,
    /// The TCP ports that were found open so far. Older appliances only count them.
    #[serde(default)]
    pub(super) open_ports: Vec<u16>,
}

impl RunStatus {
    pub(super) fn is_under_way(&self) -> bool {
        self.status == "running"
    }

    /// `lan: running, 12 of 40 devices; /v1/runs/1669065600`
    pub(super) fn line(&self) -> String {
        let Self { id, scanner, status, .. } = self;
        let (scanner, status) = (sanitize_for_terminal(scanner), sanitize_for_terminal(status));
        format!("{scanner}: {status}, {}; /v1/runs/{id}", self.devices_done())
    }

    /// `12 of 40 devices`
    fn devices_done(&self) -> String {
        let total = usize::try_from(self.hosts.total).unwrap_or(usize::MAX);
        format!("{} of {}", self.hosts.done, counted(total, "device"))
    }

    /// `lan: 12 of 40 devices, 45 % of the ports; for 3 min, about 4 min left`
    pub(super) fn summary(&self) -> String {
        let mut text = sanitize_for_terminal(&self.scanner);
        text += match self.kind.as_str() {
            "seen" => " (devices just seen): ",
            "manual" => " (on request): ",
            "confirm" => " (second look): ",
            _ => ": ",
        };
        text += &self.devices_done();
        let Some(progress) = &self.progress else { return text };
        let ReportedShare { done, total } = progress.ports;
        if let Some(percent) = (done * 100).checked_div(total) {
            text += &format!(", {} % of the ports", percent.min(100));
        }
        if let Some(seconds) = progress.seconds {
            text += &format!("; for {}", time_span(seconds));
        }
        match progress.seconds_left {
            Some(left) => text += &format!(", about {} left", time_span(left)),
            None => text += "; the time left is not known yet",
        }
        text
    }
}

/// Ports that have a verdict, of how many, in all runs together.
pub(super) fn ports_of(runs: &[RunStatus]) -> (u64, u64) {
    let known = || runs.iter().filter_map(|run| run.progress.as_ref());
    (known().map(|progress| progress.ports.done).sum(), known().map(|progress| progress.ports.total).sum())
}

/// `40 s`, `3 min`, `2 h 5 min`
fn time_span(seconds: f64) -> String {
    let minutes = (seconds / 60.0).round().max(0.0);
    match minutes {
        _ if seconds < 90.0 => format!("{:.0} s", seconds.max(0.0)),
        _ if minutes < 90.0 => format!("{minutes:.0} min"),
        _ => format!("{:.0} h {:.0} min", (minutes / 60.0).floor(), minutes % 60.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_of_time_has_the_unit_that_people_would_choose() {
        for (seconds, text) in [
            (0.0, "0 s"),
            (-1.0, "0 s"),
            (89.4, "89 s"),
            (90.0, "2 min"),
            (600.0, "10 min"),
            (7500.0, "2 h 5 min"),
        ] {
            assert_eq!(time_span(seconds), text);
        }
    }

    #[test]
    fn sums_up_how_far_a_run_is_and_how_long_it_takes() {
        let run = |kind: &str, progress: &str| -> RunStatus {
            let text = format!(
                r#"{{"id":7,"scanner":"lan","kind":"{kind}","status":"running","started":"2026-11-22T09:15:00Z",
                    "hosts":{{"done":2,"total":12}},"progress":{progress}}}"#
            );
            serde_json::from_str(&text).unwrap()
        };
        let progress = r#"{"ports":{"done":450,"total":1000},"rate":250.0,"seconds":40.0,"seconds_left":240.0,
            "devices":[{"address":"192.0.2.1","mac":null,"name":null,"ports":{"done":1,"total":2},"open":1}]}"#;
        let expected = "lan (on request): 2 of 12 devices, 45 % of the ports; for 40 s, about 4 min left";
        assert_eq!(run("manual", progress).summary(), expected);
        let begun =
            r#"{"ports":{"done":0,"total":0},"rate":0.0,"seconds":0.2,"seconds_left":null,"devices":[]}"#;
        let expected = "lan: 2 of 12 devices; for 0 s; the time left is not known yet";
        assert_eq!(run("run", begun).summary(), expected);
        assert_eq!(run("run", "null").summary(), "lan: 2 of 12 devices");
    }

    #[test]
    fn json_has_the_keys_that_it_always_had() {
        let text = r#"{"id":7,"scanner":"lan","kind":"run","status":"running","hosts":{"done":0,"total":1},
            "progress":{"ports":{"done":1,"total":2},"rate":1.0,"seconds":1.0,"seconds_left":1.0,
            "devices":[{"address":"192.0.2.1","open_ports":[22]}]}}"#;
        let run: RunStatus = serde_json::from_str(text).unwrap();
        let expected = r#"{"id":7,"scanner":"lan","status":"running","hosts":{"done":0,"total":1},"progress":{"ports":{"done":1,"total":2},"rate":1.0,"seconds_left":1.0}}"#;
        assert_eq!(serde_json::to_string(&run).unwrap(), expected);
    }
}
