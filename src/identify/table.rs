//! Tables of what is known, read where they lie in the binary.

use std::net::Ipv4Addr;

use super::{claims::Claims, version};
use crate::model::DeviceIdentification;

/// A table: lines of fields between `|`, which tables/README.md explains. It is read line by line for each text: an
/// index would always cost memory for something that happens a few times a day, and a title of 1 KiB, with the
/// longest table, takes only 2 ms on an x86-64 processor.
#[derive(Clone, Copy)]
pub(super) struct Table(&'static str);

/// Makers and their models' codes, for any kind of text.
pub(super) const MODELS: Table = Table::new(include_str!("tables/models.txt"));

/// Which part of a text a key must match.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// All of it.
    Whole,
    /// All of one of its lines.
    Line,
    /// Its first words.
    Start,
    /// Some of its words.
    Words,
    /// Some of its words, followed by a word with a digit: maker and model, for makers with a name that is also a
    /// common word.
    Model,
    /// The beginning of a word, followed by a digit: the code of a model, so that "DIR-" does not match "DIR-list".
    Code,
}

/// A line of a table.
#[derive(Clone, Copy)]
struct Entry {
    key: &'static str,
    extent: Extent,
    /// Vendor, product, version, maker, model, type: texts, perhaps with a placeholder; empty if unknown.
    fields: [&'static str; 6],
}

/// An entry that fits a text.
#[derive(Clone, Copy)]
struct Match<'a> {
    entry: Entry,
    text: &'a str,
    /// Where the key begins.
    at: usize,
}

/// Which of several entries counts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Preference {
    /// The one with the longest key, which is the most specific.
    Longest,
    /// The one that occurs first in the text; among those, the longest.
    First,
}

impl Table {
    /// A table from its file's text.
    pub(super) const fn new(text: &'static str) -> Self {
        Self(text)
    }

    /// Returns the software of the preferred entry that names software, and the device of the longest entry that
    /// names a device.
    pub(super) fn find(self, text: &str, preference: Preference) -> Claims {
        let folded = text.to_ascii_lowercase();
        let mut software: Option<Match<'_>> = None;
        let mut device: Option<Match<'_>> = None;
        for entry in self.0.lines().filter_map(Entry::read) {
            let Some(at) = entry.position(&folded) else { continue };
            let found = Match { entry, text, at };
            if entry.names_software()
                && software.is_none_or(|best| found.is_preferred(best, preference))
                && found.software().product.is_some()
            {
                software = Some(found);
            }
            if entry.names_device() && device.is_none_or(|best| found.tells_more(best)) {
                device = Some(found);
            }
        }
        Claims {
            device: device.map(|found| found.device()).unwrap_or_default(),
            ..software.map(|found| found.software()).unwrap_or_default()
        }
    }
}

impl Entry {
    /// Parses a line; `None` for a comment, a blank line, or a malformed line.
    fn read(line: &'static str) -> Option<Self> {
        let mut fields = line.split('|');
        let key = fields.next().filter(|key| !key.is_empty() && !key.starts_with('#'))?;
        let extent = match fields.next()? {
            "whole" => Extent::Whole,
            "line" => Extent::Line,
            "start" => Extent::Start,
            "words" => Extent::Words,
            "model" => Extent::Model,
            "code" => Extent::Code,
            _ => return None,
        };
        Some(Self { key, extent, fields: std::array::from_fn(|_| fields.next().unwrap_or_default()) })
    }

    fn names_software(&self) -> bool {
        !self.fields[1].is_empty()
    }

    fn names_device(&self) -> bool {
        self.fields[3..].iter().any(|field| !field.is_empty())
    }

    /// Finds the key in a lower-case text.
    fn position(&self, folded: &str) -> Option<usize> {
        match self.extent {
            Extent::Whole => (folded.trim() == self.key).then(|| folded.len() - folded.trim_start().len()),
            Extent::Line => {
                folded.lines().any(|line| line.trim() == self.key).then(|| folded.find(self.key))?
            }
            Extent::Start => (folded.starts_with(self.key) && self.ends_word(folded, 0)).then_some(0),
            Extent::Words => self.words(folded).next(),
            Extent::Model => self.words(folded).find(|at| model(&folded[at + self.key.len()..]).is_some()),
            Extent::Code => self.starts(folded).find(|&at| {
                let code = code(folded, at, self.key.len());
                code.len() <= CODE_MAX && code.contains(|c: char| c.is_ascii_digit())
            }),
        }
    }

