//! What a kernel counts and lists of its TCP, from the files of `/proc/net` (`proc_net(5)`).

/// A counter of TCP in the text of `snmp`; its names are those of RFC 4022.
pub fn tcp_counter(snmp: &str, name: &str) -> u64 {
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, values) = (lines.next().expect("names"), lines.next().expect("values"));
    let mut counters = names.split(' ').zip(values.split(' '));
    let (_, value) = counters.find(|(known, _)| *known == name).expect("a counter that there is");
    value.parse().expect("a number")
}

/// The sockets in this state in the text of `tcp`, in the kernel's hexadecimal: `03` is half open.
pub fn sockets_in_state(tcp: &str, state: &str) -> usize {
    tcp.lines().skip(1).filter(|line| line.split_whitespace().nth(3) == Some(state)).count()
}
