//! A host's round-trip time, and the time-out that follows from it.

use std::time::Duration;

use super::timing::BEFORE_RETRANSMIT;

/// A reply later than this may be to the kernel's retransmitted SYN (sent after 1 s), and then says nothing about the
/// round trip (Karn's rule, RFC 6298, 3).
const UNAMBIGUOUS: Duration = Duration::from_millis(900);

/// For the scheduling of both ends, and the resolution of timers.
const SLACK: Duration = Duration::from_millis(20);

/// Least time-out towards a host that answers like a wired neighbour: room for a busy gadget's scheduler.
const LEAST_NEAR: Duration = Duration::from_millis(150);

/// Least time-out otherwise: a dozing Wi-Fi client wakes for the access point's beacons, every 102 ms, often
/// only for every third of them (DTIM 3).
const LEAST: Duration = Duration::from_millis(300);

/// Replies faster than this are those of a near host.
const NEAR: Duration = Duration::from_millis(5);

/// A host counts as near after this many samples, all of them near. A host with every sixth reply slow shows 16 fast
/// ones in a row once in 18 times; its tail corrects that soon after.
pub(super) const ENOUGH: u32 = 16;

/// After this many samples one in a hundred may be slow.
const PLENTY: u32 = 64;

/// Replies, one for each [`PLENTY`], that may be late because this machine stalled: a host behind a firewall sends a
/// hundred in a whole scan, and a single one that seemed to take half a second made the scan last three times as long.
const STALLS: u32 = 2;

/// Four buckets an octave from 64 us to 1 s: a quantile is overstated by a quarter at most.
const BUCKETS: usize = 64;

/// RFC 6298's estimator with a memory of the tail, which its mean deviation forgets.
#[derive(Debug)]
pub(super) struct Rtt {
    smoothed: Duration,
    deviation: Duration,
    samples: u32,
    slow: u32,
    histogram: [u32; BUCKETS],
    /// How long a reply may take, once there is a sample.
    expected: Option<Duration>,
}

impl Default for Rtt {
    fn default() -> Self {
        Self {
            smoothed: Duration::ZERO,
            deviation: Duration::ZERO,
            samples: 0,
            slow: 0,
            histogram: [0; BUCKETS],
            expected: None,
        }
    }
}

impl Rtt {
    /// Takes the time from a connect to its reply; a late one is ignored. Every try has a socket of its own, so the
    /// reply to a second try is as good a sample as one to the first.
    pub(super) fn sample(&mut self, rtt: Duration) {
        if rtt >= UNAMBIGUOUS {
            return;
        }
        if self.samples == 0 {
            (self.smoothed, self.deviation) = (rtt, rtt / 2);
        } else {
            self.deviation = (self.deviation * 3 + self.smoothed.abs_diff(rtt)) / 4;
            self.smoothed = (self.smoothed * 7 + rtt) / 8;
        }
        self.samples = self.samples.saturating_add(1);
        self.slow += u32::from(rtt >= NEAR);
        self.histogram[bucket(rtt)] += 1;
        let usual = self.smoothed + self.deviation * 4;
        self.expected = Some(usual.max(self.tail() * 2) + SLACK);
    }

    pub(super) const fn samples(&self) -> u32 {
        self.samples
    }

    /// How long to wait for a reply before its window slot is given to another probe: `unknown` before the first
    /// sample, and never so long that the kernel retransmits. An unpaced scan (`pressing`) takes every host for a near
    /// one until it proves otherwise.
    pub(super) fn timeout(&self, unknown: Duration, pressing: bool) -> Duration {
        let floor = if pressing || self.is_near() { LEAST_NEAR } else { LEAST };
        self.expected.map_or(unknown, |expected| expected.clamp(floor, BEFORE_RETRANSMIT))
    }

    /// Whether every reply so far was as fast as a wired neighbour's.
    pub(super) const fn is_prompt(&self) -> bool {
        self.samples > 0 && self.slow == 0
    }

    fn is_near(&self) -> bool {
        (self.samples >= ENOUGH && self.slow == 0)
            || (self.samples >= PLENTY && self.slow.saturating_mul(100) <= self.samples)
    }

