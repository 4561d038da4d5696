//! Judges, without I/O, whether a client reads its response fast enough. A client that stops reading holds a
//! connection, a piece of text and the kernel's buffers, at no cost of its own.

use std::time::Duration;

/// The least rate of reading, on average over any such time in which data wait for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeastRate {
    /// Bytes.
    pub bytes: u64,
    /// Within this time.
    pub within: Duration,
}

/// The state of a connection's client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReaderState {
    /// No data wait for the client.
    Idle,
    /// Data wait for the client; it is judged again at this time.
    WaitsUntil(Duration),
    /// The client has read too little in its time.
    TooSlow,
}

/// Watches one connection. Time is counted from the connection's beginning.
#[derive(Debug)]
pub(super) struct Reading {
    least: LeastRate,
    /// When data began to wait, and how many bytes the client had read by then.
    since: Option<(Duration, u64)>,
}

impl Reading {
    pub(super) const fn new(least: LeastRate) -> Self {
        Self { least, since: None }
    }

    /// Judges a client by the number of bytes that it has read so far, and by whether more wait for it.
    pub(super) fn judge(&mut self, now: Duration, taken: u64, is_waiting: bool) -> ReaderState {
        let LeastRate { bytes, within } = self.least;
        match self.since {
            _ if !is_waiting => {
                self.since = None;
                return ReaderState::Idle;
            }
            Some((begun, _)) if now < begun + within => return ReaderState::WaitsUntil(begun + within),
            Some((_, before)) if taken - before < bytes => return ReaderState::TooSlow,
            _ => self.since = Some((now, taken)),
        }
        ReaderState::WaitsUntil(now + within)
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
    fn a_client_that_reads_nothing_has_one_window() {
        let mut reading = Reading::new(LEAST);
        assert_eq!(reading.judge(seconds(0), 0, false), ReaderState::Idle);
        assert_eq!(reading.judge(seconds(3), 5000, true), ReaderState::WaitsUntil(seconds(13)));
        assert_eq!(reading.judge(seconds(12), 5000, true), ReaderState::WaitsUntil(seconds(13)));
        assert_eq!(reading.judge(seconds(13), 5000, true), ReaderState::TooSlow);
    }

    #[test]
    fn a_client_that_reads_a_little_now_and_then_is_too_slow_as_well() {
        let mut reading = Reading::new(LEAST);
        for second in 0..10 {
            assert_eq!(
                reading.judge(seconds(second), second * 99, true),
                ReaderState::WaitsUntil(seconds(10))
            );
        }
        assert_eq!(reading.judge(seconds(10), 999, true), ReaderState::TooSlow);
    }

    #[test]
    fn a_client_that_keeps_up_is_judged_window_by_window() {
        let mut reading = Reading::new(LEAST);
        assert_eq!(reading.judge(seconds(0), 0, true), ReaderState::WaitsUntil(seconds(10)));
        assert_eq!(reading.judge(seconds(10), 1000, true), ReaderState::WaitsUntil(seconds(20)));
        assert_eq!(reading.judge(seconds(20), 1999, true), ReaderState::TooSlow);
    }

    #[test]
    fn the_window_restarts_if_no_data_wait() {
        let mut reading = Reading::new(LEAST);
        assert_eq!(reading.judge(seconds(0), 0, true), ReaderState::WaitsUntil(seconds(10)));
        assert_eq!(reading.judge(seconds(9), 10, false), ReaderState::Idle);
        assert_eq!(reading.judge(seconds(10), 10, true), ReaderState::WaitsUntil(seconds(20)));
    }
}
