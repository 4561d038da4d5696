//! What a hub takes into the copy of a site: values that this program can read again.
//!
//! SQLite checks only the types of columns. One date out of range or one protocol without a name, from a damaged disk or
//! from whoever holds a site's key, would make every list fail in which it is. So each value is decoded before the batch
//! is committed, by what decodes it when it is read. To read the rows by the store's queries instead would not be enough:
//! they join tables, and a long copy has the row and what it belongs to in different batches.
//!
//! A column that is not named here is read as it is, or compared with words. `src/http/tests/hostile_rows.rs` writes
//! values of all kinds into every column, and then reads all that a hub serves.

use std::{fmt::Display, str::FromStr};

use rusqlite::Connection;

use super::{
    error::{Result, StoreError},
    events,
    fleet_tables::FleetTable,
    identification_body, row,
    verdicts::Verdicts,
};
use crate::{
    fleet::{ChangedRow, RowValue},
    model::{
        Address, DeviceKey, DeviceType, HostStatus, IdentifyMethod, Mac, NameSource, PortSet, PortState,
        Protocol, Reason,
    },
};

/// Checks the values of a row.
///
/// # Errors
/// [`StoreError::Damaged`]: a value cannot be read; the reason names the column.
pub(super) fn check(table: &FleetTable, row: &ChangedRow) -> Result<()> {
    let values = row.key.iter().chain(row.rest.iter().flatten());
    let columns = table.key.iter().chain(&table.rest).zip(&table.types);
    for ((column, declared), value) in columns.zip(values) {
        let checked = match (value, declared.as_str()) {
            // The schema says where there must be a value; what else a change needs depends on its kind.
            (RowValue::Null, _) => Ok(()),
            (RowValue::Integer(number), "INTEGER") => check_number(column, *number),
            (RowValue::Text(text), "TEXT") => check_text((table.name, column), text),
            (RowValue::Blob(body), "BLOB") if table.name == "results" && column == "body" => {
                Verdicts::decode(body).map(drop)
            }
            (RowValue::Blob(_), "BLOB") => Ok(()),
            // SQLite would convert a text of digits to a number, which then is unchecked.
            _ => Err(StoreError::Damaged(format!("it is no {declared}"))),
        };
        checked.map_err(|error| at(table.name, column, &error))?;
    }
    Ok(())
}

/// Checks the row of a change that was just written: which columns it needs depends on its kind.
pub(super) fn check_change(connection: &Connection, id: i64) -> Result<()> {
    events::check(connection, id).map_err(|error| at("changes", "kind", &error))
}

fn at(table: &str, column: &str, error: &StoreError) -> StoreError {
    let reason = match error {
        StoreError::Damaged(reason) => reason.clone(),
        error => error.to_string(),
    };
    StoreError::Damaged(format!("{table}.{column}: {reason}"))
}

/// The greatest number that a client in JavaScript reads exactly. No honest one comes near it; ids near the greatest of
/// SQLite's would make a list that is read page by page never end.
const GREATEST: i64 = (1 << 53) - 1;

fn check_number(column: &str, number: i64) -> Result<()> {
    if !(-GREATEST..=GREATEST).contains(&number) {
        return Err(StoreError::Damaged(format!("{number} is out of range")));
    }
    match column {
        "at" | "finished" | "first_seen" | "heard" | "last_seen" | "name_at" | "silenced" | "since"
        | "started" | "time" | "until" => row::timestamp(number).map(drop),
        "port" => {
            let is_port = u16::try_from(number).is_ok();
            is_port.then_some(()).ok_or_else(|| StoreError::Damaged(format!("{number} is no port")))
        }
        _ => Ok(()),
    }
}

fn check_text(place: (&str, &str), text: &str) -> Result<()> {
    match place {
        ("identifications", "body") => identification_body::check(text),
        ("names", "source") => parses::<NameSource>(text),
        ("expectations", "state") => parses::<PortState>(text),
        ("observations", "status") => parses::<HostStatus>(text),
        ("observations", "reason") => parses::<Reason>(text),
        ("devices", "own_type") => parses::<DeviceType>(text),
        // Of all devices; and an import without ports.
        ("alert_snoozes", "device") | ("scans", "ports") if text.is_empty() => Ok(()),
        (_, "address") => parses::<Address>(text),
        (_, "device") => parses::<DeviceKey>(text),
        (_, "mac") => parses::<Mac>(text),
        (_, "method") => parses::<IdentifyMethod>(text),
        (_, "ports") => parses::<PortSet>(text),
        (_, "protocol") => parses::<Protocol>(text),
        _ => Ok(()),
    }
}

fn parses<T: FromStr>(text: &str) -> Result<()>
where
    T::Err: Display,
{
    row::parse::<T>(text).map(drop)
}
