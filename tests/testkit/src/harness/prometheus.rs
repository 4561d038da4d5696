//! Prometheus' and Alertmanager's own programs, and its text format read (the definition:
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>).

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use super::{ANSWER, Reaped, eventually, missing, site::agent, tool};
use crate::repository;

/// From start to the first answer, of a program that is large to read from a slow disk on a busy machine.
const READY: Duration = Duration::from_secs(120);

/// One of Prometheus' programs.
fn program(name: &str) -> Command {
    let mut command = tool(name);
    command.current_dir(repository("monitoring"));
    command
}

/// Runs promtool in `monitoring/`; panics with its errors.
pub fn promtool(arguments: &[&str], input: &str) {
    judged("promtool", arguments, input);
}

/// Runs Alertmanager's own tool there.
pub fn amtool(arguments: &[&str]) {
    judged("amtool", arguments, "");
}

fn judged(judge: &str, arguments: &[&str], input: &str) {
    let mut command = program(judge);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|e| missing(judge, &e));
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let said =
        [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    assert!(output.status.success(), "{judge} {arguments:?}: {}\n{said}\n{input}", output.status);
}

/// An Alertmanager for one test, which sends no notification.
pub struct Alertmanager {
    _child: Reaped,
    base: String,
    agent: ureq::Agent,
    _home: TempDir,
}

impl Alertmanager {
    /// Starts it in the lab's network, and waits until it can be asked.
    pub fn start(_within: &crate::lab::Lab) -> Self {
        let home = TempDir::new().expect("a temporary directory");
        let config = home.path().join("alertmanager.yml");
        fs::write(&config, "route: { receiver: none }\nreceivers: [{ name: none }]\n")
            .expect("writing its configuration");
        let listen = "127.0.0.1:9093";
        // Alertmanager's templates have a fixed path, at which an unpacked program has none: they are mounted there,
        // visible only to this process.
        let place = "mount -t tmpfs tmpfs /usr/share && mkdir -p /usr/share/prometheus && \
                     cp -r \"$0\" /usr/share/prometheus/ && exec \"$@\"";
        let texts = repository("target/tools/usr/share/prometheus/alertmanager");
        let mut command = program("prometheus-alertmanager");
        if texts.exists() {
            let unpacked = command.get_program().to_owned();
            command = program("unshare");
            command.args(["--mount", "sh", "-c", place]).arg(texts).arg(unpacked);
        }
        let child = command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.path={}", home.path().display()))
            .arg(format!("--web.listen-address={listen}"))
            .args(["--cluster.listen-address=", "--log.level=error"])
            .stdin(Stdio::null())
            .spawn();
        let child = Reaped(child.unwrap_or_else(|e| missing("prometheus-alertmanager", &e)));
        let server =
            Self { _child: child, base: format!("http://{listen}"), agent: agent(ANSWER), _home: home };
        eventually(READY, "Alertmanager can be asked", || server.try_alerts());
        server
    }

    /// Where alerts are posted.
    pub fn url(&self) -> String {
        format!("{}/api/v2/alerts", self.base)
    }

    /// Returns the active alerts.
    pub fn alerts(&self) -> Vec<Value> {
        self.try_alerts().expect("it answers")
    }

    fn try_alerts(&self) -> Option<Vec<Value>> {
        let text = self.agent.get(&self.url()).call().ok()?.body_mut().read_to_string().ok()?;
        serde_json::from_str(&text).ok()
    }
}

/// A Prometheus for one test, in the test's network: it scrapes the appliance once a second, and evaluates the rules
/// of `monitoring/` as often.
pub struct Prometheus {
    _child: Reaped,
    base: String,
    agent: ureq::Agent,
    _home: TempDir,
}

