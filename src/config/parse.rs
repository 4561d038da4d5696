//! Parses one text into one checked value; the errors say what would have been right.

use std::{
    borrow::Cow,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use hyper::Uri;
use ipnet::{IpNet, Ipv4Net};
use jiff::civil::Time;
use tracing::level_filters::LevelFilter;

use super::{ChannelUrl, DevicePattern, Discover, FeedUrl, QuietHours, SummaryTime};
use crate::model::{
    Address, DurationError, Mac, PortSet, TargetSpec, ascii_name, canonical_net, one_line, parse_duration,
    parse_tag, without_secrets,
};

type Parsed<T> = Result<T, String>;

/// First path segments that the server itself answers on.
const RESERVED: [&str; 5] = ["v1", "lanscan", "metrics", "healthz", "page"];

/// Ten years: more is a slip, and far from what a `Duration` or a calendar can hold.
const LONGEST: Duration = Duration::from_secs(3650 * 86_400);

const DURATION_FORM: &str = "write a whole number and one of s, m, h, d: 30s, 15m, 6h, 1d";

/// The excerpt of a text that fits into a message about it.
fn shown(text: &str) -> String {
    one_line(text, 60)
}

/// Parses a value of the model; its own error says what is wrong.
fn value<T: FromStr<Err: ToString>>(text: &str) -> Parsed<T> {
    text.parse().map_err(|error: T::Err| error.to_string())
}

/// A number and s, m, h or d. Longer units vary in length, mixed ones (`1h30m`) can be written as one (`90m`).
pub(super) fn duration(text: &str) -> Parsed<Duration> {
    let reason = match parse_duration(text, &["s", "m", "h", "d"]) {
        Ok(Duration::ZERO) => "is no time at all",
        Ok(duration) if duration <= LONGEST => return Ok(duration),
        Ok(_) | Err(DurationError::TooLong) => "is longer than ten years",
        Err(DurationError::NoNumber) => "is not a length of time",
        Err(DurationError::NoUnit(unit)) => match unit {
            "" => "has no unit",
            "M" | "mo" | "y" | "Y" => "is in months or years, which vary in length",
            unit if unit.starts_with(['.', ',']) => "is not a whole number",
            unit if unit.contains(|c: char| c.is_ascii_digit()) => "mixes units",
            _ => "has an unknown unit",
        },
    };
    Err(format!("\"{}\" {reason}; {DURATION_FORM}", shown(text)))
}

/// A local time of day, to the minute or second.
pub(super) fn time_of_day(text: &str) -> Parsed<Time> {
    let clock = |format| Time::strptime(format, text);
    clock("%H:%M")
        .or_else(|_| clock("%H:%M:%S"))
        .map_err(|_| format!("\"{}\" is not a time of day; write it as 02:30 (00:00 to 23:59)", shown(text)))
}

/// An address and a port to listen on.
pub(super) fn listen(text: &str) -> Parsed<SocketAddr> {
    let bare = text.trim_start_matches(':');
    if let Ok(port) = bare.parse::<u16>() {
        return Err(format!(
            "\"{}\" has no address; write \"0.0.0.0:{port}\" for IPv4 and \"[::]:{port}\" for IPv6",
            shown(text)
        ));
    }
    text.parse().map_err(|_| match text.parse::<Address>() {
        Ok(address) if address.zone().is_none() => {
            format!("\"{}\" has no port; write \"{}\"", shown(text), SocketAddr::new(address.ip(), 80))
        }
        _ => format!(
            "\"{}\" is not an IP address and a port; write \"192.0.2.1:80\" or \"[2001:db8::1]:80\"",
            shown(text)
        ),
    })
}

/// The address alone, for the environment, which gives the port apart.
pub(super) fn listen_address(text: &str) -> Parsed<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    bare.parse().map_err(|_| {
        format!("\"{}\" is not an IP address; write 0.0.0.0 for all, 127.0.0.1 for this machine", shown(text))
    })
}

/// A port to listen on; 0 takes any free one.
pub(super) fn listen_port(text: &str) -> Parsed<u16> {
    text.parse().map_err(|_| format!("\"{}\" is not a port; write a number from 1 to 65535", shown(text)))
}

