//! Finds the processes that hold a port of this machine, in the kernel's tables (proc_net(5), proc(5)).
//!
//! By `/proc` rather than by netlink's `sock_diag`: the process has to be looked for in `/proc` anyway, and containers
//! permit it more often.

use std::{
    collections::HashSet,
    fmt, fs,
    io::{self, BufRead, BufReader, Read},
};

use crate::model::one_line;

/// The kinds of sockets that hold a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortKind {
    /// A listening TCP socket.
    Tcp,
    /// A bound UDP socket.
    Udp,
}

/// What holds a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortHolder {
    /// The user that the socket belongs to.
    pub uid: u32,
    /// The process, by number and name; `None` if this user may not see it.
    pub process: Option<(u32, String)>,
}

/// A row of a table: a socket that holds the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct HoldingSocket {
    uid: u32,
    inode: u64,
}

/// Of a table; 150 octets a socket.
const MOST_BYTES: u64 = 32 << 20;

/// The most letters of a process's name, which is its own to choose; the kernel keeps 15.
const MOST_NAME: usize = 32;

/// `TCP_LISTEN` and `TCP_CLOSE` of the kernel's `net/tcp_states.h`, as the tables write them; a UDP socket without a
/// peer is in the latter state.
const LISTENING: &str = "0A";
const UNCONNECTED: &str = "07";

impl fmt::Display for PortHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.process {
            Some((pid, name)) => write!(f, "{} (process {pid})", one_line(name, MOST_NAME)),
            None => write!(f, "a process of the user {}", self.uid),
        }
    }
}

/// Returns what holds a port in this network namespace, in the order of process numbers. A process that this user may
/// not look into is named if it is the only one of the socket's user, as that of a service is.
///
/// # Errors
/// The tables cannot be read, as where `/proc` is not mounted.
pub fn port_holders(kind: PortKind, port: u16) -> io::Result<Vec<PortHolder>> {
    let (tables, state) = match kind {
        PortKind::Tcp => (["/proc/net/tcp", "/proc/net/tcp6"], LISTENING),
        PortKind::Udp => (["/proc/net/udp", "/proc/net/udp6"], UNCONNECTED),
    };
    let mut sockets = HashSet::new();
    for table in tables {
        match fs::File::open(table) {
            Ok(file) => {
                let lines = BufReader::new(file.take(MOST_BYTES)).lines().map_while(Result::ok);
                sockets.extend(lines.filter_map(|line| holding(&line, state, port)));
            }
            // A kernel without IPv6 has no such table.
            Err(error) if error.kind() == io::ErrorKind::NotFound && table.ends_with('6') => {}
            Err(error) => return Err(error),
        }
    }
    Ok(if sockets.is_empty() { Vec::new() } else { holders(&sockets) })
}

/// Reads a row of a table, if it is of a socket in this state at this port.
fn holding(line: &str, state: &str, port: u16) -> Option<HoldingSocket> {
    let mut fields = line.split_ascii_whitespace();
    let local = fields.nth(1)?;
    if u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()? != port || fields.nth(1)? != state {
        return None;
    }
    Some(HoldingSocket { uid: fields.nth(3)?.parse().ok()?, inode: fields.nth(1)?.parse().ok()? })
}

/// Finds the processes of sockets.
fn holders(sockets: &HashSet<HoldingSocket>) -> Vec<PortHolder> {
    let links: Vec<(String, HoldingSocket)> =
        sockets.iter().map(|socket| (format!("socket:[{}]", socket.inode), *socket)).collect();
    let mut missing = sockets.clone();
    let mut found = Vec::new();
    let all = processes();
    for (pid, _) in &all {
        let mut uid = None;
        for entry in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
            let Ok(target) = fs::read_link(entry.path()) else { continue };
            if let Some((_, socket)) = links.iter().find(|(link, _)| target.as_os_str() == link.as_str()) {
                missing.remove(socket);
                uid = Some(socket.uid);
            }
        }
        if let Some(uid) = uid {
            found.push(PortHolder { uid, process: Some((*pid, name(*pid))) });
        }
    }
    let users: HashSet<u32> = missing.iter().map(|socket| socket.uid).collect();
    for uid in users {
        let mut theirs = all.iter().filter(|(_, owner)| *owner == uid);
        let process = match (theirs.next(), theirs.next()) {
            (Some((pid, _)), None) => Some((*pid, name(*pid))),
            _ => None,
        };
        found.push(PortHolder { uid, process });
    }
    found.sort_by_key(|holder| (holder.process.as_ref().map(|(pid, _)| *pid), holder.uid));
    found
}

/// Every process that is visible, with its user, by number.
fn processes() -> Vec<(u32, u32)> {
    use std::os::unix::fs::MetadataExt;
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut all: Vec<(u32, u32)> = entries
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.metadata().ok()?.uid())))
        .collect();
    all.sort_unstable();
    all
}

fn name(pid: u32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    name.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};

    use super::*;

    #[test]
    fn reads_rows_of_the_kernels_tables() {
        let row = "   0: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000   109        0 23456 1 \
                   0000000000000000 100 0 0 10 0";
        assert_eq!(holding(row, LISTENING, 80), Some(HoldingSocket { uid: 109, inode: 23456 }));
        assert_eq!(holding(row, LISTENING, 81), None);
        assert_eq!(holding(row, UNCONNECTED, 80), None, "another state");
        let row6 = " 1: 00000000000000000000000000000000:14E9 00000000000000000000000000000000:0000 07 \
                    00000000:00000000 00:00000000 00000000  0 0 9 2 0 0";
        assert_eq!(holding(row6, UNCONNECTED, 5353), Some(HoldingSocket { uid: 0, inode: 9 }));
        let heading = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid";
        for line in ["", heading, "0: x:y z 0A", "0: 1:0050"] {
            assert_eq!(holding(line, LISTENING, 80), None, "{line}");
        }
    }

    #[test]
    fn finds_this_process_by_its_ports() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let socket = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
        let other = socket.local_addr().unwrap().port();
        for (kind, port) in [(PortKind::Tcp, port), (PortKind::Udp, other)] {
            let found = port_holders(kind, port).unwrap();
            let own = |holder: &PortHolder| {
                holder.process.as_ref().is_some_and(|(pid, _)| *pid == std::process::id())
            };
            assert!(found.iter().any(own), "{found:?}");
        }
        drop(listener);
        assert_eq!(port_holders(PortKind::Tcp, port).unwrap(), []);
    }

    #[test]
    fn a_name_from_outside_stays_one_line() {
        let shown = |name: &str| PortHolder { uid: 0, process: Some((7, name.to_owned())) }.to_string();
        assert_eq!(shown("nginx"), "nginx (process 7)");
        assert!(!shown("a\nb\u{1b}[31m").contains(['\n', '\u{1b}']));
        assert_eq!(PortHolder { uid: 109, process: None }.to_string(), "a process of the user 109");
    }
}