    /// Finds the key as whole words of the text.
    fn words<'a>(&self, folded: &'a str) -> impl Iterator<Item = usize> + use<'a, '_> {
        let is_word = |at: &usize| self.ends_word(folded, *at) && !is_label(folded, *at, at + self.key.len());
        self.starts(folded).filter(is_word)
    }

    /// Finds the key where no letter or digit precedes it.
    fn starts<'a>(&self, folded: &'a str) -> impl Iterator<Item = usize> + use<'a> {
        let starts_word = |at: &usize| !folded[..*at].ends_with(char::is_alphanumeric);
        folded.match_indices(self.key).map(|(at, _)| at).filter(starts_word)
    }

    fn ends_word(&self, folded: &str, at: usize) -> bool {
        let ends_in_mark = self.key.ends_with(|c: char| !c.is_alphanumeric());
        ends_in_mark || !folded[at + self.key.len()..].starts_with(char::is_alphanumeric)
    }
}

impl Match<'_> {
    fn is_preferred(&self, best: Self, preference: Preference) -> bool {
        let longer = self.entry.key.len() > best.entry.key.len();
        match preference {
            Preference::Longest => {
                longer || (self.entry.key.len() == best.entry.key.len() && self.at < best.at)
            }
            Preference::First => self.at < best.at || (self.at == best.at && longer),
        }
    }

    /// Whether this entry is better for the device: it names the model, or its key is longer.
    fn tells_more(&self, best: Self) -> bool {
        let has_model = |found: &Self| found.device().model.is_some();
        match (has_model(self), has_model(&best)) {
            (mine, other) if mine != other => mine,
            _ => self.is_preferred(best, Preference::Longest),
        }
    }

    fn software(&self) -> Claims {
        let product = self.filled(self.entry.fields[1]);
        if product.is_none() {
            return Claims::default();
        }
        let version = self.filled(self.entry.fields[2]);
        Claims { vendor: self.filled(self.entry.fields[0]), product, version, ..Claims::default() }
    }

    fn device(&self) -> DeviceIdentification {
        let [.., maker, model, kind] = self.entry.fields;
        DeviceIdentification {
            device_type: kind.parse().ok(),
            maker: self.filled(maker),
            model: self.filled(model),
        }
    }

    /// Returns a field with its placeholder filled in. If nothing fills it, the words before it remain; `None` if
    /// there are none.
    fn filled(&self, field: &str) -> Option<String> {
        let Some((before, rest)) = field.split_once('{') else {
            return (!field.is_empty()).then(|| field.to_owned());
        };
        let (name, after) = rest.split_once('}')?;
        let key = self.entry.key.len();
        let rest = &self.text[self.at + key..];
        let value = match name {
            "version" => version::following(rest),
            "model" => model(rest),
            "models" => models(rest),
            "name" => product_name(rest),
            "code" => Some(code(self.text, self.at, key)),
            _ => None,
        };
        match value {
            Some(value) => Some(format!("{before}{value}{after}")),
            None => before.strip_suffix(' ').map(str::to_owned),
        }
    }
}

/// The longest code of a model, in bytes; longer words are serial numbers and the like.
const CODE_MAX: usize = 32;

/// The most words of a model's name.
const MODEL_WORDS_MAX: usize = 5;

/// Whether a part of the text is a label of a host name, which greetings often begin with: a dot joins it to a letter
/// before or after it. The host name `james.example.net` does not mean that the mail server is James.
fn is_label(text: &str, start: usize, end: usize) -> bool {
    let joins_next = text[end..].strip_prefix('.').is_some_and(|rest| rest.starts_with(char::is_alphabetic));
    let joins_last =
        text[..start].strip_suffix('.').is_some_and(|rest| rest.ends_with(char::is_alphanumeric));
    joins_next || joins_last
}

/// Returns the word that begins with the key's last word; it consists of letters, digits, hyphens and plus signs, so
/// that a firmware's version is left out.
fn code(text: &str, at: usize, key: usize) -> &str {
    let ends = |c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '+');
    let end = text[at + key..].find(ends).map_or(text.len(), |end| at + key + end);
    let start = text[at..at + key].rfind([' ', '=', '/']).map_or(at, |mark| at + mark + 1);
    let word = text[start..end].trim_end_matches('-');
    let model = word.rsplit_once('-').map(|(model, _)| model).filter(|_| goes_on_as_version(&text[end..]));
    model.filter(|model| model.contains(|c: char| c.is_ascii_digit())).unwrap_or(word)
}

/// Whether a dot and a digit follow a word, so that a version begins after its last hyphen, as in `PAP2T-3.1.16`.
fn goes_on_as_version(behind: &str) -> bool {
    behind.strip_prefix('.').is_some_and(|behind| behind.starts_with(|c: char| c.is_ascii_digit()))
}

