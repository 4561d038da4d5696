//! Reads `ports.txt`, which is a part of the binary.

use std::{fmt, sync::LazyLock};

use serde::{Serialize, Serializer};

use crate::model::{AdviceLevel, Protocol};

/// The file; its first lines explain its format.
pub(super) const PORTS: &str = include_str!("ports.txt");

/// The parsed file, from the first lookup on.
static INDEX: LazyLock<Index> = LazyLock::new(|| Index::read(PORTS));

/// A text of the file. It may be folded over several lines there, and is on one line wherever it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdviceText(&'static str);

impl AdviceText {
    /// A text of one of the files.
    pub(super) const fn of(text: &'static str) -> Self {
        Self(text)
    }
}

impl fmt::Display for AdviceText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = self.0.split('\n').map(str::trim_start);
        f.write_str(lines.next().unwrap_or_default())?;
        lines.try_for_each(|line| {
            f.write_str(" ")?;
            f.write_str(line)
        })
    }
}

impl Serialize for AdviceText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What some ports are used for: a paragraph of the file.
#[derive(Clone, Copy, Debug)]
pub struct PortUse {
    /// The ports, as the file has them: `5900-5903/tcp`.
    ports: &'static str,
    /// Its common name.
    pub name: AdviceText,
    /// Beginnings of the names of the makers of devices that use the ports so, separated by commas.
    vendors: Option<&'static str>,
    /// Beginnings of host names of devices that use the ports so, separated by commas.
    host_names: Option<&'static str>,
    /// What it is for.
    pub purpose: AdviceText,
    /// On which devices it is usual.
    pub devices: AdviceText,
    /// How much it matters that it is open.
    pub level: AdviceLevel,
    /// What can go wrong, or why nothing does.
    pub why: AdviceText,
    /// Why the port is dangerous whatever listens there; `None` if what listens decides.
    pub always: Option<AdviceText>,
    /// How to close or to secure it.
    pub remedy: AdviceText,
    /// The sources.
    pub source: AdviceText,
}

impl PortUse {
    /// Whether it is the general use, on any device.
    pub fn is_general(&self) -> bool {
        self.vendors.is_none() && self.host_names.is_none()
    }

    /// The beginnings of the makers' names that hint at this use.
    pub fn vendors(&self) -> impl Iterator<Item = &'static str> {
        listed(self.vendors)
    }

    /// The beginnings of the host names that hint at this use.
    pub fn host_names(&self) -> impl Iterator<Item = &'static str> {
        listed(self.host_names)
    }

    /// Reads a paragraph: its heading, and fields that begin with their names and go on in indented lines.
    pub(super) fn read(paragraph: &'static str) -> Result<Self, String> {
        let (heading, rest) = paragraph.split_once('\n').ok_or("it has a heading only")?;
        let heading = heading.strip_prefix('[').and_then(|heading| heading.split_once(']'));
        let (ports, name) = heading.ok_or("it does not begin with [PORT/PROTOCOL] and a name")?;
        let fields = Fields::read(rest, &FIELDS)?;
        Ok(Self {
            ports,
            name: AdviceText(name.trim()),
            vendors: fields.find("vendor"),
            host_names: fields.find("host"),
            purpose: fields.text("for")?,
            devices: fields.text("on")?,
            level: fields.level()?,
            why: fields.text("why")?,
            always: fields.find("always").map(AdviceText),
            remedy: fields.text("remedy")?,
            source: fields.text("source")?,
        })
    }

    /// Its ports, each with its protocol.
    pub(super) fn ports(&self) -> Result<Vec<(Protocol, u16)>, String> {
        let mut ports = Vec::new();
        for range in self.ports.split(' ') {
            let malformed = || format!("\"{range}\" is not PORT/PROTOCOL or FIRST-LAST/PROTOCOL");
            let (numbers, protocol) = range.split_once('/').ok_or_else(malformed)?;
            let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
            let number = |text: &str| text.parse::<u16>().map_err(|_| malformed());
            let protocol = protocol.parse::<Protocol>().map_err(|_| malformed())?;
            ports.extend((number(first)?..=number(last)?).map(|port| (protocol, port)));
        }
        Ok(ports)
    }
}

