//! In which form the rows of a copy arrive. Hub and site may be of two releases, so that each table of the site has some
//! of the columns that the hub's has, and may have others.
//!
//! A column that only the hub knows gets its default; what only the site knows is left out. Once both are of one release
//! the form is another one, and the site sends all of its data again ([`Standing::is_outdated`]).
//!
//! [`Standing::is_outdated`]: crate::fleet::Standing::is_outdated

use std::mem;

use serde::{Deserialize, Serialize};

use super::{fleet_tables::FleetTable, handle::Store};
use crate::fleet::{ChangedRow, RowValue, SentTable, SiteGreeting};

/// Most tables of a site, columns of each group in a table, and bytes of a name: some times what there is.
const TABLES: usize = 64;
const COLUMNS: usize = 64;
const NAME: usize = 64;

/// In which form the rows of a copy arrive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyForm {
    /// The hub that takes them: its version and its schema.
    hub: (String, usize),
    /// Whether the site's program is newer than the hub's. Then a row with a value that the hub cannot read is left out
    /// rather than refused.
    is_newer: bool,
    /// The site's tables, each at the position of its number.
    tables: Vec<SentTable>,
}

impl CopyForm {
    /// The form in which a site sends that greets so; `None`: there are more tables and columns than a site can have.
    pub fn of(greeting: &SiteGreeting) -> Option<Self> {
        let is_name = |name: &String| (1..=NAME).contains(&name.len());
        let is_bounded = |table: &SentTable| {
            let is_short = [&table.key, &table.rest].iter().all(|columns| columns.len() <= COLUMNS);
            is_short && [&table.name].into_iter().chain(&table.key).chain(&table.rest).all(is_name)
        };
        if greeting.tables.len() > TABLES || !greeting.tables.iter().all(is_bounded) {
            return None;
        }
        let hub = (env!("CARGO_PKG_VERSION").to_owned(), Store::SCHEMA);
        let is_newer = usize::try_from(greeting.schema).is_ok_and(|schema| schema > hub.1)
            || numbers(&greeting.version) > numbers(&hub.0);
        Some(Self { hub, is_newer, tables: greeting.tables.clone() })
    }

    /// The same, taken by this program.
    #[must_use]
    pub fn by_this_hub(mut self) -> Self {
        self.hub = (env!("CARGO_PKG_VERSION").to_owned(), Store::SCHEMA);
        self
    }

    /// Whether the site's program is newer than the hub's.
    pub fn is_newer(&self) -> bool {
        self.is_newer
    }

    /// Each table of the site, at the position of its number, as the hub takes it; `None`: the hub does not know it.
    ///
    /// # Errors
    /// A table has another key than the hub's. The reason is for a person.
    pub(super) fn arriving(&self, own: &[FleetTable]) -> Result<Vec<Option<ArrivingTable>>, String> {
        self.tables.iter().map(|sent| ArrivingTable::of(sent, own)).collect()
    }
}

/// The numbers of a version: `0.2.0` is `[0, 2, 0]`. What is behind them, as in `0.3.0-rc1`, is not compared.
fn numbers(version: &str) -> Vec<u64> {
    let release = version.split(['-', '+']).next().unwrap_or_default();
    release.split('.').map_while(|number| number.parse().ok()).collect()
}

/// A table of a site, as the hub takes it.
pub(super) struct ArrivingTable {
    /// The hub's table, with those columns alone that arrive.
    pub(super) table: FleetTable,
    /// Where each of its columns beside the key is among those that are sent.
    places: Vec<usize>,
    /// How many are sent.
    sent: usize,
}

impl ArrivingTable {
    fn of(sent: &SentTable, own: &[FleetTable]) -> Result<Option<Self>, String> {
        let Some(own) = own.iter().find(|own| own.name == sent.name) else { return Ok(None) };
        if own.key != sent.key {
            return Err(format!("table {} has another key", own.name));
        }
        let (mut table, mut places) = (own.clone(), Vec::new());
        table.rest.clear();
        table.types.truncate(own.key.len());
        for (column, declared) in own.rest.iter().zip(own.types.iter().skip(own.key.len())) {
            let Some(place) = sent.rest.iter().position(|sent| sent == column) else { continue };
            table.rest.push(column.clone());
            table.types.push(declared.clone());
            places.push(place);
        }
        Ok(Some(Self { table, places, sent: sent.rest.len() }))
    }