impl Prometheus {
    /// Starts it, with the appliance at `http://ADDRESS:PORT` as its one target, and waits until it can be asked.
    pub fn watching(appliance: &str) -> Self {
        let home = TempDir::new().expect("a temporary directory");
        let config = home.path().join("prometheus.yml");
        let target = appliance.trim_start_matches("http://");
        let text = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\n\
             rule_files: [{:?}]\n\
             scrape_configs: [{{ job_name: portscan, static_configs: [{{ targets: [{target:?}] }}] }}]\n",
            repository("monitoring/portscan.rules.yml")
        );
        fs::write(&config, text).expect("writing its configuration");
        // The network is this test's alone, so any port is free.
        let listen = "127.0.0.1:9090";
        let child = program("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", home.path().join("data").display()))
            .arg(format!("--web.listen-address={listen}"))
            .arg("--log.level=error")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| missing("prometheus", &e));
        let base = format!("http://{listen}");
        let prometheus = Self { _child: Reaped(child), base, agent: agent(ANSWER), _home: home };
        eventually(READY, "Prometheus is ready", || {
            prometheus
                .agent
                .get(format!("{}/-/ready", prometheus.base))
                .call()
                .ok()
                .filter(|r| r.status() == 200)
        });
        prometheus
    }

    fn get(&self, path: &str) -> Value {
        let mut response = self.agent.get(format!("{}{path}", self.base)).call().expect("Prometheus answers");
        let body = response.body_mut().read_to_string().expect("a body");
        serde_json::from_str(&body).unwrap_or_else(|e| panic!("{path}: {e}: {body}"))
    }

    /// Returns the last value of this metric for a host.
    pub fn value(&self, metric: &str, host: &str) -> Option<f64> {
        let answer = self.get(&format!("/api/v1/query?query={metric}%7Bhost%3D%22{host}%22%7D"));
        answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
    }

    /// The labels of every alert of this name that fires.
    pub fn firing(&self, name: &str) -> Vec<BTreeMap<String, String>> {
        let answer = self.get("/api/v1/alerts");
        let alerts = answer["data"]["alerts"].as_array().expect("alerts").iter();
        alerts
            .filter(|alert| alert["state"] == "firing" && alert["labels"]["alertname"] == name)
            .map(|alert| serde_json::from_value(alert["labels"].clone()).expect("texts"))
            .collect()
    }
}

/// A page that keeps the rules.
#[derive(Debug)]
pub struct Page {
    types: BTreeMap<String, String>,
    /// By name and labels as they are written.
    samples: BTreeMap<String, f64>,
}

