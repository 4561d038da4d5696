//! Layer 2: lanscan's feed, `{"time":{"utc":".."},"scan":[{"ipv4":"..","mac":".."}],"count":1}`. An entry may have a
//! `name`, too, which lanscan's have not.
//!
//! This module reads the feeds of other services and writes the appliance's own ([`FeedDocument`]).
//!
//! A feed comes from the network without any authentication. One bad entry must not cost the others, so each
//! is judged alone; the feed as a whole is refused only if it is not a feed at all.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap},
    fmt,
    net::Ipv4Addr,
    time::Duration,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::model::{Address, Device, HostAddressError, Mac, TargetSpec, bytes_without_mark, one_line};

/// The most devices that are taken from one feed: sixteen times a full /24, or a /20.
pub const MAX_DEVICES: usize = 4096;

/// The most refusals that are kept with their reasons; the others are only counted.
const MAX_REASONS: usize = 8;

/// The most characters of a device's name that are kept: what no host's name has more of (RFC 1035, 2.3.4).
const MAX_NAME: usize = 255;

/// The most characters of a feed's text that are kept.
const MAX_TEXT: usize = 200;

/// The contents of a feed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Feed {
    /// The devices, in the feed's order, no address twice. A MAC may have several addresses.
    pub devices: Vec<Device>,
    /// The feed's own time stamp, as text: it only serves to notice changes. A feed
    /// without one never grows stale.
    pub stamp: Option<String>,
    /// What was refused.
    pub rejected: Rejected,
    /// Valid devices beyond the limit; the consumer of the feed reports them.
    pub held_back: Option<HeldBack>,
    /// Further remarks for the owner; only our own discovery makes them, other feeds have no field for them.
    pub remarks: Vec<String>,
    /// Stations that answer for others, as our own discovery found: their MACs identify no device.
    pub proxies: BTreeSet<Mac>,
}

/// The entries of a feed that were refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rejected {
    /// How many.
    pub count: usize,
    /// Why, for the first eight.
    pub reasons: Vec<String>,
}

/// Devices that a source names but that are not admitted for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldBack {
    /// How many.
    pub count: usize,
    /// The limit that they exceed.
    pub bound: Bound,
}

/// The limit that keeps a device out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// How many are known at once.
    Devices,
    /// How many become known within an hour.
    Newcomers,
}

impl fmt::Display for HeldBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, key) = match self.bound {
            Bound::Devices => ("the limit of known devices is reached", "max_devices"),
            Bound::Newcomers => ("too many new ones within an hour", "max_newcomers"),
        };
        write!(
            f,
            "{} of its devices are held back: {what}; if they are yours, raise {key} under [feed], else find out \
             where they come from",
            self.count
        )
    }
}

/// Why a text is not a feed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FeedError {
    /// Not JSON, or of another shape.
    #[error("this is not lanscan's JSON ({0}); does the URL lead to /lanscan/json?")]
    Malformed(String),
    /// An object with other contents.
    #[error("this JSON has no \"scan\"; does the URL lead to /lanscan/json?")]
    NoScan,
}

/// Why a device of a feed is not admitted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Inadmissible {
    /// The address is on the internet.
    #[error("{0} is neither in this machine's networks nor private; if it is yours, name it in feed.allow")]
    Foreign(Address),
    /// The address is not routed, but may still be a stranger's.
    #[error(
        "{0} is of a range that carriers, VPNs and clouds use (100.64.0.0/10, 169.254.0.0/16); if it is yours, name \
         it in feed.allow"
    )]
    BeyondTheLan(Address),
    /// The loopback concerns this machine alone, so no feed may add it.
    #[error("{0} is this machine's loopback; if that is meant, name it in feed.allow")]
    Loopback(Address),
    /// No host's address, or on a network that this machine is not in.
    #[error(transparent)]
    NoHost(#[from] HostAddressError),
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    time: Option<&'a RawValue>,
    #[serde(borrow)]
    scan: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
struct Time {
    utc: String,
}

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    ipv4: Cow<'a, str>,
    #[serde(borrow)]
    mac: Option<Cow<'a, str>>,
    /// Not in lanscan's own feed; other feeds may have it.
    #[serde(borrow)]
    name: Option<&'a RawValue>,
}

