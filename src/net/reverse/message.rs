//! Builds one DNS question and parses its answer (RFC 1035, 4).
//!
//! Written here because a library parses every record of a message, forty kinds of them, and allocates memory for
//! as many as its header claims: too much to expose to what any gadget may send. This parser reads one name, never
//! beyond the message, and follows no forward reference.

use std::net::Ipv4Addr;

/// The length of a message's head.
const HEAD: usize = 12;

/// The bits of the flags: a response; the kind of query, usually 0; the error code.
const ANSWER: u16 = 0x8000;
const OPERATION: u16 = 0x7800;
const FAILURE: u16 = 0x000f;

/// The record type PTR and the class IN. mDNS uses the first bit of a class for itself (RFC 6762, 10.2).
const PTR: u16 = 12;
const IN: u16 = 1;
const CLASS: u16 = 0x7fff;

/// The most records that are read in one answer: that of a single name has a few.
const MOST_RECORDS: u16 = 32;

/// The longest name in octets, with a length before each label and a 0 at the end (RFC 1035, 3.1).
const NAME_MAX: usize = 255;

/// Builds the question for the name of the host with this address.
pub(super) fn question(id: [u8; 2], address: Ipv4Addr) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEAD + 34);
    message.extend(id);
    // No flags, one question, nothing else.
    message.extend([0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in reversed(address) {
        message.push(u8::try_from(label.len()).unwrap_or(0));
        message.extend(label.as_bytes());
    }
    message.push(0);
    message.extend([PTR, IN].map(u16::to_be_bytes).concat());
    message
}

/// Returns the name in a message that answers the question; `None` if it is no such answer. Its labels are joined by
/// dots; nothing else of it is checked.
pub(super) fn answer(message: &[u8], id: [u8; 2], address: Ipv4Addr) -> Option<String> {
    let mut reader = Reader { message, at: 0 };
    let (own, flags) = (reader.number()?, reader.number()?);
    let [questions, answers, _, _] = [reader.number()?, reader.number()?, reader.number()?, reader.number()?];
    let in_order = flags & ANSWER != 0 && flags & (OPERATION | FAILURE) == 0;
    if own != u16::from_be_bytes(id) || !in_order || questions > 1 {
        return None;
    }
    // RFC 6762, 6.7, has the question repeated; some leave it out, but no other question is expected.
    for _ in 0..questions {
        let name = reader.name()?;
        if !is_of(&name, address) || reader.number()? != PTR || reader.number()? & CLASS != IN {
            return None;
        }
    }
    for _ in 0..answers.min(MOST_RECORDS) {
        let owner = reader.name()?;
        let (kind, class) = (reader.number()?, reader.number()? & CLASS);
        // The time to live.
        reader.skip(4)?;
        let length = usize::from(reader.number()?);
        let at = reader.at;
        reader.skip(length)?;
        if (kind, class) == (PTR, IN) && is_of(&owner, address) {
            return joined(&Reader { message: &message[..reader.at], at }.name()?);
        }
    }
    None
}

/// `5 0 77 10 in-addr arpa`
fn reversed(address: Ipv4Addr) -> impl Iterator<Item = String> {
    let octets = address.octets().into_iter().rev().map(|octet| octet.to_string());
    octets.chain(["in-addr", "arpa"].map(str::to_owned))
}

fn is_of(name: &[&[u8]], address: Ipv4Addr) -> bool {
    let mut labels = reversed(address);
    let same = name
        .iter()
        .all(|label| labels.next().is_some_and(|expected| label.eq_ignore_ascii_case(expected.as_bytes())));
    same && labels.next().is_none()
}

/// A label with a dot in it is no host's.
fn joined(labels: &[&[u8]]) -> Option<String> {
    let is_plain = |label: &&[u8]| !label.contains(&b'.');
    labels.iter().all(is_plain).then(|| String::from_utf8_lossy(&labels.join(&b'.')).into_owned())
}

/// The unread part of a message.
struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn octet(&mut self) -> Option<u8> {
        let octet = *self.message.get(self.at)?;
        self.at += 1;
        Some(octet)
    }

    fn number(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes([self.octet()?, self.octet()?]))
    }

    fn skip(&mut self, octets: usize) -> Option<&'a [u8]> {
        let skipped = self.message.get(self.at..self.at.checked_add(octets)?)?;
        self.at += octets;
        Some(skipped)
    }

    /// A name's labels. A reference must lead to before all that was read of the name, so that there is an end to
    /// it; and labels that are read twice count twice towards the longest name.
    fn name(&mut self) -> Option<Vec<&'a [u8]>> {
        let mut labels = Vec::new();
        let mut length = 0;
        let mut before = self.at;
        let mut behind = None;
        loop {
            match self.octet()? {
                0 => break,
                count @ 1..=63 => {
                    length += 1 + usize::from(count);
                    labels.push(self.skip(usize::from(count))?);
                    if length >= NAME_MAX {
                        return None;
                    }
                }
                high @ 0xc0.. => {
                    let to = usize::from(high & 0x3f) << 8 | usize::from(self.octet()?);
                    behind.get_or_insert(self.at);
                    if to >= before {
                        return None;
                    }
                    (self.at, before) = (to, to);
                }
                // Kinds of labels that were tried and given up (RFC 6891, 5).
                64..0xc0 => return None,
            }
        }
        self.at = behind.unwrap_or(self.at);
        Some(labels)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: [u8; 2] = [0x12, 0x34];
    const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 5);

    /// An answer to our question with a record of this data.
    fn answered(data: &[u8]) -> Vec<u8> {
        let mut message = question(ID, ADDRESS);
        (message[2], message[7]) = (0x84, 1);
        // Its owner: the name in the question.
        message.extend([0xc0, 12, 0, 12, 0x80, 1, 0, 0, 0, 10]);
        message.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        message.extend(data);
        message
    }

    fn named(data: &[u8]) -> Option<String> {
        answer(&answered(data), ID, ADDRESS)
    }

    #[test]
    fn the_question_has_the_address_in_reverse() {
        let expected =
            b"\x12\x34\0\0\0\x01\0\0\0\0\0\0\x015\x010\x0277\x0210\x07in-addr\x04arpa\0\0\x0c\0\x01";
        assert_eq!(question(ID, ADDRESS), expected);
    }

    #[test]
    fn reads_the_requested_name() {
        assert_eq!(named(b"\x03nas\x05local\0").as_deref(), Some("nas.local"));
        // The last label of the question, once more.
        assert_eq!(named(b"\x03nas\xc0\x1e").as_deref(), Some("nas.arpa"));
        assert_eq!(named(b"\x03n\xffs\0").as_deref(), Some("n\u{fffd}s"));
        // Another record before it, and no question.
        let mut message = b"\x12\x34\x84\0\0\0\0\x02\0\0\0\0".to_vec();
        message.extend(b"\x03nas\x05local\0\0\x01\0\x01\0\0\0\x0a\0\x04\x0a\x4d\0\x05");
        message.extend(&question(ID, ADDRESS)[HEAD..]);
        message.extend(b"\0\0\0\x0a\0\x02\xc0\x0c");
        assert_eq!(answer(&message, ID, ADDRESS).as_deref(), Some("nas.local"));
    }

    #[test]
    fn answers_to_other_questions_are_skipped() {
        let good = answered(b"\x03nas\0");
        assert!(answer(&good, ID, ADDRESS).is_some());
        assert_eq!(answer(&good, [0x12, 0x35], ADDRESS), None);
        assert_eq!(answer(&good, ID, Ipv4Addr::new(10, 77, 0, 6)), None);
        // A question, another operation, a failure, two questions, no answer, another kind, another class.
        for (at, octet) in [(2, 0x04), (2, 0x8c), (3, 0x83), (5, 2), (7, 0), (43, 1), (45, 3)] {
            let mut wrong = good.clone();
            wrong[at] = octet;
            assert_eq!(answer(&wrong, ID, ADDRESS), None, "octet {at}");
        }
    }

    #[test]
    fn endless_references_end() {
        let at = u8::try_from(answered(b"").len()).unwrap();
        let to_itself = [0xc0, at];
        let forward = [0xc0, at + 2, 0];
        let in_circles = [3, b'n', b'a', b's', 0xc0, at];
        let dotted = b"\x03n.s\0";
        let cut_off = b"\x09nas";
        for data in [&to_itself[..], &forward, &in_circles, dotted, cut_off, b"\x40nas\0", b""] {
            assert_eq!(named(data), None, "{data:?}");
        }
        let long = [[&[63][..], &[b'x'; 63]].concat().repeat(4), vec![0]].concat();
        assert_eq!(named(&long), None);
        // A chain of references, each a step back.
        let mut bomb = question(ID, ADDRESS);
        (bomb[2], bomb[7]) = (0x84, 1);
        bomb.extend([0xc0, 12, 0, 12, 0, 1, 0, 0, 0, 10, 0x0f, 0xfe]);
        let first = bomb.len();
        bomb.extend(b"\x01x");
        while bomb.len() < first + 0x0ffe {
            let back = u16::try_from(bomb.len() - 2).unwrap() | 0xc000;
            bomb.extend(back.to_be_bytes());
        }
        assert_eq!(answer(&bomb, ID, ADDRESS), None);
    }

    proptest! {
        #[test]
        fn nothing_is_read_beyond_the_end(
            data in prop::collection::vec(any::<u8>(), 0..80),
            changes in prop::collection::vec((0..120_usize, any::<u8>()), 0..6),
            length in 0..140_usize,
        ) {
            let mut message = answered(&data);
            for (at, octet) in changes {
                if let Some(changed) = message.get_mut(at) {
                    *changed = octet;
                }
            }
            message.truncate(length);
            let name = answer(&message, ID, ADDRESS);
            prop_assert!(name.is_none_or(|name| name.chars().count() < NAME_MAX));
        }
    }
}
