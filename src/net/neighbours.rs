//! Whose hardware address answers at a neighbour's address, as the kernel found out itself.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
};

use crate::model::{Address, Mac};

/// The IPv4 neighbour table of the calling thread's network namespace (`proc_net(5)`).
const TABLE: &str = "/proc/thread-self/net/arp";

/// The table has at most 1,024 entries of about 80 bytes by default (`gc_thresh3` of arp(7)).
const MOST_BYTES: u64 = 1 << 20;

/// `ATF_COM` of `linux/if_arp.h`: the entry is complete.
const COMPLETE: u32 = 0x2;

/// The MAC that answers at this address, if it is a neighbour's and known; this machine's own addresses
/// have none here ([`Links::own_mac`](super::Links::own_mac) knows theirs).
///
/// Only IPv4: IPv6 neighbours are told by netlink alone, which comes later.
///
/// # Errors
/// The table cannot be read.
pub fn neighbour(address: &Address) -> io::Result<Option<Mac>> {
    match address.ipv4() {
        Some(_) => find(address, BufReader::new(File::open(TABLE)?.take(MOST_BYTES))),
        None => Ok(None),
    }
}

/// Lines are `IP address, HW type, Flags, HW address, Mask, Device`, after a heading.
fn find(address: &Address, table: impl BufRead) -> io::Result<Option<Mac>> {
    for line in table.lines() {
        let line = line?;
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [ip, _kind, flags, mac, ..] = fields[..] else { continue };
        let flags = flags.strip_prefix("0x").and_then(|flags| u32::from_str_radix(flags, 16).ok());
        let complete = flags.is_some_and(|flags| flags & COMPLETE != 0);
        let mac = mac.parse().ok().filter(|mac: &Mac| mac.is_unicast());
        if complete && mac.is_some() && ip.parse().ok().as_ref() == Some(address) {
            return Ok(mac);
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
IP address       HW type     Flags       HW address            Mask     Device
192.168.1.1      0x1         0x2         b8:27:eb:00:00:01     *        eth0
192.168.1.5      0x1         0x0         00:00:00:00:00:00     *        eth0
192.168.1.6      0x1         0x6         b8:27:eb:00:00:06     *        eth0
192.168.1.7      0x1         0x2         ff:ff:ff:ff:ff:ff     *        eth0
192.168.1.8      0x1
192.168.1.9      0x1         banana      b8:27:eb:00:00:09     *        eth0
192.168.1.10     0x1         0x0         b8:27:eb:00:00:10     *        eth1
192.168.1.10     0x1         0x2         b8:27:eb:00:00:11     *        eth0
";

    #[test]
    fn finds_only_complete_entries() {
        for (ip, mac) in [
            ("192.168.1.1", Some("B8:27:EB:00:00:01")),
            ("192.168.1.5", None),
            ("192.168.1.6", Some("B8:27:EB:00:00:06")),
            ("192.168.1.7", None),
            ("192.168.1.8", None),
            ("192.168.1.9", None),
            ("192.168.1.10", Some("B8:27:EB:00:00:11")),
            ("192.168.1.99", None),
        ] {
            let found = find(&ip.parse().unwrap(), TEXT.as_bytes()).unwrap();
            assert_eq!(found, mac.map(|mac| mac.parse().unwrap()), "{ip}");
        }
    }

    #[test]
    fn reads_the_kernels_table() {
        assert_eq!(neighbour(&"127.0.0.1".parse().unwrap()).unwrap(), None);
        assert_eq!(neighbour(&"::1".parse().unwrap()).unwrap(), None);
    }
}
