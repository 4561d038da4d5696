//! A TOML table on its way to checked values.
//!
//! serde's `deny_unknown_fields` stops at the first fault and cannot say "did you mean". Here keys are taken out of a
//! table one by one, which yields three results: every fault with its line; the known keys, which are those that were
//! read, so the list is never out of date; and the unknown keys, which are those that remain.

use std::{cell::RefCell, fmt::Display, ops::Range, path::Path};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{Fault, Place};

/// The similarity at which an unknown key counts as a typing error of a known one; 1 is equal.
const ALIKE: f64 = 0.8;

/// Collects the faults while a file is read.
pub(super) struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    /// With the offset in the file, to sort by.
    faults: RefCell<Vec<(usize, Fault)>>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(path: &'a Path, text: &'a str) -> Self {
        Self { path, text, faults: RefCell::default() }
    }

    /// Reads the whole file; the faults in the order of its lines.
    pub(super) fn read(self, read: impl FnOnce(&mut Section<'_, 'a>)) -> Vec<Fault> {
        match DeTable::parse(self.text) {
            Ok(table) => Section::open(&self, String::new(), Vec::new(), table, read),
            Err(error) => {
                let text = format!("this is not TOML: {}", error.message().trim().replace('\n', ", "));
                self.fault(error.span().unwrap_or_default(), "", text);
            }
        }
        let mut faults = self.faults.into_inner();
        faults.sort_by_key(|(offset, _)| *offset);
        faults.into_iter().map(|(_, fault)| fault).collect()
    }

    fn fault(&self, span: Range<usize>, key: &str, text: String) {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let place = Place::Line { file: self.path.to_owned(), line, key: key.to_owned() };
        self.faults.borrow_mut().push((span.start, Fault { place, text }));
    }
}

/// One table of the file. A key that is left over at the end is unknown.
pub(super) struct Section<'r, 'a> {
    reader: &'r Reader<'a>,
    /// `feed`; empty for the file itself.
    path: String,
    /// The keys of the file itself, to recognise one that slid under a section's header.
    above: Vec<&'static str>,
    /// The keys that were read, with their positions if present.
    asked: Vec<(&'static str, Option<Range<usize>>)>,
    span: Range<usize>,
    table: DeTable<'a>,
}

impl<'r, 'a> Section<'r, 'a> {
    fn open<T>(
        reader: &'r Reader<'a>,
        path: String,
        above: Vec<&'static str>,
        table: Spanned<DeTable<'a>>,
        read: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let span = table.span();
        let mut section = Self { reader, path, above, asked: Vec::new(), span, table: table.into_inner() };
        let value = read(&mut section);
        section.refuse_unknown();
        value
    }

    /// The key's whole name, as faults give it: `feed.url`.
    fn name(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Whether the key is there and not yet taken.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Reports a fault of the section as a whole.
    pub(super) fn fault(&self, text: impl Into<String>) {
        self.reader.fault(self.span.clone(), &self.path, text.into());
    }

    /// Reports a fault of a key that was read before.
    pub(super) fn fault_of(&self, key: &str, text: impl Into<String>) {
        let place = self.asked.iter().find(|(asked, _)| *asked == key).and_then(|(_, place)| place.clone());
        self.reader.fault(place.unwrap_or_else(|| self.span.clone()), &self.name(key), text.into());
    }

    fn take(&mut self, key: &'static str) -> Option<Spanned<DeValue<'a>>> {
        let value = self.table.remove(key);
        self.asked.push((key, value.as_ref().map(Spanned::span)));
        value
    }

    fn known(&self) -> impl Iterator<Item = &'static str> {
        self.asked.iter().map(|(key, _)| *key)
    }

    /// One value, read from its text; `None` if it is missing or faulty, which has been reported then.
    pub(super) fn one<T, E: Display>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        let value = self.take(key)?;
        self.parse(key, &value, &parse)
    }

    /// The same for a value that must be there; the example is how to write it.
    pub(super) fn required<T, E: Display>(
        &mut self,
        key: &'static str,
        example: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        if !self.has(key) {
            self.fault(format!("`{key}` is missing here; write {key} = {example}"));
        }
        self.one(key, parse)
    }

