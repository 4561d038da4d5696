//! Layer 2: Prometheus' text format.
//!
//! Turns a [`Snapshot`] into a page of two parts: the metrics of the appliance and those of its devices. There is no
//! registry and nothing is counted here, so that all numbers of a page are of one moment, and no series outlives its
//! subject. The library's `Collector` is not used either: it hands over all families at once, some MB for thousands of
//! devices, and cannot wait for the database. Names and units follow Prometheus' rules
//! (<https://prometheus.io/docs/practices/naming/>): seconds and bytes, counters end in `_total`, a limit is named
//! after what it limits.

mod family;
mod machine;
mod network;
mod sites;

use prometheus::{
    TextEncoder,
    proto::{Metric, MetricFamily},
};

use self::family::{counter, counters, gauge, gauges, histogram};
use crate::model::{SiteFacts, Snapshot};

/// The page's media type: that of the text format, version 0.0.4.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A page could not be written: a family of metrics breaks the format's rules.
#[derive(Debug, thiserror::Error)]
#[error("the metrics cannot be written: {0}")]
pub struct MetricsError(#[from] prometheus::Error);

/// Encodes the page's first part: the metrics of the appliance at this moment.
///
/// # Errors
/// No snapshot can cause one; the encoder checks the families that this module makes.
pub fn encode_own(snapshot: &Snapshot) -> Result<String, MetricsError> {
    let mut page = String::new();
    let version = gauge(&[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    write(&mut page, [gauges("portscan_build_info", "The running version; always 1.", [version])])?;
    write(&mut page, machine::probes(&snapshot.probes))?;
    write(&mut page, engine(snapshot))?;
    write(&mut page, snapshot.limits.iter().flat_map(machine::limits))?;
    write(&mut page, snapshot.memory.iter().map(machine::memory))?;
    write(&mut page, machine::feeds(&snapshot.feeds))?;
    write(&mut page, machine::store(&snapshot.store))?;
    write(&mut page, machine::imports(&snapshot.imports))?;
    write(&mut page, machine::channels(&snapshot.channels))?;
    write(&mut page, network::scanners(&snapshot.scanners))?;
    Ok(page)
}

/// Encodes what a hub's page tells of its sites.
///
/// # Errors
/// As [`encode_own`].
pub fn encode_sites(facts: &[SiteFacts]) -> Result<String, MetricsError> {
    let mut page = String::new();
    write(&mut page, sites::sites(facts))?;
    Ok(page)
}

/// Encodes the page's second part: the metrics of the devices.
///
/// # Errors
/// As [`encode_own`].
pub fn encode_hosts(snapshot: &Snapshot) -> Result<String, MetricsError> {
    let mut page = String::new();
    let hosts: Vec<_> = snapshot.hosts.iter().map(network::Labelled::from).collect();
    network::devices(&hosts, &snapshot.differing, &snapshot.advised, |name, help, samples| {
        write_gauges(&mut page, name, help, samples)
    })?;
    Ok(page)
}

/// Writes the families one by one. The format has no families without samples.
fn write(page: &mut String, families: impl IntoIterator<Item = MetricFamily>) -> Result<(), MetricsError> {
    for family in families.into_iter().filter(|family| !family.get_metric().is_empty()) {
        TextEncoder::new().encode_utf8(&[family], page)?;
    }
    Ok(())
}

/// The most samples in memory at a time: each takes some 700 bytes, and there may be one for each of thousands of
/// devices.
const SAMPLES: usize = 256;

/// By how many bytes the page grows at a time. A `String` would double, and of the page of thousands of devices, which
/// has some MB, up to half would stay empty while all clients wait for it.
const GROWTH: usize = 256 * 1024;

/// Writes a family in parts; the name and the help of all parts but the first are left out.
fn write_gauges(
    page: &mut String,
    name: &str,
    help: &str,
    samples: &mut dyn Iterator<Item = Metric>,
) -> Result<(), MetricsError> {
    let mut head = 0;
    loop {
        let part: Vec<Metric> = (&mut *samples).take(SAMPLES).collect();
        if part.is_empty() {
            return Ok(());
        }
        let begin = page.len();
        if page.capacity() - begin < GROWTH / 2 {
            page.reserve_exact(GROWTH);
        }
        write(page, [gauges(name, help, part)])?;
        if head == 0 {
            head =
                page.get(begin..).and_then(|text| Some(text.match_indices('\n').nth(1)?.0 + 1)).unwrap_or(0);
        } else {
            page.replace_range(begin..begin + head, "");
        }
    }
}

fn engine(snapshot: &Snapshot) -> [MetricFamily; 3] {
    let errors = snapshot.local_errors.iter().map(|&(kind, count)| counter(&[("kind", kind)], count));
    [
        counters(
            "portscan_local_errors_total",
            "Connects that failed for a local reason; each was retried later.",
            errors,
        ),
        histogram("portscan_event_loop_lag_seconds", "How late the scanner's loop woke up.", &snapshot.lag),
        histogram(
            "portscan_probe_start_delay_seconds",
            "Time from the decision to send a probe to its connect.",
            &snapshot.start_delay,
        ),
    ]
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use super::*;
    use crate::model::{
        AdviceLevel, Delays, Deviation, DeviceKey, FeedFacts, HostFacts, ImportFacts, LimitFacts,
        MemoryFacts, PortFact, PortState, ProbeFacts, Protocol, ScanStatus, ScannerFacts, StoreFacts,
        TableFacts,
    };

    fn encode(snapshot: &Snapshot) -> Result<String, MetricsError> {
        Ok(encode_own(snapshot)? + &encode_hosts(snapshot)?)
    }

    fn full() -> Snapshot {
        let mut lag = Delays::default();
        [1, 1, 30].into_iter().for_each(|millis| lag.note(Duration::from_millis(millis)));
        let probes =
            ProbeFacts { accepted: 3, refused: 65_000, silent: 7, hosts: 2, ..ProbeFacts::default() };
        let table = TableFacts { entries: 500, max: 65_536, silent_per_second: 270 };
        let limits =
            LimitFacts { descriptors: 1024, sockets: 704, local_ports: 28_232, conntrack: Some(table) };
        let feed = |source: &str, up| FeedFacts {
            source: source.to_owned(),
            up,
            detail: String::new(),
            devices: 40,
            rejected: 1,
            held_back: 3,
        };
        Snapshot {
            probes,
            local_errors: vec![("descriptors", 0), ("ports", 12)],
            lag,
            limits: Some(limits),
            memory: Some(MemoryFacts { resident: 7_180_288, ..MemoryFacts::default() }),
            feeds: vec![feed("hosts", true), feed("http://a/\"\\\n", false)],
            store: StoreFacts {
                up: true,
                bytes: 4096,
                opened_bytes: 4096,
                known: Some(42),
                devices: Some(40),
                last_scan: Some("2026-11-22T04:47:20.5Z".parse().unwrap()),
            },
            imports: ImportFacts { failed: 2, last: Some("2026-11-22T04:47:20.5Z".parse().unwrap()) },
            scanners: vec![ScannerFacts {
                name: "lan".to_owned(),
                interval: Duration::from_secs(86_400),
                complete: Some("2026-11-22T04:47:20.5Z".parse().unwrap()),
                took: Some(Duration::from_millis(1_005_250)),
                status: Some(ScanStatus::Partial),
            }],
            hosts: hosts(),
            differing: differing(),
            advised: BTreeMap::from([(AdviceLevel::Fine, 2), (AdviceLevel::Act, 1)]),
            ..Snapshot::default()
        }
    }

    /// The number of differences of the printer and the stranger, and one of a host that was never seen.
    fn differing() -> BTreeMap<(DeviceKey, Protocol), u32> {
        let host = |host: &str, count| ((host.parse().unwrap(), Protocol::Tcp), count);
        BTreeMap::from([host("192.168.7.3", 2), host("192.168.7.4", 1), host("192.168.7.99", 1)])
    }

    /// A printer with a rogue and a missing port, a stranger, and one that is known by its address alone.
    fn hosts() -> Vec<HostFacts> {
        let port = |port, open, deviation| PortFact { protocol: Protocol::Tcp, port, open, deviation };
        let plain = |host: &str| HostFacts {
            mac: None,
            host: host.parse().unwrap(),
            name: None,
            up: None,
            new: false,
            scanned_ports: 1000,
            complete: false,
            expected: 0,
            listed: BTreeMap::new(),
            ports: Vec::new(),
        };
        let printer = HostFacts {
            mac: Some("B8:27:EB:AC:14:3E".parse().unwrap()),
            name: Some("printer".to_owned()),
            up: Some(true),
            scanned_ports: 65_535,
            complete: true,
            expected: 2,
            listed: BTreeMap::from([
                ((Protocol::Tcp, PortState::Open), 2),
                ((Protocol::Udp, PortState::OpenFiltered), 1),
            ]),
            ports: vec![
                port(80, true, None),
                port(631, false, Some(Deviation::Missing)),
                port(8080, true, Some(Deviation::Rogue)),
            ],
            ..plain("192.168.7.3")
        };
        let stranger = HostFacts {
            mac: Some("02:00:00:00:00:07".parse().unwrap()),
            up: Some(false),
            new: true,
            ports: vec![port(22, true, None)],
            ..plain("192.168.7.4")
        };
        vec![printer, stranger, plain("10.9.0.1")]
    }

    #[test]
    fn excess_series_are_counted() {
        let open = |port| PortFact { protocol: Protocol::Tcp, port, open: true, deviation: None };
        let host = HostFacts { ports: (1..=5003).map(open).collect(), ..hosts().remove(1) };
        let page = encode(&Snapshot { hosts: vec![host], ..Snapshot::default() }).unwrap();
        assert_eq!(page.matches("\nportscan_port_open{").count(), 5000);
        assert!(page.contains("\nportscan_series_dropped{metric=\"portscan_port_open\"} 3\n"), "{page}");
    }

    #[test]
    fn excess_hosts_are_counted() {
        let host = |index: u32| {
            let address = std::net::Ipv4Addr::from(0x0a00_0000 + index).into();
            HostFacts { host: address, name: Some("nas".to_owned()), ..hosts().remove(1) }
        };
        let page = encode(&Snapshot { hosts: (0..5002).map(host).collect(), ..Snapshot::default() }).unwrap();
        for name in [
            "portmantool_ports",
            "portmantool_ports_rogue",
            "portscan_host_up",
            "portscan_host_new",
            "portscan_host_scanned_ports",
            "portscan_host_scanned_completely",
            "portscan_host_expected_ports",
            "portscan_host_info",
            "portscan_port_open",
        ] {
            assert_eq!(page.matches(&format!("\n{name}{{")).count(), 5000, "{name}");
            assert!(page.contains(&format!("\nportscan_series_dropped{{metric=\"{name}\"}} 2\n")), "{name}");
        }
    }

    #[test]
    fn the_page() {
        let version = env!("CARGO_PKG_VERSION");
        insta::assert_snapshot!(encode(&full()).unwrap().replace(version, "VERSION"));
    }

    #[test]
    fn unknown_values_are_left_out() {
        let page = encode(&Snapshot::default()).unwrap();
        for name in ["feed_", "_limit ", "conntrack", "last_scan", "devices_", "local_errors"] {
            assert!(!page.contains(name), "{name}:\n{page}");
        }
        assert!(page.contains("\nportscan_store_up 0\n"), "{page}");
    }
}
