//! Ports that this machine cannot probe although it can probe others, for example because its own firewall blocks
//! them.

use std::collections::BTreeMap;

/// Local errors in a row at one port after which the port is given up, if fewer than one in five probes of other ports
/// fails. The probability that this happens by chance is one in 10^14.
const FAULTS: u8 = 20;
const FAULTY: u32 = 4;

/// The local errors of one job, by place.
#[derive(Debug, Default)]
pub(super) struct BlockedPorts {
    rows: BTreeMap<u32, u8>,
    /// Local errors, and probes that left.
    faults: u32,
    sent: u32,
    /// A port that was given up.
    port: Option<u16>,
}

impl BlockedPorts {
    /// A port that was given up, if one was.
    pub(super) const fn port(&self) -> Option<u16> {
        self.port
    }

    /// A probe left this machine.
    pub(super) fn note_sent(&mut self, place: u32) {
        self.sent = self.sent.saturating_add(1);
        self.rows.remove(&place);
    }

    /// Takes a local error of a probe. Returns whether the port must be given up.
    pub(super) fn note_fault(&mut self, place: u32, port: u16) -> bool {
        self.faults = self.faults.saturating_add(1);
        let row = self.rows.entry(place).or_default();
        *row = row.saturating_add(1);
        let elsewhere = self.faults.saturating_sub((*row).into());
        let blocked = *row >= FAULTS && elsewhere.saturating_mul(FAULTY) < self.sent;
        self.port = self.port.or(blocked.then_some(port));
        blocked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_up_one_port_among_many_but_none_where_all_fail() {
        let mut blocked = BlockedPorts::default();
        assert!((0..200).all(|_| !blocked.note_fault(7, 80)), "no probe leaves at all");
        let mut blocked = BlockedPorts::default();
        (0..100).for_each(|place| blocked.note_sent(place));
        assert!((1..20).all(|_| !blocked.note_fault(7, 80)) && blocked.note_fault(7, 80));
        assert_eq!(blocked.port(), Some(80));
        let mut blocked = BlockedPorts::default();
        (0..100).for_each(|place| blocked.note_sent(place));
        (10..40).for_each(|place| _ = blocked.note_fault(place, 90));
        assert!((0..40).all(|_| !blocked.note_fault(7, 80)), "other ports fail, too");
    }
}
