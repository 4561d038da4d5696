//! A LAN of several machines on one switch, each a kernel of its own, for tests of the traffic between them.

use std::{fs::File, net::Ipv4Addr, os::fd::OwnedFd, panic::resume_unwind, thread};

use ipnet::Ipv4Net;
use nix::{
    mount::{MsFlags, mount},
    net::if_::if_nametoindex,
    sched::{CloneFlags, setns, unshare},
    unistd::gettid,
};

use super::{Lab, namespace, turn::Turn};

/// The name of the interface at a machine's end of the cable.
pub const PORT: &str = "eth0";

/// The switch. The calling thread is on this LAN, too, and stays in its network, as in a [`Lab`]'s.
pub struct Switch {
    /// `None` if the lab has the turn.
    _turn: Option<Turn>,
}

/// A machine on it: a network, mounts and a /run of its own.
pub struct Node {
    network: OwnedFd,
    mounts: OwnedFd,
    address: Ipv4Addr,
}

impl Switch {
    /// Enters a LAN without machines; the calling thread gets this address.
    pub fn enter(address: &str) -> Self {
        Self::enter_in(Turn::shared(), address)
    }

    /// The same with the machine's cores to itself.
    pub fn enter_alone(address: &str) -> Self {
        Self::enter_in(Turn::alone(), address)
    }

    fn enter_in(turn: Turn, address: &str) -> Self {
        namespace::enter();
        raise(address);
        Self { _turn: Some(turn) }
    }

    /// Plugs the lab's wire into a switch, so that machines can join its devices; the thread that entered the lab
    /// gets this address.
    pub fn around(_: &Lab, address: &str) -> Self {
        namespace::ip(&["addr", "flush", "dev", namespace::INTERFACE]);
        raise(address);
        namespace::ip(&["link", "set", namespace::INTERFACE, "master", "switch"]);
        Self { _turn: None }
    }

    /// The cable for a machine that is emulated: the TAP interface that its emulator takes, and the next one after it.
    pub fn tap(&self) -> &'static str {
        let name = "to-emulator";
        if if_nametoindex(name).is_err() {
            namespace::ip(&["tuntap", "add", name, "mode", "tap"]);
            namespace::ip(&["link", "set", name, "master", "switch", "up"]);
        }
        name
    }

    /// Plugs in another machine with this address and length of prefix.
    pub fn plug(&self, address: &str) -> Node {
        let net: Ipv4Net = address.parse().expect("an address and its prefix");
        let cable = format!("to-{}", net.addr().octets()[3]);
        let here = gettid().to_string();
        let (network, mounts) = thread::scope(|scope| {
            let raise = scope.spawn(|| {
                namespace::enter();
                mount(None::<&str>, "/run", Some("tmpfs"), MsFlags::empty(), None::<&str>).expect("a /run");
                namespace::ip(&["link", "add", PORT, "type", "veth", "peer", "name", &cable, "netns", &here]);
                namespace::ip(&["addr", "add", address, "dev", PORT]);
                namespace::ip(&["link", "set", PORT, "up"]);
                ["net", "mnt"]
                    .map(|kind| File::open(format!("/proc/thread-self/ns/{kind}")).expect("it is here"))
            });
            let [network, mounts] = raise.join().unwrap_or_else(|panic| resume_unwind(panic));
            (network.into(), mounts.into())
        });
        namespace::ip(&["link", "set", &cable, "master", "switch", "up"]);
        Node { network, mounts, address: net.addr() }
    }
}

/// The switch and, as the test's own end of it, an address.
fn raise(address: &str) {
    namespace::ip(&["link", "add", "switch", "type", "bridge"]);
    namespace::ip(&["addr", "add", address, "dev", "switch"]);
    namespace::ip(&["link", "set", "switch", "up"]);
}

impl Node {
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Runs a closure on this machine: sockets and processes that it opens or starts belong to it.
    pub fn within<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let there = || {
            // A root directory that is shared with other threads cannot be moved.
            unshare(CloneFlags::CLONE_FS).expect("a thread may leave the others");
            setns(&self.mounts, CloneFlags::CLONE_NEWNS).expect("the machine's mounts");
            setns(&self.network, CloneFlags::CLONE_NEWNET).expect("the machine's network");
            act()
        };
        thread::scope(|scope| scope.spawn(there).join()).unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// `ip` with these arguments.
    pub fn ip(&self, arguments: &[&str]) {
        self.within(|| namespace::ip(arguments));
    }
}
