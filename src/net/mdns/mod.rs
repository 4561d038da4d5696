//! Names in `.local`, without a name server (multicast DNS, RFC 6762).
//!
//! | File | Does |
//! |---|---|
//! | `scope.rs` | selects the networks: those with an IPv4 address that `listen` answers on |
//! | `daemon.rs` | the one [`Daemon`] of the process: mdns-sd's thread and socket, bounded |
//! | `port.rs` | whether the port can be shared with other responders of this machine |
//! | `resolver.rs` | [`LocalResolver`]: names in `.local` by the daemon, every other name by the system |
//! | `responder.rs` | [`Responder`]: announces the appliance's names, and gives way to other holders |
//! | `valve.rs` | watches mdns-sd's sockets, and shuts them in a flood |
//!
//! IPv4 only, never the loopback: beside a running avahi, which announces the machine's host name with its IPv6
//! addresses too, an answer for the same name with other addresses of that family would make it rename the
//! machine. With the same IPv4 addresses in both answers there is nothing to disagree on.
//!
//! Limits of mdns-sd 0.21:
//!
//! - At its start it joins the group on every network for an instant, before it learns which networks are selected. It
//!   sends nothing there.
//! - It checks that a name is free only when it takes the name, so two networks that are joined later may have the name
//!   twice until one of the holders restarts.
//! - Its cache is bounded from outside: its sockets are shut while it caches too much or receives more than it can
//!   read, so in a flood the appliance may not be found by name.

mod daemon;
mod port;
mod resolver;
mod responder;
mod scope;
mod valve;

pub use daemon::{Daemon, MdnsError};
pub use port::{MDNS_PORT, share_port};
pub use resolver::LocalResolver;
pub use responder::{Advertised, Responder};
pub use scope::MdnsScope;

/// The domain of all names here (RFC 6762, 3).
const DOMAIN: &str = ".local";

/// The label before `.local`, in lower case; `None` for any other name. A name of more labels is not queried
/// by multicast: offices have had DNS domains that end in `.local` since before it existed.
fn label_of(name: &str) -> Option<String> {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let label = name.strip_suffix(DOMAIN)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    ((1..=63).contains(&label.len()) && label.chars().all(plain)).then(|| label.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_label_before_local_is_queried() {
        for (name, label) in [
            ("lanscan.local", Some("lanscan")),
            ("LANSCAN.Local.", Some("lanscan")),
            ("my_nas-2.local", Some("my_nas-2")),
            ("lanscan", None),
            ("lanscan.lan", None),
            (".local", None),
            ("nas.office.local", None),
            ("nas.local.example", None),
            ("a b.local", None),
            ("a\\.b.local", None),
            ("nas\u{1b}.local", None),
        ] {
            assert_eq!(label_of(name).as_deref(), label, "{name}");
        }
        assert_eq!(label_of(&format!("{}.local", "a".repeat(64))), None);
    }
}