    /// The time within which 99.9 % of the replies came, not counting [`STALLS`].
    fn tail(&self) -> Duration {
        let mut beyond = self.samples / 1000 + (self.samples / PLENTY).min(STALLS);
        for (index, &count) in self.histogram.iter().enumerate().rev() {
            if count > beyond {
                return upper_end(index);
            }
            beyond -= count;
        }
        Duration::ZERO
    }
}

const FIRST_OCTAVE: u32 = 6;

fn bucket(rtt: Duration) -> usize {
    let micros = u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX).max(1 << FIRST_OCTAVE);
    let octave = micros.ilog2();
    let quarter = (micros >> (octave - 2)) & 3;
    (((octave - FIRST_OCTAVE) * 4 + quarter) as usize).min(BUCKETS - 1)
}

fn upper_end(bucket: usize) -> Duration {
    let (octave, quarter) = (bucket / 4, bucket as u64 % 4);
    Duration::from_micros(((5 + quarter) << octave) << (FIRST_OCTAVE - 2))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UNKNOWN: Duration = Duration::from_secs(1);

    fn after(samples: impl IntoIterator<Item = u64>) -> Duration {
        let mut rtt = Rtt::default();
        samples.into_iter().for_each(|micros| rtt.sample(Duration::from_micros(micros)));
        rtt.timeout(UNKNOWN, false)
    }

    #[test]
    fn recognises_near_hosts_after_sixteen_replies() {
        assert_eq!(after([]), UNKNOWN);
        assert_eq!(after([800; 15]), LEAST);
        assert_eq!(after([800; 16]), LEAST_NEAR);
        assert_eq!(after([800; 60].into_iter().chain([7_000; 3])), LEAST);
        assert_eq!(after([800; 199].into_iter().chain([7_000])), LEAST_NEAR);
    }

    #[test]
    fn an_unpaced_scan_does_not_wait_for_sixteen_replies() {
        let timeout = |micros| {
            let mut rtt = Rtt::default();
            rtt.sample(Duration::from_micros(micros));
            rtt.timeout(UNKNOWN, true)
        };
        assert_eq!((timeout(800), timeout(100_000) > LEAST), (LEAST_NEAR, true));
    }

    #[test]
    fn a_host_is_not_prompt_after_one_slow_reply() {
        let is_prompt = |samples: &[u64]| {
            let mut rtt = Rtt::default();
            samples.iter().for_each(|&micros| rtt.sample(Duration::from_micros(micros)));
            rtt.is_prompt()
        };
        assert_eq!([&[][..], &[4_999; 9], &[800, 800, 5_000]].map(is_prompt), [false, true, false]);
    }

    #[test]
    fn waits_for_the_tail() {
        let late = |answers| after([1_000; 97].into_iter().chain(answers).chain([1_000; 97]));
        assert!(late(vec![250_000; 4]) >= Duration::from_millis(500));
        assert_eq!(late(vec![350_000]), LEAST_NEAR, "this machine stalled");
        assert_eq!(after([600_000; 20]), BEFORE_RETRANSMIT);
        assert_eq!(
            after([950_000; 20]),
            UNKNOWN,
            "replies that may be to the retransmitted SYN are no samples"
        );
    }

    proptest! {
        #[test]
        fn a_bucket_holds_what_falls_into_it(micros in 0_u64..1_500_000) {
            let rtt = Duration::from_micros(micros);
            let end = upper_end(bucket(rtt));
            prop_assert!(end > rtt || bucket(rtt) == BUCKETS - 1);
            prop_assert!(micros < 64 || end.as_micros() <= rtt.as_micros() * 5 / 4 + 64);
        }

        #[test]
        fn stays_within_its_bounds(samples in prop::collection::vec(1_u64..2_000_000, 1..300)) {
            let timeout = after(samples);
            prop_assert!(timeout == UNKNOWN || (LEAST_NEAR..=BEFORE_RETRANSMIT).contains(&timeout));
        }
    }
}
