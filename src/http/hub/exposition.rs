//! Joins pages of Prometheus' text format: each family once, with the samples of all sites together, as the format
//! demands. The pages stay as they came, and their parts are written one after another.

use std::{collections::HashMap, ops::Range};

use bytes::Bytes;

/// The families that tell of the process. On a hub all sites share it: they are written once, without a site.
const OF_THE_HUB: [&str; 2] = ["portscan_build_info", "process_resident_memory_bytes"];

/// The families that tell of an appliance's process or of its sources of devices. The hub has neither for a site.
const OF_THE_APPLIANCE: [&str; 20] = [
    "portmantool_imports_failed_total",
    "portscan_conntrack_entries",
    "portscan_conntrack_entries_limit",
    "portscan_descriptors_limit",
    "portscan_event_loop_lag_seconds",
    "portscan_feed_devices",
    "portscan_feed_devices_held_back",
    "portscan_feed_rejected_entries",
    "portscan_feed_up",
    "portscan_hosts_in_progress",
    "portscan_local_errors_total",
    "portscan_local_ports_limit",
    "portscan_probe_start_delay_seconds",
    "portscan_probes_in_flight",
    "portscan_probes_not_started_total",
    "portscan_probes_total",
    "portscan_silent_probes_per_second_limit",
    "portscan_sockets_limit",
    "portscan_sockets_window",
    "portscan_store_up",
];

/// The prefix of the families about alert channels, which are the appliance's own, too.
const ALERTS: &str = "portscan_alerts_";

/// A site's page.
pub(super) struct SitePage {
    site: String,
    text: Vec<Bytes>,
    families: HashMap<String, Family>,
}

/// Where a family is in a page.
struct Family {
    /// The part of the page.
    part: usize,
    /// The lines that describe it.
    head: Range<usize>,
    /// The lines of its samples.
    samples: Range<usize>,
}

impl SitePage {
    /// A page in parts, each of whole families; lines that belong to no family are left out.
    pub(super) fn new(site: &str, text: Vec<Bytes>) -> (Self, Vec<String>) {
        let (mut families, mut order) = (HashMap::new(), Vec::new());
        for (part, bytes) in text.iter().enumerate() {
            let mut current: Option<(String, Family)> = None;
            let mut start = 0;
            for line in bytes.split_inclusive(|&byte| byte == b'\n') {
                let range = start..start + line.len();
                start = range.end;
                let name = described(line);
                if let Some((known, family)) = &mut current
                    && name.as_ref().is_none_or(|name| name == known)
                {
                    match name {
                        Some(_) => family.head.end = range.end,
                        None => family.samples.end = range.end,
                    }
                    if name.is_some() {
                        family.samples = range.end..range.end;
                    }
                    continue;
                }
                let next =
                    name.map(|name| (name, Family { part, samples: range.end..range.end, head: range }));
                if let Some((name, family)) = std::mem::replace(&mut current, next) {
                    order.push(name.clone());
                    families.insert(name, family);
                }
            }
            if let Some((name, family)) = current {
                order.push(name.clone());
                families.insert(name, family);
            }
        }
        (Self { site: site.to_owned(), text, families }, order)
    }

    fn lines(&self, part: usize, range: &Range<usize>) -> &[u8] {
        self.text.get(part).and_then(|text| text.get(range.clone())).unwrap_or_default()
    }
}

/// The family that a line describes: `# HELP NAME ...` or `# TYPE NAME ...`.
fn described(line: &[u8]) -> Option<String> {
    let rest = line.strip_prefix(b"# HELP ").or_else(|| line.strip_prefix(b"# TYPE "))?;
    let name = rest.split(|&byte| byte == b' ').next()?;
    String::from_utf8(name.to_vec()).ok()
}

/// All pages, as far as they are written.
pub(super) struct Joined {
    pages: Vec<SitePage>,
    /// The families that are not written yet, the last one first.
    names: Vec<String>,
    /// The next page of the family that is being written, and its next sample.
    next: (usize, usize),
    /// Whether the family is described already.
    is_described: bool,
}

impl Joined {
    /// Pages, each with the order of its families.
    pub(super) fn new(pages: Vec<(SitePage, Vec<String>)>) -> Self {
        let (mut names, mut all) = (Vec::<String>::new(), Vec::new());
        for (page, order) in pages {
            names.extend(order.into_iter().filter(|name| !is_left_out(name)));
            all.push(page);
        }
        // The first appearance decides; the pages are made by one program, so that they mostly agree.
        let mut known = std::collections::HashSet::new();
        names.retain(|name| known.insert(name.clone()));
        names.reverse();
        Self { pages: all, names, next: (0, 0), is_described: false }
    }