/// Finds two of these that cannot both be bound: the unspecified address already has every other of its family.
pub(super) fn listen_conflict(listen: &[SocketAddr]) -> Option<String> {
    listen.iter().find_map(|all| {
        let within = |one: &&SocketAddr| {
            *one != all && one.port() == all.port() && all.port() != 0 && one.is_ipv4() == all.is_ipv4()
        };
        let one = listen.iter().find(within).filter(|_| all.ip().is_unspecified())?;
        Some(format!("{one} is already within {all}, so both cannot be bound; drop one"))
    })
}

/// A directory or a file.
pub(super) fn path(text: &str) -> Parsed<PathBuf> {
    match text {
        "" => Err("the path is empty; write an absolute one".to_owned()),
        text if text.starts_with('~') => {
            Err(format!("\"{}\": ~ stands for a home only in a shell; write the whole path", shown(text)))
        }
        text => Ok(text.into()),
    }
}

/// The portscan API's first path segment; slashes around it do no harm.
pub(super) fn base_url(text: &str) -> Parsed<String> {
    let base = text.trim_matches('/');
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~');
    if RESERVED.contains(&base) {
        return Err(format!("/{base} is served already ({}); choose another", RESERVED.join(", ")));
    }
    if base.is_empty() || !base.chars().all(plain) || base.chars().all(|c| c == '.') || base.len() > 64 {
        return Err(format!(
            "\"{}\" is not one path segment of letters, digits, - _ . ~; write it as \"portscan\"",
            shown(text)
        ));
    }
    Ok(base.to_owned())
}

/// The least that is logged.
pub(super) fn log_level(text: &str) -> Parsed<LevelFilter> {
    // tracing accepts numbers too, which mean nothing to a reader of the file.
    let word = text.chars().all(|c| c.is_ascii_alphabetic());
    text.parse::<LevelFilter>().ok().filter(|_| word && !text.is_empty()).ok_or_else(|| {
        format!("\"{}\" is not a log level; write off, error, warn, info, debug or trace", shown(text))
    })
}

/// Probes in flight to one device.
pub(super) fn max_in_flight(text: &str) -> Parsed<u16> {
    text.parse().ok().filter(|bound| (1..=4096).contains(bound)).ok_or_else(|| {
        format!("\"{}\" is not a number of probes from 1 to 4096; the default is 50", shown(text))
    })
}

/// A feed's URL. A password in it is not printed.
pub(super) fn feed_url(text: &str) -> Parsed<FeedUrl> {
    let example = super::DEFAULT_FEED;
    if !["http://", "https://"].iter().any(|scheme| text.starts_with(scheme)) {
        let shown = shown(&without_secrets(text));
        return Err(format!("\"{shown}\" does not start with http:// or https://; write it as {example}"));
    }
    let uri: Uri = text.parse().map_err(|_| format!("this is not a URL; write it as {example}"))?;
    match uri.authority() {
        Some(authority) if authority.as_str().contains('@') => {
            Err("a feed that wants a user and a password is not supported; write the URL without them"
                .to_owned())
        }
        Some(authority) if !authority.host().is_empty() => Ok(FeedUrl::from(text.to_owned())),
        _ => Err(format!("this URL names no host; write it as {example}")),
    }
}

/// A network interface's name, as the kernel would accept it (`dev_valid_name` in net/core/dev.c).
pub(super) fn interface(text: &str) -> Parsed<String> {
    let valid = |c: char| c.is_ascii_graphic() && !matches!(c, '/' | ':');
    if text == "lo" {
        return Err(
            "\"lo\" leads to this machine alone; name the interface of the LAN, such as eth0".to_owned()
        );
    }
    if (1..=15).contains(&text.len()) && text.chars().all(valid) && !matches!(text, "." | "..") {
        return Ok(text.to_owned());
    }
    Err(format!("\"{}\" is not an interface's name; `ip link` lists them, such as eth0", shown(text)))
}

