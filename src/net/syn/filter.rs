//! The kernel's filter: of all packets that this machine receives, only answers to SYNs from the reserved ports are
//! copied. It is coarse and only saves work; what is believed, `packet` decides.

use socket2::SockFilter;

use super::packet::{LONGEST, PortBlock};

/// `linux/bpf_common.h` and `linux/filter.h`: loads, of a byte or two, from the packet, from the packet at X, or the
/// length of the IPv4 header into X; arithmetic; jumps; ends.
const LOAD_BYTE: u16 = 0x30;
const LOAD_HALF: u16 = 0x28;
const LOAD_BYTE_AT_X: u16 = 0x50;
const LOAD_HALF_AT_X: u16 = 0x48;
const X_IS_HEADER_LENGTH: u16 = 0xb1;
const AND: u16 = 0x54;
const SHIFT_LEFT: u16 = 0x64;
const ADD_X: u16 = 0x0c;
const X_IS_A: u16 = 0x07;
const IF_EQUAL: u16 = 0x15;
const IF_ANY_SET: u16 = 0x45;
const RETURN: u16 = 0x06;

/// Where the program drops and where it accepts.
const DROP: u8 = 27;
const ACCEPT: u8 = 28;

/// The filter for answers to these ports. It sees a packet from its IPv4 header on, as a packet socket of the type
/// `SOCK_DGRAM` does.
pub(super) fn program(ports: PortBlock) -> [SockFilter; 29] {
    let (mask, first) = (u32::from(PortBlock::MASK), u32::from(ports.first()));
    let longest = u32::try_from(LONGEST).unwrap_or(u32::MAX);
    let load = |code, from| SockFilter::new(code, 0, 0, from);
    // Jumps count from the next instruction; here they are written as places.
    let jump = |place: u8, code, yes: u8, no: u8, value| {
        SockFilter::new(code, yes - place - 1, no - place - 1, value)
    };
    [
        load(LOAD_BYTE, 9),
        jump(1, IF_EQUAL, 2, 11, 6),
        // TCP, no fragment, ACK with SYN or RST, to one of our ports.
        load(LOAD_HALF, 6),
        jump(3, IF_ANY_SET, DROP, 4, 0x3fff),
        load(X_IS_HEADER_LENGTH, 0),
        load(LOAD_BYTE_AT_X, 13),
        jump(6, IF_ANY_SET, 7, DROP, 0x10),
        jump(7, IF_ANY_SET, 8, DROP, 0x06),
        load(LOAD_HALF_AT_X, 2),
        load(AND, mask),
        jump(10, IF_EQUAL, ACCEPT, DROP, first),
        // ICMP, destination unreachable, about TCP from one of our ports.
        jump(11, IF_EQUAL, 12, DROP, 1),
        load(LOAD_HALF, 6),
        jump(13, IF_ANY_SET, DROP, 14, 0x1fff),
        load(X_IS_HEADER_LENGTH, 0),
        load(LOAD_BYTE_AT_X, 0),
        jump(16, IF_EQUAL, 17, DROP, 3),
        load(LOAD_BYTE_AT_X, 17),
        jump(18, IF_EQUAL, 19, DROP, 6),
        load(LOAD_BYTE_AT_X, 8),
        load(AND, 0xf),
        load(SHIFT_LEFT, 2),
        load(ADD_X, 0),
        load(X_IS_A, 0),
        load(LOAD_HALF_AT_X, 8),
        load(AND, mask),
        jump(26, IF_EQUAL, ACCEPT, DROP, first),
        load(RETURN, 0),
        load(RETURN, longest),
    ]
}
