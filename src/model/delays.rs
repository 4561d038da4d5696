//! A histogram of durations.

use std::time::Duration;

/// A histogram of delays that should be short.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delays {
    /// The number of delays within each of [`BOUNDS`](Self::BOUNDS) but not within the one before, then the number of
    /// longer ones.
    counts: [u64; Self::BOUNDS.len() + 1],
    sum: Duration,
}

impl Delays {
    /// Upper bounds, inclusive: from the 1 ms resolution of a timer to what a user notices.
    pub const BOUNDS: [Duration; 10] = [
        Duration::from_millis(1),
        Duration::from_millis(2),
        Duration::from_millis(5),
        Duration::from_millis(10),
        Duration::from_millis(20),
        Duration::from_millis(50),
        Duration::from_millis(100),
        Duration::from_millis(200),
        Duration::from_millis(500),
        Duration::from_secs(1),
    ];

    /// Counts a delay.
    pub fn note(&mut self, delay: Duration) {
        self.counts[Self::BOUNDS.partition_point(|&bound| bound < delay)] += 1;
        self.sum += delay;
    }

    /// The number of delays.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The sum of the delays.
    pub const fn sum(&self) -> Duration {
        self.sum
    }

    /// Each bound with the number of delays within it.
    pub fn cumulative(&self) -> impl Iterator<Item = (Duration, u64)> {
        let mut within = 0;
        Self::BOUNDS.into_iter().zip(self.counts).map(move |(bound, count)| {
            within += count;
            (bound, within)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_length_including_both_ends() {
        let mut delays = Delays::default();
        [0, 1, 2, 20, 21, 5000].into_iter().for_each(|millis| delays.note(Duration::from_millis(millis)));
        let within: Vec<u64> = delays.cumulative().map(|(_, within)| within).collect();
        assert_eq!(within, [2, 3, 3, 3, 4, 5, 5, 5, 5, 5]);
        assert_eq!((delays.count(), delays.sum()), (6, Duration::from_millis(5044)));
    }
}