/// Where to look for devices: an interface, and which part of its subnets if not all.
pub(super) fn discover(text: &str) -> Parsed<Discover> {
    match text.trim().split_once(' ') {
        None => Ok(Discover { interface: interface(text)?, net: None }),
        Some((name, net)) => {
            Ok(Discover { interface: interface(name)?, net: Some(discover_net(net.trim())?) })
        }
    }
}

/// Parses a part of a network that is small enough for a sweep.
pub(super) fn discover_net(text: &str) -> Parsed<Ipv4Net> {
    let fault = |reason: &str| Err(format!("\"{}\" {reason}", shown(text)));
    match text.parse() {
        Ok(IpNet::V4(net)) if net.prefix_len() >= 16 => Ok(net.trunc()),
        Ok(IpNet::V4(_)) => fault("has more than 65,536 addresses; name the part that is in use"),
        Ok(IpNet::V6(_)) => fault("is IPv6, where no sweep can ask every address; write an IPv4 prefix"),
        Err(_) => fault("is not a prefix; write it as 10.0.0.0/16"),
    }
}

/// Finds two of these of which one is within the other: its devices would be asked twice.
pub(super) fn discover_conflict(list: &[Discover]) -> Option<String> {
    let nets = |discover: &Discover| Some((discover.interface.clone(), discover.net?));
    list.iter().filter_map(nets).find_map(|(interface, outer)| {
        let within =
            |(other, net): &(String, Ipv4Net)| *other == interface && *net != outer && outer.contains(net);
        let (_, inner) = list.iter().filter_map(nets).find(within)?;
        Some(format!("{inner} on {interface} is already within {outer}; drop one"))
    })
}

/// What to scan: everything that can be named.
pub(super) fn target(text: &str) -> Parsed<TargetSpec> {
    let spec = TargetSpec::parse_target(text).map_err(|error| error.to_string())?;
    // The first address of a prefix such as 224.0.0.0/24 or fe80::/112 decides for all of it.
    let first = spec.addresses().next();
    first.map_or(Ok(()), |first| host_address(&first)).map(|()| spec)
}

/// Parses the pattern of a rule, with prefixes and ranges of any size. Only what can be compared with a device is
/// allowed, so no names: they may resolve differently tomorrow.
pub(super) fn pattern(text: &str) -> Parsed<TargetSpec> {
    match value(text)? {
        TargetSpec::Name(_) => Err(format!(
            "\"{}\" is a name, which may lead elsewhere tomorrow; write an address, 192.0.2.0/24, 192.0.2.10-20 \
             or a MAC (AA:BB:CC:* for its beginning)",
            shown(text)
        )),
        TargetSpec::Address(one) => host_address(&one).map(|()| TargetSpec::Address(one)),
        spec => Ok(spec),
    }
}

/// A pattern, or a tag or a type of devices.
pub(super) fn device_pattern(text: &str) -> Parsed<DevicePattern> {
    if let Some(name) = text.strip_prefix("tag:") {
        return tag(name).map(DevicePattern::Tag);
    }
    if let Some(name) = text.strip_prefix("type:") {
        return value(name).map(DevicePattern::Type);
    }
    pattern(text).map(DevicePattern::Target)
}

/// Parses what a feed may name: addresses only, because a forged feed can write any MAC.
pub(super) fn allowed(text: &str) -> Parsed<TargetSpec> {
    match pattern(text)? {
        TargetSpec::Mac(_) => Err(format!(
            "\"{}\" is a MAC, which a forged feed can write too; write an address, a prefix or a range",
            shown(text)
        )),
        spec => Ok(spec),
    }
}

/// A pattern, or `*` for every device.
pub(super) fn any_or_pattern(text: &str) -> Parsed<Option<TargetSpec>> {
    if text == "*" { Ok(None) } else { pattern(text).map(Some) }
}

/// Parses an address that a single host can have.
pub(super) fn address(text: &str) -> Parsed<Address> {
    let address = value(text)?;
    host_address(&address).map(|()| address)
}

fn host_address(address: &Address) -> Parsed<()> {
    address.check_host().map_err(|error| error.to_string())
}

