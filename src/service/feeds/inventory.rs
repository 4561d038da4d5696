//! All sources combined: the known devices, and the state of each source.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, hash_map::Entry},
    fmt,
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;

use super::state::{FeedState, Member, Trouble};
use crate::{
    config::{Discover, FeedConfig, FeedUrl},
    feed::HeldBack,
    model::{Address, Device, Mac, Moment},
};

/// Identifies a source. The order is that of precedence where two contradict each other: what the owner wrote, what
/// this machine saw itself, what others report.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SourceId {
    /// The file's `feed.hosts`.
    Hosts,
    /// Our own discovery.
    Discover(Discover),
    /// A lanscan feed.
    Url(FeedUrl),
}

/// A device that a source names, or named before it froze.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The device. MAC and name come from another source where the first does not give them.
    pub device: Device,
    /// The source that names it: the first in the order of precedence.
    pub source: SourceId,
    /// Whether that source is up. The devices of a frozen one are still scanned, and never count as gone.
    pub fresh: bool,
    /// Since when that source has named it, in this process's time.
    pub since: Moment,
}

/// The state of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceStatus {
    /// The source.
    pub source: SourceId,
    /// `hosts`, `discover:eth0` or a URL; different for each source.
    pub name: String,
    /// Whether it is up.
    pub up: bool,
    /// Whether a poll has succeeded or failed since the source was configured.
    pub asked: bool,
    /// Why it is down, or which part of it is refused; empty when all is well.
    pub detail: String,
    /// How many devices it names, or named last.
    pub devices: usize,
    /// How many entries of its last good answer were refused.
    pub rejected: usize,
    /// Its devices that are too many to be admitted.
    pub held_back: Option<HeldBack>,
    /// Further remarks of its last good answer, one sentence each.
    pub remarks: Vec<String>,
    /// When it was last up.
    pub last_success: Option<Moment>,
}

/// What is known of the network. Sorted by address; no address occurs twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// The devices. A MAC with several addresses occurs once for each.
    pub devices: Vec<Known>,
    /// The sources, in the order of precedence.
    pub sources: Vec<SourceStatus>,
    /// Stations that only answer for others: their MACs do not identify the devices behind them.
    pub proxies: BTreeSet<Mac>,
    /// What our own discovery has found; `None` before its first sweep.
    pub found: Option<Found>,
}

/// What our own discovery has found, in its last sweeps on all interfaces together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The devices, by address, including silent ones that are still within their grace.
    pub devices: Arc<[Device]>,
    /// When the last of the sweeps ended.
    pub ended: Timestamp,
    /// How long the preparation of the sweeps took.
    pub preparation: Duration,
    /// How long they took from the first request to the end.
    pub sweeping: Duration,
}

impl SourceId {
    /// Returns the sources that a configuration names.
    pub fn all(feed: &FeedConfig) -> impl Iterator<Item = Self> {
        let hosts = (!feed.hosts.is_empty()).then_some(Self::Hosts);
        let discover = feed.discover.iter().cloned().map(Self::Discover);
        hosts.into_iter().chain(discover).chain(feed.urls.iter().cloned().map(Self::Url))
    }
}

impl Inventory {
    /// Whether every source of this configuration has reported, even if only that it cannot be reached.
    pub fn is_complete(&self, feed: &FeedConfig) -> bool {
        SourceId::all(feed)
            .all(|source| self.sources.iter().any(|status| status.source == source && status.asked))
    }
}

impl fmt::Display for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hosts => f.write_str("hosts"),
            Self::Discover(discover) => write!(f, "discover:{discover}"),
            Self::Url(url) => write!(f, "{url}"),
        }
    }
}

impl Inventory {
    /// Combines the sources. One that is up takes precedence over one that is frozen; then the order of precedence
    /// decides which source's device holds an address. If a frozen source has a MAC that a source that is up has
    /// elsewhere, its entry is out of date: the device has moved.
    pub fn of(sources: &BTreeMap<SourceId, FeedState>) -> Self {
        let proxies: BTreeSet<Mac> = sources.values().flat_map(FeedState::proxies).copied().collect();
        let (fresh, frozen): (Vec<_>, Vec<_>) =
            sources.iter().partition(|(_, state)| state.trouble().is_none());
        let seen: HashSet<Mac> = fresh
            .iter()
            .flat_map(|(_, state)| state.members())
            .filter_map(|member| member.device.mac)
            .collect();
        let moved = |member: &Member| member.device.mac.is_some_and(|mac| seen.contains(&mac));
        let mut holders = HashMap::new();
        for (source, state) in fresh {
            state.members().iter().for_each(|member| hold(&mut holders, &proxies, source, member, true));
        }
        for (source, state) in frozen {
            let still = state.members().iter().filter(|member| !moved(member));
            still.for_each(|member| hold(&mut holders, &proxies, source, member, false));
        }
        let mut devices: Vec<Known> = holders.into_values().collect();
        devices.sort_unstable_by(|a, b| a.device.address.cmp(&b.device.address));
        let mut sources: Vec<_> = sources.iter().map(|(source, state)| status(source, state)).collect();
        tell_apart(&mut sources);
        Self { devices, sources, proxies, found: None }
    }
}

