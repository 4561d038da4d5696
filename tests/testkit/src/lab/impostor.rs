//! A machine that claims addresses without a device by ARP, each time with another MAC.

use std::{net::Ipv4Addr, os::fd::AsRawFd, time::Duration};

use fastrand::Rng;
use ipnet::Ipv4Net;
use nix::sys::{
    socket::{MsgFlags, recv, send, setsockopt, sockopt},
    time::{TimeVal, TimeValLike},
};

use super::{PORT, namespace, responder::packet_socket, wire};
use crate::{Mac, scenario::Station};

/// Between two announcements, and the longest wait for a question.
const PAUSE: Duration = Duration::from_millis(10);

/// Answers every question for an address of `claimed`, and announces some unasked, a hundred a second; from the machine
/// in whose namespace it is called, as long as it is to.
pub fn claim_addresses(claimed: Ipv4Net, goes_on: impl Fn() -> bool) {
    let socket = packet_socket(namespace::link(PORT), true);
    let pause = TimeVal::milliseconds(i64::try_from(PAUSE.as_millis()).expect("short"));
    setsockopt(&socket, sockopt::ReceiveTimeout, &pause).expect("an option");
    let mut rng = Rng::with_seed(18);
    let mut buffer = [0; 2048];
    while goes_on() {
        let frame = match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            Ok(length) => match wire::read(&buffer[..length]) {
                wire::Received::Arp { from, asked } if claimed.contains(&asked) => {
                    wire::arp_reply(Station { mac: invent(&mut rng), ip: asked }, from)
                }
                _ => continue,
            },
            // Nothing was asked for as long as the pause.
            Err(_) => {
                let offset = rng.u32(1..(1 << (32 - claimed.prefix_len())) - 1);
                let ip = Ipv4Addr::from(u32::from(claimed.network()) + offset);
                wire::arp_announcement(Station { mac: invent(&mut rng), ip })
            }
        };
        // The link may be down for the moment.
        let _ = send(socket.as_raw_fd(), &frame, MsgFlags::empty());
    }
}

/// A locally administered MAC.
fn invent(rng: &mut Rng) -> Mac {
    let [a, b, c, d, ..] = rng.u64(..).to_be_bytes();
    Mac::new([6, 0, a, b, c, d])
}
