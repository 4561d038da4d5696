//! A stranger's text on its way to a log, a terminal or an error.

/// The first `max` characters on one line: whatever would move a cursor or forge a line becomes U+FFFD.
/// What the destination has of its own (HTML, labels, quotes) is for it to escape.
pub fn one_line(text: &str, max: usize) -> String {
    text.chars().take(max).map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_forges_a_line() {
        assert_eq!(one_line("a\r\nb\u{1b}[31m\u{85}é", 20), "a��b�[31m�é");
        assert_eq!(one_line("äbc", 2), "äb");
    }
}