    /// Appends the next kilobytes, about this many; returns whether more follow.
    pub(super) fn write(&mut self, text: &mut Vec<u8>, about: usize) -> bool {
        while let Some(name) = self.names.last() {
            let is_the_hubs = OF_THE_HUB.contains(&name.as_str());
            let (at, offset) = self.next;
            let Some(page) = self.pages.get(at) else {
                self.names.pop();
                (self.next, self.is_described) = ((0, 0), false);
                continue;
            };
            let Some(family) = page.families.get(name) else {
                self.next = (at + 1, 0);
                continue;
            };
            if !std::mem::replace(&mut self.is_described, true) {
                text.extend_from_slice(page.lines(family.part, &family.head));
            }
            let samples = page.lines(family.part, &family.samples);
            let mut written = offset;
            for line in samples.get(offset..).unwrap_or_default().split_inclusive(|&byte| byte == b'\n') {
                if is_the_hubs {
                    text.extend_from_slice(line)
                } else {
                    write_sample(text, line, &page.site)
                }
                written += line.len();
                if text.len() >= about {
                    self.next = (at, written);
                    return true;
                }
            }
            self.next = (if is_the_hubs { self.pages.len() } else { at + 1 }, 0);
        }
        false
    }
}

fn is_left_out(name: &str) -> bool {
    OF_THE_APPLIANCE.contains(&name) || name.starts_with(ALERTS)
}

/// Appends a sample with the label of its site. A site's name has no character that would need an escape.
fn write_sample(text: &mut Vec<u8>, line: &[u8], site: &str) {
    let end = line.iter().position(|byte| matches!(byte, b'{' | b' ')).unwrap_or(line.len());
    let (name, rest) = line.split_at(end);
    text.extend_from_slice(name);
    text.extend_from_slice(b"{site=\"");
    text.extend_from_slice(site.as_bytes());
    match rest.strip_prefix(b"{") {
        Some(labels) if !labels.starts_with(b"}") => {
            text.extend_from_slice(b"\",");
            text.extend_from_slice(labels);
        }
        Some(end) => {
            text.push(b'"');
            text.extend_from_slice(end);
        }
        None => {
            text.extend_from_slice(b"\"}");
            text.extend_from_slice(rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "# HELP portscan_build_info The version.\n# TYPE portscan_build_info gauge\n\
        portscan_build_info{version=\"1\"} 1\n# HELP a A.\n# TYPE a gauge\na 1\na{x=\"}{ \\\"\"} 2\n\
        # HELP portscan_probes_total P.\n# TYPE portscan_probes_total counter\nportscan_probes_total 5\n";
    const OTHER: &str = "# HELP a A.\n# TYPE a gauge\na{} 3\n# HELP h H.\n# TYPE h histogram\n\
        h_bucket{le=\"1\"} 1\nh_sum 2\nh_count 1\n";

    fn joined(about: usize) -> String {
        let page = |site, text: &'static str| SitePage::new(site, vec![Bytes::from_static(text.as_bytes())]);
        let mut joined = Joined::new(vec![page("one", ONE), page("other", OTHER)]);
        let mut all = Vec::new();
        loop {
            let mut text = Vec::new();
            let more = joined.write(&mut text, about);
            all.extend_from_slice(&text);
            if !more {
                return String::from_utf8(all).unwrap();
            }
        }
    }

    #[test]
    fn a_family_is_described_once_with_the_samples_of_all_sites_together() {
        let expected = "# HELP portscan_build_info The version.\n# TYPE portscan_build_info gauge\n\
            portscan_build_info{version=\"1\"} 1\n# HELP a A.\n# TYPE a gauge\na{site=\"one\"} 1\n\
            a{site=\"one\",x=\"}{ \\\"\"} 2\na{site=\"other\"} 3\n# HELP h H.\n# TYPE h histogram\n\
            h_bucket{site=\"other\",le=\"1\"} 1\nh_sum{site=\"other\"} 2\nh_count{site=\"other\"} 1\n";
        assert_eq!(joined(10_000), expected);
        for about in 1..200 {
            assert_eq!(joined(about), expected, "pieces of {about}");
        }
    }
}
