//! What a user can name for scanning, exclusion or permission: addresses, names, prefixes, ranges, MACs.

use std::{fmt, net::IpAddr, str::FromStr};

use ipnet::{IpNet, Ipv4Net};

use super::{Address, Mac, ascii_name};

/// The largest prefix or range that is scanned, in addresses: a /16 is a large site, more is a mistake.
const MAX_ADDRESSES: u128 = 65_536;

/// A set of hosts, in the spellings that nmap's users type, plus ours for devices.
///
/// Matching an address costs the same for `::/0` as for one address, so excluded, allowed or ignored targets may be of
/// any size. Scanned targets are bounded: [`TargetSpec::parse_target`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetSpec {
    /// `192.0.2.1`, `fe80::1%eth0`
    Address(Address),
    /// `192.0.2.0/24`
    Net(IpNet),
    /// `192.0.2.10-20` or `192.0.2.10-192.0.2.20`, both ends included.
    Range(IpAddr, IpAddr),
    /// `AA:BB:CC:DD:EE:FF`, or a prefix such as `AA:BB:CC:*` (1 to 6 octets).
    Mac(Vec<u8>),
    /// `printer.lan`, `münchen.example`, as typed; to be looked up.
    Name(String),
}

/// Why a text is not a [`TargetSpec`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// None of the forms.
    #[error("\"{0}\" is not a target; write an address, a name, 192.0.2.0/24, 192.0.2.10-20 or a MAC")]
    Malformed(String),
    /// nmap's ranges within octets, as in `192.0.2-3.1-9` and `192.0.2.*`.
    #[error(
        "\"{0}\" has a range that is not at its end, or a list, or *; write each range by itself, as \
         192.0.2.10-20 or 192.0.2.10-192.0.3.9, and 192.0.2.0/24 for 192.0.2.*"
    )]
    OctetRanges(String),
    /// More addresses than one target of a scan may have.
    #[error("\"{0}\" has more than 65,536 addresses; name a smaller prefix")]
    TooLarge(String),
}

impl TargetSpec {
    /// Parses a target to scan: a prefix or range of at most 65,536 addresses.
    ///
    /// # Errors
    /// The text is none of the forms, or larger.
    pub fn parse_target(text: &str) -> Result<Self, TargetError> {
        let spec: Self = text.parse()?;
        match spec.ends() {
            Some((first, last)) if bits(last) - bits(first) >= MAX_ADDRESSES => {
                Err(TargetError::TooLarge(shown(text)))
            }
            _ => Ok(spec),
        }
    }

    /// Whether a device with this address and MAC matches. A link-local address without an interface matches on each
    /// interface. A name never matches: look it up first.
    pub fn matches(&self, address: &Address, mac: Option<Mac>) -> bool {
        match self {
            Self::Address(named) if named.zone().is_some() => named == address,
            Self::Mac(prefix) => mac.is_some_and(|mac| mac.octets().starts_with(prefix)),
            // Every IPv4 address sorts before every IPv6 address, and both ends are of the same family.
            _ => self.ends().is_some_and(|(first, last)| (first..=last).contains(&address.ip())),
        }
    }

    /// Its first and its last address; `None` for a MAC or a name.
    pub fn ends(&self) -> Option<(IpAddr, IpAddr)> {
        match self {
            Self::Address(address) => Some((address.ip(), address.ip())),
            Self::Net(net) => Some((net.network(), net.broadcast())),
            Self::Range(first, last) => Some((*first, *last)),
            Self::Mac(_) | Self::Name(_) => None,
        }
    }

    /// The addresses of the target, in order; none for a MAC or a name. As in nmap, a prefix includes its first and
    /// last address: only in the network that has this prefix are they not hosts.
    pub fn addresses(&self) -> Box<dyn Iterator<Item = Address> + '_> {
        match self {
            Self::Address(address) => Box::new(std::iter::once(address.clone())),
            Self::Net(net) => span(net.network(), net.broadcast()),
            Self::Range(first, last) => span(*first, *last),
            Self::Mac(_) | Self::Name(_) => Box::new(std::iter::empty()),
        }
    }
}

/// The part of a text that fits into a message about it.
fn shown(text: &str) -> String {
    text.trim().chars().take(80).collect()
}