fn listed(hints: Option<&'static str>) -> impl Iterator<Item = &'static str> {
    hints.into_iter().flat_map(|hints| hints.split(',')).map(str::trim)
}

/// The names of the fields, in the order in which a paragraph has them.
pub(super) const FIELDS: [&str; 9] =
    ["vendor", "host", "for", "on", "level", "why", "always", "remedy", "source"];

/// The values of a paragraph's fields.
pub(super) struct Fields<const COUNT: usize> {
    names: &'static [&'static str; COUNT],
    values: [Option<&'static str>; COUNT],
}

impl<const COUNT: usize> Fields<COUNT> {
    /// Reads fields of these names, in this order.
    pub(super) fn read(lines: &'static str, names: &'static [&'static str; COUNT]) -> Result<Self, String> {
        let mut values = [None; COUNT];
        let mut next = 0;
        let mut rest = lines;
        while !rest.is_empty() {
            // A field ends before the next line that is not indented.
            let folded = |&(at, _): &(usize, &str)| !rest[at + 1..].starts_with(' ');
            let end = rest.match_indices('\n').find(folded).map_or(rest.len(), |(at, _)| at);
            let (field, after) = rest.split_at(end);
            rest = after.trim_start_matches('\n');
            let (name, value) = field.split_once(' ').unwrap_or((field, ""));
            let place = names[next..].iter().position(|known| *known == name);
            let place = next + place.ok_or_else(|| format!("\"{name}\" is unknown or out of its order"))?;
            values[place] = Some(value.trim());
            next = place + 1;
        }
        Ok(Self { names, values })
    }

    pub(super) fn find(&self, name: &str) -> Option<&'static str> {
        self.names.iter().position(|known| *known == name).and_then(|place| self.values[place])
    }

    pub(super) fn text(&self, name: &str) -> Result<AdviceText, String> {
        self.find(name).map(AdviceText).ok_or_else(|| format!("it has no \"{name}\""))
    }

    pub(super) fn level(&self) -> Result<AdviceLevel, String> {
        self.text("level")?.0.parse().map_err(|error: crate::model::StateError| error.to_string())
    }
}

/// The paragraphs of a file: what is between empty lines and is no comment.
pub(super) fn paragraphs(file: &'static str) -> impl Iterator<Item = &'static str> {
    file.split("\n\n")
        .map(str::trim_end)
        .filter(|paragraph| !paragraph.is_empty() && !paragraph.starts_with('#'))
}

/// The paragraphs by their ports.
struct Index {
    uses: Vec<PortUse>,
    /// Sorted; the last is a place in `uses`.
    places: Vec<(Protocol, u16, u16)>,
}

impl Index {
    /// Paragraphs with faults are left out; the tests find them before anybody else does.
    fn read(file: &'static str) -> Self {
        let uses: Vec<PortUse> = paragraphs(file).filter_map(|text| PortUse::read(text).ok()).collect();
        let mut places = Vec::new();
        for (known, place) in uses.iter().zip(0..) {
            places.extend(
                known.ports().unwrap_or_default().into_iter().map(|(protocol, port)| (protocol, port, place)),
            );
        }
        places.sort_unstable();
        Self { uses, places }
    }
}

/// Returns the uses of a port, in the order of the file.
pub(super) fn uses_of(protocol: Protocol, port: u16) -> impl Iterator<Item = &'static PortUse> {
    let Index { uses, places } = &*INDEX;
    let first =
        places.partition_point(|&(its_protocol, its_port, _)| (its_protocol, its_port) < (protocol, port));
    let of_port = places[first..]
        .iter()
        .take_while(move |(its_protocol, its_port, _)| (*its_protocol, *its_port) == (protocol, port));
    of_port.filter_map(|&(_, _, place)| uses.get(usize::from(place)))
}
