//! A duration as people write it: a whole number and a unit.
//!
//! The `humantime` crate is not used: it accepts `1h 30m`, `2years` and `1M` for a month, which are more often mistakes
//! than intended.

use std::time::Duration;

/// Why a text is not a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DurationError<'a> {
    /// It does not begin with a number.
    NoNumber,
    /// The text after the number is none of the units, or a unit is missing.
    NoUnit(&'a str),
    /// The number is too large.
    TooLong,
}

/// Reads a whole number and one of the given units, of `ms`, `s`, `m`, `h` and `d`; an empty unit means seconds.
///
/// # Errors
/// The text is not a duration.
pub fn parse_duration<'a>(text: &'a str, units: &[&str]) -> Result<Duration, DurationError<'a>> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let milliseconds = match unit {
        _ if number.is_empty() => return Err(DurationError::NoNumber),
        _ if !units.contains(&unit) => return Err(DurationError::NoUnit(unit)),
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(DurationError::NoUnit(unit)),
    };
    let total = number.parse::<u64>().ok().and_then(|number| number.checked_mul(milliseconds));
    total.map(Duration::from_millis).ok_or(DurationError::TooLong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_number_and_one_of_the_units_that_are_allowed() {
        let all = ["ms", "", "s", "m", "h", "d"];
        for (text, milliseconds) in
            [("500ms", 500), ("7", 7000), ("0s", 0), ("90s", 90_000), ("1h", 3_600_000), ("2d", 172_800_000)]
        {
            assert_eq!(parse_duration(text, &all), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for (text, error) in [
            ("", DurationError::NoNumber),
            ("h", DurationError::NoNumber),
            ("-1h", DurationError::NoNumber),
            ("+1h", DurationError::NoNumber),
            ("7", DurationError::NoUnit("")),
            ("1d", DurationError::NoUnit("d")),
            ("1.5h", DurationError::NoUnit(".5h")),
            ("1h30m", DurationError::NoUnit("h30m")),
            ("24 h", DurationError::NoUnit(" h")),
            ("1é", DurationError::NoUnit("é")),
            ("99999999999999999999s", DurationError::TooLong),
        ] {
            assert_eq!(parse_duration(text, &["s", "h"]), Err(error), "{text}");
        }
    }
}
