//! Finds versions in words.

use crate::model::strip_prefix_ignoring_case;

/// Words that may stand between a product and its version.
const BETWEEN: [&str; 8] = ["version", "ver", "release", "server", "v", "rev", "firmware", "build"];

/// Marks that may stand there.
const MARKS: [char; 8] = [' ', '/', '-', '_', ':', '(', '.', '='];

/// The version that follows a product at once: a word that begins with a digit, perhaps after `v`, up to a space,
/// bracket, comma, semicolon or slash. Between them may be marks and words such as "version", nothing else.
pub(super) fn following(rest: &str) -> Option<&str> {
    let mut rest = rest;
    for _ in 0..4 {
        rest = rest.trim_start_matches(MARKS);
        if rest.starts_with(|c: char| c.is_ascii_digit()) {
            return first(rest);
        }
        let behind = BETWEEN.iter().filter_map(|word| strip_prefix_ignoring_case(rest, word));
        rest = behind.into_iter().find(|next| {
            next.starts_with(|c: char| c.is_ascii_digit()) || !next.starts_with(char::is_alphanumeric)
        })?;
    }
    None
}

/// The version that a text begins with.
pub(super) fn first(text: &str) -> Option<&str> {
    if !is_version(text) {
        return None;
    }
    let text = text.trim_start_matches(['v', 'V', 'r', 'R']);
    let ends = |c: char| {
        c.is_whitespace() || matches!(c, ',' | ';' | '/' | '(' | ')' | '[' | ']' | '"' | '<' | '>' | '|')
    };
    let version = text[..text.find(ends).unwrap_or(text.len())].trim_end_matches(['.', ':', '-', '!', '\'']);
    (!version.is_empty()).then_some(version)
}

/// Whether a word can be a version: it begins with a digit, perhaps after `v` or `R`.
pub(super) fn is_version(word: &str) -> bool {
    let bare = word.strip_prefix(['v', 'V', 'r', 'R']).unwrap_or(word);
    bare.starts_with(|c: char| c.is_ascii_digit())
}

/// Splits a name from the version that follows it behind `-`, `_` or `/` (`libssh-0.10.4`, `Sun_SSH_2.4`): at the first
/// such mark before a version. The version is empty if there is none.
pub(super) fn split_name(text: &str) -> (&str, &str) {
    let begins = |at: &usize| *at > 0 && is_version(&text[at + 1..]);
    match text.match_indices(['-', '_', '/']).map(|(at, _)| at).find(begins) {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_version_that_follows() {
        for (text, version) in [
            ("/2.4.57 (Debian)", Some("2.4.57")),
            (" version v3.0.5, ready", Some("3.0.5")),
            ("_9.6p1 Ubuntu", Some("9.6p1")),
            (" Server (Version 1.3.5)", Some("1.3.5")),
            (" (Build 7)", Some("7")),
            (" ready", None),
            (" at host 3", None),
            (" versions 3", None),
            ("", None),
        ] {
            assert_eq!(following(text), version, "{text}");
        }
    }

    #[test]
    fn splits_names_from_versions() {
        assert_eq!(split_name("libssh_0.10.4"), ("libssh", "0.10.4"));
        assert_eq!(split_name("Sun_SSH_2.4"), ("Sun_SSH", "2.4"));
        assert_eq!(split_name("shed-server"), ("shed-server", ""));
        assert_eq!(split_name("-1"), ("-1", ""));
    }
}
