//! Layer 1: scanning UDP ports, sans-io: what a port is asked, when, and what an answer means. It has no clock and no
//! socket; `service::udp_scan` drives it with those of `net::udp`.
//!
//! | file | what it does |
//! |---|---|
//! | `services` | the ports that are scanned by default, and what each is sent |
//! | `requests` | the datagrams, byte by byte, each by the specification that is named beside it |
//! | `host` | one host: which port is next and when, tries, verdicts, the report |
//!
//! Silence of a UDP port says little: a service that does not understand a request drops it, and a firewall drops it,
//! too. So each port of the list gets a request that its service answers, and silence stays `open|filtered`.

mod host;
mod requests;
mod services;

pub use host::{UdpHost, UdpOutcome, UdpSettings, UdpStep, UdpTry};
pub use services::{UdpService, is_control, known_ports, service};
