//! Limits how often the log repeats a message for different devices: an attacker who forges devices must not fill the
//! disk with it.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::model::{Allowance, Moment};

/// Lines of one kind within an hour, and at once.
const HOURLY: u32 = 60;

const HOUR: Duration = Duration::from_secs(3600);

/// The allowance of each kind of line.
#[derive(Debug, Default)]
pub(super) struct Lines(Mutex<HashMap<&'static str, (Allowance, u64)>>);

impl Lines {
    /// Returns `Some` if a line of this kind may be written now, with how many were left out since the last one.
    pub(super) fn admit(&self, kind: &'static str, now: Moment) -> Option<u64> {
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (allowance, left_out) = kinds.entry(kind).or_insert_with(|| (Allowance::new(HOURLY, HOUR), 0));
        if allowance.take(now) {
            return Some(std::mem::take(left_out));
        }
        *left_out += 1;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suppressed_lines_are_counted_by_kind() {
        let lines = Lines::default();
        let said = (0..100).filter(|_| lines.admit("a", Moment::ZERO).is_some()).count();
        assert_eq!((said, lines.admit("b", Moment::ZERO)), (60, Some(0)));
        let later = Moment::ZERO + HOUR / 60;
        assert_eq!([lines.admit("a", later), lines.admit("a", later)], [Some(40), None]);
    }
}