/// A prefix with its host bits cleared; a prefix of IPv4-mapped addresses (`::ffff:10.0.0.0/104`) becomes the IPv4
/// prefix, as every such [`Address`] does.
pub fn canonical_net(net: IpNet) -> IpNet {
    let mapped = match net {
        IpNet::V6(net) if net.prefix_len() >= 96 => {
            let ipv4 = net.network().to_ipv4_mapped();
            ipv4.and_then(|ipv4| Ipv4Net::new(ipv4, net.prefix_len() - 96).ok())
        }
        _ => None,
    };
    mapped.map_or(net, IpNet::V4).trunc()
}

fn span(first: IpAddr, last: IpAddr) -> Box<dyn Iterator<Item = Address>> {
    match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => Box::new(
            (first.to_bits()..=last.to_bits()).map(|bits| Address::from(std::net::Ipv4Addr::from_bits(bits))),
        ),
        (IpAddr::V6(first), IpAddr::V6(last)) => Box::new(
            (first.to_bits()..=last.to_bits()).map(|bits| Address::from(std::net::Ipv6Addr::from_bits(bits))),
        ),
        _ => Box::new(std::iter::empty()),
    }
}

/// The end of a range: a whole address, or only IPv4's last octet.
fn range_end(first: IpAddr, text: &str) -> Option<IpAddr> {
    match (first, text.parse::<u8>()) {
        (IpAddr::V4(first), Ok(octet)) => {
            let [a, b, c, _] = first.octets();
            Some(IpAddr::from([a, b, c, octet]))
        }
        _ => text.parse().ok(),
    }
}

fn bits(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => ip.to_bits().into(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

fn mac_prefix(text: &str) -> Option<Vec<u8>> {
    if let Ok(mac) = text.parse::<Mac>() {
        return Some(mac.octets().to_vec());
    }
    let octets: Vec<&str> = text.strip_suffix(":*")?.split(':').collect();
    let byte = |octet: &&str| u8::from_str_radix(octet, 16).ok().filter(|_| octet.len() == 2);
    if octets.len() > 5 { None } else { octets.iter().map(byte).collect() }
}

/// Whether the text is an IPv4 range by octets in nmap's syntax, valid or not. Its addresses are not consecutive, so
/// [`TargetSpec::Range`] cannot represent it; and no host has such a name, because no top-level domain begins with a
/// digit (RFC 3696, 2).
fn has_octet_ranges(text: &str) -> bool {
    let octet = |octet: &str| {
        octet.starts_with(|c: char| c.is_ascii_digit() || c == '*')
            && octet.chars().all(|c| c.is_ascii_digit() || "*-,".contains(c))
    };
    text.split('.').count() == 4 && text.split('.').all(octet) && text.contains(['*', '-', ','])
}

/// RFC 1123, 2.1: letters, digits and hyphens; underscores occur on LANs and do no harm. Letters of every script, if
/// they can be looked up.
fn is_name(text: &str) -> bool {
    let Some(text) = ascii_name(text) else { return false };
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
            && !label.starts_with('-')
    };
    let digits_only = text.chars().all(|c| c.is_ascii_digit() || c == '.');
    text.len() <= 253 && !digits_only && text.strip_suffix('.').unwrap_or(&text).split('.').all(label)
}

impl FromStr for TargetSpec {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let text = text.trim();
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        if let Some(prefix) = mac_prefix(text) {
            return Ok(Self::Mac(prefix));
        }
        if let Ok(net) = text.parse::<IpNet>() {
            return Ok(Self::Net(canonical_net(net)));
        }
        let range = text.split_once('-').and_then(|(first, last)| {
            let first = first.parse::<IpAddr>().ok()?.to_canonical();
            let last = range_end(first, last)?.to_canonical();
            (first.is_ipv4() == last.is_ipv4() && first <= last).then_some((first, last))
        });
        if let Some((first, last)) = range {
            return Ok(Self::Range(first, last));
        }
        if has_octet_ranges(text) {
            return Err(TargetError::OctetRanges(shown(text)));
        }
        if is_name(text) {
            return Ok(Self::Name(text.to_owned()));
        }
        Err(TargetError::Malformed(shown(text)))
    }
}

