//! Decides how a port is identified: which ports get no connection at all, and which are sent a request.

use crate::{
    model::{IdentifyLevel, IdentifyMethod},
    services,
};

/// Ports that get no connection at any level. A connection without data does no more harm than a connect scan, but is
/// of no use either: none of these services greets, and nothing may be sent to them.
const LEFT_ALONE: &[(u16, u16)] = &[
    // Siemens S7 (ISO-TSAP), Modbus.
    (102, 102),
    (502, 502),
    // Printers put what they receive on paper: LPD, IPP, raw printing (9101 is Bacula's, too).
    (515, 515),
    (631, 631),
    // Red Lion Crimson, Niagara Fox, PC Worx, IEC 60870-5-104, OPC UA, MELSEC-Q.
    (789, 789),
    (1911, 1911),
    (1962, 1962),
    (2404, 2404),
    (4840, 4840),
    (5006, 5007),
    (9100, 9116),
    // OMRON FINS.
    (9600, 9600),
    // Raw printing of some printers and print servers; sockets of TP-Link.
    (9999, 9999),
    // General Electric SRTP, DNP3, PROFINET, EtherNet/IP, BACnet.
    (18_245, 18_245),
    (20_000, 20_000),
    (34_962, 34_964),
    (44_818, 44_818),
    (47_808, 47_808),
];

/// Ports on which programs serve pages without TLS, by their makers' documents, though their number is registered for
/// something else: Node.js and Grafana, Synology's DSM, UniFi's inform, Bambu and Hikvision, qBittorrent, Jellyfin, Home
/// Assistant, Cockpit, Transmission, Plex.
const PAGES: &[u16] = &[81, 3000, 5000, 8000, 8081, 8088, 8096, 8123, 8888, 9090, 9091, 32_400];

/// The same with TLS: Synology's DSM, Proxmox VE, UniFi, Portainer.
const SECURE_PAGES: &[u16] = &[4443, 5001, 7443, 8006, 8443, 9443, 10_443];

/// Ports to which an SSH server is often moved.
const SSH: &[u16] = &[2222, 22_222];

/// How a port is identified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Manner {
    /// Connects and reads; not a byte is written.
    Listen,
    /// Reads the greeting, then makes an SSH key exchange up to the server's host key.
    SshKey,
    /// A TLS handshake, then `GET /` inside it.
    SecurePage,
    /// `GET /`.
    Page,
}

impl Manner {
    /// The method by which a port counts as identified so.
    pub const fn method(self) -> IdentifyMethod {
        match self {
            Self::Listen => IdentifyMethod::Greeting,
            Self::SshKey => IdentifyMethod::SshKey,
            Self::SecurePage => IdentifyMethod::Tls,
            Self::Page => IdentifyMethod::Http,
        }
    }

    /// The lowest level that permits it.
    pub const fn level(self) -> IdentifyLevel {
        match self {
            Self::Listen => IdentifyLevel::Greetings,
            Self::SshKey | Self::SecurePage | Self::Page => IdentifyLevel::Requests,
        }
    }
}

/// Whether a port gets no connection for its identification, whatever the level.
pub fn is_left_alone(port: u16) -> bool {
    LEFT_ALONE.iter().any(|(first, last)| (*first..=*last).contains(&port))
}

/// Returns how to identify an open port at this level; `None`: not by a connection. `announced` is the service that the
/// device itself announces there, by its DNS-SD name.
pub fn manner_of(level: IdentifyLevel, port: u16, announced: Option<&str>) -> Option<Manner> {
    if level < IdentifyLevel::Greetings || is_left_alone(port) {
        return None;
    }
    let spoken = announced.and_then(by_service).or_else(|| by_number(port));
    Some(spoken.filter(|manner| manner.level() <= level).unwrap_or(Manner::Listen))
}

/// By the name of a service.
fn by_service(name: &str) -> Option<Manner> {
    match name {
        "ssh" | "sftp-ssh" => Some(Manner::SshKey),
        "https" => Some(Manner::SecurePage),
        "http" | "http-alt" => Some(Manner::Page),
        _ => None,
    }
}

/// By the port's number.
fn by_number(port: u16) -> Option<Manner> {
    match port {
        _ if PAGES.contains(&port) => Some(Manner::Page),
        _ if SECURE_PAGES.contains(&port) => Some(Manner::SecurePage),
        _ if SSH.contains(&port) => Some(Manner::SshKey),
        _ => services::name(port).and_then(by_service),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_of_printers_and_machine_controls_are_left_alone_at_every_level() {
        let mut left_alone = vec![
            102, 502, 515, 631, 789, 1911, 1962, 2404, 4840, 5006, 5007, 9600, 9999, 18_245, 20_000, 44_818,
            47_808,
        ];
        left_alone.extend(9100..=9116);
        left_alone.extend(34_962..=34_964);
        left_alone.sort_unstable();
        let found: Vec<u16> = (0..=u16::MAX).filter(|port| is_left_alone(*port)).collect();
        assert_eq!(found, left_alone);
        for port in left_alone {
            for &level in IdentifyLevel::ALL {
                assert_eq!(manner_of(level, port, Some("http")), None, "{port} {level}");
            }
        }
    }

    #[test]
    fn no_port_gets_more_than_the_level_permits() {
        for port in 0..=u16::MAX {
            for &level in IdentifyLevel::ALL {
                for announced in [None, Some("http"), Some("https"), Some("ssh"), Some("printer")] {
                    let permitted =
                        manner_of(level, port, announced).is_none_or(|manner| manner.level() <= level);
                    assert!(permitted, "{port} {level} {announced:?}");
                }
            }
        }
    }

    #[test]
    fn only_a_port_that_is_known_for_it_gets_a_request_and_only_at_that_level() {
        use IdentifyLevel::{Announced, Greetings, Off, Requests};
        for port in [22, 80, 443, 8006, 12_345] {
            assert_eq!([Off, Announced].map(|level| manner_of(level, port, None)), [None, None]);
            assert_eq!(manner_of(Greetings, port, Some("http")), Some(Manner::Listen));
        }
        for (port, announced, manner) in [
            (22, None, Manner::SshKey),
            (80, None, Manner::Page),
            (8080, None, Manner::Page),
            (443, None, Manner::SecurePage),
            (8006, None, Manner::SecurePage),
            (5000, None, Manner::Page),
            (12_345, None, Manner::Listen),
            (3306, None, Manner::Listen),
            (12_345, Some("http"), Manner::Page),
            (12_345, Some("https"), Manner::SecurePage),
            (12_345, Some("airplay"), Manner::Listen),
        ] {
            assert_eq!(manner_of(Requests, port, announced), Some(manner), "{port} {announced:?}");
        }
    }
}
