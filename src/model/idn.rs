//! Converts international names to the form that name servers know: ASCII labels (RFC 5890, 2.3.2.1) in Punycode (RFC
//! 3492).
//!
//! No library is used: the tables of `idna` add 160 KB to the program, and what they add is for texts that are not
//! typed as host names. So compatibility forms are not mapped, and a letter that is written as two characters is
//! refused: it is not the registered name, which is in composed form (RFC 5891, 5.3).

use std::borrow::Cow;

use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

/// Label separators: the full stop, and what East Asian keyboards write for it (UTS #46).
const DOTS: [char; 4] = ['.', '\u{3002}', '\u{ff0e}', '\u{ff61}'];

/// The prefix of an encoded label.
const PREFIX: &str = "xn--";

/// The longest label, RFC 1035, 2.3.4. In characters, because no label is shorter once it is encoded.
const LABEL_MAX: usize = 63;

/// Returns the name as it is looked up: `münchen.local` is `xn--mnchen-3ya.local`. An ASCII name is unchanged; `None`
/// for a name with a label beyond ASCII that cannot be a host's.
pub fn ascii_name(name: &str) -> Option<Cow<'_, str>> {
    if name.is_ascii() {
        return Some(name.into());
    }
    let labels: Option<Vec<String>> = name.split(DOTS).map(ascii_label).collect();
    Some(labels?.join(".").into())
}

fn ascii_label(label: &str) -> Option<String> {
    let lower: String = label.chars().flat_map(char::to_lowercase).collect();
    if lower.is_ascii() {
        return Some(lower);
    }
    let encodable = lower.chars().count() <= LABEL_MAX && !lower.starts_with(PREFIX);
    (encodable && lower.chars().all(is_of_names)).then(|| PREFIX.to_owned() + &punycode(&lower))
}

/// Letters, their combining marks, digits and the hyphen (RFC 5892, 2.1), and the underscore, which occurs on LANs;
/// without the combining accents that make one letter of two characters.
fn is_of_names(c: char) -> bool {
    use GeneralCategory::{
        DecimalNumber, LowercaseLetter, ModifierLetter, NonspacingMark, OtherLetter, SpacingMark,
    };
    let of_words = matches!(
        c.general_category(),
        LowercaseLetter | OtherLetter | ModifierLetter | NonspacingMark | SpacingMark | DecimalNumber
    );
    matches!(c, '-' | '_') || of_words && !('\u{300}'..='\u{36f}').contains(&c)
}

/// RFC 3492, 6.3, with the constants of its section 5: the characters beyond ASCII in ascending order, each as the
/// distance to it in a walk through all places of all characters. Of 63 characters no distance overflows.
fn punycode(label: &str) -> String {
    let codes = || label.chars().map(u32::from);
    let mut encoded: String = label.chars().filter(char::is_ascii).collect();
    let basic: u32 = codes().map(|code| u32::from(code < 128)).sum();
    if basic > 0 {
        encoded.push('-');
    }
    let (mut reached, mut distance, mut bias, mut placed) = (128, 0, 72, basic);
    while let Some(next) = codes().filter(|code| *code >= reached).min() {
        distance += (next - reached) * (placed + 1);
        for code in codes() {
            if code < next {
                distance += 1;
            } else if code == next {
                push_number(&mut encoded, distance, bias);
                bias = adapted_bias(distance, placed + 1, placed == basic);
                distance = 0;
                placed += 1;
            }
        }
        distance += 1;
        reached = next + 1;
    }
    encoded
}

/// Digits from `a` to `9`, the least first. How much each stands for depends on the bias, and the last one is the
/// first that is below its threshold.
fn push_number(encoded: &mut String, mut number: u32, bias: u32) {
    const DIGITS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut digit = |value: u32| encoded.push(DIGITS[value as usize].into());
    for place in (36..).step_by(36) {
        let threshold = (place - bias.min(place)).clamp(1, 26);
        if number < threshold {
            return digit(number);
        }
        digit(threshold + (number - threshold) % (36 - threshold));
        number = (number - threshold) / (36 - threshold);
    }
}

/// RFC 3492, 6.1: what to expect of the next distance after this one.
fn adapted_bias(distance: u32, placed: u32, first: bool) -> u32 {
    let mut distance = distance / if first { 700 } else { 2 };
    distance += distance / placed;
    let mut bias = 0;
    while distance > 35 * 26 / 2 {
        distance /= 35;
        bias += 36;
    }
    bias + 36 * distance / (distance + 38)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_looked_up_as_they_are_registered() {
        for (typed, looked_up) in [
            ("nas.lan", "nas.lan"),
            ("NAS.lan.", "NAS.lan."),
            ("münchen.local", "xn--mnchen-3ya.local"),
            ("MÜNCHEN.local.", "xn--mnchen-3ya.local."),
            ("bücher.example", "xn--bcher-kva.example"),
            ("straße.example", "xn--strae-oqa.example"),
            ("例え。テスト", "xn--r8jz45g.xn--zckzah"),
            ("ü", "xn--tda"),
            ("a-ü_b.Example", "xn--a-_b-1ra.example"),
        ] {
            assert_eq!(ascii_name(typed).as_deref(), Some(looked_up), "{typed}");
        }
    }

    #[test]
    fn refuses_texts_that_are_not_host_names() {
        let long = "ü".repeat(64);
        for name in ["ä b", "ü\u{202e}", "u\u{308}", "☕.example", "ü/", "xn--ü", "ü!", "\u{200b}a", &long]
        {
            assert_eq!(ascii_name(name), None, "{name}");
        }
    }

    /// RFC 3492, 7.1 (B), (H) and (I).
    #[test]
    fn encodes_the_examples_of_the_punycode_standard() {
        for (label, encoded) in [
            ("他们为什么不说中文", "ihqwcrb4cv8a8dqg056pqjye"),
            ("почемужеонинеговорятпорусски", "b1abfaaepdrnnbgefbadotcwatmq2g4l"),
            (
                "세계의모든사람들이한국어를이해한다면얼마나좋을까",
                "989aomsvi5e83db1d2a355cv1e0vak1dwrv93d5xbh15a0dt30a5jpsd879ccm6fea98c",
            ),
        ] {
            assert_eq!(punycode(label), encoded);
        }
    }
}
