//! One simulated device of the lab: translates between its behaviour and frames.

use std::collections::HashMap;

use super::{
    record::Record,
    wire::{self, Answer, Segment, TcpFlags},
};
use crate::{
    Moment,
    manners::{Manners, Reaction},
    scenario::{Host, Station},
};

/// A frame that a device sends, and when.
pub(super) type Due = (Moment, Vec<u8>);

/// ICMP codes of "destination unreachable" (RFC 792, RFC 1812).
const HOST_UNREACHABLE: u8 = 1;
const ADMIN_PROHIBITED: u8 = 13;

/// A device, and what was done to it.
pub(super) struct Device {
    pub station: Station,
    pub record: Record,
    pub manners: Manners,
    /// The sequence number that each connection expects next, by client port and port.
    expected: HashMap<(u16, u16), u32>,
}

/// The device's initial sequence number: constant, because the lab has no attacker and a constant reads well in
/// captures.
const INITIAL: u32 = 1_000_000;

impl Device {
    pub(super) fn new(host: Host, seed: u64) -> Self {
        let manners = Manners::new(host.behaviour, seed);
        Self { station: host.station, record: Record::default(), manners, expected: HashMap::new() }
    }

    /// A segment has left for the device, whether or not it will be heard.
    pub(super) fn sent(&mut self, at: Moment, segment: &Segment<'_>) {
        self.record.sent(at, segment);
        if segment.is_syn() {
            self.manners.asked(at);
        }
    }

    /// Lets the scenario's plan happen up to now; true: the address has just changed hands.
    pub(super) fn advance(&mut self, now: Moment) -> bool {
        let successor = self.manners.advance(now);
        self.station.mac = successor.unwrap_or(self.station.mac);
        successor.is_some()
    }

    pub(super) fn arp(&mut self, at: Moment, from: Station) -> Option<Due> {
        let heard = self.manners.hears(at)?;
        Some((self.manners.answers(heard)?, wire::arp_reply(self.station, from)))
    }

    pub(super) fn echo(&mut self, at: Moment, from: Station, message: &[u8]) -> Option<Due> {
        let heard = self.manners.hears(at)?;
        Some((self.manners.answers(heard)?, wire::echo_reply(self.station, from, message)))
    }

    /// A segment that was sent to the device's MAC and address.
    pub(super) fn tcp(&mut self, at: Moment, router: Station, segment: &Segment<'_>) -> Option<Due> {
        if segment.is_syn() {
            return self.syn(at, router, segment);
        }
        let heard = self.manners.hears(at)?;
        let pair = (segment.from_port, segment.to_port);
        let held = self.manners.holds(pair.0.into(), pair.1);
        let Some(expected) = self.expected.get_mut(&pair).filter(|_| held) else {
            let stray =
                Answer { flags: TcpFlags::RST, sequence: segment.acknowledgement, acknowledgement: 0 };
            return if segment.has(TcpFlags::RST) { None } else { self.reply(heard, segment, stray) };
        };
        if segment.has(TcpFlags::RST) {
            self.manners.release(pair.0.into(), pair.1);
            return None;
        }
        if segment.sequence == *expected {
            *expected = segment.next_sequence();
        }
        let acknowledgement = *expected;
        let sequence = INITIAL.wrapping_add(1);
        if segment.has(TcpFlags::FIN) {
            self.manners.release(pair.0.into(), pair.1);
            let flags = TcpFlags::FIN | TcpFlags::ACK;
            return self.reply(heard, segment, Answer { flags, sequence, acknowledgement });
        }
        if segment.payload == 0 {
            return None;
        }
        self.reply(heard, segment, Answer { flags: TcpFlags::ACK, sequence, acknowledgement })
    }

    fn syn(&mut self, at: Moment, router: Station, segment: &Segment<'_>) -> Option<Due> {
        let (due, reaction) = self.manners.syn(at, segment.from_port.into(), segment.to_port)?;
        let next = segment.next_sequence();
        let answer = match reaction {
            Reaction::Accepts => {
                self.expected.insert((segment.from_port, segment.to_port), next);
                self.record.accepted(segment);
                let flags = TcpFlags::SYN | TcpFlags::ACK;
                return Some((
                    due,
                    self.frame(segment, Answer { flags, sequence: INITIAL, acknowledgement: next }),
                ));
            }
            Reaction::Refuses => {
                let flags = TcpFlags::RST | TcpFlags::ACK;
                self.frame(segment, Answer { flags, sequence: 0, acknowledgement: next })
            }
            Reaction::Rejects => {
                wire::unreachable(self.station, segment.from, ADMIN_PROHIBITED, segment.quote)
            }
            Reaction::Unreachable => wire::unreachable(router, segment.from, HOST_UNREACHABLE, segment.quote),
        };
        self.record.refused(segment, due);
        Some((due, answer))
    }

    fn reply(&mut self, at: Moment, segment: &Segment<'_>, answer: Answer) -> Option<Due> {
        Some((self.manners.answers(at)?, self.frame(segment, answer)))
    }

    /// Answers come from the device's own MAC and address, not from those that the segment was sent to.
    fn frame(&self, segment: &Segment<'_>, answer: Answer) -> Vec<u8> {
        wire::segment(&Segment { to: self.station, ..*segment }, answer)
    }
}
