//! Metrics of the appliance itself: what it sends, its limits, its feeds and its storage.

use prometheus::proto::MetricFamily;

use super::family::{counter, counters, gauge, gauges, plain};
use crate::model::{ChannelFacts, FeedFacts, ImportFacts, LimitFacts, MemoryFacts, ProbeFacts, StoreFacts};

pub(super) fn probes(probes: &ProbeFacts) -> [MetricFamily; 5] {
    let outcomes = [
        ("accepted", probes.accepted),
        ("refused", probes.refused),
        ("silent", probes.silent),
        ("unreachable", probes.unreachable),
    ];
    [
        counters(
            "portscan_probes_total",
            "Probes by outcome.",
            outcomes.map(|(outcome, count)| counter(&[("outcome", outcome)], count)),
        ),
        counters(
            "portscan_probes_not_started_total",
            "Probes that were not sent because they were late; others replaced them.",
            [counter(&[], probes.not_started)],
        ),
        plain("portscan_probes_in_flight", "Probes under way.", probes.in_flight),
        plain("portscan_hosts_in_progress", "Hosts that are being scanned.", probes.hosts),
        plain(
            "portscan_sockets_window",
            "Sockets that probes may have open at present: the limit, or less while this machine cannot keep up.",
            probes.window,
        ),
    ]
}

pub(super) fn limits(limits: &LimitFacts) -> Vec<MetricFamily> {
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
                "Capacity of the firewall's table, in connections.",
                table.max,
            ),
            plain(
                "portscan_silent_probes_per_second_limit",
                "Probes per second that may stay unanswered, so that the firewall's table does not fill up.",
                table.silent_per_second,
            ),
        ]);
    }
    families
}

/// The name that Prometheus' own libraries use.
pub(super) fn memory(memory: &MemoryFacts) -> MetricFamily {
    let help = "Resident memory of this process.";
    gauges("process_resident_memory_bytes", help, [gauge(&[], memory.resident as f64)])
}

pub(super) fn feeds(feeds: &[FeedFacts]) -> [MetricFamily; 4] {
    let each = |value: fn(&FeedFacts) -> f64| {
        feeds.iter().map(move |feed| gauge(&[("source", &feed.source)], value(feed)))
    };
    [
        gauges(
            "portscan_feed_up",
            "Whether the source of devices is up; while it is down, its devices stay as they were.",
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
        gauges(
            "portscan_feed_devices_held_back",
            "Devices of the source's last good answer that exceed its limit.",
            each(|feed| feed.held_back as f64),
        ),
    ]
}

pub(super) fn store(store: &StoreFacts) -> [MetricFamily; 5] {
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
            "portscan_devices_known",
            "Devices that are known, scanned or not.",
            store.known.map(|known| gauge(&[], known.into())),
        ),
        gauges(
            "portscan_devices_scanned",
            "Devices that have a result, of some ports or of all.",
            store.devices.map(|devices| gauge(&[], devices.into())),
        ),
        gauges("portscan_last_scan_timestamp_seconds", "When the newest complete scan ended.", ended),
    ]
}

/// Nothing without a channel: an owner who alerts by Prometheus needs none.
pub(super) fn channels(channels: &[ChannelFacts]) -> Vec<MetricFamily> {
    if channels.is_empty() {
        return Vec::new();
    }
    let gauge_of = |value: fn(&ChannelFacts) -> f64| {
        channels.iter().map(move |channel| gauge(&[("channel", &channel.name)], value(channel)))
    };
    let counter_of = |value: fn(&ChannelFacts) -> u64| {
        channels.iter().map(move |channel| counter(&[("channel", &channel.name)], value(channel)))
    };
    vec![
        gauges(
            "portscan_alerts_pending",
            "Alerts that wait to be delivered.",
            gauge_of(|channel| f64::from(u32::try_from(channel.pending).unwrap_or(u32::MAX))),
        ),
        gauges(
            "portscan_alerts_oldest_seconds",
            "How long the oldest waiting alert has waited.",
            gauge_of(|channel| channel.oldest.as_secs_f64()),
        ),
        counters(
            "portscan_alerts_delivered_total",
            "Messages delivered.",
            counter_of(|channel| channel.delivered),
        ),
        counters("portscan_alerts_failed_total", "Attempts failed.", counter_of(|channel| channel.failed)),
    ]
}

/// In portmantool's names and shapes: 0 before the first import.
pub(super) fn imports(imports: &ImportFacts) -> [MetricFamily; 2] {
    let last = imports.last.map_or(0.0, |last| last.as_second() as f64);
    [
        counters(
            "portmantool_imports_failed_total",
            "Reports of other scanners that were refused.",
            [counter(&[], imports.failed)],
        ),
        gauges(
            "portmantool_imports_last",
            "When the last report was imported, or the appliance's own last scan was complete.",
            [gauge(&[], last)],
        ),
    ]
}
