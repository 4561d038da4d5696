//! Metrics of what is scanned: the scanners, the devices and their ports.

use std::{borrow::Cow, collections::BTreeMap, convert::identity};

use prometheus::proto::{Metric, MetricFamily};

use super::family::{gauge, gauges};
use crate::model::{
    AdviceLevel, Deviation, DeviceKey, HostFacts, PortFact, PortState, Protocol, ScanStatus, ScannerFacts,
};

/// The most series of one kind on a page: a host that accepts everything has 65,535, and Prometheus keeps each for
/// weeks. Series beyond that are only counted.
const MOST_SERIES: usize = 5000;

pub(super) fn scanners(scanners: &[ScannerFacts]) -> [MetricFamily; 4] {
    let each = |value: fn(&ScannerFacts) -> Option<f64>| {
        scanners.iter().filter_map(move |facts| Some(gauge(&[("scanner", &facts.name)], value(facts)?)))
    };
    let ended = [ScanStatus::Complete, ScanStatus::Partial, ScanStatus::Failed];
    let statuses =
        scanners.iter().filter_map(|facts| Some((facts, facts.status?))).flat_map(|(facts, is)| {
            ended.map(|status| {
                let labels = [("scanner", facts.name.as_str()), ("status", status.as_str())];
                gauge(&labels, f64::from(u8::from(status == is)))
            })
        });
    [
        gauges(
            "portscan_scan_interval_seconds",
            "Configured time from the start of one scan to the start of the next.",
            each(|facts| Some(facts.interval.as_secs_f64())),
        ),
        gauges(
            "portscan_scan_end_timestamp_seconds",
            "When the scanner's newest complete scan ended.",
            each(|facts| facts.complete.map(|ended| ended.as_millisecond() as f64 / 1000.0)),
        ),
        gauges(
            "portscan_scan_duration_seconds",
            "How long the scanner's newest ended scan took.",
            each(|facts| facts.took.map(|took| took.as_secs_f64())),
        ),
        gauges(
            "portscan_scan_status",
            "How the scanner's newest ended scan ended: 1 for its status.",
            statuses,
        ),
    ]
}

/// A device, with the labels that all its samples share written once.
pub(super) struct Labelled<'a> {
    /// A device without a known MAC has an empty label, which Prometheus treats as absent.
    mac: String,
    address: String,
    facts: &'a HostFacts,
}

impl<'a> From<&'a HostFacts> for Labelled<'a> {
    fn from(facts: &'a HostFacts) -> Self {
        let mac = facts.mac.map(|mac| mac.to_string()).unwrap_or_default();
        Self { mac, address: facts.host.to_string(), facts }
    }
}

/// Passes on families sample by sample, none of them too long.
struct Bounded<W> {
    write: W,
    /// The number of omitted series of each family.
    dropped: Vec<Metric>,
}

impl<W, E> Bounded<W>
where
    W: FnMut(&str, &str, &mut dyn Iterator<Item = Metric>) -> Result<(), E>,
{
    /// No samples are made of omitted series.
    fn write<T>(
        &mut self,
        (name, help): (&'static str, &'static str),
        mut items: impl Iterator<Item = T>,
        sample: impl FnMut(T) -> Metric,
    ) -> Result<(), E> {
        (self.write)(name, help, &mut items.by_ref().take(MOST_SERIES).map(sample))?;
        self.dropped.push(gauge(&[("metric", name)], items.count() as f64));
        Ok(())
    }
}

