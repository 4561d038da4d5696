//! The thread at the far end of the wire: moves frames between a packet socket and the [`World`].

use std::{
    io::IoSliceMut,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

use nix::{
    cmsg_space,
    errno::Errno,
    poll::{PollFd, PollFlags, ppoll},
    sys::{
        socket::{
            AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind,
            getsockopt, recvmsg, send, setsockopt, socket, sockopt,
        },
        time::TimeSpec,
    },
    unistd::Pid,
};

use super::{namespace, record::Stall, world::World};
use crate::{Moment, clock::wall};

/// Doubled by the kernel (socket(7)): see `Lab::syns_per_second` for what it holds.
const RECEIVE_BUFFER: usize = 16 << 20;

/// The lab's time: nanoseconds since its start on the wall clock, which is the clock of the kernel's receive
/// stamps. A clock that is set while a test runs would break that test.
#[derive(Clone, Copy)]
pub(super) struct LabClock {
    start: Duration,
}

impl LabClock {
    fn start() -> Self {
        Self { start: wall() }
    }

    pub(super) fn now(&self) -> Moment {
        self.moment(wall())
    }

    fn moment(&self, wall: Duration) -> Moment {
        Moment::from_start(wall.saturating_sub(self.start))
    }
}

/// What the thread shares with the test.
pub(super) struct Shared {
    pub world: World,
    /// Frames that the kernel had to drop because the thread was too slow.
    pub drops: u32,
    /// Octets that the kernel queues for the thread, overhead included.
    pub buffer: usize,
    stop: bool,
}

/// The thread.
pub(super) struct Responder {
    pub clock: LabClock,
    shared: Arc<Mutex<Shared>>,
    thread: Option<JoinHandle<()>>,
}

impl Responder {
    /// Starts the thread in a network namespace of its own, has `connect` lay the wire to it, and returns
    /// when it listens.
    pub(super) fn start(world: World, connect: impl FnOnce(Pid)) -> Self {
        let clock = LabClock::start();
        let shared = Arc::new(Mutex::new(Shared { world, drops: 0, buffer: 0, stop: false }));
        let (arrived, arrival) = mpsc::channel();
        let (connected, connection) = mpsc::channel::<()>();
        let (listening, readiness) = mpsc::channel::<()>();
        let theirs = Arc::clone(&shared);
        let run = move || {
            arrived.send(namespace::enter_far_end()).expect("the test waits");
            connection.recv().expect("the test lays the wire");
            namespace::raise_far_end();
            let socket = listen();
            theirs.lock().expect("nobody has it yet").buffer =
                getsockopt(&socket, sockopt::RcvBuf).expect("reading the buffer's size");
            listening.send(()).expect("the test waits");
            respond(&socket, clock, &theirs);
        };
        let thread = thread::Builder::new().name("responder".into()).spawn(run).expect("starting a thread");
        connect(arrival.recv().expect("the responder starts"));
        connected.send(()).expect("the responder waits");
        readiness.recv().expect("the responder listens");
        Self { clock, shared, thread: Some(thread) }
    }

    pub(super) fn shared(&self) -> MutexGuard<'_, Shared> {
        // The thread that panicked has reported it; its data is still worth reading.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the thread has ended before its time.
    pub(super) fn is_gone(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.shared().stop = true;
        let ended = self.thread.take().map_or(Ok(()), JoinHandle::join);
        assert!(ended.is_ok() || thread::panicking(), "the lab's responder panicked; see above");
    }
}

/// A packet socket on one end of the wire.
pub(super) fn packet_socket(link: LinkAddr, receives: bool) -> OwnedFd {
    // Protocol 0 receives nothing (packet(7)): an end that only sends must not fill its buffer.
    let protocol = receives.then_some(SockProtocol::EthAll);
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)
        .expect("opening a packet socket");
    bind(socket.as_raw_fd(), &link).expect("binding the packet socket");
    socket
}

fn listen() -> OwnedFd {
    let socket = packet_socket(namespace::link(namespace::FAR_END), true);
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true).expect("time stamps");
    setsockopt(&socket, sockopt::RxqOvfl, &1).expect("counting drops");
    // Beyond net.core.rmem_max only for real root; in a user namespace that bound is what there is.
    setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER)
        .or_else(|_| setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER))
        .expect("a receive buffer");
    socket
}

fn respond(socket: &OwnedFd, clock: LabClock, shared: &Mutex<Shared>) {
    let mut buffer = vec![0; 65_536];
    let mut last = clock.now();
    loop {
        let next = {
            // Poisoned: the test has failed and reported it.
            let Ok(mut shared) = shared.lock() else { return };
            if shared.stop {
                return;
            }
            let from = std::mem::replace(&mut last, clock.now());
            if last.since(from) >= Stall::SHORTEST {
                shared.world.stalls.push(Stall { from, to: last });
            }
            receive(socket, clock, &mut buffer, &mut shared);
            while let Some(frame) = shared.world.arrived(clock.now()) {
                deliver(socket, &frame);
            }
            shared.world.next_arrival()
        };
        wait(socket, clock, next);
    }
}

/// The wire's queue may be full for a moment on a busy machine. Only a scenario may lose frames, so this frame and
/// those behind it wait.
fn deliver(socket: &OwnedFd, frame: &[u8]) {
    while let Err(fault) = send(socket.as_raw_fd(), frame, MsgFlags::empty()) {
        assert_eq!(fault, Errno::ENOBUFS, "sending a frame");
        thread::sleep(Duration::from_micros(100));
    }
}

/// Receives some of the frames that have arrived, few enough that answers do not wait behind requests.
fn receive(socket: &OwnedFd, clock: LabClock, buffer: &mut [u8], shared: &mut Shared) {
    for _ in 0..64 {
        let mut control = cmsg_space!(TimeSpec, u32);
        let mut parts = [IoSliceMut::new(buffer)];
        let flags = MsgFlags::MSG_DONTWAIT;
        let message = match recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags) {
            Ok(message) => message,
            Err(Errno::EAGAIN) => return,
            Err(e) => panic!("receiving a frame: {e}"),
        };
        let mut at = None;
        for control in message.cmsgs().expect("room for control messages") {
            match control {
                ControlMessageOwned::ScmTimestampns(stamp) => at = Some(Duration::from(stamp)),
                ControlMessageOwned::RxqOvfl(drops) => shared.drops = drops,
                _ => {}
            }
        }
        let length = message.bytes;
        let at = clock.moment(at.expect("the kernel stamps what it receives"));
        shared.world.receive(at, &buffer[..length]);
    }
}

/// Sleeps until a frame arrives or is due, but only briefly, so that the test can end.
fn wait(socket: &OwnedFd, clock: LabClock, next: Option<Moment>) {
    let longest = Duration::from_millis(20);
    let timeout = next.map_or(longest, |due| clock.now().until(due).min(longest));
    let mut polled = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    match ppoll(&mut polled, Some(TimeSpec::from_duration(timeout)), None) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(e) => panic!("waiting for a frame: {e}"),
    }
}
