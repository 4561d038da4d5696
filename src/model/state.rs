//! The states of a port, and the reasons for a verdict.

use serde::{Deserialize, Serialize};

/// A port's state, in nmap's words (its manual, "Port Scanning Basics").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PortState {
    /// A connection was accepted, or a datagram answered.
    #[serde(rename = "open")]
    Open,
    /// The host answered that nothing listens there.
    #[serde(rename = "closed")]
    Closed,
    /// No answer, or an error from a device on the way.
    #[serde(rename = "filtered")]
    Filtered,
    /// Reachable, but unknown whether something listens (nmap's ACK scans; only ever imported).
    #[serde(rename = "unfiltered")]
    Unfiltered,
    /// No answer where silence may also mean open (UDP).
    #[serde(rename = "open|filtered")]
    OpenFiltered,
    /// No answer where silence may also mean closed (idle scans; only ever imported).
    #[serde(rename = "closed|filtered")]
    ClosedFiltered,
}

/// A transport protocol with ports (for `Ip`: protocol numbers), in nmap's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// IP protocol numbers (nmap -sO).
    Ip,
    /// The one that the appliance scans.
    Tcp,
    /// User datagrams: `portscan scan -sU`, and imports.
    Udp,
    /// Stream control transmission.
    Sctp,
}

/// The reason for a verdict, in nmap's `reason` words if it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The connection was accepted.
    SynAck,
    /// The host refused the connection (RST, or an ICMP port unreachable, which a connect cannot tell from it).
    ConnRefused,
    /// No answer after all tries.
    NoResponse,
    /// ICMP net unreachable.
    NetUnreach,
    /// ICMP host unreachable, sent by a router or the host's firewall.
    HostUnreach,
    /// ICMP administratively prohibited (communication, host or net).
    AdminProhibited,
    /// Another ICMP error (protocol unreachable, time exceeded, parameter problem).
    IcmpError,
    /// The host limits its refusals, so silence means the same as the other ports' answers.
    RstLimited,
    /// A datagram was answered.
    UdpResponse,
    /// ICMP port unreachable, in answer to a datagram.
    PortUnreach,
}

/// Why a text is not one of these words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not one of {expected}")]
pub struct StateError {
    /// The text.
    pub text: String,
    /// The accepted words.
    pub expected: &'static str,
}

impl PortState {
    /// The usual reason for this state of a port of this protocol, if nothing more is known.
    pub const fn usual_reason(self, protocol: Protocol) -> Reason {
        match (self, protocol) {
            (Self::Open, Protocol::Udp) => Reason::UdpResponse,
            (Self::Open, _) => Reason::SynAck,
            (Self::Closed, Protocol::Udp) => Reason::PortUnreach,
            (Self::Closed | Self::Unfiltered, _) => Reason::ConnRefused,
            (Self::Filtered | Self::OpenFiltered | Self::ClosedFiltered, _) => Reason::NoResponse,
        }
    }
}

/// Defines the words of an enum once: `as_str`, `Display`, `FromStr`.
macro_rules! words {
    ($type:ty, $expected:literal, $($variant:ident = $word:literal),+ $(,)?) => {
        impl $type {
            /// Every value, in declaration order.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Its name in APIs and files.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $type {
            type Err = $crate::model::StateError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let found = Self::ALL.iter().copied().find(|value| value.as_str() == text);
                found.ok_or_else(|| $crate::model::StateError { text: text.chars().take(40).collect(), expected: $expected })
            }
        }
    };
}

pub(super) use words;

words!(
    PortState,
    "open, closed, filtered, unfiltered, open|filtered, closed|filtered",
    Open = "open",
    Closed = "closed",
    Filtered = "filtered",
    Unfiltered = "unfiltered",
    OpenFiltered = "open|filtered",
    ClosedFiltered = "closed|filtered",
);
words!(Protocol, "ip, tcp, udp, sctp", Ip = "ip", Tcp = "tcp", Udp = "udp", Sctp = "sctp");
words!(
    Reason,
    "syn-ack, conn-refused, no-response, net-unreach, host-unreach, admin-prohibited, icmp-error, rst-limited, \
     udp-response, port-unreach",
    SynAck = "syn-ack",
    ConnRefused = "conn-refused",
    NoResponse = "no-response",
    NetUnreach = "net-unreach",
    HostUnreach = "host-unreach",
    AdminProhibited = "admin-prohibited",
    IcmpError = "icmp-error",
    RstLimited = "rst-limited",
    UdpResponse = "udp-response",
    PortUnreach = "port-unreach",
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serde_and_display_use_the_same_words() {
        for state in PortState::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
            assert_eq!(state.as_str().parse(), Ok(*state));
        }
        for protocol in Protocol::ALL {
            assert_eq!(serde_json::to_value(protocol).unwrap(), protocol.as_str());
        }
        for reason in Reason::ALL {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
        }
    }

    #[test]
    fn the_error_for_an_unknown_word_lists_the_known_ones() {
        let error = "opened".parse::<PortState>().unwrap_err().to_string();
        assert!(error.contains("\"opened\"") && error.contains("open|filtered"), "{error}");
    }
}
