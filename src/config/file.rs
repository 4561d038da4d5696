//! The file layer: the keys that exist and the settings that they make.

use std::path::Path;

use super::{
    COMMON_PORTS, Config, DeviceRule, Fault, FeedConfig, IgnoreRule, ScannerConfig, ScannerPorts, Targets,
    alerts, fleet,
    parse::{self, covers},
    table::{Reader, Section},
};
use crate::model::{Device, DeviceType, IdentifyLevel, PortSet, ProbeMethod, TAGS_MAX, Timing};

/// Applies a file to a configuration; returns the file's faults.
pub(super) fn apply(path: &Path, text: &str, config: &mut Config) -> Vec<Fault> {
    Reader::new(path, text).read(|file| top(file, config))
}

/// Overwrites a setting that the file makes.
fn set<T>(setting: &mut T, made: Option<T>) {
    if let Some(made) = made {
        *setting = made;
    }
}

fn top(file: &mut Section<'_, '_>, config: &mut Config) {
    if let Some(listen) = file.list("listen", parse::listen) {
        if listen.is_empty() {
            file.fault_of("listen", "this is empty, so no client could reach the appliance; name an address");
        }
        if let Some(conflict) = parse::listen_conflict(&listen) {
            file.fault_of("listen", conflict);
        }
        config.listen = listen;
    }
    set(&mut config.data_dir, file.one("data_dir", parse::path));
    set(&mut config.base_url, file.one("base_url", parse::base_url));
    set(&mut config.log, file.one("log", parse::log_level));
    set(&mut config.exclude, file.list("exclude", parse::pattern));
    set(&mut config.max_in_flight, file.one("max_in_flight", parse::max_in_flight));
    set(&mut config.cache_expiry, file.one("cache_expiry", parse::duration));
    set(&mut config.forget, file.one("forget", parse::duration));
    config.spool = file.one("spool", parse::path);
    set(&mut config.keep, file.one("keep", parse::duration));
    // Sections last: by now every key that may precede them is known.
    set(&mut config.feed, file.table("feed", feed));
    file.table("mdns", |mdns| {
        set(&mut config.mdns.enabled, mdns.flag("enabled"));
        set(&mut config.mdns.name, mdns.one("name", parse::mdns_name));
    });
    file.table("names", |names| {
        set(&mut config.names.dns, names.flag("dns"));
        set(&mut config.names.mdns, names.flag("mdns"));
    });
    file.table("identify", |identify| {
        set(&mut config.identify, identify.one("level", str::parse::<IdentifyLevel>));
    });
    file.table("http", |http| {
        set(&mut config.http_names, http.list("names", parse::host_name));
        config.http_probe = http.list("probe", parse::pattern);
    });
    file.table("auth", |auth| {
        set(&mut config.auth_trust, auth.list("trust", parse::network));
        config.auth_token_file = auth.one("token_file", parse::path);
    });
    config.fleet = file.table("fleet", fleet::read).flatten();
    config.worker = file.table("worker", fleet::read_worker).flatten();
    let mut names = Vec::new();
    let scanners = file.tables("scanner", |section| scanner(section, &mut names));
    set(&mut config.scanners, scanners.filter(|scanners| !scanners.is_empty()));
    let mut rules = Vec::new();
    file.tables("device", |section| device(section, &mut rules));
    config.devices = rules;
    set(&mut config.ignore, file.tables("ignore", ignore));
    (config.channels, config.alerts) = alerts::read(file);
}

/// Drops the default feed if the file names any source: a named source, or an empty list, replaces it.
fn feed(section: &mut Section<'_, '_>) -> FeedConfig {
    let silent = !["url", "discover", "hosts"].iter().any(|key| section.has(key));
    let mut hosts: Vec<Device> = Vec::new();
    let urls = section.list("url", parse::feed_url);
    let discover = section.list("discover", parse::discover).unwrap_or_default();
    if let Some(conflict) = parse::discover_conflict(&discover) {
        section.fault_of("discover", conflict);
    }
    let has_ipv6 = section.flag("ipv6").unwrap_or_default();
    if has_ipv6 && discover.is_empty() {
        section
            .fault_of("ipv6", "finds addresses on the interfaces of `discover`, which names none; name one");
    }
    section.tables("hosts", |section| host(section, &mut hosts));
    FeedConfig {
        urls: if silent { FeedConfig::default().urls } else { urls.unwrap_or_default() },
        discover,
        has_ipv6,
        grace: section.one("grace", parse::duration).unwrap_or(FeedConfig::default().grace),
        hosts,
        max_devices: section
            .one("max_devices", parse::device_count)
            .unwrap_or(FeedConfig::default().max_devices),
        max_newcomers: section
            .one("max_newcomers", parse::newcomer_count)
            .unwrap_or(FeedConfig::default().max_newcomers),
        allow: section.list("allow", parse::allowed).unwrap_or_default(),
    }
}

fn host(section: &mut Section<'_, '_>, hosts: &mut Vec<Device>) -> Option<()> {
    let address = section.required("address", "\"192.0.2.1\"", parse::address);
    let mac = section.one("mac", parse::mac);
    let name = section.one("name", parse::label);
    let device = Device { address: address?, mac, name };
    if hosts.iter().any(|known| known.address == device.address) {
        section.fault_of("address", format!("{} is listed twice; drop one", device.address));
        return None;
    }
    hosts.push(device);
    Some(())
}

