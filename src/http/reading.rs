//! How fast a client has to take an answer: pure. A client that stops reading holds a connection, a piece of text and
//! the kernel's buffers, and costs its owner nothing.

use std::time::Duration;

/// The least that has to be taken, on average over any such time in which something waits to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeastRate {
    /// Bytes.
    pub bytes: u64,
    /// Within this time.
    pub within: Duration,
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing waits for the client.
    Idle,
    /// Something does; to be judged again then.
    WaitsUntil(Duration),
    /// The client has had its time.
    TooSlow,
}

/// One connection, as it is watched. Time is counted from the connection's beginning.
#[derive(Debug)]
pub(super) struct Reading {
    least: LeastRate,
    /// Since when something waits, and how much had been taken until then.
    since: Option<(Duration, u64)>,
}

impl Reading {
    pub(super) const fn new(least: LeastRate) -> Self {
        Self { least, since: None }
    }

    /// Judges a client that has taken so much so far, and for whom more waits or not.
    pub(super) fn judge(&mut self, now: Duration, taken: u64, is_waiting: bool) -> Verdict {
        let LeastRate { bytes, within } = self.least;
        match self.since {
            _ if !is_waiting => {
                self.since = None;
                return Verdict::Idle;
            }
            Some((begun, _)) if now < begun + within => return Verdict::WaitsUntil(begun + within),
            Some((_, before)) if taken - before < bytes => return Verdict::TooSlow,
            _ => self.since = Some((now, taken)),
        }
        Verdict::WaitsUntil(now + within)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: LeastRate = LeastRate { bytes: 1000, within: Duration::from_secs(10) };

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_client_that_takes_nothing_has_one_window() {
        let mut reading = Reading::new(LEAST);
        assert_eq!(reading.judge(seconds(0), 0, false), Verdict::Idle);
        assert_eq!(reading.judge(seconds(3), 5000, true), Verdict::WaitsUntil(seconds(13)));
        assert_eq!(reading.judge(seconds(12), 5000, true), Verdict::WaitsUntil(seconds(13)));
        assert_eq!(reading.judge(seconds(13), 5000, true), Verdict::TooSlow);
    }

    #[test]
    fn a_client_that_takes_a_little_now_and_then_is_too_slow_as_well() {
        let mut reading = Reading::new(LEAST);
        for second in 0..10 {
            assert_eq!(reading.judge(seconds(second), second * 99, true), Verdict::WaitsUntil(seconds(10)));
        }
        assert_eq!(reading.judge(seconds(10), 999, true), Verdict::TooSlow);
    }

    #[test]
    fn a_client_that_keeps_up_is_judged_window_by_window() {
        let mut reading = Reading::new(LEAST);
        assert_eq!(reading.judge(seconds(0), 0, true), Verdict::WaitsUntil(seconds(10)));
        assert_eq!(reading.judge(seconds(10), 1000, true), Verdict::WaitsUntil(seconds(20)));
        assert_eq!(reading.judge(seconds(20), 1999, true), Verdict::TooSlow);
    }

    #[test]
    fn a_client_for_whom_nothing_waits_has_its_window_anew() {
        let mut reading = Reading::new(LEAST);
        assert_eq!(reading.judge(seconds(0), 0, true), Verdict::WaitsUntil(seconds(10)));
        assert_eq!(reading.judge(seconds(9), 10, false), Verdict::Idle);
        assert_eq!(reading.judge(seconds(10), 10, true), Verdict::WaitsUntil(seconds(20)));
    }
}
