//! Ports that this machine cannot ask, whatever it can else: a rule of its own firewall, say.

use std::collections::BTreeMap;

/// Faults in a row at one port after which it is given up, where fewer than one in five probes elsewhere
/// fails. By chance: one in 10^14.
const FAULTS: u8 = 20;
const FAULTY: u32 = 4;

/// The faults of one job, by place.
#[derive(Debug, Default)]
pub(super) struct Barred {
    rows: BTreeMap<u32, u8>,
    /// Faults, and probes that got out.
    faults: u32,
    got_out: u32,
    /// A port that was given up.
    port: Option<u16>,
}

impl Barred {
    /// A port that was given up, if one was.
    pub(super) const fn port(&self) -> Option<u16> {
        self.port
    }

    /// A probe got out.
    pub(super) fn got_out(&mut self, place: u32) {
        self.got_out = self.got_out.saturating_add(1);
        self.rows.remove(&place);
    }

    /// A probe did not. Whether the port is to be given up.
    pub(super) fn fault(&mut self, place: u32, port: u16) -> bool {
        self.faults = self.faults.saturating_add(1);
        let row = self.rows.entry(place).or_default();
        *row = row.saturating_add(1);
        let elsewhere = self.faults.saturating_sub((*row).into());
        let barred = *row >= FAULTS && elsewhere.saturating_mul(FAULTY) < self.got_out;
        self.port = self.port.or(barred.then_some(port));
        barred
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_port_among_many_is_given_up_and_a_machine_that_fails_is_not() {
        let mut barred = Barred::default();
        assert!((0..200).all(|_| !barred.fault(7, 80)), "nothing gets out at all");
        let mut barred = Barred::default();
        (0..100).for_each(|place| barred.got_out(place));
        assert!((1..20).all(|_| !barred.fault(7, 80)) && barred.fault(7, 80));
        assert_eq!(barred.port(), Some(80));
        let mut barred = Barred::default();
        (0..100).for_each(|place| barred.got_out(place));
        (10..40).for_each(|place| _ = barred.fault(place, 90));
        assert!((0..40).all(|_| !barred.fault(7, 80)), "others fail, too");
    }
}
