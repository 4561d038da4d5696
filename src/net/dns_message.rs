//! Builds DNS questions and parses answers (RFC 1035, 4) of multicast DNS.
//!
//! Written here because a library parses every record of a message, forty kinds of them, and allocates memory for
//! as many as its header claims: too much to expose to what any gadget may send. This parser reads four kinds of
//! records, never beyond the message, and follows no forward reference.

use std::{borrow::Cow, net::Ipv4Addr};

/// The length of a message's head.
const HEAD: usize = 12;

/// The bits of the flags: a response; the kind of query, usually 0; the error code.
const ANSWER: u16 = 0x8000;
const OPERATION: u16 = 0x7800;
const FAILURE: u16 = 0x000f;

/// The class IN. mDNS uses the first bit of a class for itself (RFC 6762, 10.2).
const IN: u16 = 1;
const CLASS: u16 = 0x7fff;

/// The longest name in octets, with a length before each label and a 0 at the end (RFC 1035, 3.1).
const NAME_MAX: usize = 255;

/// The longest label, in octets (RFC 1035, 2.3.4).
pub(super) const LABEL_MAX: usize = 63;

/// The most pairs of one TXT record, and the longest key and value in octets. A pair has 255 at most (RFC 6763, 6.1).
const MOST_PAIRS: usize = 32;
const KEY_MAX: usize = 32;

/// A kind of record that is asked for and read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(super) enum RecordKind {
    /// An address.
    A = 1,
    /// A name.
    Ptr = 12,
    /// Pairs of key and value.
    Txt = 16,
    /// A host and a port.
    Srv = 33,
}

/// A name as it is sent: each label after its length, a 0 at the end. Upper and lower case are alike.
#[derive(Clone, Debug, Eq)]
pub(super) struct DnsName(Vec<u8>);

/// One question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DnsQuestion {
    pub(super) name: DnsName,
    pub(super) kind: RecordKind,
}

/// A record of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DnsRecord {
    pub(super) owner: DnsName,
    pub(super) data: RecordData,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RecordData {
    A(Ipv4Addr),
    Ptr(DnsName),
    /// Keys without `=` have an empty value (RFC 6763, 6.4).
    Txt(Vec<(String, String)>),
    Srv {
        host: DnsName,
        port: u16,
    },
}

/// The sections of an answer.
pub(super) struct DnsAnswer {
    /// The questions, repeated.
    pub(super) questions: Vec<DnsQuestion>,
    /// The records of the kinds that are known here, the additional ones included.
    pub(super) records: Vec<DnsRecord>,
}

/// Builds a message with these questions.
pub(super) fn query(id: [u8; 2], questions: &[DnsQuestion]) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEAD + questions.len() * 40);
    message.extend(id);
    // No flags.
    message.extend([0, 0]);
    message.extend(u16::try_from(questions.len()).unwrap_or(u16::MAX).to_be_bytes());
    message.extend([0; 6]);
    for DnsQuestion { name, kind } in questions {
        message.extend(&name.0);
        message.extend([*kind as u16, IN].map(u16::to_be_bytes).concat());
    }
    message
}

/// Parses an answer to the query with this id, as far as it goes: at most `most` records are read, and what is malformed
/// ends it. `None` if it is no such answer.
pub(super) fn parse_answer(message: &[u8], id: [u8; 2], most: usize) -> Option<DnsAnswer> {
    let mut reader = Reader { message, at: 0 };
    let (own, flags) = (reader.number()?, reader.number()?);
    let [questions, counts @ ..] = [reader.number()?, reader.number()?, reader.number()?, reader.number()?];
    let in_order = flags & ANSWER != 0 && flags & (OPERATION | FAILURE) == 0;
    if own != u16::from_be_bytes(id) || !in_order || usize::from(questions) > most {
        return None;
    }
    let mut answer = DnsAnswer { questions: Vec::new(), records: Vec::new() };
    for _ in 0..questions {
        let (name, kind, class) = (reader.name()?, reader.number()?, reader.number()?);
        let kind = RecordKind::of(kind).filter(|_| class & CLASS == IN)?;
        answer.questions.push(DnsQuestion { name, kind });
    }
    let count: usize = counts.into_iter().map(usize::from).sum();
    for _ in 0..count.min(most) {
        let Some(record) = reader.record() else { break };
        answer.records.extend(record);
    }
    Some(answer)
}

