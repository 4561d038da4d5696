//! Reads the kernel's tables by netlink (rtnetlink(7)): sends requests and parses the answers.
//!
//! Few requests and few kinds of answers are needed; the crates for all of rtnetlink would be five more dependencies.

use std::{
    io,
    net::IpAddr,
    os::fd::{AsRawFd, OwnedFd},
};

use nix::{
    errno::Errno,
    libc,
    sys::socket::{
        AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, socket,
    },
};

/// The largest portion in which the kernel lists a table (`NLMSG_GOODSIZE` and what it grew to).
const BUFFER: usize = 32 * 1024;

/// `NLMSG_ERROR` and `NLMSG_DONE` of netlink(7), as wide as a message has them.
pub(super) const KIND_ERROR: u16 = 2;
pub(super) const KIND_DONE: u16 = 3;

/// Octets of `struct nlmsghdr`, and of an attribute's own head.
pub(super) const HEADER: usize = 16;
pub(super) const ATTRIBUTE: usize = 4;

/// Whether a request is for one entry or for the whole table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestScope {
    One,
    All,
}

/// A socket of the calling thread's network namespace.
#[derive(Debug)]
pub(super) struct Netlink {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

impl Netlink {
    /// Opens a socket for requests.
    pub(super) fn open() -> io::Result<Self> {
        let (kind, protocol) = (SockType::Raw, SockProtocol::NetlinkRoute);
        let socket = socket(AddressFamily::Netlink, kind, SockFlag::SOCK_CLOEXEC, protocol)?;
        Ok(Self { socket, buffer: vec![0; BUFFER] })
    }

    /// Opens a socket for the kernel's notifications to these groups (`RTMGRP_LINK` and the like).
    pub(super) fn listen(groups: u32) -> io::Result<Self> {
        let listener = Self::open()?;
        bind(listener.socket.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
        Ok(listener)
    }

    /// Sends a request, and passes the kind and body of every message of the answer to `take` until it returns true.
    pub(super) fn request(
        &mut self,
        kind: u16,
        scope: RequestScope,
        body: &[u8],
        mut take: impl FnMut(u16, &[u8]) -> bool,
    ) -> io::Result<()> {
        send(self.socket.as_raw_fd(), &question(kind, scope, body), MsgFlags::empty())?;
        loop {
            let length = recv(self.socket.as_raw_fd(), &mut self.buffer, MsgFlags::empty())?;
            let mut content = scope == RequestScope::One;
            let is_last = read(&self.buffer[..length], |kind, body| content |= take(kind, body))?;
            if is_last || content {
                return Ok(());
            }
        }
    }

    /// Passes on the pending notifications; does not wait. Returns false if the kernel dropped some for lack of room.
    pub(super) fn read_pending(&mut self, mut take: impl FnMut(u16, &[u8])) -> io::Result<bool> {
        loop {
            match recv(self.socket.as_raw_fd(), &mut self.buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(length) => _ = read(&self.buffer[..length], &mut take)?,
                Err(Errno::EAGAIN) => return Ok(true),
                Err(Errno::ENOBUFS) => return Ok(false),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

fn question(kind: u16, scope: RequestScope, body: &[u8]) -> Vec<u8> {
    let flags = match scope {
        RequestScope::One => libc::NLM_F_REQUEST,
        RequestScope::All => libc::NLM_F_REQUEST | libc::NLM_F_DUMP,
    };
    let mut message = u32::try_from(HEADER + body.len()).unwrap_or_default().to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend(u16::try_from(flags).unwrap_or_default().to_ne_bytes());
    message.resize(HEADER, 0);
    message.extend(body);
    message
}

/// Reads the messages of one portion; returns whether it was the last. Truncated messages are skipped.
pub(super) fn read(mut portion: &[u8], mut take: impl FnMut(u16, &[u8])) -> io::Result<bool> {
    while let Some((length, kind)) = header(portion) {
        let Some(body) = portion.get(HEADER..length) else { break };
        match kind {
            KIND_DONE => return Ok(true),
            KIND_ERROR => {
                let code = body.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
                return Err(Errno::from_raw(-code).into());
            }
            kind => take(kind, body),
        }
        portion = portion.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

fn header(message: &[u8]) -> Option<(usize, u16)> {
    let length = u32::from_ne_bytes(*message.first_chunk()?);
    let kind = u16::from_ne_bytes(*message.get(4..)?.first_chunk()?);
    usize::try_from(length).ok().filter(|length| *length >= HEADER).map(|length| (length, kind))
}

/// Returns the attributes of a message by kind and value; a truncated one ends them.
pub(super) fn attributes(mut octets: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(*octets.first_chunk()?));
        let kind = u16::from_ne_bytes(*octets.get(2..)?.first_chunk()?);
        let value = octets.get(ATTRIBUTE..length)?;
        octets = octets.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

pub(super) fn address(octets: &[u8]) -> Option<IpAddr> {
    match octets.len() {
        4 => octets.first_chunk::<4>().map(|octets| IpAddr::from(*octets)),
        16 => octets.first_chunk::<16>().map(|octets| IpAddr::from(*octets)),
        _ => None,
    }
}
