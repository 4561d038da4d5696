//! The minimal cost of a scan by SYNs: one thread, one packet socket, batches, and no decisions.
//!
//! It sends a SYN to every port, in order, reads what comes back, and asks once more what stayed silent. What a
//! scanner needs beyond this is the cost of its care. It is no recommendation: nothing is paced or checked, and it
//! finds only what a lossless, patient host has.

use std::{
    array,
    io::{IoSlice, IoSliceMut},
    net::Ipv4Addr,
    os::fd::AsRawFd,
    process::ExitCode,
    time::Duration,
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{LinkAddr, MsgFlags, MultiHeaders, bind, recvmmsg, sendmmsg},
};
use socket2::{Domain, Protocol, Socket, Type};
use std::os::fd::AsFd;
use testkit::{Mac, lab::namespace};

/// Frames sent by one system call, and read by one.
const SENT: usize = 64;
const READ: usize = 256;
/// Ethernet, IPv4 and TCP, without options.
const FRAME: usize = 54;
/// The local port, above those that Linux gives to others.
const PORT: u16 = 61_234;
const IPV4: u16 = 0x0800;
/// How long answers may take.
const PATIENCE: Duration = Duration::from_millis(300);

/// What to scan.
#[derive(clap::Args)]
pub struct Order {
    host: Ipv4Addr,
    mac: Mac,
    own: Ipv4Addr,
}

/// Scans, and prints `ADDRESS -> [PORT,PORT]`.
pub fn run(order: &Order) -> ExitCode {
    let link = namespace::link(namespace::INTERFACE);
    let socket =
        Socket::new(Domain::PACKET, Type::RAW.nonblocking(), Some(Protocol::from(i32::from(IPV4.to_be()))))
            .expect("CAP_NET_RAW");
    bind(socket.as_raw_fd(), &link).expect("the lab's interface");
    let mut open = Vec::new();
    let mut left: Vec<u16> = (1..=u16::MAX).collect();
    for _ in 0..2 {
        left = ask(order, &socket, &link, &left, &mut open);
    }
    open.sort_unstable();
    let ports: Vec<String> = open.iter().map(u16::to_string).collect();
    println!("{} -> [{}]", order.host, ports.join(","));
    ExitCode::SUCCESS
}

/// Asks these ports, and returns those that stayed silent.
fn ask(order: &Order, socket: &Socket, link: &LinkAddr, ports: &[u16], open: &mut Vec<u16>) -> Vec<u16> {
    let mut answered = vec![false; 65_536];
    for ports in ports.chunks(SENT) {
        let frames: [[u8; FRAME]; SENT] =
            array::from_fn(|at| ports.get(at).map_or([0; FRAME], |port| frame(order, link, *port)));
        let mut from = 0;
        while from < ports.len() {
            let slices: [[IoSlice<'_>; 1]; SENT] =
                array::from_fn(|at| [IoSlice::new(frames.get(from + at).unwrap_or(&frames[0]))]);
            let count = ports.len() - from;
            let mut headers = MultiHeaders::<()>::preallocate(count, None);
            let no_peer = [None; SENT];
            let sent = sendmmsg(
                socket.as_raw_fd(),
                &mut headers,
                &slices[..count],
                &no_peer[..count],
                [],
                MsgFlags::empty(),
            );
            match sent {
                Ok(sent) => from += sent.count(),
                Err(Errno::ENOBUFS | Errno::EAGAIN) => {}
                Err(error) => panic!("the floor gave way: {error}"),
            }
            hear(order, socket, &mut answered, open);
        }
    }
    let patience = PollTimeout::try_from(PATIENCE).expect("it fits");
    while ports.iter().any(|port| !answered[usize::from(*port)])
        && poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLIN)], patience).expect("a wait") > 0
    {
        hear(order, socket, &mut answered, open);
    }
    ports.iter().copied().filter(|port| !answered[usize::from(*port)]).collect()
}

/// Reads all that has arrived.
fn hear(order: &Order, socket: &Socket, answered: &mut [bool], open: &mut Vec<u16>) {
    loop {
        let mut buffers = [[0; FRAME]; READ];
        let mut slices = buffers.each_mut().map(|buffer| [IoSliceMut::new(buffer)]);
        let mut headers = MultiHeaders::<()>::preallocate(READ, None);
        let read = recvmmsg(socket.as_raw_fd(), &mut headers, slices.iter_mut(), MsgFlags::empty(), None);
        let messages = match read {
            Ok(messages) => messages,
            Err(Errno::EAGAIN) => return,
            Err(error) => panic!("the floor gave way: {error}"),
        };
        for message in messages {
            let Some(frame) = message.iovs().next().filter(|frame| frame.len() == FRAME) else { continue };
            let port = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
            if frame[26..30] != order.host.octets() || port(36) != PORT {
                continue;
            }
            answered[usize::from(port(34))] = true;
            // SYN and ACK.
            if frame[47] & 0x12 == 0x12 {
                open.push(port(34));
            }
        }
    }
}

fn frame(order: &Order, link: &LinkAddr, port: u16) -> [u8; FRAME] {
    let mut frame = [0; FRAME];
    let mut put = |at: usize, octets: &[u8]| frame[at..at + octets.len()].copy_from_slice(octets);
    put(0, &order.mac.octets());
    put(6, &link.addr().expect("an Ethernet interface"));
    put(12, &IPV4.to_be_bytes());
    put(14, &[0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6]);
    put(26, &order.own.octets());
    put(30, &order.host.octets());
    put(34, &PORT.to_be_bytes());
    put(36, &port.to_be_bytes());
    put(38, &[1, 2, 3, 4, 0, 0, 0, 0, 0x50, 2, 0xfa, 0xf0]);
    let sum = |octets: &[u8]| -> u32 {
        octets.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum()
    };
    let header = folded(sum(&frame[14..34]));
    frame[24..26].copy_from_slice(&header.to_be_bytes());
    let segment = folded(sum(&frame[26..54]) + 6 + 20);
    frame[50..52].copy_from_slice(&segment.to_be_bytes());
    frame
}

fn folded(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !u16::try_from(sum).expect("it was folded")
}
