//! F2: Prometheus' text format.
//!
//! One function: a [`Snapshot`] in, a page out. There is no registry and nothing is counted here, so that all
//! numbers of a page are of one moment, and no series outlives what it is about. Names and units follow
//! Prometheus' rules (<https://prometheus.io/docs/practices/naming/>): seconds and bytes, counters end in
//! `_total`, a limit is named after what it limits.

use prometheus::{
    TextEncoder,
    proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType},
};

use crate::model::{Delays, FeedFacts, ImportFacts, LimitFacts, ProbeFacts, Snapshot, StoreFacts};

/// The page's media type: that of the text format, version 0.0.4.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A page could not be written: a family of metrics breaks the format's rules.
#[derive(Debug, thiserror::Error)]
#[error("the metrics cannot be written: {0}")]
pub struct MetricsError(#[from] prometheus::Error);

/// The page that tells of this moment.
///
/// # Errors
/// None that any snapshot could cause; the encoder checks what this module makes.
pub fn encode(snapshot: &Snapshot) -> Result<String, MetricsError> {
    let version = gauge(&[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    let mut families = vec![gauges("portscan_build_info", "The version that runs; always 1.", [version])];
    families.extend(probes(&snapshot.probes));
    let errors = snapshot.local_errors.iter().map(|&(kind, count)| counter(&[("kind", kind)], count));
    families.extend([
        counters(
            "portscan_local_errors_total",
            "Connects that this machine itself could not make; they were made again later.",
            errors,
        ),
        histogram(
            "portscan_event_loop_lag_seconds",
            "By how much the scanner's loop missed the moments at which it was to wake up.",
            &snapshot.lag,
        ),
        histogram(
            "portscan_probe_start_delay_seconds",
            "From the decision to make a probe to its connect.",
            &snapshot.start_delay,
        ),
    ]);
    families.extend(snapshot.limits.iter().flat_map(limits));
    families.extend(feeds(&snapshot.feeds));
    families.extend(store(&snapshot.store));
    families.extend(imports(&snapshot.imports));
    // The format has no families without samples.
    families.retain(|family| !family.get_metric().is_empty());
    Ok(TextEncoder::new().encode_to_string(&families)?)
}

fn probes(probes: &ProbeFacts) -> [MetricFamily; 5] {
    let outcomes = [
        ("accepted", probes.accepted),
        ("refused", probes.refused),
        ("silent", probes.silent),
        ("unreachable", probes.unreachable),
    ];
    [
        counters(
            "portscan_probes_total",
            "Probes by what became of them.",
            outcomes.map(|(outcome, count)| counter(&[("outcome", outcome)], count)),
        ),
        counters(
            "portscan_probes_not_started_total",
            "Probes that were not made because their moment had passed; others took their place.",
            [counter(&[], probes.not_started)],
        ),
        plain("portscan_probes_in_flight", "Probes under way.", probes.in_flight),
        plain("portscan_hosts_in_progress", "Hosts being looked at.", probes.hosts),
        plain(
            "portscan_sockets_window",
            "Sockets that probes may have open at present: the limit, or less while this machine cannot keep up.",
            probes.window,
        ),
    ]
}

fn limits(limits: &LimitFacts) -> Vec<MetricFamily> {
    let mut families = vec![
        plain(
            "portscan_descriptors_limit",
            "File descriptors this process may have open.",
            limits.descriptors,
        ),
        plain("portscan_sockets_limit", "Sockets that probes may have open.", limits.sockets),
        plain(
            "portscan_local_ports_limit",
            "Local ports to connect from, for each destination address and port.",
            limits.local_ports,
        ),
    ];
    if let Some(table) = limits.conntrack {
        families.extend([
            plain("portscan_conntrack_entries", "Connections in the firewall's table.", table.entries),
            plain(
                "portscan_conntrack_entries_limit",
                "Connections that the firewall's table holds.",
                table.max,
            ),
            plain(
                "portscan_silent_probes_per_second_limit",
                "Probes per second that may stay without an answer, for the sake of the firewall's table.",
                table.silent_per_second,
            ),
        ]);
    }
    families
}

fn feeds(feeds: &[FeedFacts]) -> [MetricFamily; 3] {
    let each = |value: fn(&FeedFacts) -> f64| {
        feeds.iter().map(move |feed| gauge(&[("source", &feed.source)], value(feed)))
    };
    [
        gauges(
            "portscan_feed_up",
            "Whether the source of devices is believed; one that is not is frozen.",
            each(|feed| f64::from(u8::from(feed.up))),
        ),
        gauges(
            "portscan_feed_devices",
            "Devices that the source names, or named last.",
            each(|feed| feed.devices as f64),
        ),
        gauges(
            "portscan_feed_rejected_entries",
            "Entries of the source's last good answer that were refused.",
            each(|feed| feed.rejected as f64),
        ),
    ]
}

fn store(store: &StoreFacts) -> [MetricFamily; 4] {
    let ended = store.last_scan.map(|ended| gauge(&[], ended.as_millisecond() as f64 / 1000.0));
    [
        plain(
            "portscan_store_up",
            "Whether results reach the disk; if not, scanning waits.",
            u8::from(store.up),
        ),
        gauges(
            "portscan_database_bytes",
            "Size of the database and its log.",
            [gauge(&[], store.bytes as f64)],
        ),
        gauges(
            "portscan_devices_scanned",
            "Devices that have a complete result.",
            store.devices.map(|devices| gauge(&[], devices.into())),
        ),
        gauges("portscan_last_scan_timestamp_seconds", "When the newest complete scan ended.", ended),
    ]
}

/// In portmantool's names and shapes: 0 before the first.
fn imports(imports: &ImportFacts) -> [MetricFamily; 2] {
    let last = imports.last.map_or(0.0, |last| last.as_second() as f64);
    [
        counters(
            "portmantool_imports_failed_total",
            "Reports of other scanners' that were not taken.",
            [counter(&[], imports.failed)],
        ),
        gauges(
            "portmantool_imports_last",
            "When the last report was taken in, or an own scan was complete.",
            [gauge(&[], last)],
        ),
    ]
}

fn gauges(name: &str, help: &str, samples: impl IntoIterator<Item = Metric>) -> MetricFamily {
    family(name, help, MetricType::GAUGE, samples)
}

fn counters(name: &str, help: &str, samples: impl IntoIterator<Item = Metric>) -> MetricFamily {
    family(name, help, MetricType::COUNTER, samples)
}

/// A family of one gauge without labels.
fn plain(name: &str, help: &str, value: impl Into<f64>) -> MetricFamily {
    gauges(name, help, [gauge(&[], value.into())])
}

/// A family of one histogram without labels.
fn histogram(name: &str, help: &str, delays: &Delays) -> MetricFamily {
    let bucket = |(bound, count): (std::time::Duration, u64)| {
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(bound.as_secs_f64());
        bucket.set_cumulative_count(count);
        bucket
    };
    let mut histogram = Histogram::default();
    histogram.set_bucket(delays.cumulative().map(bucket).collect());
    histogram.set_sample_count(delays.count());
    histogram.set_sample_sum(delays.sum().as_secs_f64());
    let mut sample = Metric::default();
    sample.set_histogram(histogram);
    family(name, help, MetricType::HISTOGRAM, [sample])
}

fn family(
    name: &str,
    help: &str,
    kind: MetricType,
    samples: impl IntoIterator<Item = Metric>,
) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(samples.into_iter().collect());
    family
}

fn gauge(labels: &[(&str, &str)], value: f64) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    let mut sample = Metric::from_label(pairs(labels));
    sample.set_gauge(gauge);
    sample
}

fn counter(labels: &[(&str, &str)], count: u64) -> Metric {
    let mut counter = Counter::default();
    counter.set_value(count as f64);
    let mut sample = Metric::from_label(pairs(labels));
    sample.set_counter(counter);
    sample
}

fn pairs(labels: &[(&str, &str)]) -> Vec<LabelPair> {
    let pair = |&(name, value): &(&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value.to_owned());
        pair
    };
    labels.iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::TableFacts;

    fn full() -> Snapshot {
        let mut lag = Delays::default();
        [1, 1, 30].into_iter().for_each(|millis| lag.note(Duration::from_millis(millis)));
        let probes =
            ProbeFacts { accepted: 3, refused: 65_000, silent: 7, hosts: 2, ..ProbeFacts::default() };
        let table = TableFacts { entries: 500, max: 65_536, silent_per_second: 270 };
        let limits =
            LimitFacts { descriptors: 1024, sockets: 704, local_ports: 28_232, conntrack: Some(table) };
        let feed = |source: &str, up| FeedFacts { source: source.to_owned(), up, devices: 40, rejected: 1 };
        Snapshot {
            probes,
            local_errors: vec![("descriptors", 0), ("ports", 12)],
            lag,
            limits: Some(limits),
            feeds: vec![feed("hosts", true), feed("http://a/\"\\\n", false)],
            store: StoreFacts {
                up: true,
                bytes: 4096,
                devices: Some(40),
                last_scan: Some("2026-11-22T04:47:20.5Z".parse().unwrap()),
            },
            imports: ImportFacts { failed: 2, last: Some("2026-11-22T05:00:00Z".parse().unwrap()) },
            ..Snapshot::default()
        }
    }

    #[test]
    fn the_page() {
        let version = env!("CARGO_PKG_VERSION");
        insta::assert_snapshot!(encode(&full()).unwrap().replace(version, "VERSION"));
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let page = encode(&Snapshot::default()).unwrap();
        for name in ["feed_", "_limit ", "conntrack", "last_scan", "devices_scanned", "local_errors"] {
            assert!(!page.contains(name), "{name}:\n{page}");
        }
        assert!(page.contains("\nportscan_store_up 0\n"), "{page}");
    }
}