impl RecordKind {
    fn of(number: u16) -> Option<Self> {
        [Self::A, Self::Ptr, Self::Txt, Self::Srv].into_iter().find(|kind| *kind as u16 == number)
    }
}

impl PartialEq for DnsName {
    fn eq(&self, other: &Self) -> bool {
        // Lengths are below the letters' codes.
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl DnsName {
    /// Makes a name of labels; `None` if it would be too long, or a label is empty or too long.
    pub(super) fn of<'a>(labels: impl IntoIterator<Item = &'a [u8]>) -> Option<Self> {
        let mut name = Vec::new();
        for label in labels {
            let length =
                u8::try_from(label.len()).ok().filter(|length| (1..=LABEL_MAX).contains(&(*length).into()));
            name.push(length?);
            name.extend(label);
        }
        name.push(0);
        (name.len() <= NAME_MAX).then_some(Self(name))
    }

    /// Returns the labels.
    pub(super) fn labels(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.0[..];
        std::iter::from_fn(move || {
            let (length, behind) = rest.split_first().filter(|(length, _)| **length != 0)?;
            let (label, behind) = behind.split_at(usize::from(*length).min(behind.len()));
            rest = behind;
            Some(label)
        })
    }

    /// Joins the labels by dots; `None` if a label has a dot itself: it is no host's.
    pub(super) fn joined(&self) -> Option<String> {
        let labels: Vec<Cow<'_, str>> = self.labels().map(String::from_utf8_lossy).collect();
        let is_plain = |label: &Cow<'_, str>| !label.contains('.');
        labels.iter().all(is_plain).then(|| labels.join("."))
    }
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

    /// Reads a name. A reference must lead to before all that was read of the name, so that there is an end to it; and
    /// labels that are read twice count twice towards the longest name.
    fn name(&mut self) -> Option<DnsName> {
        let mut name = Vec::new();
        let mut before = self.at;
        let mut behind = None;
        loop {
            match self.octet()? {
                0 => break,
                count @ 1..=63 => {
                    name.push(count);
                    name.extend(self.skip(usize::from(count))?);
                    if name.len() >= NAME_MAX {
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
        name.push(0);
        Some(DnsName(name))
    }

    /// Reads a record. `Some(None)`: it is of another kind, or its data is malformed; the next one follows.
    fn record(&mut self) -> Option<Option<DnsRecord>> {
        let owner = self.name()?;
        let (kind, class) = (self.number()?, self.number()? & CLASS);
        // The time to live.
        self.skip(4)?;
        let length = usize::from(self.number()?);
        let at = self.at;
        self.skip(length)?;
        let Some(kind) = RecordKind::of(kind).filter(|_| class == IN) else { return Some(None) };
        let data = Reader { message: &self.message[..self.at], at }.data(kind);
        Some(data.map(|data| DnsRecord { owner, data }))
    }

    /// Reads a record's data, which ends where the message of this reader does.
    fn data(&mut self, kind: RecordKind) -> Option<RecordData> {
        Some(match kind {
            RecordKind::A => {
                let octets: [u8; 4] = self.message.get(self.at..)?.try_into().ok()?;
                RecordData::A(octets.into())
            }
            RecordKind::Ptr => RecordData::Ptr(self.name()?),
            RecordKind::Srv => {
                // Priority and weight choose among several hosts, and here is only one.
                self.skip(4)?;
                let port = self.number()?;
                RecordData::Srv { host: self.name()?, port }
            }
            RecordKind::Txt => RecordData::Txt(self.pairs()),
        })
    }

    fn pairs(&mut self) -> Vec<(String, String)> {
        let mut pairs = Vec::new();
        while pairs.len() < MOST_PAIRS
            && let Some(length) = self.octet()
            && let Some(pair) = self.skip(usize::from(length))
        {
            let split = pair.iter().position(|octet| *octet == b'=').unwrap_or(pair.len());
            let (key, value) = (&pair[..split], pair.get(split + 1..).unwrap_or_default());
            let is_key = |key: &[u8]| key.iter().all(|octet| (0x20..0x7f).contains(octet));
            if (1..=KEY_MAX).contains(&key.len()) && is_key(key) {
                let [key, value] = [key, value].map(|text| String::from_utf8_lossy(text).into_owned());
                pairs.push((key, value));
            }
        }
        pairs
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: [u8; 2] = [0x12, 0x34];
    const MOST: usize = 8;

    fn name(text: &str) -> DnsName {
        DnsName::of(text.split('.').map(str::as_bytes)).unwrap()
    }

    /// An answer to one question, with a record of this kind and data for the name in the question.
    fn answered(kind: RecordKind, data: &[u8]) -> Vec<u8> {
        let mut message = query(ID, &[DnsQuestion { name: name("nas.local"), kind }]);
        (message[2], message[7]) = (0x84, 1);
        message.extend([0xc0, 12, 0, kind as u8, 0x80, 1, 0, 0, 0, 10]);
        message.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        message.extend(data);
        message
    }

    fn read(kind: RecordKind, data: &[u8]) -> Option<RecordData> {
        let answer = parse_answer(&answered(kind, data), ID, MOST)?;
        assert_eq!(answer.questions, [DnsQuestion { name: name("NAS.local"), kind }]);
        Some(answer.records.into_iter().next()?.data)
    }

    #[test]
    fn builds_questions() {
        let questions = [("_http._tcp.local", RecordKind::Ptr), ("nas.local", RecordKind::A)];
        let questions = questions.map(|(text, kind)| DnsQuestion { name: name(text), kind });
        let expected = b"\x12\x34\0\0\0\x02\0\0\0\0\0\0\x05_http\x04_tcp\x05local\0\0\x0c\0\x01\x03nas\x05local\0\0\x01\0\x01";
        assert_eq!(query(ID, &questions), expected);
    }

    #[test]
    fn reads_the_four_kinds_of_records() {
        assert_eq!(read(RecordKind::A, &[10, 0, 0, 5]), Some(RecordData::A(Ipv4Addr::new(10, 0, 0, 5))));
        let other = name("n.as.local");
        assert_eq!(read(RecordKind::Ptr, b"\x01N\x02as\xc0\x10"), Some(RecordData::Ptr(other)));
        let host = name("nas.local");
        assert_eq!(
            read(RecordKind::Srv, b"\0\0\0\0\x1f\x49\xc0\x0c"),
            Some(RecordData::Srv { host, port: 8009 })
        );
        let txt = read(RecordKind::Txt, b"\x0amd=A=b \xff\x00.\x04flag\x00\x02=x\x03\x01=y\x05cu");
        let pairs =
            [("md", "A=b \u{fffd}\0."), ("flag", "")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(txt, Some(RecordData::Txt(pairs.to_vec())));
    }

    #[test]
    fn malformed_data_is_skipped() {
        for (kind, data) in [
            (RecordKind::A, &b"\x0a\0\0"[..]),
            (RecordKind::A, b"\x0a\0\0\x05\0"),
            (RecordKind::Ptr, b""),
            (RecordKind::Srv, b"\0\0\0\0\x1f"),
            (RecordKind::Srv, b"\0\0\0\0\x1f\x49"),
            (RecordKind::Srv, b"\0\0\0\0\x1f\x49\xff\xff"),
        ] {
            assert_eq!(read(kind, data), None, "{kind:?} {data:?}");
        }
        // The next record is read all the same.
        let mut message = answered(RecordKind::A, b"\x0a");
        message[7] = 2;
        message.extend(b"\xc0\x0c\0\x01\0\x01\0\0\0\x0a\0\x04\x0a\0\0\x05");
        assert_eq!(parse_answer(&message, ID, MOST).unwrap().records.len(), 1);
    }

    #[test]
    fn a_bounded_number_of_records_and_pairs_is_read() {
        let mut message = answered(RecordKind::A, &[10, 0, 0, 5]);
        (message[6], message[7]) = (0xff, 0xff);
        for _ in 0..1000 {
            message.extend(b"\xc0\x0c\0\x01\0\x01\0\0\0\x0a\0\x04\x0a\0\0\x05");
        }
        assert_eq!(parse_answer(&message, ID, MOST).unwrap().records.len(), MOST);
        let Some(RecordData::Txt(pairs)) = read(RecordKind::Txt, &b"\x03k=v".repeat(16_000)) else {
            panic!()
        };
        assert_eq!(pairs.len(), MOST_PAIRS);
    }

    #[test]
    fn answers_to_other_queries_are_refused() {
        let good = answered(RecordKind::A, &[10, 0, 0, 5]);
        assert!(parse_answer(&good, ID, MOST).is_some());
        assert!(parse_answer(&good, [0x12, 0x35], MOST).is_none());
        // A question, another operation, a failure, many questions.
        for (at, octet) in [(2, 0x04), (2, 0x8c), (3, 0x83), (4, 1)] {
            let mut wrong = good.clone();
            wrong[at] = octet;
            assert!(parse_answer(&wrong, ID, MOST).is_none(), "octet {at}");
        }
    }

    #[test]
    fn endless_references_end() {
        let at = u8::try_from(answered(RecordKind::Ptr, b"").len()).unwrap();
        let to_itself = [0xc0, at];
        let forward = [0xc0, at + 2, 0];
        let in_circles = [3, b'n', b'a', b's', 0xc0, at];
        for data in [&to_itself[..], &forward, &in_circles, b"\x09nas", b"\x40nas\0", b""] {
            assert_eq!(read(RecordKind::Ptr, data), None, "{data:?}");
        }
        let long = [[&[63][..], &[b'x'; 63]].concat().repeat(4), vec![0]].concat();
        assert_eq!(read(RecordKind::Ptr, &long), None);
        // A chain of references, each a step back.
        let mut bomb = query(ID, &[]);
        (bomb[2], bomb[7]) = (0x84, 1);
        bomb.extend([0, 0, 12, 0, 1, 0, 0, 0, 10, 0x0f, 0xfe]);
        let first = bomb.len();
        bomb.extend(b"\x01x");
        while bomb.len() < first + 0x0ffe {
            let back = u16::try_from(bomb.len() - 2).unwrap() | 0xc000;
            bomb.extend(back.to_be_bytes());
        }
        assert!(parse_answer(&bomb, ID, MOST).unwrap().records.is_empty());
    }

    #[test]
    fn labels_may_have_dots_but_host_names_may_not() {
        let odd = DnsName::of([&b"a.b"[..], b"local"]).unwrap();
        assert_eq!(odd.joined(), None);
        assert_eq!(odd.labels().collect::<Vec<_>>(), [&b"a.b"[..], b"local"]);
        assert_eq!(name("nas.local").joined().as_deref(), Some("nas.local"));
        assert_eq!(DnsName::of([&b""[..]]), None);
        assert_eq!(DnsName::of([&[b'x'; 64][..]]), None);
        assert_eq!(DnsName::of([&[b'x'; 63][..]; 4]), None);
    }

    proptest! {
        #[test]
        fn nothing_is_read_beyond_the_end(
            kind in prop::sample::select(vec![RecordKind::A, RecordKind::Ptr, RecordKind::Txt, RecordKind::Srv]),
            data in prop::collection::vec(any::<u8>(), 0..80),
            changes in prop::collection::vec((0..120_usize, any::<u8>()), 0..6),
            length in 0..140_usize,
        ) {
            let mut message = answered(kind, &data);
            for (at, octet) in changes {
                if let Some(changed) = message.get_mut(at) {
                    *changed = octet;
                }
            }
            message.truncate(length);
            for record in parse_answer(&message, ID, MOST).into_iter().flat_map(|answer| answer.records) {
                prop_assert!(record.owner.0.len() <= NAME_MAX);
                // What was read can be sent.
                prop_assert_eq!(DnsName::of(record.owner.labels()), Some(record.owner.clone()));
            }
        }
    }
}
