//! The metrics of a hub about its sites.

use prometheus::proto::MetricFamily;

use super::family::{gauge, gauges};
use crate::model::SiteFacts;

pub(super) fn sites(sites: &[SiteFacts]) -> [MetricFamily; 3] {
    let samples = |value: fn(&SiteFacts) -> Option<f64>| {
        sites.iter().filter_map(move |site| Some(gauge(&[("site", &site.name)], value(site)?)))
    };
    [
        gauges(
            "portscan_site_up",
            "Whether the site reports: it is current, or its data are being copied.",
            samples(|site| Some(f64::from(u8::from(site.is_up)))),
        ),
        gauges(
            "portscan_site_heard_timestamp_seconds",
            "When the hub last heard from the site.",
            samples(|site| site.heard.map(|heard| heard.as_millisecond() as f64 / 1000.0)),
        ),
        gauges(
            "portscan_site_readable",
            "Whether the hub can write the metrics of its copy.",
            samples(|site| Some(f64::from(u8::from(site.is_readable)))),
        ),
    ]
}
