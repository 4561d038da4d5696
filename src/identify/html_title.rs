//! The title of a page: a name, often among words such as "Login" that say nothing.

use super::{
    claims::Claims,
    table::{MODELS, Preference, Table, can_name},
    text::versioned,
};
use crate::model::strip_prefix_ignoring_case;

const TABLE: Table = Table::new(include_str!("tables/html_title.txt"));

/// The entities of titles (HTML 13.5), and what stands for them here: signs that name nothing are left out.
const ENTITIES: [(&str, &str); 17] = [
    ("amp", "&"),
    ("apos", "'"),
    ("bull", " - "),
    ("copy", ""),
    ("gt", ">"),
    ("laquo", " - "),
    ("lt", "<"),
    ("mdash", " - "),
    ("middot", " - "),
    ("nbsp", " "),
    ("ndash", " - "),
    ("quot", "\""),
    ("raquo", " - "),
    ("reg", ""),
    ("rsaquo", " - "),
    ("sdot", " - "),
    ("trade", ""),
];

/// Words before a name that say what the page is for.
const OPENERS: [&str; 10] = [
    "welcome to ",
    "welcome to the ",
    "login to ",
    "log in to ",
    "sign in to ",
    "please log in to ",
    "powered by ",
    "the ",
    "login for ",
    "about ",
];

pub(super) fn parse(title: &str) -> Claims {
    let title = plain(title);
    let mut found = TABLE.find(&title, Preference::Longest);
    for opened in OPENERS.iter().filter_map(|opener| strip_prefix_ignoring_case(&title, opener)) {
        found = found.or(TABLE.find(opened, Preference::Longest));
    }
    let found = found.or(MODELS.find(&title, Preference::Longest));
    if found.is_empty() { unlisted(&title) } else { found }
}

/// A product that no table lists: a part of the title that is a name and a version, with a `v` or three numbers, so
/// that no chapter of a text is one.
fn unlisted(title: &str) -> Claims {
    let parts = title.split(" | ").flat_map(|part| part.split(" - "));
    let mut named = parts.filter_map(versioned).filter(|found| {
        found.is_last
            && found.name.split(' ').all(can_name)
            && (found.is_marked || found.version.split('.').count() > 2)
            && found.name.len() <= NAME_MAX
    });
    named.next().map_or_else(Claims::default, Claims::from)
}

/// The longest name of an unlisted product, in bytes: longer ones are headings.
const NAME_MAX: usize = 24;

/// The title on one line, without entities.
pub(super) fn plain(title: &str) -> String {
    let mut text = String::with_capacity(title.len());
    let mut rest = title;
    while let Some((before, behind)) = rest.split_once('&') {
        text.push_str(before);
        let entity = behind.split_once(';').and_then(|(name, after)| Some((expanded(name)?, after)));
        match entity {
            Some((expanded, after)) => {
                text.push_str(&expanded);
                rest = after;
            }
            None => {
                text.push('&');
                rest = behind;
            }
        }
    }
    text.push_str(rest);
    let seen: String = text.chars().filter(|c| !matches!(c, '®' | '™' | '©')).collect();
    seen.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn expanded(entity: &str) -> Option<String> {
    if let Some(number) = entity.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(hexadecimal) => u32::from_str_radix(hexadecimal, 16).ok()?,
            None => number.parse().ok()?,
        };
        return char::from_u32(code).map(String::from);
    }
    let (_, text) = ENTITIES.iter().find(|(name, _)| *name == entity)?;
    Some((*text).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn product_of(title: &str) -> Option<String> {
        parse(title).product
    }

    #[test]
    fn finds_the_product_in_any_part_of_the_title() {
        for title in
            ["Grafana", "Home - Dashboards - Grafana", "Login | Grafana", "Log in to Grafana", " grafana "]
        {
            assert_eq!(product_of(title).as_deref(), Some("Grafana"), "{title}");
        }
    }

    #[test]
    fn a_word_in_a_sentence_is_no_product() {
        for title in [
            "My ghost stories",
            "Chapter 2.1",
            "Login v3.2.1",
            "Welcome - Home v3.1",
            "Gardening 2.1 for beginners",
            "Outline of the course",
            "Plex and hex",
            "Grafanastic",
            "",
            " - ",
            "&&&;",
            "&#xffffffff;",
        ] {
            assert!(parse(title).is_empty(), "{title}");
        }
    }

    #[test]
    fn names_an_unlisted_product_with_a_version() {
        for title in ["Gardenia v2.1", "Login - Gardenia 2.1.0", "Gardenia version 2.1 | shed"] {
            assert_eq!(product_of(title).as_deref(), Some("Gardenia"), "{title}");
        }
    }

    #[test]
    fn understands_entities() {
        assert_eq!(
            plain("A&nbsp;&amp;&#32;B&reg; &#x43; &lt;D&gt; R&D &unknown; E"),
            "A & B C <D> R&D &unknown; E"
        );
        assert_eq!(
            parse("nas&nbsp;-&nbsp;Synology&nbsp;DiskStation").device.maker.as_deref(),
            Some("Synology")
        );
    }

    #[test]
    fn tells_the_model_after_the_maker() {
        let device = parse("NETGEAR Router R7000").device;
        assert_eq!((device.maker.as_deref(), device.model.as_deref()), (Some("NETGEAR"), Some("R7000")));
        let device = parse("Brother DCP-L2530DW series").device;
        assert_eq!(device.model.as_deref(), Some("DCP-L2530DW"));
        assert_eq!(device.device_type, Some(crate::model::DeviceType::Printer));
    }
}
