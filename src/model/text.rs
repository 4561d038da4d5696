//! Makes untrusted text safe for a log, a terminal or an error.

use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

/// The first `max` characters on one line: every character that moves the cursor, starts a new line, changes the
/// reading direction (as U+202E does) or is invisible (as U+200B is) becomes U+FFFD. That breaks up some emoji and
/// Persian words, which are joined by invisible characters; a name that looks like another's would be worse. Escaping
/// for the destination (HTML, labels, quotes) is left to the destination.
pub fn one_line(text: &str, max: usize) -> String {
    text.chars().take(max).map(|c| if is_unseen(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Replaces in a text what [`one_line`] replaces, except these characters.
pub fn replace_unseen(text: &mut String, kept: &[char]) {
    let is_replaced = |c: char| is_unseen(c) && !kept.contains(&c);
    if text.contains(is_replaced) {
        *text = text.replace(is_replaced, "\u{fffd}");
    }
}

/// A text within HTML or XML, also within double quotes.
pub fn escape_markup(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// A URL without its possibly secret parts: the user with the password, and everything after the path. Only the client
/// that sends the request needs those.
pub fn without_secrets(url: &str) -> String {
    let start = url.find("://").map_or(0, |at| at + 3);
    let (scheme, rest) = url.split_at(start);
    let (kept, hidden) = rest.find(['?', '#']).map_or((rest, ""), |at| (&rest[..at], &rest[at..]));
    let (authority, path) = kept.split_at(kept.find('/').unwrap_or(kept.len()));
    let authority =
        authority.rsplit_once('@').map_or(authority.to_owned(), |(_, host)| format!("...@{host}"));
    let rest = hidden.get(..1).map(|mark| format!("{mark}...")).unwrap_or_default();
    format!("{scheme}{authority}{path}{rest}")
}

/// The byte order mark in UTF-8, which editors of other systems put before a text.
const MARK: &str = "\u{feff}";

/// A text without a byte order mark.
pub fn without_mark(text: &str) -> &str {
    text.strip_prefix(MARK).unwrap_or(text)
}

/// The bytes of a text without a byte order mark.
pub fn bytes_without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(MARK.as_bytes()).unwrap_or(text)
}

/// The text after a prefix of ASCII letters in any case.
pub fn strip_prefix_ignoring_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let head = text.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then(|| &text[prefix.len()..])
}

/// Whether a character affects the text around it instead of being visible (Unicode 4.5: Cc, Cf, Zl, Zp).
pub fn is_unseen(c: char) -> bool {
    use GeneralCategory::{Control, Format, LineSeparator, ParagraphSeparator};
    matches!(c.general_category(), Control | Format | LineSeparator | ParagraphSeparator)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_character_is_a_byte_order_mark() {
        for (text, rest) in
            [("\u{feff}a", "a"), ("a\u{feff}", "a\u{feff}"), ("", ""), ("\u{feff}\u{feff}", "\u{feff}")]
        {
            assert_eq!(without_mark(text), rest);
            assert_eq!(bytes_without_mark(text.as_bytes()), rest.as_bytes());
        }
    }

    #[test]
    fn a_url_is_shown_without_user_password_query_and_fragment() {
        for (url, shown) in [
            ("http://lanscan.local/lanscan/json", "http://lanscan.local/lanscan/json"),
            ("https://[fd00::1]:8443/a@b/json", "https://[fd00::1]:8443/a@b/json"),
            ("http://nas.lan/json?key=s3cret&site=1", "http://nas.lan/json?..."),
            ("http://nas.lan?s3cret", "http://nas.lan?..."),
            ("http://nas.lan/#s3cret?a", "http://nas.lan/#..."),
            ("http://me:s3cr@et@nas.lan/json", "http://...@nas.lan/json"),
            ("ftp://s3cret@nas.lan", "ftp://...@nas.lan"),
            ("me:s3cret@nas.lan/json?s3cret", "...@nas.lan/json?..."),
            ("/elsewhere?key=s3cret", "/elsewhere?..."),
            ("", ""),
        ] {
            assert_eq!(without_secrets(url), shown, "{url}");
        }
    }

    #[test]
    fn no_character_starts_a_new_line() {
        assert_eq!(one_line("a\r\nb\u{1b}[31m\u{85}é", 20), "a��b�[31m�é");
        assert_eq!(one_line("a\u{2028}b\u{2029}", 20), "a�b�");
        assert_eq!(one_line("äbc", 2), "äb");
    }

    #[test]
    fn no_character_changes_direction_or_is_invisible() {
        let ranges = ['\u{200b}'..='\u{200f}', '\u{202a}'..='\u{202e}', '\u{2060}'..='\u{2064}'];
        let others = ['\u{2066}'..='\u{2069}', '\u{feff}'..='\u{feff}', '\u{e0041}'..='\u{e0041}'];
        for c in ranges.into_iter().chain(others).flatten() {
            assert_eq!(one_line(&format!("nas{c}gpj"), 20), "nas�gpj", "{c:?}");
        }
        // Accents of their own and every script stay as they are.
        for text in ["Büro", "Bu\u{308}ro", "принтер", "プリンタ", "مكتب", "🖨 2"] {
            assert_eq!(one_line(text, 20), text);
        }
    }
}