/// Marks between a maker and the model. Not a slash: a version follows it.
const MARKS: [char; 4] = [' ', '-', '_', ':'];

/// Returns the next word if it can be a model: it has a digit, and no dot ends it, as in a version.
fn model(rest: &str) -> Option<&str> {
    let rest = rest.trim_start_matches(MARKS);
    let ends = |c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '+');
    let (word, behind) = rest.split_at(rest.find(ends).unwrap_or(rest.len()));
    let word = if goes_on_as_version(behind) { word.rsplit_once('-')?.0 } else { word.trim_end_matches('-') };
    (word.len() <= CODE_MAX && word.contains(|c: char| c.is_ascii_digit())).then_some(word)
}

/// What ends a name.
const NAME_ENDS: [&str; 14] =
    ["\n", "  ", " - ", " | ", " :: ", " (", " [", ",", ";", "\"", "/", ":", " series", " ip "];

/// The text up to the end of the name that it begins with.
fn up_to_end(text: &str) -> &str {
    let ends = NAME_ENDS.iter().filter_map(|end| super::text::find_ignoring_case(text, end));
    &text[..ends.min().unwrap_or(text.len())]
}

/// The most words of a product that its vendor names before it.
const NAME_WORDS_MAX: usize = 4;

/// Words of titles that are no part of a name, and end it.
const NO_NAME: [&str; 19] = [
    "admin", "error", "for", "gmbh", "home", "homepage", "inc", "inc.", "index", "loading", "log", "login",
    "logon", "ltd", "page", "sign", "test", "webui", "welcome",
];

/// Whether a word of a title can be part of a product's name.
pub(super) fn can_name(word: &str) -> bool {
    !NO_NAME.contains(&word.to_ascii_lowercase().as_str())
}

/// Words that do not name a product by themselves.
const KINDS: [&str; 22] = [
    "access",
    "company",
    "configuration",
    "console",
    "corporation",
    "documentation",
    "interface",
    "management",
    "network",
    "networks",
    "online",
    "portal",
    "printer",
    "products",
    "security",
    "solutions",
    "support",
    "switch",
    "systems",
    "technologies",
    "technology",
    "user",
];

/// The next words up to the end of the name, each with a capital and without a digit: a product behind its vendor. A
/// word with a digit is a model or a version.
fn product_name(rest: &str) -> Option<&str> {
    let rest = up_to_end(rest.strip_prefix(" - ").or_else(|| rest.strip_prefix(' '))?);
    let is_part = |word: &&str| {
        let of_name = word.starts_with(|c: char| c.is_ascii_uppercase())
            && word.chars().all(|c| c.is_alphabetic() || matches!(c, '-' | '+' | '\''));
        (of_name && can_name(word)) || *word == "&"
    };
    let words = rest.split(' ').take(NAME_WORDS_MAX).take_while(is_part);
    let length = words.map(|word| word.len() + 1).sum::<usize>();
    let name = rest[..length.min(rest.len())].trim_end_matches([' ', '&']);
    let tells = |word: &str| {
        let word = word.to_ascii_lowercase();
        !KINDS.contains(&word.as_str()) && !super::text::is_common(&word)
    };
    name.split(' ').any(tells).then_some(name)
}

