//! The tables that a site sends to its hub.

use rusqlite::{
    Connection,
    types::{ToSqlOutput, Value, ValueRef},
};

use super::error::Result;
use crate::fleet::RowValue;

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
