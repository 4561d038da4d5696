//! A machine that sends arbitrary answers by multicast DNS (RFC 6762).

use std::{
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use socket2::SockRef;

use crate::lab::Node;

const GROUP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(224, 0, 0, 251), 5353);

/// Answers the questions that it is interested in.
pub struct Liar {
    socket: Arc<UdpSocket>,
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

/// A received question: the name in octets, and whether it is a probe by a machine that wants the name (8.1).
pub struct Question {
    pub name: Vec<u8>,
    pub is_probe: bool,
}

impl Liar {
    /// Starts on this machine; the answers that `lie` returns for a question are multicast.
    pub fn start(machine: &Node, lie: impl Fn(&Question) -> Vec<Vec<u8>> + Send + 'static) -> Self {
        let address = machine.address();
        let socket = machine.within(|| {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 5353)).expect("nobody else is here");
            socket.join_multicast_v4(GROUP.ip(), &address).expect("a network");
            SockRef::from(&socket).set_multicast_if_v4(&address).expect("its own address");
            socket
        });
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("an option");
        let (socket, stop, answered) =
            (Arc::new(socket), Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (theirs, ends, count) = (Arc::clone(&socket), Arc::clone(&stop), Arc::clone(&answered));
        let thread = thread::spawn(move || {
            let mut buffer = [0; 9000];
            while !ends.load(Ordering::Relaxed) {
                let Ok(length) = theirs.recv(&mut buffer) else { continue };
                for packet in Question::read(&buffer[..length]).iter().flat_map(&lie) {
                    theirs.send_to(&packet, GROUP).expect("the network is there");
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Self { socket, stop, answered, thread: Some(thread) }
    }

    /// Multicasts an unsolicited answer.
    pub fn say(&self, packet: &[u8]) {
        self.socket.send_to(packet, GROUP).expect("the network is there");
    }

    /// How many answers it has sent.
    pub fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map_or(Ok(()), JoinHandle::join);
        assert!(ended.is_ok() || thread::panicking(), "the liar's thread panicked; see above");
    }
}

impl Question {
    /// Parses the questions of a packet; empty if it is no query.
    fn read(packet: &[u8]) -> Vec<Self> {
        let [_, _, flags, _, _, questions, _, _, _, authorities, ..] = *packet else { return Vec::new() };
        let mut asked = Vec::new();
        let mut at = 12;
        for _ in 0..if flags & 0x80 == 0 { questions } else { 0 } {
            let Some((name, end)) = read_name(packet, at) else { break };
            asked.push(Self { name, is_probe: authorities > 0 });
            // The kind and the class.
            at = end + 4;
        }
        asked
    }

    pub fn is_for(&self, text: &str) -> bool {
        self.name == name(text)
    }
}

/// Returns the name that begins at this position, expanded, and the position of its end; a repeated name is
/// compressed to a pointer (RFC 1035, 4.1.4).
fn read_name(packet: &[u8], mut at: usize) -> Option<(Vec<u8>, usize)> {
    let (mut name, mut end) = (Vec::new(), None);
    loop {
        let length = *packet.get(at)?;
        if length & 0xc0 == 0xc0 {
            end = end.or(Some(at + 2));
            let before = usize::from(length & 0x3f) << 8 | usize::from(*packet.get(at + 1)?);
            at = Some(before).filter(|before| *before < at)?;
            continue;
        }
        let next = at + 1 + usize::from(length);
        name.extend(packet.get(at..next)?);
        at = next;
        if length == 0 {
            return Some((name, end.unwrap_or(at)));
        }
    }
}

/// A name in octets (RFC 1035, 3.1), each label of at most 63.
pub fn name(text: &str) -> Vec<u8> {
    let labels = text.split('.').flat_map(|label| {
        let length = u8::try_from(label.len()).expect("a label");
        [length].into_iter().chain(label.bytes())
    });
    labels.chain([0]).collect()
}

/// A record: class IN, the only one of its name and kind, good for two minutes.
pub fn record(name: &[u8], kind: u16, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).expect("a record");
    let mut record = name.to_vec();
    record.extend(kind.to_be_bytes());
    record.extend([0x80, 1, 0, 0, 0, 120]);
    record.extend(length.to_be_bytes());
    record.extend(data);
    record
}

/// Makes an answer with these records.
pub fn answer(records: &[Vec<u8>]) -> Vec<u8> {
    let count = u16::try_from(records.len()).expect("not so many").to_be_bytes();
    let mut packet = vec![0, 0, 0x84, 0, 0, 0, count[0], count[1], 0, 0, 0, 0];
    packet.extend(records.concat());
    packet
}

/// A host's address.
pub fn address(name_of: &str, address: [u8; 4]) -> Vec<u8> {
    record(&name(name_of), 1, &address)
}
