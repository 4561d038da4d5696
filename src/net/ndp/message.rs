//! The messages, without I/O.

use std::net::Ipv6Addr;

use crate::model::Mac;

/// All hosts of a link (RFC 4291, 2.7.1).
pub(super) const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// RFC 4443, 4.1 and 4.2; RFC 4861, 4.3 and 4.4: types of messages, and of the options that carry a MAC.
const ECHO_REQUEST: u8 = 128;
const ECHO_REPLY: u8 = 129;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const SOURCE_MAC: u8 = 1;
const TARGET_MAC: u8 = 2;

/// The flag of a solicited advertisement, as opposed to one sent to all nodes.
const IS_ANSWER: u8 = 0x40;

/// Octets of a solicitation and an advertisement before their options, of an option with a MAC, and of an echo request.
/// Options count in units of eight.
const HEAD: usize = 24;
const OPTION: usize = 8;
const ECHO: usize = 8;

/// A reply to this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::net) enum NdpReply {
    /// A solicited advertisement: this station says that it has the address.
    Advertised(Ipv6Addr, Mac),
    /// The echo reply of the host at this link-local address.
    Echoed(Ipv6Addr),
}

/// The group that every holder of the address is in (RFC 4291, 2.7.1).
pub(super) fn solicited_node(asked: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = asked.octets();
    Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c])
}

/// Builds a solicitation for `asked`, to be answered to `mac`. The kernel fills in the checksum.
pub(super) fn solicitation(mac: Mac, asked: Ipv6Addr) -> [u8; HEAD + OPTION] {
    let mut message = [0; HEAD + OPTION];
    message[0] = SOLICITATION;
    message[8..HEAD].copy_from_slice(&asked.octets());
    message[HEAD..HEAD + 2].copy_from_slice(&[SOURCE_MAC, 1]);
    message[HEAD + 2..].copy_from_slice(&mac.octets());
    message
}

/// Builds an echo request. The kernel fills in the checksum.
pub(super) const fn echo_request(identifier: u16) -> [u8; ECHO] {
    let [high, low] = identifier.to_be_bytes();
    [ECHO_REQUEST, 0, 0, 0, high, low, 0, 0]
}

/// Reads a reply: an advertisement, or the answer of a host on this link to an echo request with this identifier.
pub(super) fn read(message: &[u8], from: Ipv6Addr, identifier: u16) -> Option<NdpReply> {
    match *message {
        [ECHO_REPLY, 0, _, _, high, low, ..] if u16::from_be_bytes([high, low]) == identifier => {
            from.is_unicast_link_local().then_some(NdpReply::Echoed(from))
        }
        [ADVERTISEMENT, 0, _, _, flags, ..] if flags & IS_ANSWER != 0 => advertised(message),
        _ => None,
    }
}

/// Returns the address that an advertisement is about, and the MAC that it names.
fn advertised(message: &[u8]) -> Option<NdpReply> {
    let about = Ipv6Addr::from(*message.get(8..HEAD)?.first_chunk()?);
    let mut options = message.get(HEAD..)?;
    while let [kind, units, ..] = *options {
        let option = options.get(..usize::from(units) * OPTION).filter(|option| !option.is_empty())?;
        if kind == TARGET_MAC && units == 1 {
            let mac = option.get(2..)?.try_into().ok().map(Mac::new)?;
            return mac.is_unicast().then_some(NdpReply::Advertised(about, mac));
        }
        options = options.get(option.len()..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ASKED: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0x1234, 0x5678);
    const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 7];
    const OTHER_HOST: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 7);

    const IDENTIFIER: u16 = 0x1234;

    fn heard(message: &[u8]) -> Option<NdpReply> {
        read(message, OTHER_HOST, IDENTIFIER)
    }

    fn answer() -> Vec<u8> {
        let mut message = solicitation(Mac::new(OTHER), ASKED).to_vec();
        (message[0], message[4], message[HEAD]) = (136, 0x60, 2);
        message
    }

    #[test]
    fn a_solicitation_has_the_format_of_rfc_4861() {
        let hex: String =
            solicitation(Mac::new(OTHER), ASKED).iter().map(|octet| format!("{octet:02x}")).collect();
        let expected = "87 00 0000 00000000 fe800000000000000000000012345678 01 01 020000000007";
        assert_eq!(hex, expected.replace(' ', ""));
        assert_eq!(solicited_node(ASKED).to_string(), "ff02::1:ff34:5678");
        assert_eq!(heard(&solicitation(Mac::new(OTHER), ASKED)), None, "a question is no answer");
    }

    #[test]
    fn an_advertisement_names_the_mac_after_other_options() {
        assert_eq!(heard(&answer()), Some(NdpReply::Advertised(ASKED, Mac::new(OTHER))));
        let mut longer = answer();
        longer.splice(HEAD..HEAD, [14, 2].into_iter().chain([0; 14]));
        assert_eq!(heard(&longer), Some(NdpReply::Advertised(ASKED, Mac::new(OTHER))));
    }

    #[test]
    fn other_messages_are_dropped() {
        for (at, octet, why) in [
            (0, 134, "a router's advertisement"),
            (1, 1, "an unknown code"),
            (4, 0x20, "unsolicited"),
            (HEAD, 1, "another option"),
            (HEAD + 1, 0, "an option without a length"),
            (HEAD + 1, 2, "a longer MAC"),
            (HEAD + 2, 3, "a group's MAC"),
        ] {
            let mut message = answer();
            message[at] = octet;
            assert_eq!(heard(&message), None, "{why}");
        }
        assert!((0..HEAD + OPTION).all(|length| heard(&answer()[..length]).is_none()));
    }

    #[test]
    fn an_echo_reply_counts_if_it_is_ours_and_comes_from_this_link() {
        let mut reply = echo_request(IDENTIFIER);
        assert_eq!(heard(&reply), None, "a request");
        reply[0] = 129;
        assert_eq!(heard(&reply), Some(NdpReply::Echoed(OTHER_HOST)));
        assert_eq!(read(&reply, "2001:db8::7".parse().unwrap(), IDENTIFIER), None, "from elsewhere");
        assert_eq!(read(&reply, OTHER_HOST, IDENTIFIER + 1), None, "to another program");
    }

    proptest! {
        #[test]
        fn no_message_makes_it_panic(mut message in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = heard(&message);
            message.splice(..message.len().min(HEAD), answer()[..HEAD].iter().copied());
            let _ = heard(&message);
        }
    }
}