impl fmt::Display for TargetSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Net(net) => net.fmt(f),
            Self::Range(first, last) => write!(f, "{first}-{last}"),
            Self::Mac(prefix) => {
                let octets: Vec<String> = prefix.iter().map(|octet| format!("{octet:02X}")).collect();
                write!(f, "{}{}", octets.join(":"), if prefix.len() < 6 { ":*" } else { "" })
            }
            Self::Name(name) => name.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> TargetSpec {
        text.parse().unwrap()
    }

    #[test]
    fn reads_the_spellings_that_users_type() {
        for (text, printed, count) in [
            ("192.0.2.1", "192.0.2.1", 1),
            ("192.0.2.77/24", "192.0.2.0/24", 256),
            ("192.0.2.10-20", "192.0.2.10-192.0.2.20", 11),
            ("192.0.2.250-192.0.3.5", "192.0.2.250-192.0.3.5", 12),
            ("2001:db8::/120", "2001:db8::/120", 256),
            ("::ffff:192.0.2.0/120", "192.0.2.0/24", 256),
            ("::ffff:192.0.2.1-::ffff:192.0.2.9", "192.0.2.1-192.0.2.9", 9),
            ("aa:bb:cc:*", "AA:BB:CC:*", 0),
            ("printer.lan", "printer.lan", 0),
            ("my-nas", "my-nas", 0),
            ("münchen.local", "münchen.local", 0),
        ] {
            assert_eq!(spec(text).to_string(), printed);
            assert_eq!(spec(text).addresses().count(), count, "{text}");
        }
    }

    #[test]
    fn refuses_typing_mistakes() {
        for text in [
            "",
            "192.0.2.300",
            "192.0.2.9-3",
            "10.0.0.0/33",
            "a b",
            "-x",
            "aa:bb:*:cc",
            "1.2.3",
            "ü b",
            "-ü\u{308}",
            "☕.lan",
        ] {
            assert!(text.parse::<TargetSpec>().is_err(), "{text}");
        }
    }

    #[test]
    fn bounds_scanned_targets_and_matches_networks_of_any_size() {
        for (text, inside, outside) in [
            ("10.0.0.0/8", "10.255.255.255", "11.0.0.0"),
            ("10.0.0.0-11.255.0.0", "11.0.0.1", "11.255.0.1"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("fd00::/64", "fd00::ffff:ffff:ffff:ffff", "fd00:0:0:1::"),
            ("fe80::/10", "fe80::1%eth0", "fec0::1"),
            ("::/0", "ffff::1", "10.0.0.1"),
            ("::ffff:10.0.0.0/104", "10.1.2.3", "11.0.0.1"),
        ] {
            assert_eq!(TargetSpec::parse_target(text), Err(TargetError::TooLarge(text.to_owned())));
            assert!(spec(text).matches(&inside.parse().unwrap(), None), "{text}");
            assert!(!spec(text).matches(&outside.parse().unwrap(), None), "{text}");
        }
        for text in ["10.0.0.0/16", "10.0.0.1-10.1.0.0", "fd00::/112", "::ffff:10.0.0.0/112"] {
            assert_eq!(TargetSpec::parse_target(text).unwrap().addresses().count(), 65_536, "{text}");
        }
    }

    #[test]
    fn a_link_local_address_without_an_interface_matches_on_each() {
        let on_eth0: Address = "fe80::1%eth0".parse().unwrap();
        assert!(spec("fe80::1").matches(&on_eth0, None) && spec("fe80::1%eth0").matches(&on_eth0, None));
        assert!(!spec("fe80::1%eth1").matches(&on_eth0, None));
    }

    #[test]
    fn says_what_to_write_instead_of_octet_ranges() {
        for text in ["10.0.1-3.1-9", "10.0.0.*", "10.0.0.1,5", "10.0.*.1", "10.0.0.9-3", "10.0.0.1-"] {
            let error = text.parse::<TargetSpec>().unwrap_err();
            assert!(matches!(error, TargetError::OctetRanges(_)), "{text}: {error}");
            assert!(error.to_string().contains("192.0.2.10-20"), "{error}");
        }
        for name in ["10-0-0-5", "10.0.0.5.nip.io", "1-2.3-4.5-6.lan"] {
            assert_eq!(spec(name), TargetSpec::Name(name.to_owned()));
        }
    }

    #[test]
    fn matches_devices() {
        let address: Address = "192.0.2.15".parse().unwrap();
        let mac = "AA:BB:CC:00:00:01".parse().ok();
        for text in ["192.0.2.15", "192.0.2.0/24", "192.0.2.10-20", "AA:BB:CC:*", "aa-bb-cc-00-00-01"] {
            assert!(spec(text).matches(&address, mac), "{text}");
        }
        for text in ["192.0.2.16", "192.0.3.0/24", "192.0.2.16-20", "AA:BB:CD:*", "::/112"] {
            assert!(!spec(text).matches(&address, mac), "{text}");
        }
        assert!(!spec("AA:BB:CC:*").matches(&address, None));
    }
}
