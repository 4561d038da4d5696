//! This machine's limits: read at start, and again where they change.
//!
//! | bound | read from | what it bounds |
//! |---|---|---|
//! | descriptors | `RLIMIT_NOFILE` | sockets of probes, and connections of clients, open at once |
//! | connection table | `nf_conntrack_max`, `_count`, `_tcp_timeout_syn_sent` | silent probes a second, sockets |
//! | local ports | `ip_local_port_range` | nothing: a lack of them costs time (see [`SystemLimits::local_ports`]) |
//! | neighbours | the kernel's `gc_thresh3`, 1024 | nothing: 16 hosts in progress, one ARP entry each |

use std::{
    fmt, fs, io, num::NonZeroU32, ops::RangeInclusive, path::Path, str::FromStr,
    thread::available_parallelism,
};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::engine::Bounds;

/// This machine's limits, as far as they bound a scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemLimits {
    /// Descriptors this process may have open (`RLIMIT_NOFILE`, after raising it).
    pub descriptors: u32,
    /// Local ports that connects are made from. One each per destination address *and port*, so that they
    /// bound what goes to one port (28,232 by default), not what goes to one host. Where they run out the
    /// kernel reports it at once (EADDRNOTAVAIL), and the probe is retried later.
    pub local_ports: RangeInclusive<u16>,
    /// The connection table of a stateful firewall, if one is active (Docker installs one).
    pub conntrack: Option<Conntrack>,
    /// Processor cores this process may use.
    pub cores: usize,
}

/// The kernel's connection table, in connections. It sees all that this machine sends, the loopback included.
/// A router's table on the way is invisible from here; it is spared only if it is no smaller than this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conntrack {
    /// The table's capacity; beyond it the kernel drops every new connection.
    pub max: u32,
    /// The number in it now.
    pub count: u32,
    /// How long it keeps an unanswered connect, in seconds (`nf_conntrack_tcp_timeout_syn_sent`, 120). An answered one
    /// is kept for ten (`nf_conntrack_tcp_timeout_close`).
    pub silence: u32,
}

/// More sockets than this gain nothing: at 1.3 s each they are 3,150 silent probes a second, and cost a Pi
/// 12 MB of kernel memory.
const MOST_IN_FLIGHT: u32 = 4096;

/// The most clients served at once; further ones wait.
const MOST_CONNECTIONS: u32 = 256;

/// The part of the descriptors that clients may take, as a divisor: a flood of connections must not stop scanning.
const CONNECTIONS_PART: u32 = 4;

/// Descriptors for everything else: the database, event loops, sweeps, look-ups and logs. Some 25 are always open.
const OTHERS: u32 = 64;

/// The part of the descriptors that is reserved for everything else if they are few, as a divisor.
const OTHERS_PART: u32 = 2;

/// The part of the connection table that probes in flight may take, as a divisor.
const IN_FLIGHT_PART: u32 = 8;

/// The minimum for any connection table, however small: a slow scan is better than none.
const LEAST_IN_FLIGHT: u32 = 16;
const LEAST_SILENT: NonZeroU32 = NonZeroU32::new(10).expect("ten is not zero");

/// The part of the connection table that is left to others, as a divisor. Once it is in use the kernel may drop
/// a SYN before it is on the wire, and reports nothing: silence means nothing until other entries expire.
const RESERVE_PART: u32 = 16;

impl SystemLimits {
    /// Raises the soft limit of descriptors to the hard one (a shell's 1024 is for programs that use
    /// `select`) and reads the rest.
    ///
    /// # Errors
    /// Fails if the limit of descriptors cannot be read. A missing /proc is no error; defaults replace it.
    pub fn raise_and_read() -> io::Result<Self> {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        // Refused in some sandboxes; the soft limit then applies.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
        Self::read()
    }

    /// Reads the limits without changing them.
    ///
    /// # Errors
    /// As [`SystemLimits::raise_and_read`].
    pub fn read() -> io::Result<Self> {
        let (descriptors, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
        let ports = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
        Ok(Self {
            descriptors: u32::try_from(descriptors).unwrap_or(u32::MAX),
            local_ports: local_ports(&ports.unwrap_or_default()),
            conntrack: Conntrack::read(Path::new("/proc/sys/net/netfilter")),
            cores: available_parallelism().map_or(1, usize::from),
        })
    }

    /// Returns how many clients may be connected at once, at least one.
    pub fn connections(&self) -> usize {
        usize::try_from(self.shares().0).unwrap_or(usize::MAX).max(1)
    }

    /// Returns the descriptors for clients' connections and for probes. The rest is reserved for everything else: the
    /// scan of a device that cannot ask the kernel which MAC answered there has nothing to store.
    fn shares(&self) -> (u32, u32) {
        let connections = MOST_CONNECTIONS.min(self.descriptors / CONNECTIONS_PART);
        let others = OTHERS.min(self.descriptors / OTHERS_PART);
        (connections, self.descriptors - connections - others)
    }

    /// Returns the part of these limits that the engine may use.
    ///
    /// A quarter of a small limit of descriptors is for probes (`ulimit -n 64` gives 16 sockets). Unanswered probes
    /// fill at most half of the free entries of the connection table. The table is read again while they do, and their
    /// own entries then count as taken, so that they settle at a third of what others leave. Answered probes are
    /// bounded only by their sockets: before their entries fill the table, all probes wait until entries expire.
    pub fn bounds(&self) -> Bounds {
        let (_, sockets) = self.shares();
        let tracked =
            self.conntrack.map_or(u32::MAX, |table| (table.max / IN_FLIGHT_PART).max(LEAST_IN_FLIGHT));
        Bounds {
            in_flight: sockets.min(tracked).min(MOST_IN_FLIGHT),
            silent: self.conntrack.map(Conntrack::silent_per_second),
            full: self.conntrack.is_some_and(Conntrack::is_full),
        }
    }
}

impl fmt::Display for SystemLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bounds = self.bounds();
        let (first, last) = (self.local_ports.start(), self.local_ports.end());
        write!(
            f,
            "{} descriptors, so {} sockets at once; local ports {first}-{last}; ",
            self.descriptors, bounds.in_flight
        )?;
        match (self.conntrack, bounds.silent) {
            (Some(Conntrack { max, count, .. }), Some(silent)) => {
                write!(f, "a connection table with {count} of {max}, so {silent} silent probes a second")
            }
            _ => f.write_str("no connection table"),
        }
    }
}

