//! What this machine allows, read once at start.

use std::{fs, io, ops::RangeInclusive, path::Path, str::FromStr, thread::available_parallelism};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::engine::Bounds;

/// This machine's limits, as far as they bound a scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Descriptors this process may have open (`RLIMIT_NOFILE`, after raising it).
    pub descriptors: u32,
    /// Local ports that connects are made from. One each per destination address *and port*, so that they
    /// bound what goes to one port (28,232 by default), not what goes to one host.
    pub local_ports: RangeInclusive<u16>,
    /// The connection table of a stateful firewall, where one is at work (Docker brings one).
    pub conntrack: Option<Conntrack>,
    /// Processor cores this process may use.
    pub cores: usize,
}

/// The kernel's connection table, in connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conntrack {
    /// Most it holds; beyond, it drops everybody's new connections.
    pub max: u32,
    /// In it now.
    pub count: u32,
}

/// More sockets than this gain nothing: at 1.3 s each they are 3,150 silent probes a second, and cost a Pi
/// 12 MB of kernel memory.
const MOST_IN_FLIGHT: u32 = 4096;

/// Descriptors for everything else: 256 HTTP connections, and the database, event loops, sweeps and logs.
const HEADROOM: u32 = 256 + 64;

/// A probe without an answer stays in the connection table for 120 s (`nf_conntrack_tcp_timeout_syn_sent`),
/// while its socket is held for at most 1.3 s: so many entries come to be per socket in flight.
const ENTRIES_PER_SOCKET: u32 = 93;

/// However full the connection table: a scan in trickles is better than none.
const LEAST_IN_FLIGHT: u32 = 16;

impl Limits {
    /// Raises the soft limit of descriptors to the hard one (a shell's 1024 is for programs that use
    /// `select`) and reads the rest.
    ///
    /// # Errors
    /// The limit of descriptors cannot be read; /proc missing is none, defaults stand in for it.
    pub fn raise_and_read() -> io::Result<Self> {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        // Refused in some sandboxes; the soft limit then holds.
        let descriptors = setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map_or(soft, |()| hard);
        let proc = Path::new("/proc/sys/net");
        let count = read(&proc.join("netfilter/nf_conntrack_count"));
        let max = read(&proc.join("netfilter/nf_conntrack_max"));
        Ok(Self {
            descriptors: u32::try_from(descriptors).unwrap_or(u32::MAX),
            local_ports: local_ports(
                &fs::read_to_string(proc.join("ipv4/ip_local_port_range")).unwrap_or_default(),
            ),
            // The table is there as soon as the module is loaded, and tracks only where a firewall has rules
            // that ask for it; then at least the loopback's connections are in it.
            conntrack: max
                .zip(count)
                .filter(|&(_, count)| count > 0)
                .map(|(max, count)| Conntrack { max, count }),
            cores: available_parallelism().map_or(1, usize::from),
        })
    }

    /// What the engine may use of them.
    ///
    /// Half of a small limit of descriptors stays usable (`ulimit -n 64` gives 32 sockets), and silent probes
    /// fill at most half of what is free in the connection table.
    pub fn bounds(&self) -> Bounds {
        let sockets = self.descriptors - HEADROOM.min(self.descriptors / 2);
        let tracked = self.conntrack.map_or(u32::MAX, |table| {
            (table.max.saturating_sub(table.count) / 2 / ENTRIES_PER_SOCKET).max(LEAST_IN_FLIGHT)
        });
        Bounds { in_flight: sockets.min(tracked).min(MOST_IN_FLIGHT) }
    }
}

fn read<T: FromStr>(path: &Path) -> Option<T> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// ip(7): two numbers, both included. The default of every kernel since 3.2 where they make no sense.
fn local_ports(text: &str) -> RangeInclusive<u16> {
    let mut numbers = text.split_ascii_whitespace().map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(first)), Some(Ok(last))) if first <= last => first..=last,
        _ => 32_768..=60_999,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_flight(descriptors: u32, conntrack: Option<(u32, u32)>) -> u32 {
        let conntrack = conntrack.map(|(max, count)| Conntrack { max, count });
        Limits { descriptors, local_ports: 1..=2, conntrack, cores: 4 }.bounds().in_flight
    }

    #[test]
    fn descriptors_bound_the_sockets_and_leave_room() {
        assert_eq!(in_flight(1_048_576, None), 4096);
        assert_eq!(in_flight(1024, None), 704);
        assert_eq!(in_flight(64, None), 32);
        assert_eq!(in_flight(1, None), 1);
    }

    #[test]
    fn a_connection_table_is_not_filled_by_silent_probes() {
        assert_eq!(in_flight(20_000, Some((65_536, 500))), 349);
        // An entry lives for 120 s, a socket for 1.3 s.
        assert!(f64::from(349) * 120.0 / 1.3 <= f64::from(65_536 - 500) / 2.0);
        assert_eq!(in_flight(20_000, Some((65_536, 70_000))), LEAST_IN_FLIGHT);
    }

    #[test]
    fn reads_this_machine() {
        let limits = Limits::raise_and_read().unwrap();
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap().0, u64::from(limits.descriptors));
        assert!(limits.cores >= 1 && limits.bounds().in_flight >= 1);
        assert_eq!(local_ports("32768\t60999\n"), 32_768..=60_999);
        assert_eq!(local_ports("9 banana"), 32_768..=60_999);
    }
}