/// Returns the next words up to the end of the name, if one of them can be a model.
fn models(rest: &str) -> Option<&str> {
    let name = up_to_end(rest.trim_start_matches(MARKS));
    let mut length = 0;
    for word in name.split(' ').take(MODEL_WORDS_MAX) {
        if word.parse::<Ipv4Addr>().is_ok() {
            break; // Printers put their address behind their model.
        }
        length += word.len() + 1;
    }
    let name = name[..length.min(name.len())].trim();
    let is_version = name.contains('.') && super::version::is_version(name);
    (name.contains(|c: char| c.is_ascii_digit()) && !is_version).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::DeviceType;

    const SHED: Table = Table::new(
        "# comment\n\
         a|words|Vendor A|Product A|{version}\n\
         \n\
         # source: none\n\
         a b|words|Vendor B|Product B\n\
         whole|whole|Vendor C|Product C\n\
         d-|code||||Maker|{code}|router\n\
         start|start|Vendor E|Product E|||E {models}\n\
         maker|words||||Maker|{model}|printer\n\
         bare|model||||Bare|Bare {model}\n\
         vendor f|words|Vendor F|{name}\n\
         one line|line|Vendor G|Product G\n",
    );

    fn product(text: &str) -> Option<String> {
        SHED.find(text, Preference::Longest).product
    }

    fn model_of(text: &str) -> Option<String> {
        SHED.find(text, Preference::Longest).device.model
    }

    #[test]
    fn the_longest_or_the_first_fitting_key_counts() {
        assert_eq!(product("x a 1, a b").as_deref(), Some("Product B"));
        assert_eq!(SHED.find("x a 1, a b", Preference::First).product.as_deref(), Some("Product A"));
        assert_eq!(product("WHOLE ").as_deref(), Some("Product C"));
        assert_eq!(product("start a").as_deref(), Some("Product E"));
        for text in ["whole x", "x start", "ab", "", "a.example.net", "mail.a ready", "1.a"] {
            assert_eq!(product(text), None, "{text}");
        }
    }

    #[test]
    fn a_model_has_a_digit() {
        assert_eq!(model_of("D-12x/3").as_deref(), Some("D-12x"));
        assert_eq!(model_of("x/D-12x-3.1.16").as_deref(), Some("D-12x"));
        assert_eq!(model_of("maker R7000, x").as_deref(), Some("R7000"));
        assert_eq!(model_of("start Pro 3 abc  10.0.0.1").as_deref(), Some("E Pro 3 abc"));
        assert_eq!(model_of("start Pro 3 10.0.0.1").as_deref(), Some("E Pro 3"));
        assert_eq!(model_of("maker PAP2T-3.1.16").as_deref(), Some("PAP2T"));
        assert_eq!(model_of("bare X1").as_deref(), Some("Bare X1"));
        for text in
            ["d-list 1", "maker router", "maker 3.1", "bare facts", "d-123456789012345678901234567890123"]
        {
            assert_eq!(model_of(text), None, "{text}");
        }
        assert_eq!(model_of("start of all").as_deref(), Some("E"), "the words before the placeholder");
    }

    #[test]
    fn a_product_is_the_capitals_behind_its_vendor() {
        for (text, expected) in [
            ("Vendor F Shed Manager", Some("Shed Manager")),
            ("vendor f - Shed Backup & Restore Suite Pro", Some("Shed Backup & Restore")),
            ("Vendor F Shed Login Page", Some("Shed")),
            ("Vendor F Shed 9 | Vendor F", Some("Shed")),
            ("Vendor F Systems, Inc.", None),
            ("Vendor F Login", None),
            ("Vendor F X500", None),
            ("Vendor F", None),
            ("a 1 of Vendor F", Some("Product A")),
        ] {
            assert_eq!(product(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_line_is_all_of_one() {
        assert_eq!(product("x\r\n One Line \r\ny").as_deref(), Some("Product G"));
        assert_eq!(product("x one line"), None);
    }

    #[test]
    fn every_entry_of_every_table_is_sound() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/identify/tables");
        let mut tables = 0;
        for file in std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()) {
            if file.extension().is_none_or(|extension| extension != "txt") {
                continue;
            }
            tables += 1;
            let text: &'static str = Box::leak(std::fs::read_to_string(&file).unwrap().into_boxed_str());
            let (mut keys, mut has_source) = (Vec::new(), false);
            for line in text.lines() {
                has_source |= line.starts_with("# source: ");
                if line.is_empty() || line.starts_with('#') {
                    continue;
                }
                let place = format!("{}: {line}", file.display());
                assert!(has_source, "no source: {place}");
                let entry = Entry::read(line).unwrap_or_else(|| panic!("{place}"));
                assert_eq!(entry.key, entry.key.to_ascii_lowercase(), "{place}");
                assert!(entry.names_software() || entry.names_device(), "{place}");
                assert!(entry.fields[..1].iter().all(|vendor| vendor.is_empty()) || entry.names_software());
                assert!(
                    entry.fields[2].is_empty() || entry.names_software(),
                    "a version of nothing: {place}"
                );
                let kind = entry.fields[5];
                assert!(kind.is_empty() || kind.parse::<DeviceType>().is_ok(), "{place}");
                assert!(line.split('|').count() <= 8, "too many fields: {place}");
                for field in entry.fields {
                    let placeholder = field.split_once('{').map(|(_, rest)| rest.split_once('}').unwrap().0);
                    let known = ["version", "model", "models", "name", "code"];
                    assert!(placeholder.is_none_or(|name| known.contains(&name)), "{place}");
                }
                keys.push((entry.key, line.split('|').nth(1)));
            }
            keys.sort_unstable();
            let twice = keys.windows(2).find(|pair| pair[0] == pair[1]);
            assert_eq!(twice, None, "{}", file.display());
        }
        assert_eq!(tables, TABLES);
    }

    const TABLES: usize = 15;
}