/// A station's MAC.
pub(super) fn mac(text: &str) -> Parsed<Mac> {
    let mac: Mac = value(text)?;
    if mac.is_unicast() {
        Ok(mac)
    } else {
        Err(format!("{mac} is not the MAC of a single device; write the device's"))
    }
}

/// Ports that can be probed.
pub(super) fn ports(text: &str) -> Parsed<PortSet> {
    let ports: PortSet = value(text)?;
    if ports.contains(0) {
        return Err(format!("\"{}\" has port 0, on which nothing can listen; start at 1", shown(text)));
    }
    Ok(ports)
}

/// How many devices may be known: fewer would not hold a household, more not the memory of a Pi.
pub(super) fn device_count(text: &str) -> Parsed<usize> {
    text.parse().ok().filter(|count| (16..=65_536).contains(count)).ok_or_else(|| {
        format!("\"{}\" is not a number of devices from 16 to 65536; the default is 1024", shown(text))
    })
}

/// How many devices may become known within an hour.
pub(super) fn newcomer_count(text: &str) -> Parsed<u32> {
    text.parse().ok().filter(|count| (1..=65_536).contains(count)).ok_or_else(|| {
        format!("\"{}\" is not a number of devices from 1 to 65536; the default is 512", shown(text))
    })
}

/// A scanner's name, which becomes part of URLs and metrics.
pub(super) fn scanner_name(text: &str) -> Parsed<String> {
    plain_name(text, "scanner")
}

/// A channel's name, which becomes part of URLs and metrics.
pub(super) fn channel_name(text: &str) -> Parsed<String> {
    plain_name(text, "channel")
}

fn plain_name(text: &str, of: &str) -> Parsed<String> {
    let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if (1..=32).contains(&text.len()) && text.chars().all(valid) {
        return Ok(text.to_owned());
    }
    Err(format!("\"{}\" is not a {of}'s name; write 1 to 32 of a-z, 0-9 and -", shown(text)))
}

/// One of these words, each with its value.
pub(super) fn word<T: Clone>(text: &str, what: &str, words: &[(&str, T)]) -> Parsed<T> {
    let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| value.clone());
    let known = || words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
    found.ok_or_else(|| format!("\"{}\" is not {what}; write one of {}", shown(text), known()))
}

/// A channel's URL with one of these schemes. Its path may be a secret (Slack's and Discord's are), so faults never show
/// it.
pub(super) fn channel_url(text: &str, schemes: &[&str], example: &str) -> Parsed<ChannelUrl> {
    let Some((scheme, _)) = text.split_once("://").filter(|(scheme, _)| schemes.contains(scheme)) else {
        let schemes: Vec<_> = schemes.iter().map(|scheme| format!("{scheme}://")).collect();
        return Err(format!("this URL does not start with {}; write it as {example}", schemes.join(" or ")));
    };
    let uri: Uri = text.parse().map_err(|_| format!("this is not a URL; write it as {example}"))?;
    let authority = uri.authority().filter(|authority| !authority.host().is_empty());
    let authority = authority.ok_or_else(|| format!("this URL names no host; write it as {example}"))?;
    if authority.as_str().contains('@') {
        return Err("write the URL without a user and a password; a secret belongs in a file (token_file, password_file)"
            .to_owned());
    }
    if authority.as_str().ends_with(':')
        || (authority.port_u16().is_none() && authority.as_str().rfind(':') > authority.as_str().rfind(']'))
    {
        return Err(format!("this URL's port is not a number from 1 to 65535; write it as {example}"));
    }
    Ok(ChannelUrl::new(text, scheme, authority))
}

/// How many messages may be sent within ten minutes.
pub(super) fn message_count(text: &str) -> Parsed<usize> {
    text.parse().ok().filter(|count| (1..=1000).contains(count)).ok_or_else(|| {
        format!("\"{}\" is not a number of messages from 1 to 1000; the default is 10", shown(text))
    })
}