    /// The row with the values that the hub takes, in the order of its columns; `None`: it has not the columns that the
    /// site has announced.
    pub(super) fn take(&self, row: ChangedRow) -> Option<ChangedRow> {
        let ChangedRow { table, key, rest } = row;
        let is_whole = |rest: &Vec<RowValue>| rest.len() == self.sent;
        if key.len() != self.table.key.len() || !rest.as_ref().is_none_or(is_whole) {
            return None;
        }
        let taken = |mut values: Vec<RowValue>| {
            let take =
                |&place: &usize| values.get_mut(place).map(|value| mem::replace(value, RowValue::Null));
            self.places.iter().filter_map(take).collect()
        };
        Some(ChangedRow { table, key, rest: rest.map(taken) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    fn own() -> Vec<FleetTable> {
        let types = names(&["INTEGER", "TEXT", "INTEGER", "BLOB"]);
        let (key, rest) = (names(&["id"]), names(&["name", "at", "body"]));
        vec![FleetTable { code: 0, name: "devices", key, rest, types }]
    }

    fn greeting(version: &str, tables: Vec<SentTable>) -> SiteGreeting {
        let (schema, host) = (u32::try_from(Store::SCHEMA).unwrap(), String::new());
        let (epoch, pass, version) = ([1; 16], None, version.to_owned());
        SiteGreeting { epoch, schema, understood_since: schema, tables, pass, version, host }
    }

    fn sent(name: &str, key: &[&str], rest: &[&str]) -> SentTable {
        SentTable { name: name.to_owned(), key: names(key), rest: names(rest) }
    }

    #[test]
    fn values_are_taken_by_the_names_of_their_columns() {
        let tables = vec![sent("devices", &["id"], &["at", "colour", "name"]), sent("later", &["id"], &[])];
        let form = CopyForm::of(&greeting("1.0.0", tables)).unwrap();
        let arriving = form.arriving(&own()).unwrap();
        assert!(arriving[1].is_none(), "the hub has no such table");
        let devices = arriving[0].as_ref().unwrap();
        assert_eq!(devices.table.rest, ["name", "at"]);
        assert_eq!(devices.table.types, ["INTEGER", "TEXT", "INTEGER"]);
        let text = |text: &str| RowValue::Text(text.to_owned());
        let key = vec![RowValue::Integer(7)];
        let row = |rest| ChangedRow { table: 0, key: key.clone(), rest };
        let taken = devices.take(row(Some(vec![RowValue::Integer(5), text("red"), text("nas")])));
        assert_eq!(taken, Some(row(Some(vec![text("nas"), RowValue::Integer(5)]))));
        assert_eq!(devices.take(row(None)), Some(row(None)));
        assert_eq!(devices.take(row(Some(vec![text("nas")]))), None);
    }

    #[test]
    fn a_table_with_another_key_cannot_be_taken() {
        let form = CopyForm::of(&greeting("1.0.0", vec![sent("devices", &["mac"], &[])])).unwrap();
        assert_eq!(form.arriving(&own()).err().as_deref(), Some("table devices has another key"));
    }

    #[test]
    fn a_greeting_is_bounded() {
        let long = "x".repeat(NAME + 1);
        for table in [sent(&long, &[], &[]), sent("", &[], &[]), sent("a", &["b"; COLUMNS + 1], &[])] {
            assert_eq!(CopyForm::of(&greeting("1.0.0", vec![table])), None);
        }
        assert_eq!(CopyForm::of(&greeting("1.0.0", vec![sent("a", &["b"], &[]); TABLES + 1])), None);
    }

    #[test]
    fn versions_are_compared_by_their_numbers() {
        let own = env!("CARGO_PKG_VERSION");
        for (version, is_newer) in [
            (own, false),
            ("0.1.0", false),
            ("1000.10.0", true),
            ("999.9.0-rc1", true),
            ("", false),
            ("x", false),
        ] {
            assert_eq!(
                CopyForm::of(&greeting(version, Vec::new())).unwrap().is_newer(),
                is_newer,
                "{version}"
            );
        }
        assert!(numbers("0.10.0") > numbers("0.9.9"));
    }
}
