//! Makes paced probes of all hosts leave together, in ticks. Each wake-up of a thread costs a slow machine more than
//! a probe does, and probes that were spaced evenly took several wake-ups each.

use std::time::Duration;

use crate::model::Moment;

/// From one tick to the next. The pace is three probes in 10.8 ms, so at most three of them leave to one host in a tick.
/// Ten ticks are 2 ms longer than the span that the pacer looks at: in that time a thread gets round to a batch. With
/// 10 ms, a tick would find the probes of ten ticks ago still in the span, and the pace would be 8 % lower.
pub(super) const TICK: Duration = Duration::from_micros(10_300);

/// The start of the tick that a moment is in.
pub(super) fn tick_of(moment: Moment) -> Moment {
    let since_start = moment.since_start().as_nanos();
    let into_tick = since_start % TICK.as_nanos();
    moment - Duration::from_nanos(u64::try_from(into_tick).unwrap_or(0))
}

/// The first start of a tick that is not before a moment.
pub(super) fn tick_from(moment: Moment) -> Moment {
    match tick_of(moment) {
        start if start == moment => start,
        start => start + TICK,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_lasts_from_its_start_to_the_next() {
        let at = |micros| Moment::from_start(Duration::from_micros(micros));
        let ticks = |micros| [tick_of(at(micros)), tick_from(at(micros))];
        assert_eq!(ticks(0), [at(0); 2]);
        assert_eq!(ticks(1), [at(0), at(10_300)]);
        assert_eq!(ticks(10_299), [at(0), at(10_300)]);
        assert_eq!(ticks(20_600), [at(20_600); 2]);
    }
}