fn scanner(section: &mut Section<'_, '_>, names: &mut Vec<String>) -> Option<ScannerConfig> {
    let name = section.required("name", "\"lan\"", parse::scanner_name);
    let mut scanner = ScannerConfig::named(name.clone().unwrap_or_default());
    set(&mut scanner.interval, section.one("interval", parse::duration));
    set(&mut scanner.timing, section.one("timing", str::parse::<Timing>));
    set(&mut scanner.method, section.one("method", str::parse::<ProbeMethod>));
    set(&mut scanner.ports, scanner_ports(section));
    set(&mut scanner.targets, targets(section));
    scanner.at = section.one("at", parse::time_of_day);
    if scanner.at.is_some() && !scanner.interval.as_secs().is_multiple_of(super::DAY.as_secs()) {
        section.fault_of(
            "at",
            "this names a time of day, so `interval` must be whole days; write 1d, 7d, or drop `at`",
        );
    }
    let name = name?;
    if names.contains(&name) {
        section.fault_of("name", format!("a scanner \"{name}\" is there already; name this one otherwise"));
    }
    names.push(name);
    Some(scanner)
}

fn targets(section: &mut Section<'_, '_>) -> Option<Targets> {
    // "feed" is also a possible host name; the keyword takes precedence.
    let list = section.list("targets", |text| match text {
        "feed" => Ok(None),
        text => parse::target(text).map(Some),
    })?;
    if list.is_empty() {
        section.fault_of(
            "targets",
            "this names no target; write \"feed\", or a list of addresses, names, prefixes, ranges",
        );
    }
    let named: Vec<_> = list.iter().flatten().cloned().collect();
    if named.len() < list.len() {
        if !named.is_empty() {
            section.fault_of(
                "targets",
                "this mixes \"feed\" with others; give these to the feed's `hosts`, or to a second scanner",
            );
        }
        return Some(Targets::Feed);
    }
    Some(Targets::List(named))
}

/// `"common"`, or ports as [`ports`] reads them.
fn scanner_ports(section: &mut Section<'_, '_>) -> Option<ScannerPorts> {
    let list = section.list("ports", |text| match text {
        COMMON_PORTS => Ok(None),
        text => parse::ports(text).map(Some),
    })?;
    let named: Vec<_> = list.iter().flatten().cloned().collect();
    if named.len() == list.len() {
        return Some(ScannerPorts::Listed(union(section, &named)));
    }
    if !named.is_empty() {
        section.fault_of(
            "ports",
            "this mixes \"common\" with others; give these to a second scanner, or to a [[device]]",
        );
    }
    Some(ScannerPorts::Common)
}

/// `"22,80"`, `22` or `[22, "8000-8100"]`.
fn ports(section: &mut Section<'_, '_>) -> Option<PortSet> {
    let list = section.list("ports", parse::ports)?;
    Some(union(section, &list))
}

/// Returns all ports of a list, of which an empty one is a fault.
fn union(section: &Section<'_, '_>, list: &[PortSet]) -> PortSet {
    if list.is_empty() {
        section.fault_of("ports", "this is empty; write them as \"22,80,8000-8100\", or \"-\" for all");
    }
    PortSet::from_ranges(list.iter().flat_map(PortSet::ranges).copied())
}

fn device(section: &mut Section<'_, '_>, rules: &mut Vec<DeviceRule>) -> Option<()> {
    if !["name", "scan", "timing", "ports", "identify", "type", "tags"].iter().any(|key| section.has(key)) {
        section.fault("this rule says nothing; give it a name, type, tags, scan, timing, ports or identify");
    }
    let matches = section.required("match", "\"B8:27:EB:AC:14:3E\"", parse::pattern);
    let name = section.one("name", parse::label);
    let scan = section.flag("scan");
    let timing = section.one("timing", str::parse::<Timing>);
    let ports = ports(section);
    let identify = section.one("identify", str::parse::<IdentifyLevel>);
    if scan == Some(false) && (timing.is_some() || ports.is_some() || identify.is_some()) {
        let text = "false, and yet the rule has a timing, ports or identify; drop what is not meant";
        section.fault_of("scan", text);
    }
    let device_type = section.one("type", str::parse::<DeviceType>);
    let tags = section.list("tags", parse::tag).unwrap_or_default();
    if tags.len() > TAGS_MAX {
        section.fault_of("tags", format!("these are more than {TAGS_MAX}; leave some out"));
    }
    let rule = DeviceRule {
        matches: matches?,
        name,
        scan: scan.unwrap_or(true),
        timing,
        ports,
        identify,
        device_type,
        tags,
    };
    if let Some(earlier) = rules.iter().find(|earlier| covers(&earlier.matches, &rule.matches)) {
        section.fault_of(
            "match",
            format!(
                "this rule never holds: the earlier one for {} matches first; put this one before it",
                earlier.matches
            ),
        );
    }
    rules.push(rule);
    Some(())
}

fn ignore(section: &mut Section<'_, '_>) -> Option<IgnoreRule> {
    let device = section.required("device", "\"*\"", parse::any_or_pattern);
    if !section.has("ports") {
        section.fault("`ports` is missing here; write ports = \"49152-65535\", or \"-\" for all");
    }
    let ports = ports(section);
    let comment = section.one("comment", parse::label).unwrap_or_default();
    Some(IgnoreRule { device: device?, ports: ports?, comment })
}