impl Conntrack {
    /// The table exists as soon as the module is loaded, but tracks connections only if a firewall has rules that
    /// require it; then at least the loopback's connections are in it.
    fn read(sysctls: &Path) -> Option<Self> {
        let number = |name| read(&sysctls.join(name));
        let (max, count) = (number("nf_conntrack_max")?, number("nf_conntrack_count")?);
        let silence = number("nf_conntrack_tcp_timeout_syn_sent").unwrap_or(120);
        (count > 0).then_some(Self { max, count, silence })
    }

    fn silent_per_second(self) -> NonZeroU32 {
        let entries = self.max.saturating_sub(self.count) / 2;
        NonZeroU32::new(entries / self.silence.max(1)).unwrap_or(LEAST_SILENT).max(LEAST_SILENT)
    }

    /// Whether it is so full that the kernel may drop new connections.
    pub fn is_full(self) -> bool {
        self.count >= self.max - self.max / RESERVE_PART
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

    fn bounds(descriptors: u32, conntrack: Option<(u32, u32)>) -> Bounds {
        let conntrack = conntrack.map(|(max, count)| Conntrack { max, count, silence: 120 });
        SystemLimits { descriptors, local_ports: 1..=2, conntrack, cores: 4 }.bounds()
    }

    #[test]
    fn descriptors_bound_the_sockets_and_leave_room() {
        let shares = |descriptors| {
            let limits = SystemLimits { descriptors, local_ports: 1..=2, conntrack: None, cores: 4 };
            (limits.connections(), limits.bounds().in_flight)
        };
        assert_eq!([1_048_576, 1024, 64, 1].map(shares), [(256, 4096), (256, 704), (16, 16), (1, 1)]);
    }

    #[test]
    fn silent_probes_fill_half_of_what_is_free_in_the_connection_table() {
        let limits = |max, count| {
            let Bounds { in_flight, silent, full } = bounds(20_000, Some((max, count)));
            (in_flight, silent.unwrap().get(), full)
        };
        // (65,536 - 500) / 2 over 120 s.
        assert_eq!(limits(65_536, 500), (4096, 270, false));
        // What Linux 6 gives a Pi of 1 GB.
        assert_eq!(limits(7_680, 100), (960, 31, false));
        assert_eq!(limits(65_536, 61_440), (4096, 17, true));
        assert_eq!(limits(65_536, 70_000), (4096, 10, true));
        assert_eq!(limits(0, 1), (16, 10, true));
        assert_eq!(bounds(20_000, None).silent, None);
    }

    #[test]
    fn a_connection_table_counts_once_it_is_used() {
        let sysctls = tempfile::tempdir().unwrap();
        let write = |name, value: &str| fs::write(sysctls.path().join(name), value).unwrap();
        let read = || Conntrack::read(sysctls.path());
        assert_eq!(read(), None);
        write("nf_conntrack_max", "65536\n");
        write("nf_conntrack_count", "0\n");
        assert_eq!(read(), None);
        write("nf_conntrack_count", "7\n");
        assert_eq!(read(), Some(Conntrack { max: 65_536, count: 7, silence: 120 }));
        write("nf_conntrack_tcp_timeout_syn_sent", "30\n");
        assert_eq!(read().unwrap().silence, 30);
        assert_eq!(read().unwrap().silent_per_second().get(), 1092);
    }

    #[test]
    fn reads_this_machine() {
        let limits = SystemLimits::raise_and_read().unwrap();
        assert_eq!(
            getrlimit(Resource::RLIMIT_NOFILE).unwrap().0,
            nix::libc::rlim_t::from(limits.descriptors)
        );
        assert!(limits.cores >= 1 && limits.bounds().in_flight >= 1);
        assert_eq!(local_ports("32768\t60999\n"), 32_768..=60_999);
        assert_eq!(local_ports("9 banana"), 32_768..=60_999);
    }

    #[test]
    fn are_described_in_one_line() {
        let table = Conntrack { max: 65_536, count: 500, silence: 120 };
        let limits =
            |conntrack| SystemLimits { descriptors: 1024, local_ports: 32_768..=60_999, conntrack, cores: 4 };
        assert_eq!(
            limits(Some(table)).to_string(),
            "1024 descriptors, so 704 sockets at once; local ports 32768-60999; a connection table with 500 of \
             65536, so 270 silent probes a second"
        );
        assert!(limits(None).to_string().ends_with("; no connection table"));
    }
}
