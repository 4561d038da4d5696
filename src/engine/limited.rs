//! Does the host ration its refusals? The BSDs and macOS send 200 to 250 RSTs a second and swallow the rest
//! (`net.inet.icmp.icmplim`, icmp(4)), so that most closed ports of a fast scan are silent, and others in every
//! scan. To hear each of 65,535 refusals would take five minutes.
//!
//! Three things together give such a host away: some ports refuse while many are silent; open ports answer
//! at once all the while, so nothing on the way drops what is too much (a policer does, and its victims
//! may be open); and of the silent ports, asked slowly, nearly all refuse.

/// Refusals that are more than a few closed ports behind a firewall's hole.
const SOME: u32 = 16;

/// The share of silent looks, one in so many, that is more than loss.
const MANY: u32 = 8;

/// Silent ports asked slowly: half a second's worth.
const SAMPLE: u32 = 64;

/// One in so many of the sample may stay silent: lost on the way.
const EXCEPTIONS: u32 = 20;

/// The share of a job's ports, one in so many, whose silence is worth being explained so. What is silent twice
/// by chance is less at up to 9 % loss each way, and is asked again.
const WORTH: u32 = 32;

/// Connections to open ports under suspicion: enough to tell, and few for who logs each one.
pub(super) const WITNESSES: u32 = 24;
const LEAST_WITNESSES: u32 = 8;

/// What is known of it, over one job.
#[derive(Debug, Default)]
pub(super) struct Limited {
    looks: u32,
    refused: u32,
    silent: u32,
    witnesses: u32,
    lost_witnesses: u32,
    recognised: bool,
}

/// What the sample has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sample {
    /// Too little yet, or nothing certain.
    Open,
    /// The silent ports are closed.
    Limited,
    /// They are silent for another reason.
    Silent,
}

impl Limited {
    /// A look came back.
    pub(super) fn note_look(&mut self, refused: bool, silent: bool) {
        self.looks += 1;
        self.refused += u32::from(refused);
        self.silent += u32::from(silent);
    }

    /// An open port was asked once more while this was suspected.
    pub(super) fn note_witness(&mut self, lost: bool) {
        self.witnesses += 1;
        self.lost_witnesses += u32::from(lost);
    }

    /// Whether some ports refuse while many are silent.
    pub(super) const fn is_suspected(&self) -> bool {
        !self.recognised && self.refused >= SOME && self.silent.saturating_mul(MANY) > self.looks
    }

    /// Whether another open port's answer would tell more.
    pub(super) const fn wants_witness(&self) -> bool {
        self.is_suspected() && self.witnesses < WITNESSES
    }

    /// Whether nothing but refusals gets lost, as far as open ports show.
    pub(super) const fn is_credible(&self) -> bool {
        self.is_suspected()
            && self.witnesses >= LEAST_WITNESSES
            && self.lost_witnesses.saturating_mul(MANY) <= self.witnesses
    }

    /// What so many looks of a slow pass say, so many of them refused; `left`: ports of the pass not asked yet;
    /// `ports`: of the job.
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

    /// 1000 looks in a fast pass, most of them silent, and witnesses of whom so many are lost.
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
    fn who_refuses_when_asked_slowly_rations_its_refusals() {
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
    fn a_firewall_with_a_hole_and_a_few_lost_packets_are_no_reason() {
        let mut walled = Limited::default();
        (0..1000).for_each(|look| walled.note_look(look % 100 == 0, look % 100 != 0));
        let mut lossy = Limited::default();
        (0..1000).for_each(|look| lossy.note_look(look % 10 != 0, look % 10 == 0));
        assert!(!walled.is_suspected() && !lossy.is_suspected());
    }
}
