//! Ports as nmap's `-p` takes them: numbers, ranges and names, `T:` before TCP's and `U:` before UDP's.

use crate::{
    model::{PortSet, Protocol},
    services, udp,
};

/// Why a `-p` is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum PortsError {
    #[error(transparent)]
    Malformed(#[from] crate::model::PortSetError),
    #[error("\"{0}\": only TCP ports are possible here; leave out U:, S: and P:")]
    NotTcp(String),
    #[error("\"{0}\": only TCP's and UDP's ports can be scanned; leave out S: and P:")]
    NeitherTcpNorUdp(String),
    #[error("no TCP service is called \"{0}\"; write the port's number")]
    UnknownName(String),
}

/// Ports of a scan. The scan decides which protocol's they are, unless they are named with one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamedPorts {
    tcp: PortSet,
    udp: PortSet,
    /// The protocols that were written.
    written: Vec<Protocol>,
}

impl NamedPorts {
    /// The ports of a scan of this protocol, TCP or UDP.
    pub(super) fn of(&self, protocol: Protocol) -> &PortSet {
        if protocol == Protocol::Udp { &self.udp } else { &self.tcp }
    }

    /// Whether a part was written as this protocol's.
    pub(super) fn names(&self, protocol: Protocol) -> bool {
        self.written.contains(&protocol)
    }
}

/// Reads `22,80,8000-8100`, `-`, `ssh,http`, `T:1-100`, `U:53,161`. A protocol holds until the next one, as in nmap.
/// Square brackets (registered ports within a range) and wildcards in names are not read: write the numbers.
pub(super) fn parse_named(text: &str) -> Result<NamedPorts, PortsError> {
    let (mut tcp, mut udp) = (Vec::new(), Vec::new());
    let mut named = NamedPorts::default();
    let mut current = None;
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let ports = match part.split_once(':') {
            Some((letter @ ("T" | "t" | "U" | "u"), ports)) => {
                let protocol = if letter.eq_ignore_ascii_case("t") { Protocol::Tcp } else { Protocol::Udp };
                current = Some(protocol);
                named.written.push(protocol);
                ports
            }
            Some(_) => return Err(PortsError::NeitherTcpNorUdp(shortened(part))),
            None => part,
        };
        for (protocol, ranges) in [(Protocol::Tcp, &mut tcp), (Protocol::Udp, &mut udp)] {
            if current.is_none_or(|current| current == protocol) {
                ranges.extend_from_slice(of_part(ports, protocol)?.ranges());
            }
        }
    }
    if tcp.is_empty() && udp.is_empty() {
        return Err(crate::model::PortSetError::Empty.into());
    }
    Ok(NamedPorts { tcp: PortSet::from_ranges(tcp), udp: PortSet::from_ranges(udp), ..named })
}

/// The same where only TCP's ports make sense.
pub(super) fn parse(text: &str) -> Result<PortSet, PortsError> {
    let named = parse_named(text)?;
    match named.names(Protocol::Udp) {
        true => Err(PortsError::NotTcp(shortened(text))),
        false => Ok(named.tcp),
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}

/// The ports of this protocol that a part means. By name, a service of UDP alone has none of TCP.
fn of_part(part: &str, protocol: Protocol) -> Result<PortSet, PortsError> {
    if !part.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return Ok(part.parse()?);
    }
    let name = part.to_ascii_lowercase();
    let tcp = services::ports_of(&name);
    let is_named = |port: &u16| services::usual(Protocol::Udp, *port) == Some(name.as_str());
    let udp: PortSet = udp::known_ports().iter().filter(is_named).collect();
    match protocol {
        _ if tcp.is_empty() && udp.is_empty() => Err(PortsError::UnknownName(shortened(part))),
        Protocol::Udp if udp.is_empty() => Ok(tcp),
        Protocol::Udp => Ok(udp),
        _ if tcp.is_empty() => Err(PortsError::UnknownName(shortened(part))),
        _ => Ok(tcp),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_nmaps_users_type() {
        for (text, expected) in [
            ("22,80,8000-8100", "22,80,8000-8100"),
            ("-", "1-65535"),
            ("-100", "1-100"),
            ("60000-", "60000-65535"),
            ("0-", "0-65535"),
            ("ssh,https", "22,443"),
            ("T:21-25,80", "21-25,80"),
            ("HTTP", "80"),
        ] {
            assert_eq!(parse(text).unwrap().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn a_protocol_holds_until_the_next_one() {
        for (text, tcp, udp) in [
            ("53,161", "53,161", "53,161"),
            ("U:53,161", "", "53,161"),
            ("U:53,111,137,T:21-25,80", "21-25,80", "53,111,137"),
            ("22,u:ntp,snmp", "22", "22,123,161"),
            ("U:http", "", "80"),
        ] {
            let named = parse_named(text).unwrap();
            let shown = [Protocol::Tcp, Protocol::Udp].map(|protocol| named.of(protocol).to_string());
            assert_eq!(shown, [tcp, udp], "{text}");
        }
        let named = parse_named("22,U:53").unwrap();
        assert!(named.names(Protocol::Udp) && !named.names(Protocol::Tcp));
    }

    #[test]
    fn refuses_with_the_reason() {
        for (text, why) in [
            ("U:53", "only TCP"),
            ("T:80,U:53", "only TCP"),
            ("S:80", "TCP's and UDP's"),
            ("no-such-service", "no TCP service"),
            ("70000", "not a port"),
            ("9-3", "backwards"),
            (",", "no ports"),
            ("[1-1000]", "not a port"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