/// Passes on the families about devices and their ports sample by sample, and the number of omitted series of each.
pub(super) fn devices<E>(
    hosts: &[Labelled<'_>],
    counts: &BTreeMap<(DeviceKey, Protocol), u32>,
    advised: &BTreeMap<AdviceLevel, u32>,
    write: impl FnMut(&str, &str, &mut dyn Iterator<Item = Metric>) -> Result<(), E>,
) -> Result<(), E> {
    let mut bounded = Bounded { write, dropped: Vec::new() };
    about_devices(hosts, counts, &mut bounded)?;
    about_ports(hosts, &mut bounded)?;
    // An explicit zero for each level, so that an alert on it can end.
    let levels = AdviceLevel::ALL
        .iter()
        .map(|level| gauge(&[("level", level.as_str())], advised.get(level).copied().unwrap_or(0).into()));
    let help = "Open ports by the level of the advice on them; ports without advice are not counted.";
    (bounded.write)("portscan_port_advice", help, &mut { levels })?;
    let help = "Series that are left out because there are too many of them.";
    (bounded.write)("portscan_series_dropped", help, &mut bounded.dropped.into_iter())
}

/// portmantool's metrics count by address.
fn about_devices<E>(
    hosts: &[Labelled<'_>],
    counts: &BTreeMap<(DeviceKey, Protocol), u32>,
    bounded: &mut Bounded<impl FnMut(&str, &str, &mut dyn Iterator<Item = Metric>) -> Result<(), E>>,
) -> Result<(), E> {
    let mut by_address: BTreeMap<&str, Vec<&HostFacts>> = BTreeMap::new();
    hosts.iter().for_each(|host| by_address.entry(&host.address).or_default().push(host.facts));
    bounded.write(
        ("portmantool_ports", "Ports of a host by state, without those in its most common state."),
        by_address.iter().flat_map(|(address, hosts)| listed(address, hosts)),
        identity,
    )?;
    bounded.write(
        (
            "portmantool_ports_rogue",
            "Ports of a host in another state than the expected one: open and not expected, or missing.",
        ),
        differing(by_address.keys().copied(), counts),
        identity,
    )?;
    let mut each = |name_and_help, value: fn(&HostFacts) -> Option<f64>| {
        let values = hosts.iter().filter_map(|host| Some((host, value(host.facts)?)));
        bounded.write(name_and_help, values, |(host, value)| of_host(host, &[], value))
    };
    each(("portscan_host_up", "Whether the device answered its newest scan."), |host| {
        host.up.map(|up| f64::from(u8::from(up)))
    })?;
    each(
        (
            "portscan_host_new",
            "Whether the device has open ports and none of them is accepted, although other devices' are.",
        ),
        |host| Some(f64::from(u8::from(host.new))),
    )?;
    each(
        (
            "portscan_host_scanned_ports",
            "TCP ports of the device that have a state, by its newest scan or an earlier one.",
        ),
        |host| Some(host.scanned_ports.into()),
    )?;
    each(
        (
            "portscan_host_scanned_completely",
            "Whether all ports that are to be scanned on the device have a state.",
        ),
        |host| Some(f64::from(u8::from(host.complete))),
    )?;
    each(("portscan_host_expected_ports", "Ports of the device that are expected to be open."), |host| {
        Some(host.expected.into())
    })?;
    let names = hosts.iter().filter_map(|host| Some((host, host.facts.name.as_deref()?)));
    bounded.write(("portscan_host_info", "The device's name; always 1."), names, |(host, name)| {
        of_host(host, &[("name", name)], 1.0)
    })
}

fn about_ports<E>(
    hosts: &[Labelled<'_>],
    bounded: &mut Bounded<impl FnMut(&str, &str, &mut dyn Iterator<Item = Metric>) -> Result<(), E>>,
) -> Result<(), E> {
    for (name, help, is) in KINDS {
        let all = hosts.iter().flat_map(|host| host.facts.ports.iter().map(move |port| (host, port)));
        bounded.write((name, help), all.filter(|(_, port)| is(port)), |(host, port)| of_port(host, port))?;
    }
    Ok(())
}

/// The metrics of single ports: name, help, and which ports.
type Kind = (&'static str, &'static str, fn(&PortFact) -> bool);

const KINDS: [Kind; 3] = [
    ("portscan_port_open", "The port is open; always 1.", |port| port.open),
    ("portscan_port_rogue", "The port is open and not expected; always 1.", |port| {
        port.deviation == Some(Deviation::Rogue)
    }),
    ("portscan_port_missing", "The port is expected to be open and is not; always 1.", |port| {
        port.deviation == Some(Deviation::Missing)
    }),
];

fn of_port(host: &Labelled<'_>, port: &PortFact) -> Metric {
    of_host(host, &[("port", &port.port.to_string()), ("protocol", port.protocol.as_str())], 1.0)
}

fn of_host(host: &Labelled<'_>, labels: &[(&str, &str)], value: f64) -> Metric {
    gauge(&[&[("mac", host.mac.as_str()), ("host", host.address.as_str())], labels].concat(), value)
}

/// An explicit zero for open ports: a host without any differs from a host that is gone.
fn listed(address: &str, hosts: &[&HostFacts]) -> Vec<Metric> {
    let mut counts = BTreeMap::from([((Protocol::Tcp, PortState::Open), 0.0)]);
    for (&of, &count) in hosts.iter().flat_map(|host| &host.listed) {
        *counts.entry(of).or_default() += f64::from(count);
    }
    let sample = |((protocol, state), count): ((Protocol, PortState), f64)| {
        gauge(&[("host", address), ("protocol", protocol.as_str()), ("state", state.as_str())], count)
    };
    counts.into_iter().map(sample).collect()
}

/// An explicit zero for each host that has a result, so that an alert on it can end.
fn differing<'a>(
    hosts: impl Iterator<Item = &'a str>,
    counts: &BTreeMap<(DeviceKey, Protocol), u32>,
) -> impl Iterator<Item = Metric> {
    let mut all: BTreeMap<(Cow<'a, str>, Protocol), u32> =
        hosts.map(|host| ((Cow::Borrowed(host), Protocol::Tcp), 0)).collect();
    all.extend(counts.iter().map(|((host, protocol), &count)| ((host.to_string().into(), *protocol), count)));
    all.into_iter().map(|((host, protocol), count)| {
        gauge(&[("host", &*host), ("protocol", protocol.as_str())], count.into())
    })
}