/// Our own feed, in lanscan's format.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FeedDocument {
    time: DocumentTime,
    scan: Vec<DocumentEntry>,
    count: usize,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct DocumentTime {
    utc: String,
    prep_sec: f64,
    scan_sec: f64,
    total_sec: f64,
}

/// A device, in lanscan's format.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DocumentEntry {
    ipv4: Ipv4Addr,
    /// Lower case; empty where only another station answers for the address. lanscan's clients read the key
    /// without a check, so it is always present.
    mac: String,
}

impl FeedDocument {
    /// Makes the document of the found devices: the IPv4 ones, by address, with the end of the sweep and the durations
    /// of its preparation and of itself.
    pub fn new(devices: &[Device], ended: Timestamp, preparation: Duration, sweeping: Duration) -> Self {
        let mut scan: Vec<DocumentEntry> = devices.iter().filter_map(DocumentEntry::of).collect();
        scan.sort_by_key(|entry| entry.ipv4);
        Self {
            time: DocumentTime {
                utc: utc(ended),
                prep_sec: seconds(preparation),
                scan_sec: seconds(sweeping),
                total_sec: seconds(preparation + sweeping),
            },
            count: scan.len(),
            scan,
        }
    }
}

impl DocumentEntry {
    /// Converts a device, if the format can hold it: IPv4 only.
    pub fn of(device: &Device) -> Option<Self> {
        let mac = device.mac.map(Mac::to_lower).unwrap_or_default();
        device.address.ipv4().map(|ipv4| Self { ipv4, mac })
    }
}

/// A time as lanscan and the original portscan write it.
pub fn utc(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// A duration as they write it: in seconds, with four decimals.
pub fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e4).round() / 1e4
}

impl Feed {
    /// Adds a device that our own discovery has found, or refuses it if there are too many.
    pub fn add_found(&mut self, device: Device) {
        if self.devices.len() < MAX_DEVICES {
            self.devices.push(device);
        } else {
            self.rejected.push(&format!("{}: more than {MAX_DEVICES} devices", device.address));
        }
    }
}

impl Rejected {
    /// Counts a refused entry, and keeps the reason while there is room.
    pub fn push(&mut self, reason: &str) {
        self.count += 1;
        if self.reasons.len() < MAX_REASONS {
            self.reasons.push(one_line(reason, MAX_TEXT));
        }
    }
}

/// Reads a feed. `{}`, lanscan's answer before its first sweep, is one without devices. Unknown keys are
/// ignored. The caller bounds the length of the body.
///
/// # Errors
/// Fails if the text is not lanscan's JSON at all.
pub fn parse(body: &[u8]) -> Result<Feed, FeedError> {
    let malformed = |error: serde_json::Error| FeedError::Malformed(one_line(&error.to_string(), MAX_TEXT));
    let body = bytes_without_mark(body);
    let Body { time, scan } = serde_json::from_slice(body).map_err(malformed)?;
    let Some(entries) = scan else {
        let keys: HashMap<Cow<'_, str>, &RawValue> = serde_json::from_slice(body).map_err(malformed)?;
        return if keys.is_empty() { Ok(Feed::default()) } else { Err(FeedError::NoScan) };
    };
    let stamp = time.and_then(|time| serde_json::from_str::<Time>(time.get()).ok());
    let mut feed = Feed { stamp: stamp.map(|time| one_line(&time.utc, MAX_TEXT)), ..Feed::default() };
    let mut holders: HashMap<Address, Option<Mac>> = HashMap::new();
    for (index, entry) in entries.into_iter().enumerate() {
        if feed.devices.len() == MAX_DEVICES {
            feed.rejected.push(&format!("scan[{index}]: more than {MAX_DEVICES} devices"));
            continue;
        }
        match device(entry.get()).and_then(|device| unclaimed(device, &mut holders)) {
            Ok(Some(device)) => feed.devices.push(device),
            Ok(None) => {}
            Err(reason) => feed.rejected.push(&format!("scan[{index}]: {reason}")),
        }
    }
    Ok(feed)
}

