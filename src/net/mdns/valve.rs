//! Watches and shuts the sockets of mdns-sd, which does not hand them out.
//!
//! mdns-sd 0.21 reads until nothing is left to read, and only then handles commands. While more arrives than its
//! thread can read, it caches all of it, and can neither report how much that is nor be stopped. A filter that refuses
//! every datagram (`SO_ATTACH_FILTER`, socket(7)) has the kernel drop them before it.
//!
//! The sockets are found among this process's descriptors, and used by copies that the process sends to itself
//! (`SCM_RIGHTS`, unix(7)): the way to a descriptor's owned copy without unsafe code. `pidfd_getfd(2)` would be
//! shorter, but the service's filter of system calls does not let it pass.

use std::{
    collections::HashSet,
    fs,
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::{
        fd::{AsRawFd, OwnedFd, RawFd},
        unix::net::UnixDatagram,
    },
};

use futures_util::future::{pending, select_all};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use socket2::{SockFilter, SockRef, Socket, Type};
use tokio::{io::Interest, net::UdpSocket};

/// `BPF_RET | BPF_K` of `linux/bpf_common.h`: how much of a datagram passes; 0 drops it.
const RETURN: u16 = 0x06;

/// The datagram sockets that this process has on one port.
pub(super) struct Valve(Vec<UdpSocket>);

impl Valve {
    /// Finds the sockets that are on this port at the moment. Requires a runtime.
    ///
    /// # Errors
    /// Fails if /proc is missing, or if no descriptor is free for a copy.
    pub(super) fn on_port(port: u16) -> io::Result<Self> {
        let to_self = UnixDatagram::pair()?;
        let (mut sockets, mut known) = (Vec::new(), HashSet::new());
        for entry in fs::read_dir("/proc/self/fd")? {
            let entry = entry?;
            // A descriptor that has been closed since then is skipped.
            let Ok(target) = fs::read_link(entry.path()) else { continue };
            let number = entry.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok());
            let Some(number) = number.filter(|_| target.to_string_lossy().starts_with("socket:")) else {
                continue;
            };
            let Ok(Some(copy)) = copy_of(number, &to_self) else { continue };
            let socket = Socket::from(copy);
            let is_on_port = || Some(socket.local_addr().ok()?.as_socket()?.port() == port);
            let is_meant =
                socket.r#type().is_ok_and(|kind| kind == Type::DGRAM) && is_on_port() == Some(true);
            // mdns-sd has two descriptors of each: an arrival would be reported twice.
            if is_meant && known.insert(target) {
                // The mode of all copies, and mdns-sd's already.
                socket.set_nonblocking(true)?;
                sockets.push(UdpSocket::from_std(socket.into())?);
            }
        }
        Ok(Self(sockets))
    }

    /// Returns when a datagram has arrived since the last time that this returned, whether it has been read or not.
    pub(super) async fn arrival(&self) {
        let arrivals = self.0.iter().map(|socket| {
            Box::pin(async {
                // An error: the runtime is at its end.
                let Ok(()) = socket.readable().await else { return pending().await };
                // As if it had been read: the kernel reports the next arrival all the same (`EPOLLET`, epoll(7)).
                _ = socket.try_io(Interest::READABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
            })
        });
        match arrivals.collect::<Vec<_>>() {
            none if none.is_empty() => pending().await,
            arrivals => _ = select_all(arrivals).await,
        }
    }

    /// Makes the sockets receive nothing from now on. Data that the kernel has already queued can still be read.
    pub(super) fn shut(&self) -> io::Result<()> {
        self.0
            .iter()
            .try_for_each(|socket| SockRef::from(socket).attach_filter(&[SockFilter::new(RETURN, 0, 0, 0)]))
    }

    /// Makes the sockets receive again.
    pub(super) fn open(&self) -> io::Result<()> {
        self.0.iter().try_for_each(|socket| SockRef::from(socket).detach_filter())
    }
}

/// A copy of the descriptor with this number, if there is one.
fn copy_of(number: RawFd, (sender, receiver): &(UnixDatagram, UnixDatagram)) -> io::Result<Option<OwnedFd>> {
    let number = [number];
    let message = [ControlMessage::ScmRights(&number)];
    sendmsg::<()>(sender.as_raw_fd(), &[IoSlice::new(b"-")], &message, MsgFlags::empty(), None)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    recvmsg(receiver, &mut [IoSliceMut::new(&mut [0])], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let copies = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut copies) => copies.next(),
        _ => None,
    });
    Ok(copies.last())
}

#[cfg(test)]
mod tests {
    use std::{net::UdpSocket as StdSocket, time::Duration};

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_shut_socket_receives_nothing_until_it_is_opened() {
        let [shut, other, sender] = [(); 3].map(|()| StdSocket::bind("127.0.0.1:0").unwrap());
        for socket in [&shut, &other] {
            socket.set_nonblocking(true).unwrap();
        }
        let send = |to: &StdSocket| sender.send_to(b"x", to.local_addr().unwrap()).unwrap();
        let receives = |socket: &StdSocket| socket.recv(&mut [0]).is_ok();
        let valve = Valve::on_port(shut.local_addr().unwrap().port()).unwrap();
        assert_eq!(valve.0.len(), 1);
        valve.shut().unwrap();
        // On the loopback it has arrived, or not, when sending returns.
        send(&shut);
        send(&other);
        assert!(!receives(&shut) && receives(&other));
        valve.open().unwrap();
        send(&shut);
        assert!(receives(&shut));
        drop(valve);
        send(&shut);
        assert!(receives(&shut), "the copies alone are closed");
    }

    #[tokio::test]
    async fn reports_each_arrival_even_while_nothing_is_read() {
        let [watched, sender] = [(); 2].map(|()| StdSocket::bind("127.0.0.1:0").unwrap());
        let address = watched.local_addr().unwrap();
        let valve = Valve::on_port(address.port()).unwrap();
        let arrival = || timeout(Duration::from_millis(50), valve.arrival());
        assert!(arrival().await.is_err(), "nothing has arrived");
        for _ in 0..2 {
            sender.send_to(b"x", address).unwrap();
            arrival().await.expect("it has arrived");
            assert!(arrival().await.is_err(), "and is arrival once");
        }
    }

    #[tokio::test]
    async fn a_socket_with_two_descriptors_counts_once() {
        let socket = StdSocket::bind("127.0.0.1:0").unwrap();
        let _other = socket.try_clone().unwrap();
        assert_eq!(Valve::on_port(socket.local_addr().unwrap().port()).unwrap().0.len(), 1);
    }

    #[tokio::test]
    async fn a_port_without_sockets_has_nothing_to_shut() {
        let free = StdSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        assert!(Valve::on_port(free).unwrap().0.is_empty());
    }
}