/// Adds a source's device. The first at an address holds it; a later one adds what the first does not give, unless
/// they are different devices. A MAC that answers for many addresses identifies a device only if the owner wrote it.
fn hold(
    holders: &mut HashMap<Address, Known>,
    proxies: &BTreeSet<Mac>,
    source: &SourceId,
    member: &Member,
    fresh: bool,
) {
    let Member { mut device, since } = member.clone();
    device.mac = device.mac.filter(|mac| *source == SourceId::Hosts || !proxies.contains(mac));
    match holders.entry(device.address.clone()) {
        Entry::Vacant(free) => {
            free.insert(Known { device, source: source.clone(), fresh, since });
        }
        Entry::Occupied(taken) => {
            let held = &mut taken.into_mut().device;
            if held.mac.is_none() || device.mac.is_none() || held.mac == device.mac {
                held.mac = held.mac.or(device.mac);
                held.name = held.name.take().or(device.name);
            }
        }
    }
}

/// Numbers the sources that would be shown alike because they differ in what is hidden.
fn tell_apart(sources: &mut [SourceStatus]) {
    let mut times: HashMap<String, usize> = HashMap::new();
    for source in sources {
        let before = times.entry(source.name.clone()).or_default();
        *before += 1;
        if *before > 1 {
            source.name = format!("{} ({before})", source.name);
        }
    }
}