fn device(entry: &str) -> Result<Device, String> {
    let entry: Entry<'_> = serde_json::from_str(entry).map_err(|error| error.to_string())?;
    let address: Address = entry.ipv4.trim().parse().map_err(|error| format!("{error}"))?;
    address.check_host().map_err(|error| error.to_string())?;
    // A routed host has none; others leave the text empty.
    let mac = match entry.mac.as_deref().map(str::trim) {
        None | Some("") => None,
        Some(text) => Some(text.parse::<Mac>().map_err(|error| error.to_string())?),
    };
    match mac.filter(|mac| !mac.is_unicast()) {
        Some(mac) => Err(format!("{mac} is not the MAC of a single device")),
        None => Ok(Device { address, mac, name: entry.name.and_then(name) }),
    }
}

/// Returns the name, if it is a text: a malformed name is no reason to refuse a device.
fn name(value: &RawValue) -> Option<String> {
    let text: Cow<'_, str> = serde_json::from_str(value.get()).ok()?;
    let text = one_line(text.trim(), MAX_NAME);
    (!text.is_empty()).then_some(text)
}

/// `None` for a repeated entry. Of two MACs on one address the first is kept: the neighbour table decides
/// which one is right before anything is stored.
fn unclaimed(device: Device, holders: &mut HashMap<Address, Option<Mac>>) -> Result<Option<Device>, String> {
    match holders.get(&device.address) {
        None => {
            holders.insert(device.address.clone(), device.mac);
            Ok(Some(device))
        }
        Some(holder) if *holder == device.mac => Ok(None),
        Some(_) => Err(format!("{} already belongs to another device of this feed", device.address)),
    }
}

