//! The tables that a site sends to its hub.

use rusqlite::{
    Connection,
    types::{ToSqlOutput, Value, ValueRef},
};

use super::error::Result;
use crate::fleet::{RowValue, SentTable};

/// The tables, parents first. A table's position is its code in messages and in `outgoing`, so that new ones are added
/// at the end, whatever they refer to. What belongs to the appliance alone is not here: its schedules, its alert
/// channels with their messages, and its own id.
const NAMES: [&str; 16] = [
    "scans",
    "results",
    "devices",
    "endpoints",
    "observations",
    "earlier",
    "unanswered",
    "unconfirmed",
    "expectations",
    "marks",
    "names",
    "identifications",
    "identified_ports",
    "identified_devices",
    "alert_snoozes",
    "changes",
];

/// A table with its columns in two groups, each in the order of the schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FleetTable {
    pub(super) code: u8,
    pub(super) name: &'static str,
    pub(super) key: Vec<String>,
    pub(super) rest: Vec<String>,
    /// The types of the key's columns, then of the others.
    pub(super) types: Vec<String>,
}

/// All tables, as this database has them.
pub(super) fn fleet_tables(connection: &Connection) -> Result<Vec<FleetTable>> {
    (0..).zip(NAMES).map(|(code, name)| table(connection, code, name)).collect()
}

fn table(connection: &Connection, code: u8, name: &'static str) -> Result<FleetTable> {
    // The columns of the key first, in its order.
    let sql = "SELECT name, type, pk > 0 FROM pragma_table_info(?1) ORDER BY pk = 0, pk, cid";
    let mut columns = connection.prepare_cached(sql)?;
    let mut columns = columns.query([name])?;
    let mut table = FleetTable { code, name, key: Vec::new(), rest: Vec::new(), types: Vec::new() };
    while let Some(column) = columns.next()? {
        let names = if column.get(2)? { &mut table.key } else { &mut table.rest };
        names.push(column.get(0)?);
        table.types.push(column.get(1)?);
    }
    Ok(table)
}

impl FleetTable {
    /// The table, as a site announces it.
    pub(super) fn sent(&self) -> SentTable {
        SentTable { name: self.name.to_owned(), key: self.key.clone(), rest: self.rest.clone() }
    }

    /// `a = ?1 AND b = ?2`: the row with this key.
    pub(super) fn by_key(&self) -> String {
        let equal = self.key.iter().zip(1..).map(|(column, place)| format!("{column} = ?{place}"));
        equal.collect::<Vec<_>>().join(" AND ")
    }

    /// The key of a row as JSON; `row` is `NEW` or `OLD` in a trigger.
    pub(super) fn key_as_json(&self, row: Option<&str>) -> String {
        let column = |column: &String| row.map_or_else(|| column.clone(), |row| format!("{row}.{column}"));
        format!("json_array({})", self.key.iter().map(column).collect::<Vec<_>>().join(", "))
    }
}

impl rusqlite::ToSql for RowValue {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Null => ToSqlOutput::Owned(Value::Null),
            Self::Integer(number) => ToSqlOutput::Owned(Value::Integer(*number)),
            Self::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Self::Blob(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::store::schema::{EXCHANGED_SINCE, LADDER, open_writer};

    /// The tables of this version of the schema: each column with its type, its place in the key, and whether a row needs
    /// a value for it.
    fn tables(version: usize) -> BTreeMap<&'static str, BTreeMap<String, (String, i64, bool)>> {
        let dir = tempfile::tempdir().unwrap();
        let connection = open_writer(&dir.path().join("portscan.db"), &LADDER[..version]).unwrap();
        let sql = r#"SELECT name, type, pk, "notnull" AND dflt_value IS NULL FROM pragma_table_info(?1)"#;
        let columns = |name| {
            let mut columns = connection.prepare(sql).unwrap();
            let columns =
                columns.query_map([name], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?, row.get(3)?))));
            columns.unwrap().collect::<rusqlite::Result<_>>().unwrap()
        };
        NAMES.into_iter().map(|name| (name, columns(name))).collect()
    }

    #[test]
    fn releases_that_exchange_rows_differ_in_columns_that_may_be_left_out_alone() {
        let newest = tables(LADDER.len());
        for version in EXCHANGED_SINCE..LADDER.len() {
            let older = tables(version);
            for (name, columns) in newest.iter().filter(|(name, _)| !older[*name].is_empty()) {
                for (one, other) in [(&older[name], columns), (columns, &older[name])] {
                    for (column, (declared, place, is_needed)) in one {
                        let told = format!("{name}.{column} of schema {version} and {}", LADDER.len());
                        match other.get(column) {
                            Some((same, at, _)) => assert_eq!((declared, place), (same, at), "{told}"),
                            None => assert!(*place == 0 && !is_needed, "{told}"),
                        }
                    }
                }
            }
        }
    }
}