/// Hours of the day: from, and until before.
pub(super) fn quiet_hours(text: &str) -> Parsed<QuietHours> {
    let form = || format!("\"{}\" is not a span of the day; write it as 22:00-07:00", shown(text));
    let (from, until) = text.split_once('-').ok_or_else(form)?;
    let (from, until) = (time_of_day(from.trim())?, time_of_day(until.trim())?);
    if from == until {
        return Err(format!(
            "\"{}\" is a whole day: nothing would ever be sent; drop the channel instead",
            shown(text)
        ));
    }
    Ok(QuietHours { from, until })
}

/// When a summary is due: a local time of day, or a day of the week and one.
pub(super) fn summary_time(text: &str) -> Parsed<SummaryTime> {
    let Some((day, at)) = text.trim().split_once(' ') else {
        return Ok(SummaryTime { weekday: None, at: time_of_day(text.trim())? });
    };
    let weekday = word(&day.to_ascii_lowercase(), "a day of the week", &SummaryTime::DAYS)?;
    Ok(SummaryTime { weekday: Some(weekday), at: time_of_day(at.trim())? })
}

/// What people call a device, or why they ignore it: one line.
pub(super) fn label(text: &str) -> Parsed<String> {
    if text.chars().count() <= 100 && !text.chars().any(char::is_control) {
        return Ok(text.to_owned());
    }
    Err(format!("\"{}\" is longer than 100 characters or not one line", shown(text)))
}

/// A tag of a device.
pub(super) fn tag(text: &str) -> Parsed<String> {
    parse_tag(text).map_err(|error| error.to_string())
}

/// A name that clients may call this server by.
pub(super) fn host_name(text: &str) -> Parsed<String> {
    let name = match text.parse() {
        // Clients send the name in the form in which it is looked up.
        Ok(TargetSpec::Name(name)) => ascii_name(&name).map(Cow::into_owned),
        _ => None,
    };
    let name = name.map(|name| name.trim_end_matches('.').to_ascii_lowercase());
    name.ok_or_else(|| format!("\"{}\" is not a host name; write it as portscan.example.org", shown(text)))
}

/// The appliance's own name, to which `.local` is added: one label (RFC 1123, 2.1). A label has 63 octets at most
/// (RFC 1035, 2.3.4); a machine that finds the name taken puts a number behind it (RFC 6762, 9), for which there must
/// be room.
pub(super) fn mdns_name(text: &str) -> Parsed<String> {
    const LONGEST: usize = 58;
    let name = text.to_ascii_lowercase();
    if let Some(label) = name.strip_suffix(".local") {
        return Err(format!("\"{}\" is written without its end; write \"{}\"", shown(text), shown(label)));
    }
    if name == "lanscan" {
        return Err(
            "lanscan.local is where lanscan is looked for, by this appliance too; it takes that name by \
                    itself where [feed] discover is on and no other host has it"
                .to_owned(),
        );
    }
    let valid = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let plain = name.chars().all(valid) && !name.starts_with('-') && !name.ends_with('-');
    if (1..=LONGEST).contains(&name.len()) && plain {
        return Ok(name);
    }
    Err(format!(
        "\"{}\" is not one label of a name; write 1 to {LONGEST} of letters, digits and -, as \"portscan\"",
        shown(text)
    ))
}

/// What is trusted: an address or a prefix of any size.
pub(super) fn network(text: &str) -> Parsed<IpNet> {
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse::<IpNet>().or_else(|_| address()).map(canonical_net).map_err(|_| {
        format!("\"{}\" is not an address or a prefix; write 192.0.2.1 or 192.0.2.0/24", shown(text))
    })
}

/// Whether `outer` covers everything that `inner` covers.
pub(super) fn covers(outer: &TargetSpec, inner: &TargetSpec) -> bool {
    match (outer, inner) {
        (outer, inner) if outer == inner => true,
        (TargetSpec::Mac(outer), TargetSpec::Mac(inner)) => inner.starts_with(outer),
        (outer, TargetSpec::Address(address)) => outer.matches(address, None),
        // Prefixes and ranges have no gaps, so comparing their ends is enough.
        (outer, inner) => inner.ends().is_some_and(|(first, last)| {
            outer.matches(&first.into(), None) && outer.matches(&last.into(), None)
        }),
    }
}
