//! Networks for one test: two namespaces that are joined by a cable, a veth pair.

use std::{
    process::Command,
    sync::mpsc::{Receiver, Sender, channel},
    thread::{self, JoinHandle},
};

use nix::{
    sched::{CloneFlags, unshare},
    unistd::{Pid, gettid},
};

/// The far end of the cable, in its own network.
pub(super) struct FarEnd {
    ready: Sender<Pid>,
    link: Receiver<()>,
    end: Receiver<()>,
}

impl FarEnd {
    /// Waits until the interface `far` is there.
    pub(super) fn wait_for_cable(&self) {
        self.ready.send(gettid()).unwrap();
        self.link.recv().unwrap();
    }

    /// Signals that the far end is set up, and waits until the near end is done.
    pub(super) fn serve(&self) {
        self.ready.send(gettid()).unwrap();
        // It fails if the near end has panicked, which its thread reports.
        _ = self.end.recv();
    }
}

/// Runs two closures, each on a thread in a network of its own. `near` runs once `far` serves, with the interface
/// `near`; the processes that they start are in their networks, too.
pub(super) fn joined<F: Send + 'static, N: Send + 'static>(
    far: impl FnOnce(&FarEnd) -> F + Send + 'static,
    near: impl FnOnce() -> N + Send + 'static,
) -> (F, N) {
    let (ready, is_ready) = channel();
    let (linked, link) = channel();
    let (over, end) = channel();
    let far = in_own_network(move || far(&FarEnd { ready, link, end }));
    let near = in_own_network(move || {
        let peer = is_ready.recv().unwrap();
        ip(&format!("link add near type veth peer name far netns {peer}"));
        linked.send(()).unwrap();
        is_ready.recv().unwrap();
        ip("link set lo up");
        let result = near();
        over.send(()).unwrap();
        result
    });
    let near = near.join().unwrap();
    (far.join().unwrap(), near)
}

/// Runs a closure on a thread in a network of its own; the processes that it starts are in it, too.
pub(super) fn in_own_network<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET)
            .expect("a network of its own needs root, or `unshare --user --map-root-user cargo test`");
        run()
    })
}

/// Runs `ip` (iproute2) with these arguments, in the calling thread's network.
pub(super) fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().expect("iproute2 is installed");
    assert!(status.success(), "ip {arguments}");
}