    /// A list without duplicates; a single value is a list of one. `None` too when a member is faulty: what is
    /// left of such a list means something else.
    pub(super) fn list<T: PartialEq, E: Display>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<Vec<T>> {
        let value = self.take(key)?;
        let span = value.span();
        let members = match value.into_inner() {
            DeValue::Array(members) => members.into_iter().collect(),
            single => vec![Spanned::new(span, single)],
        };
        let count = members.len();
        let mut list = Vec::with_capacity(count);
        for member in members {
            match self.parse(key, &member, &parse) {
                Some(value) if list.contains(&value) => {
                    let text = "this is listed twice; drop one".to_owned();
                    self.reader.fault(member.span(), &self.name(key), text);
                }
                Some(value) => list.push(value),
                None => {}
            }
        }
        Some(list).filter(|list| list.len() == count)
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, key: &'static str) -> Option<bool> {
        let value = self.take(key)?;
        match value.get_ref() {
            DeValue::Boolean(flag) => Some(*flag),
            other => {
                let text = format!("write true or false, without quotes, not {}", kind(other));
                self.reader.fault(value.span(), &self.name(key), text);
                None
            }
        }
    }

    /// A table below this one, `[feed]`.
    pub(super) fn table<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Section<'r, 'a>) -> T,
    ) -> Option<T> {
        let value = self.take(key)?;
        self.descend(key, value, &format!("write it as [{}]", self.name(key)), read)
    }

    /// A list of tables below this one, `[[scanner]]` or `[{ .. }, { .. }]`.
    pub(super) fn tables<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&mut Section<'r, 'a>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let value = self.take(key)?;
        let remedy = format!("head each one with [[{}]]", self.name(key));
        let span = value.span();
        let DeValue::Array(members) = value.into_inner() else {
            self.reader.fault(span, &self.name(key), format!("this is a list of sections; {remedy}"));
            return None;
        };
        let member = |value| self.descend(key, value, &remedy, &mut read).flatten();
        Some(members.into_iter().filter_map(member).collect())
    }

    fn descend<T>(
        &self,
        key: &'static str,
        value: Spanned<DeValue<'a>>,
        remedy: &str,
        read: impl FnOnce(&mut Section<'r, 'a>) -> T,
    ) -> Option<T> {
        let span = value.span();
        match value.into_inner() {
            DeValue::Table(table) => {
                let above = if self.path.is_empty() { self.known().collect() } else { self.above.clone() };
                Some(Section::open(self.reader, self.name(key), above, Spanned::new(span, table), read))
            }
            other => {
                let text = format!("this is a section, not {}; {remedy}", kind(&other));
                self.reader.fault(span, &self.name(key), text);
                None
            }
        }
    }

    fn parse<T, E: Display>(
        &self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        let parsed = match value.get_ref() {
            DeValue::String(text) => parse(text),
            // `ports = 80`, `timing = 3`, `at = 02:30:00`: their meaning is plain.
            DeValue::Integer(number) => parse(&number.to_string()),
            DeValue::Datetime(time) => parse(&time.to_string()),
            other => {
                let text = format!("write one text in quotes, not {}", kind(other));
                self.reader.fault(value.span(), &self.name(key), text);
                return None;
            }
        };
        parsed.map_err(|error| self.reader.fault(value.span(), &self.name(key), error.to_string())).ok()
    }

    fn refuse_unknown(self) {
        for key in self.table.keys() {
            let unknown: &str = key.get_ref();
            let likeness = |known: &&str| strsim::jaro_winkler(known, unknown);
            let nearest = self.known().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
            let text = match nearest.filter(|near| likeness(near) >= ALIKE) {
                _ if self.above.contains(&unknown) => format!(
                    "this key belongs above the first section: in TOML it is part of [{}], under which it stands",
                    self.path
                ),
                Some(near) => format!("unknown key; did you mean `{near}`?"),
                None => format!("unknown key; known here: {}", self.known().collect::<Vec<_>>().join(", ")),
            };
            self.reader.fault(key.span(), &self.name(unknown), text);
        }
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    }
}
