//! A network and a mount namespace for the calling thread, with a wire to a namespace without a kernel that answers.

use std::{fs, path::Path, process::Command};

use ipnet::Ipv4Net;
use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
    net::if_::if_nametoindex,
    sched::{CloneFlags, unshare},
    sys::socket::LinkAddr,
    unistd::{Pid, gettid},
};

use crate::Mac;

/// The scanner's interface.
pub const INTERFACE: &str = "lan0";
/// The other end of the wire, in a namespace of its own where no kernel answers.
pub const FAR_END: &str = "wire";
/// The scanner's own MAC.
pub const SCANNER: Mac = Mac::new([2, 0, 0, 0, 0xff, 1]);

/// Moves the calling thread, and what it will start, into namespaces of its own.
///
/// Only the calling thread moves; existing threads and processes stay where they are.
pub fn enter() {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).unwrap_or_else(|e| panic!("{}", remedy(e)));
    // Mounts in here must not propagate to other namespaces.
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).expect("making mounts private");
    ip(&["link", "set", "lo", "up"]);
}

fn remedy(errno: Errno) -> String {
    format!(
        "the lab may not make a network namespace ({errno}). Run the tests as root, or by `make test`, which \
         enters a user namespace first; that needs user.max_user_namespaces > 0 and, on Debian and Ubuntu, \
         kernel.unprivileged_userns_clone = 1 and kernel.apparmor_restrict_unprivileged_userns = 0 (sysctl)"
    )
}

/// Moves the calling thread into an empty network namespace and says how to name it.
pub fn enter_far_end() -> Pid {
    unshare(CloneFlags::CLONE_NEWNET).unwrap_or_else(|e| panic!("{}", remedy(e)));
    gettid()
}

/// Creates the wire from here to the namespace of that thread.
pub fn lay_wire(scanner: Ipv4Net, far_end: Pid) {
    let (mac, far_end) = (SCANNER.to_lower(), far_end.to_string());
    ip(&[
        "link", "add", INTERFACE, "address", &mac, "type", "veth", "peer", "name", FAR_END, "netns", &far_end,
    ]);
    silence_ipv6(INTERFACE);
    ip(&[
        "addr",
        "add",
        &scanner.to_string(),
        "broadcast",
        &scanner.broadcast().to_string(),
        "dev",
        INTERFACE,
    ]);
    ip(&["link", "set", INTERFACE, "up"]);
}

/// Readies the far end, from within its namespace.
pub fn raise_far_end() {
    silence_ipv6(FAR_END);
    ip(&["link", "set", FAR_END, "arp", "off", "up"]);
}

/// Makes the far end a host, from within its namespace: its kernel answers by itself.
pub fn settle_far_end(address: Ipv4Net, mac: Mac) {
    silence_ipv6(FAR_END);
    ip(&["addr", "add", &address.to_string(), "dev", FAR_END]);
    ip(&["link", "set", FAR_END, "address", &mac.to_lower(), "up"]);
}

/// Mounts another text over a file, for the calling thread and what it starts; the file itself does not change. The
/// text's file must stay in place for as long.
pub fn replace(file: &str, with: &Path) {
    let with = with.canonicalize().expect("the text is there");
    mount(Some(&with), file, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .unwrap_or_else(|e| panic!("replacing {file}: {e}"));
}

/// Clears the neighbour table of the scanner's kernel.
pub fn forget_neighbours() {
    ip(&["neigh", "flush", "dev", INTERFACE]);
}

/// Router solicitations and the like do not come from the scanner.
fn silence_ipv6(interface: &str) {
    let setting = format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6");
    if fs::exists(&setting).unwrap_or(false) {
        fs::write(&setting, "1").unwrap_or_else(|e| panic!("{setting}: {e}"));
    }
}

/// The link-layer address of an interface of this thread's namespace, to bind a packet socket to.
pub fn link(name: &str) -> LinkAddr {
    let index = if_nametoindex(name).unwrap_or_else(|e| panic!("interface {name}: {e}"));
    nix::ifaddrs::getifaddrs()
        .expect("reading interfaces")
        .filter_map(|interface| interface.address?.as_link_addr().copied())
        .find(|link| u32::try_from(link.ifindex()) == Ok(index))
        .unwrap_or_else(|| panic!("interface {name} has no link-layer address"))
}

/// Runs `ip`, which must succeed.
pub fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().unwrap_or_else(|e| {
        panic!("the lab needs the `ip` command (apt install iproute2): {e}");
    });
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {}: {said}", arguments.join(" "));
}