/// Whether a feed may name this address: the machine's own networks and private ranges, or what the owner
/// allows. A forged feed must not turn this machine against the internet or against itself. Ranges that strangers may
/// use need the owner's permission even if this machine has an address in them, as a router has on its carrier's
/// side.
///
/// # Errors
/// Fails with the reason for the refusal.
pub fn admissible(
    address: &Address,
    own_subnet: impl Fn(&Address) -> bool,
    allow: &[TargetSpec],
) -> Result<(), Inadmissible> {
    if allow.iter().any(|spec| spec.matches(address, None)) {
        Ok(())
    } else if address.is_loopback() {
        Err(Inadmissible::Loopback(address.clone()))
    } else if address.is_beyond_the_lan() {
        Err(Inadmissible::BeyondTheLan(address.clone()))
    } else if address.is_private() || own_subnet(address) {
        Ok(())
    } else {
        Err(Inadmissible::Foreign(address.clone()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ORIGINAL: &str = r#"{"time": {"utc": "2022-12-11 21:18:02", "prep_sec": 1, "scan_sec": 2.5},
        "scan": [{"ipv4": "192.168.1.1", "mac": "b8:27:eb:ac:14:3e"},
                 {"ipv4": "192.168.1.2", "mac": "B8-27-EB-00-00-01", "unknown": "ignored"}], "count": 2}"#;

    fn described(feed: &Feed) -> Vec<String> {
        let mac = |device: &Device| device.mac.map_or_else(|| "-".to_owned(), |mac| mac.to_string());
        feed.devices.iter().map(|device| format!("{} {}", device.address, mac(device))).collect()
    }

    fn scan(entries: &str) -> Feed {
        parse(format!("{{\"scan\":[{entries}]}}").as_bytes()).unwrap()
    }

    #[test]
    fn a_written_feed_is_read_back_unchanged() {
        let device = |text: &str| {
            let (address, mac) = text.split_once(' ').unwrap_or((text, ""));
            Device { address: address.parse().unwrap(), mac: mac.parse().ok(), name: None }
        };
        let devices =
            ["10.0.0.10 B8:27:EB:AC:14:3E", "10.0.0.9 02:00:00:00:00:09", "10.0.0.11", "fd00::1"].map(device);
        let ended = "2022-12-11T21:18:02.9Z".parse().unwrap();
        let document =
            FeedDocument::new(&devices, ended, Duration::from_micros(449), Duration::from_millis(5510));
        let text = serde_json::to_string(&document).unwrap();
        let expected = r#"{"time":{"utc":"2022-12-11 21:18:02","prep_sec":0.0004,"scan_sec":5.51,"total_sec":5.5104},"scan":[{"ipv4":"10.0.0.9","mac":"02:00:00:00:00:09"},{"ipv4":"10.0.0.10","mac":"b8:27:eb:ac:14:3e"},{"ipv4":"10.0.0.11","mac":""}],"count":3}"#;
        assert_eq!(text, expected);
        let feed = parse(text.as_bytes()).unwrap();
        let [first, second, third, _] = devices;
        assert_eq!((feed.devices, feed.rejected.count), (vec![second, first, third], 0));
        assert_eq!(feed.stamp.as_deref(), Some("2022-12-11 21:18:02"));
    }

    #[test]
    fn reads_what_lanscan_writes() {
        let feed = parse(ORIGINAL.as_bytes()).unwrap();
        assert_eq!(described(&feed), ["192.168.1.1 B8:27:EB:AC:14:3E", "192.168.1.2 B8:27:EB:00:00:01"]);
        assert_eq!(feed.stamp.as_deref(), Some("2022-12-11 21:18:02"));
        assert_eq!(feed.rejected, Rejected::default());
        assert_eq!(parse(b" {} "), Ok(Feed::default()));
    }

    #[test]
    fn a_byte_order_mark_is_passed_over() {
        assert_eq!(
            parse(format!("\u{feff}{ORIGINAL}").as_bytes()).unwrap(),
            parse(ORIGINAL.as_bytes()).unwrap()
        );
    }

    #[test]
    fn a_text_that_is_not_a_feed_is_refused_with_a_hint() {
        for body in ["", "<html>", "[]", "null", "{\"scan\":{}}", &ORIGINAL[..100], "{\"scan\":[1,]}"] {
            let error = parse(body.as_bytes()).unwrap_err();
            assert!(matches!(error, FeedError::Malformed(_)), "{body}: {error}");
        }
        let status = br#"{"status":{"last_utc":"2022-12-11 21:18:02"}}"#;
        assert_eq!(parse(status), Err(FeedError::NoScan));
        assert!(parse(b"{\"scan\":[\xff]}").is_err());
    }

    #[test]
    fn a_bad_entry_is_refused_alone() {
        let good = r#"{"ipv4":"192.168.1.7","mac":"02:00:00:00:00:07"}"#;
        for (bad, reason) in [
            (r#"{"ipv4":"192.168.1.300","mac":"02:00:00:00:00:01"}"#, "\"192.168.1.300\" is not an IP"),
            (r#"{"ipv4":"192.168.1.1","mac":"02:00"}"#, "\"02:00\" is not a MAC"),
            (r#"{"ipv4":"192.168.1.1","mac":"ff:ff:ff:ff:ff:ff"}"#, "not the MAC of a single device"),
            (r#"{"ipv4":"192.168.1.1","mac":"00:00:00:00:00:00"}"#, "not the MAC of a single device"),
            (r#"{"ipv4":"224.0.0.251","mac":"02:00:00:00:00:01"}"#, "not the address of one host"),
            (r#"{"mac":"02:00:00:00:00:01"}"#, "missing field `ipv4`"),
            (r#"{"ipv4":7}"#, "invalid type"),
            ("17", "invalid type"),
            (r#"{"ipv4":"192.168.1.7","mac":"02:00:00:00:00:08"}"#, "already belongs to another device"),
        ] {
            let feed = scan(&format!("{good},{bad}"));
            assert_eq!(described(&feed), ["192.168.1.7 02:00:00:00:00:07"], "{bad}");
            let [only] = &feed.rejected.reasons[..] else { panic!("{bad}: {:?}", feed.rejected) };
            assert!(only.starts_with("scan[1]: ") && only.contains(reason), "{bad}: {only}");
        }
    }

    #[test]
    fn a_device_may_have_several_addresses_and_need_no_mac() {
        let feed = scan(
            r#"{"ipv4":"10.0.0.1","mac":"02:00:00:00:00:01"},{"ipv4":"10.0.0.2","mac":"02:00:00:00:00:01"},
               {"ipv4":"10.0.0.1","mac":"02-00-00-00-00-01"},{"ipv4":"10.0.0.3"},{"ipv4":"10.0.0.4","mac":""},
               {"ipv4":"10.0.0.5","mac":null}"#,
        );
        let expected = [
            "10.0.0.1 02:00:00:00:00:01",
            "10.0.0.2 02:00:00:00:00:01",
            "10.0.0.3 -",
            "10.0.0.4 -",
            "10.0.0.5 -",
        ];
        assert_eq!(described(&feed), expected);
        assert_eq!(feed.rejected.count, 0);
    }

    #[test]
    fn a_valid_name_is_accepted() {
        let long = "x".repeat(10_000);
        let named = scan(&format!(
            r#"{{"ipv4":"10.0.0.1","name":" nas "}},{{"ipv4":"10.0.0.2","name":"n\u202ea\u001b[2Js\u0000"}},
               {{"ipv4":"10.0.0.3","name":"{long}"}},{{"ipv4":"10.0.0.4","name":{{"a":1}}}},
               {{"ipv4":"10.0.0.5","name":null}},{{"ipv4":"10.0.0.6","name":" "}},{{"ipv4":"10.0.0.7","name":7}}"#
        ));
        let names: Vec<Option<&str>> = named.devices.iter().map(|device| device.name.as_deref()).collect();
        let safe = "n\u{fffd}a\u{fffd}[2Js\u{fffd}";
        assert_eq!(names, [Some("nas"), Some(safe), Some(&long[..MAX_NAME]), None, None, None, None]);
        assert_eq!(named.rejected, Rejected::default());
    }

    #[test]
    fn foreign_text_stays_bounded_and_on_one_line() {
        let long = "x".repeat(100_000);
        let feed = scan(&format!(r#"{{"ipv4":"{long}"}},{{"ipv4":"\u001b[31m\n"}},{{"{long}":1}}"#));
        assert_eq!(feed.rejected.count, 3);
        for reason in &feed.rejected.reasons {
            assert!(reason.len() < 300 && !reason.contains(['\u{1b}', '\n']), "{reason}");
        }
        let entries: Vec<String> =
            (0..5000).map(|n| format!(r#"{{"ipv4":"10.0.{}.{}"}}"#, n / 256, n % 256)).collect();
        let feed = scan(&entries.join(","));
        assert_eq!((feed.devices.len(), feed.rejected.count, feed.rejected.reasons.len()), (4096, 904, 8));
    }

    #[test]
    fn only_near_addresses_are_admissible() {
        let allow = ["203.0.113.0/28", "127.0.0.1", "100.64.7.0/24", "169.254.7.7"];
        let allow: Vec<TargetSpec> = allow.iter().map(|spec| spec.parse().unwrap()).collect();
        let own = |address: &Address| {
            ["198.51.100.", "100.64.", "169.254."].iter().any(|net| address.to_string().starts_with(net))
        };
        for (address, admitted) in [
            ("192.168.1.1", true),
            ("10.1.2.3", true),
            ("fe80::1%eth0", true),
            ("fd00::1", true),
            ("198.51.100.7", true),
            ("203.0.113.5", true),
            ("127.0.0.1", true),
            ("127.0.0.2", false),
            ("::1", false),
            ("203.0.113.16", false),
            ("192.0.2.1", false),
            ("2001:db8::1", false),
            ("100.64.0.1", false),
            ("100.127.255.254", false),
            ("100.64.7.1", true),
            ("169.254.169.254", false),
            ("169.254.7.7", true),
        ] {
            let address: Address = address.parse().unwrap();
            assert_eq!(admissible(&address, own, &allow).is_ok(), admitted, "{address}");
        }
    }

    proptest! {
        #[test]
        fn no_feed_makes_the_reader_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&body);
        }

        #[test]
        fn every_entry_is_taken_or_refused(entries in prop::collection::vec((0u8..20, 0u8..4), 0..60)) {
            let text: Vec<String> = entries.iter()
                .map(|(host, mac)| format!(r#"{{"ipv4":"10.0.0.{host}","mac":"02:00:00:00:00:0{mac}"}}"#))
                .collect();
            let feed = scan(&text.join(","));
            let distinct: BTreeSet<_> = entries.iter().map(|(host, _)| host).collect();
            prop_assert_eq!(feed.devices.len(), distinct.len());
            prop_assert!(feed.devices.len() + feed.rejected.count <= entries.len());
        }
    }
}