impl Page {
    /// Panics with the line that breaks a rule.
    pub fn parse(text: &str) -> Self {
        assert!(text.ends_with('\n'), "the last line has no end");
        let mut page = Self { types: BTreeMap::new(), samples: BTreeMap::new() };
        let mut helped = BTreeSet::new();
        let mut family = String::new();
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').unwrap_or_else(|| panic!("no help: {line}"));
                assert!(is_name(name) && !help.is_empty(), "{line}");
                assert!(helped.insert(name.to_owned()), "told twice: {line}");
                name.clone_into(&mut family);
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').unwrap_or_else(|| panic!("no type: {line}"));
                assert_eq!(name, family, "the help does not come right before: {line}");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                page.types.insert(name.to_owned(), kind.to_owned());
            } else {
                page.sample(line, &family);
            }
        }
        page.assert_histograms();
        page
    }

    fn sample(&mut self, line: &str, family: &str) {
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
        let value: f64 = value.parse().unwrap_or_else(|e| panic!("{e}: {line}"));
        let (name, labels) = match series.split_once('{') {
            Some((name, labels)) => {
                (name, labels.strip_suffix('}').unwrap_or_else(|| panic!("labels without end: {line}")))
            }
            None => (series, ""),
        };
        assert!(is_name(name) && are_labels(labels), "{line}");
        let kind = self.types.get(family).unwrap_or_else(|| panic!("no type yet: {line}"));
        let suffixes: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
        let known = suffixes.iter().any(|suffix| name.strip_suffix(suffix) == Some(family));
        assert!(known, "not of the family {family}: {line}");
        assert!(self.samples.insert(series.to_owned(), value).is_none(), "twice: {line}");
    }

    fn assert_histograms(&self) {
        for (name, _) in self.types.iter().filter(|(_, kind)| *kind == "histogram") {
            let prefix = format!("{name}_bucket{{le=\"");
            let bound = |series: &str| series.strip_prefix(&prefix)?.strip_suffix("\"}")?.parse::<f64>().ok();
            let mut buckets: Vec<(f64, f64)> =
                self.samples.iter().filter_map(|(series, &count)| Some((bound(series)?, count))).collect();
            buckets.sort_unstable_by(|a, b| a.partial_cmp(b).unwrap());
            assert!(buckets.is_sorted_by_key(|&(_, count)| count), "{name} is not cumulative: {buckets:?}");
            let (last, all) = *buckets.last().unwrap_or_else(|| panic!("{name} has no buckets"));
            assert_eq!((last, Some(all)), (f64::INFINITY, self.get(&format!("{name}_count"))), "{name}");
            assert!(self.get(&format!("{name}_sum")).is_some(), "{name}");
        }
    }

    /// The value of a series, written as on the page.
    pub fn get(&self, series: &str) -> Option<f64> {
        self.samples.get(series).copied()
    }

    /// The same; panics if there is none.
    pub fn value(&self, series: &str) -> f64 {
        self.get(series).unwrap_or_else(|| panic!("no {series} in {:#?}", self.samples))
    }
}

fn is_name(name: &str) -> bool {
    let letter = |c: char| c.is_ascii_lowercase() || c == '_';
    name.starts_with(letter) && name.chars().all(|c| letter(c) || c.is_ascii_digit())
}

/// `name="value"`, separated by commas, each name once; `\`, `"` and the line's end are escaped.
fn are_labels(text: &str) -> bool {
    let mut names = BTreeSet::new();
    let mut rest = text;
    while !rest.is_empty() {
        let Some((name, value)) = rest.split_once("=\"") else { return false };
        let mut escaped = false;
        let end = value.find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        let Some(end) = end.filter(|_| is_name(name) && names.insert(name)) else { return false };
        let after = &value[end + 1..];
        rest = after.strip_prefix(',').unwrap_or(after);
        if rest.len() == after.len() && !rest.is_empty() {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    #[test]
    fn what_breaks_the_rules_is_found() {
        let good = "# HELP a_total A.\n# TYPE a_total counter\na_total{b=\"c\\\"}\\\\\",d=\"\"} 1\n";
        assert_eq!(Page::parse(good).value("a_total{b=\"c\\\"}\\\\\",d=\"\"}"), 1.0);
        for bad in [
            "a_total 1\n",
            "# HELP a A.\n# TYPE a counter\na 1\n",
            "# HELP a A.\n# TYPE a gauge\na 1",
            "# HELP a A.\n# TYPE a gauge\na 1\na 2\n",
            "# HELP a A.\n# TYPE a gauge\nb 1\n",
            "# HELP a A.\n# TYPE a gauge\na one\n",
            "# HELP a A.\n# TYPE a gauge\na{b=c} 1\n",
            "# HELP a A.\n# TYPE a gauge\na{b=\"c\"d=\"e\"} 1\n",
            "# HELP a A.\n# TYPE a gauge\na{b=\"c\",b=\"e\"} 1\n",
            "# HELP a A.\n# TYPE a histogram\na_bucket{le=\"1\"} 2\na_bucket{le=\"+Inf\"} 1\na_sum 1\na_count 1\n",
            "# HELP a A.\n# TYPE a histogram\na_bucket{le=\"1\"} 1\na_sum 1\na_count 1\n",
        ] {
            assert!(catch_unwind(|| Page::parse(bad)).is_err(), "{bad}");
        }
    }
}
