//! Splits a stream of bytes into packets.

use bytes::{Buf, Bytes, BytesMut};

use super::outgoing::LONGEST;

/// The packet type of PUBLISH.
const PUBLISH: u8 = 3;

/// One packet: its first byte, and what follows its length.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) first: u8,
    pub(super) body: Bytes,
}

/// Bytes that have arrived and are not read yet: at most one packet of the greatest length, and what came after its
/// end.
#[derive(Debug, Default)]
pub(super) struct Frames {
    pub(super) buffer: BytesMut,
    /// Bytes of a message that is too long to be kept, still to come.
    skip: usize,
}

impl Frames {
    /// Returns the next packet, if it has arrived completely.
    ///
    /// A message that is too long is skipped. Otherwise any client that may write to a topic could end the connection
    /// of every subscriber, because in version 3.1.1 a client cannot announce its limit. Any other packet of that
    /// length is an error.
    pub(super) fn next(&mut self) -> Result<Option<Frame>, &'static str> {
        loop {
            let skipped = self.skip.min(self.buffer.len());
            self.buffer.advance(skipped);
            self.skip -= skipped;
            if self.skip > 0 {
                return Ok(None);
            }
            let Some((&first, rest)) = self.buffer.split_first() else { return Ok(None) };
            let Some((length, digits)) = remaining_length(rest)? else { return Ok(None) };
            if first >> 4 == PUBLISH && length > LONGEST as usize {
                self.buffer.advance(1 + digits);
                self.skip = length;
                continue;
            }
            if length > LONGEST as usize {
                return Err("a packet is longer than any that is expected");
            }
            if self.buffer.len() < 1 + digits + length {
                return Ok(None);
            }
            self.buffer.advance(1 + digits);
            return Ok(Some(Frame { first, body: self.buffer.split_to(length).freeze() }));
        }
    }
}

/// Reads a variable byte integer of at most four bytes (1.5.5); returns its value and length.
pub(super) fn remaining_length(bytes: &[u8]) -> Result<Option<(usize, usize)>, &'static str> {
    let mut length = 0;
    for (index, &byte) in bytes.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some((length, index + 1)));
        }
    }
    if bytes.len() >= 4 { Err("a length has more than four bytes") } else { Ok(None) }
}
