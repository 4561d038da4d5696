use pnet_packet::{ipv4::Ipv4Packet, tcp::TcpPacket};
use proptest::prelude::*;

use super::*;
use crate::model::Reason;

const PORTS: PortBlock = PortBlock::around(40_000);

fn tuple() -> Tuple {
    Tuple { own: [10, 0, 0, 1].into(), peer: [10, 0, 0, 7].into(), port: 443, way: 3 }
}

/// The peer's answer to this SYN, with these flags.
pub(in crate::net::syn) fn answer(sent: &[u8], flags: u8) -> Vec<u8> {
    let mut packet = sent[..40].to_vec();
    packet[2..4].copy_from_slice(&40_u16.to_be_bytes());
    packet[12..16].copy_from_slice(&sent[16..20]);
    packet[16..20].copy_from_slice(&sent[12..16]);
    packet[20..22].copy_from_slice(&sent[22..24]);
    packet[22..24].copy_from_slice(&sent[20..22]);
    let sequence = u32::from_be_bytes(sent[24..28].try_into().unwrap());
    packet[28..32].copy_from_slice(&sequence.wrapping_add(1).to_be_bytes());
    (packet[32], packet[33]) = (5 << 4, flags);
    packet
}

/// A router's error about this SYN.
fn icmp(sent: &[u8], code: u8) -> Vec<u8> {
    let mut packet = vec![0; 28];
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&56_u16.to_be_bytes());
    packet[9] = 1;
    packet[12..16].copy_from_slice(&[192, 0, 2, 1]);
    packet[16..20].copy_from_slice(&sent[12..16]);
    (packet[20], packet[21]) = (3, code);
    packet.extend(&sent[..28]);
    // As the kernel had filled it in.
    packet[30..32].copy_from_slice(&44_u16.to_be_bytes());
    packet
}

#[test]
fn a_syn_has_the_checksum_that_others_compute() {
    for (sent, flags) in [
        (syn(&tuple(), PORTS, &Secret::default()).to_vec(), 2),
        (rst(&Answer { tuple: tuple(), outcome: Outcome::SynAck, next: 77 }, PORTS).to_vec(), 4),
    ] {
        let ip = Ipv4Packet::new(&sent).unwrap();
        let tcp = TcpPacket::new(&sent[20..]).unwrap();
        let Tuple { own, peer, port, .. } = tuple();
        assert_eq!((ip.get_source(), ip.get_destination()), (own, peer));
        assert_eq!((tcp.get_source(), tcp.get_destination(), tcp.get_flags()), (40_003, port, flags));
        assert_eq!(tcp.get_checksum(), pnet_packet::tcp::ipv4_checksum(&tcp, &own, &peer));
    }
}

#[test]
fn reads_what_answers_a_syn() {
    let secret = Secret::default();
    let sent = syn(&tuple(), PORTS, &secret);
    let outcome = |packet: &[u8]| {
        let answer = read(packet, PORTS, &secret)?;
        assert_eq!(answer.tuple, tuple());
        Some(answer.outcome)
    };
    assert_eq!(outcome(&answer(&sent, 0x12)), Some(Outcome::SynAck));
    assert_eq!(outcome(&answer(&sent, 0x14)), Some(Outcome::Refused));
    assert_eq!(outcome(&icmp(&sent, 3)), Some(Outcome::Refused));
    assert_eq!(outcome(&icmp(&sent, 13)), Some(Outcome::Unreachable(Reason::AdminProhibited)));
    assert_eq!(outcome(&icmp(&sent, 1)), Some(Outcome::Unreachable(Reason::HostUnreach)));
    assert_eq!(outcome(&icmp(&sent, 4)), None);
    for flags in [0x02, 0x04, 0x10, 0x11, 0x16] {
        assert_eq!(outcome(&answer(&sent, flags)), None, "{flags:x}");
    }
    let mut padded = answer(&sent, 0x14);
    padded.extend([0; 6]);
    assert_eq!(outcome(&padded), Some(Outcome::Refused));
}

#[test]
fn believes_no_answer_of_another_address_port_or_number() {
    let secret = Secret::default();
    let sent = syn(&tuple(), PORTS, &secret);
    let whole = answer(&sent, 0x12);
    for at in [12, 15, 16, 19, 20, 21, 22, 23, 28, 29, 30, 31] {
        let mut packet = whole.clone();
        packet[at] ^= 1;
        assert_eq!(read(&packet, PORTS, &secret), None, "{at}");
    }
    assert_eq!(read(&whole, PORTS, &Secret::default()), None, "an answer to a SYN with another key");
    let whole = icmp(&sent, 13);
    // Its own destination, and what it quotes: addresses, ports, number. Whoever quotes may sit anywhere.
    for at in [16, 19, 40, 43, 44, 47, 48, 49, 50, 51, 52, 55] {
        let mut packet = whole.clone();
        packet[at] ^= 1;
        assert_eq!(read(&packet, PORTS, &secret), None, "{at}");
    }
    let mut fragment = answer(&sent, 0x12);
    fragment[6] = 0x20;
    assert_eq!(read(&fragment, PORTS, &secret), None);
}

proptest! {
    #[test]
    fn no_input_panics_or_is_believed_by_chance(packet in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(read(&packet, PORTS, &Secret::default()), None);
    }

    #[test]
    fn no_truncated_or_altered_answer_is_misread(
        cut in 0_usize..56, at in 0_usize..40, to: u8, flags in 0_u8..64, is_icmp: bool,
    ) {
        let secret = Secret::default();
        let sent = syn(&tuple(), PORTS, &secret);
        let mut packet = if is_icmp { icmp(&sent, 13) } else { answer(&sent, flags) };
        packet[at] = to;
        packet.truncate(cut);
        if let Some(answer) = read(&packet, PORTS, &secret) {
            prop_assert_eq!(answer.tuple, tuple());
        }
    }
}