fn status(source: &SourceId, state: &FeedState) -> SourceStatus {
    let rejected = state.rejected();
    let detail = match (state.trouble(), &rejected.reasons[..]) {
        (Some(trouble), _) => trouble.to_string(),
        (None, [first, ..]) => format!("{} entries are refused; {first}", rejected.count),
        (None, []) => String::new(),
    };
    SourceStatus {
        source: source.clone(),
        name: source.to_string(),
        up: state.trouble().is_none(),
        asked: state.trouble() != Some(&Trouble::Unasked),
        detail,
        devices: state.members().len(),
        rejected: rejected.count,
        held_back: state.held_back(),
        remarks: state.remarks().to_vec(),
        last_success: state.last_success(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::Feed;

    fn device(text: &str) -> Device {
        let mut parts = text.split(' ');
        let address = parts.next().unwrap().parse().unwrap();
        let mac = parts.next().and_then(|mac| format!("02:00:00:00:00:{mac}").parse().ok());
        Device { address, mac, name: parts.next().map(str::to_owned) }
    }

    fn source(devices: &[&str], frozen: bool) -> FeedState {
        let mut state = FeedState::default();
        let devices = devices.iter().map(|text| device(text)).collect();
        state.apply(Moment::ZERO, Ok(Feed { devices, ..Feed::default() }));
        if frozen {
            state.apply(Moment::ZERO, Err(Trouble::Unreachable("refused".to_owned())));
        }
        state
    }

    /// Returns the inventory of sources that are given as (URL, devices, whether frozen); the URL "" is `hosts`.
    fn listing(sources: &[(&str, &[&str], bool)]) -> Vec<String> {
        let id =
            |url: &str| if url.is_empty() { SourceId::Hosts } else { SourceId::Url(url.to_owned().into()) };
        let sources =
            sources.iter().map(|(url, devices, frozen)| (id(url), source(devices, *frozen))).collect();
        let line = |Known { device, source, fresh, .. }: &Known| {
            let mac = device.mac.map_or_else(|| "-".to_owned(), |mac| mac.to_string()[15..].to_owned());
            let name = device.name.as_deref().unwrap_or("-");
            format!("{} {mac} {name} {source}{}", device.address, if *fresh { "" } else { " frozen" })
        };
        Inventory::of(&sources).devices.iter().map(line).collect()
    }

    #[test]
    fn combines_the_devices_of_all_sources() {
        assert_eq!(
            listing(&[("b", &["10.0.0.9 09", "10.0.0.10 10"], false), ("a", &["10.0.0.1 01"], true)]),
            ["10.0.0.1 01 - a frozen", "10.0.0.9 09 - b", "10.0.0.10 10 - b"]
        );
    }

    #[test]
    fn feeds_complete_the_owners_entries_and_do_not_overrule_them() {
        let written = ["10.0.0.1 - nas", "10.0.0.2 02 printer", "10.0.0.3 03 camera"];
        assert_eq!(
            listing(&[
                ("", &written, false),
                ("a", &["10.0.0.1 01", "10.0.0.2 02", "10.0.0.3 99 forged"], false)
            ]),
            ["10.0.0.1 01 nas hosts", "10.0.0.2 02 printer hosts", "10.0.0.3 03 camera hosts"]
        );
    }

    #[test]
    fn sources_that_are_up_beat_frozen_ones() {
        assert_eq!(
            listing(&[
                ("a", &["10.0.0.1 01", "10.0.0.2 02", "10.0.0.3 03"], true),
                ("b", &["10.0.0.1 07", "10.0.0.8 02"], false)
            ]),
            ["10.0.0.1 07 - b", "10.0.0.3 03 - a frozen", "10.0.0.8 02 - b"],
            "01 lost its address to 07, 02 moved to .8"
        );
    }

    #[test]
    fn one_mac_may_have_several_addresses() {
        assert_eq!(
            listing(&[("a", &["10.0.0.1 01", "10.0.0.2 01"], false)]),
            ["10.0.0.1 01 - a", "10.0.0.2 01 - a"]
        );
    }

    #[test]
    fn a_proxys_mac_identifies_a_device_only_if_the_owner_wrote_it() {
        let mut discovered = FeedState::default();
        let devices = vec![device("10.0.0.1"), device("10.0.0.2"), device("10.0.0.9 09")];
        let proxies = BTreeSet::from(["02:00:00:00:00:01".parse().unwrap()]);
        discovered.apply(Moment::ZERO, Ok(Feed { devices, proxies: proxies.clone(), ..Feed::default() }));
        let eth0 = SourceId::Discover(Discover { interface: "eth0".to_owned(), net: None });
        let url = SourceId::Url("a".to_owned().into());
        let others = source(&["10.0.0.1 01", "10.0.0.2 01", "10.0.0.9 09"], false);
        let hosts = (SourceId::Hosts, source(&["10.0.0.2 01 router"], false));
        let inventory = Inventory::of(&BTreeMap::from([(eth0, discovered), (url, others), hosts]));
        let macs: Vec<_> =
            inventory.devices.iter().map(|known| known.device.mac.map(|mac| mac.octets()[5])).collect();
        assert_eq!((macs, inventory.proxies), (vec![None, Some(1), Some(9)], proxies));
    }

    #[test]
    fn is_complete_once_every_source_has_reported() {
        let url = |url: &str| SourceId::Url(url.to_owned().into());
        let urls = ["a", "b"].map(|url| url.to_owned().into()).to_vec();
        let feed = FeedConfig { urls, hosts: vec![device("10.0.0.7")], ..FeedConfig::default() };
        assert!(!Inventory::default().is_complete(&feed), "nothing was reported yet");
        let hosts = || (SourceId::Hosts, source(&["10.0.0.7"], false));
        let inventory = |b: FeedState| {
            Inventory::of(&BTreeMap::from([hosts(), (url("a"), source(&["10.0.0.1"], true)), (url("b"), b)]))
        };
        assert!(!inventory(FeedState::default()).is_complete(&feed), "b was not asked");
        let mut failed = FeedState::default();
        failed.apply(Moment::ZERO, Err(Trouble::Unreachable("refused".to_owned())));
        assert!(inventory(failed).is_complete(&feed), "b cannot be reached, and says no more");
        assert!(!Inventory::of(&BTreeMap::from([hosts()])).is_complete(&feed), "a new configuration");
    }

    #[test]
    fn sources_that_differ_in_what_is_hidden_have_different_names() {
        let urls = ["http://a/?1", "http://a/?2", "http://b/"]
            .map(|url| (SourceId::Url(url.to_owned().into()), source(&[], true)));
        let inventory = Inventory::of(&BTreeMap::from(urls));
        let names: Vec<_> = inventory.sources.iter().map(|source| source.name.as_str()).collect();
        assert_eq!(names, ["http://a/?...", "http://a/?... (2)", "http://b/"]);
    }

    #[test]
    fn each_source_reports_its_state() {
        let mut refusing = source(&["10.0.0.1"], false);
        let mut feed = Feed { devices: vec![device("10.0.0.1")], ..Feed::default() };
        feed.rejected.push("scan[1]: bad");
        refusing.apply(Moment::ZERO, Ok(feed));
        let sources = BTreeMap::from([
            (SourceId::Url("http://a/".to_owned().into()), source(&["10.0.0.1"], true)),
            (SourceId::Discover(Discover { interface: "eth0".to_owned(), net: None }), refusing),
            (SourceId::Hosts, source(&["10.0.0.7"], false)),
            (SourceId::Url("http://b/".to_owned().into()), FeedState::default()),
        ]);
        let lines: Vec<String> = Inventory::of(&sources)
            .sources
            .iter()
            .map(|status| format!("{} {} {} {}", status.name, status.up, status.devices, status.detail))
            .collect();
        assert_eq!(
            lines,
            [
                "hosts true 1 ",
                "discover:eth0 true 1 1 entries are refused; scan[1]: bad",
                "http://a/ false 1 refused",
                "http://b/ false 0 not asked yet",
            ]
        );
    }
}
