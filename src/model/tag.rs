//! Tags: words that the owner gives to devices, to find and to select them.

use super::one_line;

/// The most tags of a device.
pub const TAGS_MAX: usize = 16;

/// The longest tag, in characters.
const LENGTH_MAX: usize = 32;

/// Why a text is no tag.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no tag; write 1 to {LENGTH_MAX} of a-z, 0-9, - and _")]
pub struct TagError(String);

/// Reads a tag.
///
/// # Errors
/// It has other characters, none, or too many.
pub fn parse_tag(text: &str) -> Result<String, TagError> {
    let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    if (1..=LENGTH_MAX).contains(&text.len()) && text.chars().all(is_allowed) {
        return Ok(text.to_owned());
    }
    Err(TagError(one_line(text, 40)))
}

/// The tags of a device: the configuration's, then those that its owner gave it on the page, each once.
pub fn all_tags(configured: Vec<String>, own: &[String]) -> Vec<String> {
    let more: Vec<_> = own.iter().filter(|tag| !configured.contains(tag)).cloned().collect();
    configured.into_iter().chain(more).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_a_short_word() {
        for tag in ["critical", "floor-2", "a_b", "0", &"x".repeat(32)] {
            assert_eq!(parse_tag(tag).as_deref(), Ok(tag));
        }
        for text in ["", "Critical", "a b", "tag:x", "k\u{fc}che", &"x".repeat(33), "a\u{1b}"] {
            let error = parse_tag(text).unwrap_err().to_string();
            assert!(error.contains("1 to 32 of a-z") && !error.contains('\u{1b}'), "{error}");
        }
    }
}
