//! Detects hosts that limit their refusals. The BSDs and macOS send 200 to 250 RSTs a second and suppress the rest
//! (`net.inet.icmp.icmplim`, icmp(4)), so most closed ports are silent in a fast scan, and different ones in every
//! scan. Waiting for each of 65,535 refusals would take five minutes.
//!
//! Three observations together identify such a host: some ports refuse while many are silent; open ports answer at once
//! all the while, so nothing on the path drops packets (a policer does, and the probes that it drops may be for open
//! ports); and of the silent ports, probed slowly, nearly all refuse.

/// Fewer refusals than these may be a few closed ports for which a firewall has a hole.
const SOME: u32 = 16;

/// If more than one in this many probes is unanswered, that is more than loss.
const MANY: u32 = 8;

/// Silent ports that are probed slowly as a sample: half a second's worth.
const SAMPLE: u32 = 64;

/// One in this many probes of the sample may stay unanswered because of loss.
const EXCEPTIONS: u32 = 20;

/// The limit is recognised only if at least one of so many of the job's ports is left to be explained by it. At up to 9
/// % loss each way fewer ports are silent twice by chance, and those are probed again.
const WORTH: u32 = 32;

/// Connections to open ports while a limit is suspected: enough to decide, and few for a service that logs each.
pub(super) const WITNESSES: u32 = 24;
const LEAST_WITNESSES: u32 = 8;

/// What one job has observed.
#[derive(Debug, Default)]
pub(super) struct Limited {
    looks: u32,
    refused: u32,
    silent: u32,
    witnesses: u32,
    lost_witnesses: u32,
    recognised: bool,
}

/// What the sample shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sample {
    /// Too little yet, or nothing conclusive.
    Open,
    /// The silent ports are closed.
    Limited,
    /// The silent ports are silent for another reason.
    Silent,
}

impl Limited {
    /// Counts the reply to a probe.
    pub(super) fn note_look(&mut self, refused: bool, silent: bool) {
        self.looks += 1;
        self.refused += u32::from(refused);
        self.silent += u32::from(silent);
    }

    /// Counts another probe of an open port, made because a limit is suspected.
    pub(super) fn note_witness(&mut self, lost: bool) {
        self.witnesses += 1;
        self.lost_witnesses += u32::from(lost);
    }

    /// Whether some ports refuse while many are silent.
    pub(super) const fn is_suspected(&self) -> bool {
        !self.recognised && self.refused >= SOME && self.silent.saturating_mul(MANY) > self.looks
    }

    /// Whether another reply of an open port would help to decide.
    pub(super) const fn wants_witness(&self) -> bool {
        self.is_suspected() && self.witnesses < WITNESSES
    }

    /// Whether only refusals are missing, as far as the replies of open ports show.
    pub(super) const fn is_credible(&self) -> bool {
        self.is_suspected()
            && self.witnesses >= LEAST_WITNESSES
            && self.lost_witnesses.saturating_mul(MANY) <= self.witnesses
    }

    /// Judges a slow pass by its number of probes and of refusals; `left`: ports of the pass that are not probed yet;
    /// `ports`: all ports of the job.
    pub(super) fn judge(&mut self, looks: u32, refused: u32, left: u32, ports: u32) -> Sample {
        if looks < SAMPLE || !self.is_credible() {
            return Sample::Open;
        }
        let silent = looks - refused;
        if silent.saturating_mul(EXCEPTIONS) <= looks && left >= ports / WORTH {
            self.recognised = true;
            return Sample::Limited;
        }
        if silent * 2 > looks { Sample::Silent } else { Sample::Open }
    }

    pub(super) const fn is_recognised(&self) -> bool {
        self.recognised
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1000 probes of a fast pass, most of them unanswered, and witnesses of which so many are lost.
    fn suspect(lost: u32) -> Limited {
        let mut limited = Limited::default();
        (0..1000).for_each(|look| limited.note_look(look % 10 == 0, look % 10 != 0));
        (0..WITNESSES).for_each(|witness| limited.note_witness(witness < lost));
        limited
    }

    fn sample(limited: &mut Limited, silent: u32) -> Sample {
        limited.judge(SAMPLE, SAMPLE - silent, 800, 1000)
    }

    #[test]
    fn a_host_that_refuses_when_probed_slowly_limits_its_refusals() {
        assert!(suspect(0).is_suspected());
        for (lost, silent, shown) in [
            (0, 0, Sample::Limited),
            (1, 3, Sample::Limited),
            (0, 4, Sample::Open),
            (0, 33, Sample::Silent),
            (4, 0, Sample::Open),
        ] {
            let mut limited = suspect(lost);
            assert_eq!(sample(&mut limited, silent), shown, "{lost} {silent}");
            assert_eq!(limited.is_recognised(), shown == Sample::Limited);
        }
    }

    #[test]
    fn a_firewall_with_a_hole_and_a_few_lost_packets_raise_no_suspicion() {
        let mut walled = Limited::default();
        (0..1000).for_each(|look| walled.note_look(look % 100 == 0, look % 100 != 0));
        let mut lossy = Limited::default();
        (0..1000).for_each(|look| lossy.note_look(look % 10 != 0, look % 10 == 0));
        assert!(!walled.is_suspected() && !lossy.is_suspected());
    }
}
