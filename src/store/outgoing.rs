//! A site's side of its copy at the hub: which rows the hub does not have yet.
//!
//! Triggers note the key of each row that is written, in the same transaction; so nothing is missed, whichever code writes
//! it, and whether or not the appliance runs. What is sent is the row as it is then: one that changed a hundred times
//! while the hub could not be reached is sent once. SQLite's session extension would keep a copy of each change, in
//! memory only, and update hooks see no table without row numbers.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, types::ValueRef};
use tokio::sync::mpsc;

use super::{
    change::{DatabaseChange, Urgency},
    error::{Result, StoreError},
    fleet_tables::{FleetTable, fleet_tables},
    handle::Store,
    schema,
};
use crate::fleet::{BATCH_BYTES, ChangedRow, Pass, RowValue, SentTable};

/// Batches that are ready while one is being sent.
const READY: usize = 1;

/// The fixed part of a row's size in a message, more than it is.
const ROW_OVERHEAD: usize = 8;

/// What a site may continue with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutgoingState {
    /// The database.
    pub epoch: Pass,
    /// The pass of the last batch that is known to be committed; `None`: none is.
    pub pass: Option<Pass>,
    /// Whether the hub's copy may lack deletions, so that it is replaced as a whole.
    pub replaces_all: bool,
    /// The version of the schema.
    pub schema: u32,
    /// The tables that are sent, each at the position of its number.
    pub tables: Vec<SentTable>,
}

/// A part of what the hub does not have yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutgoingRows {
    /// The rows.
    pub rows: Vec<ChangedRow>,
    /// Of the last part: once it is committed, [`Store::acknowledge`] takes this.
    pub through: Option<SentThrough>,
}

/// All that had been noted when the database was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SentThrough(i64);

impl Store {
    /// Begins to note what is written, if that is not done yet; then all rows are noted first. A database that was never in
    /// a fleet gets this epoch. Returns what the site may continue with.
    ///
    /// # Errors
    /// The database cannot be written, or the store is closed.
    pub async fn begin_outgoing(&self, epoch: Pass) -> Result<OutgoingState> {
        self.run_exclusive(move |connection| {
            let transaction = connection.transaction()?;
            let tables = fleet_tables(&transaction)?;
            begin(&transaction, &tables, epoch)?;
            let state = state(&transaction, &tables)?;
            transaction.commit()?;
            Ok(state)
        })
        .await
    }

    /// Stops noting what is written, and drops what is noted.
    ///
    /// # Errors
    /// The database cannot be written, or the store is closed.
    pub async fn end_outgoing(&self) -> Result<()> {
        self.run_exclusive(|connection| {
            let present = present_triggers(connection)?;
            // Most appliances are in no fleet, and this is done at each start.
            if present.is_empty() {
                return Ok(());
            }
            let transaction = connection.transaction()?;
            drop_triggers(&transaction, &present)?;
            transaction.execute("DELETE FROM outgoing", [])?;
            Ok(transaction.commit()?)
        })
        .await
    }

    /// Notes all rows, for a hub that has none of them, or none of which it knows that it may continue.
    ///
    /// # Errors
    /// The database cannot be written, or the store is closed.
    pub async fn note_all_outgoing(&self) -> Result<()> {
        self.run_exclusive(|connection| {
            let transaction = connection.transaction()?;
            note_all(&transaction, &fleet_tables(&transaction)?)?;
            // If the answer to the first batch is lost, the hub must not take this for an older state of the database.
            transaction.execute("UPDATE succession SET pass = NULL", [])?;
            Ok(transaction.commit()?)
        })
        .await
    }

    /// Returns whether anything is noted.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn has_outgoing(&self) -> Result<bool> {
        self.read(|connection| Ok(connection.prepare_cached("SELECT 1 FROM outgoing LIMIT 1")?.exists([])?))
            .await
    }

    /// Reads all that is noted, as it was at one moment, in parts: a thread of its own reads ahead by one part, and ends
    /// when the receiver is dropped. Without anything noted there is one empty part.
    ///
    /// # Errors
    /// The database cannot be opened. Later errors come through the channel.
    pub fn read_outgoing(&self) -> Result<mpsc::Receiver<Result<OutgoingRows>>> {
        let connection = schema::open_reader(&self.path)?;
        let (parts, received) = mpsc::channel(READY);
        let reading = move || {
            if let Err(error) = read(&connection, &parts) {
                let _ = parts.blocking_send(Err(error));
            }
        };
        let thread = std::thread::Builder::new().name("store-outgoing".to_owned());
        let path = self.path.to_path_buf();
        thread.spawn(reading).map_err(|source| StoreError::File { path, source })?;
        Ok(received)
    }

    /// The hub has committed a batch and given this pass. With `through` it was the last one of what
    /// [`Store::read_outgoing`] has read, which is dropped.
    ///
    /// # Errors
    /// The store is closed.
    pub async fn acknowledge(&self, pass: Pass, through: Option<SentThrough>) -> Result<()> {
        self.write(move |_| Acknowledge { pass, through }).await
    }
}

/// The pass is needed after a restart, so it is on the disk before the next batch is sent.
struct Acknowledge {
    pass: Pass,
    through: Option<SentThrough>,
}

impl DatabaseChange for Acknowledge {
    type Answer = ();

    fn urgency(&self) -> Urgency {
        Urgency::Immediate
    }

    fn apply(&self, connection: &Connection) -> Result<()> {
        connection.prepare_cached("UPDATE succession SET pass = ?1")?.execute([self.pass])?;
        if let Some(SentThrough(number)) = self.through {
            connection.prepare_cached("UPDATE succession SET is_partial = 0")?.execute([])?;
            connection.prepare_cached("DELETE FROM outgoing WHERE number <= ?1")?.execute([number])?;
        }
        Ok(())
    }
}

fn state(connection: &Connection, tables: &[FleetTable]) -> Result<OutgoingState> {
    let schema = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let tables = tables.iter().map(FleetTable::sent).collect();
    let sql = "SELECT epoch, pass, is_partial FROM succession";
    Ok(connection.query_row(sql, [], |row| {
        Ok(OutgoingState { epoch: row.get(0)?, pass: row.get(1)?, replaces_all: row.get(2)?, schema, tables })
    })?)
}

/// The triggers that there are: their names, and their statements as SQLite keeps them.
fn present_triggers(connection: &Connection) -> Result<BTreeSet<(String, String)>> {
    let sql = "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND name LIKE 'outgoing_%'";
    let mut present = connection.prepare(sql)?;
    let present = present.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(present.collect::<rusqlite::Result<_>>()?)
}

fn drop_triggers(connection: &Connection, present: &BTreeSet<(String, String)>) -> Result<()> {
    for (name, _) in present {
        connection.execute_batch(&format!("DROP TRIGGER {name}"))?;
    }
    Ok(())
}

/// Makes the triggers. If one is missing or differs, rows may have been written unseen, and all are noted.
fn begin(connection: &Connection, tables: &[FleetTable], epoch: Pass) -> Result<()> {
    let wanted: BTreeSet<(String, String)> = tables.iter().flat_map(triggers).collect();
    let present = present_triggers(connection)?;
    let is_known: bool =
        connection.query_row("SELECT EXISTS (SELECT 1 FROM succession)", [], |row| row.get(0))?;
    if present == wanted && is_known {
        return Ok(());
    }
    drop_triggers(connection, &present)?;
    for (_, sql) in &wanted {
        connection.execute_batch(sql)?;
    }
    let insert = "INSERT OR IGNORE INTO succession (single, epoch, is_partial) VALUES (1, ?1, 1)";
    connection.execute(insert, [epoch])?;
    note_all(connection, tables)
}

/// A table's triggers, as [`present_triggers`] returns them.
fn triggers(table: &FleetTable) -> [(String, String); 3] {
    let FleetTable { code, name, key, .. } = table;
    let (new, old) = (table.key_as_json(Some("NEW")), table.key_as_json(Some("OLD")));
    let note = |key: &str| format!("INSERT INTO outgoing (table_code, key) VALUES ({code}, {key});");
    let differs = key.iter().map(|column| format!("OLD.{column} <> NEW.{column}")).collect::<Vec<_>>();
    let differs = differs.join(" OR ");
    let moved = format!("INSERT INTO outgoing (table_code, key) SELECT {code}, {old} WHERE {differs};");
    let trigger = |event: &str, body: String| {
        let trigger = format!("outgoing_{name}_{event}");
        let sql = format!("CREATE TRIGGER {trigger} AFTER {event} ON {name} BEGIN {body} END");
        (trigger, sql)
    };
    [
        trigger("insert", note(&new)),
        trigger("update", format!("{} {moved}", note(&new))),
        trigger("delete", note(&old)),
    ]
}

fn note_all(connection: &Connection, tables: &[FleetTable]) -> Result<()> {
    connection.execute("DELETE FROM outgoing", [])?;
    connection.execute("UPDATE succession SET is_partial = 1", [])?;
    for table in tables {
        let (code, name, key) = (table.code, table.name, table.key_as_json(None));
        let sql = format!("INSERT INTO outgoing (table_code, key) SELECT {code}, {key} FROM {name}");
        connection.execute(&sql, [])?;
    }
    Ok(())
}

/// Sends what is noted: the rows that exist, parents first, then the keys of those that are gone, children first.
fn read(connection: &Connection, parts: &mpsc::Sender<Result<OutgoingRows>>) -> Result<()> {
    let transaction = connection.unchecked_transaction()?;
    let through: i64 =
        transaction.query_row("SELECT coalesce(max(number), 0) FROM outgoing", [], |row| row.get(0))?;
    let tables = fleet_tables(&transaction)?;
    let mut part = Part { rows: Vec::new(), bytes: 0, parts };
    let mut tell = |is_deletion: bool, order: &str| -> Result<bool> {
        let sql = format!(
            "SELECT DISTINCT table_code, key FROM outgoing WHERE number <= ?1 ORDER BY table_code {order}, key"
        );
        let mut noted = transaction.prepare(&sql)?;
        let mut noted = noted.query([through])?;
        while let Some(row) = noted.next()? {
            let Some(table) = tables.get(usize::from(row.get::<_, u8>(0)?)) else { continue };
            let key = key_from_json(&row.get::<_, String>(1)?);
            let rest = row_with_key(&transaction, table, &key)?;
            if rest.is_none() == is_deletion && !part.add(ChangedRow { table: table.code, key, rest }) {
                return Ok(false);
            }
        }
        Ok(true)
    };
    if tell(false, "ASC")? && tell(true, "DESC")? {
        part.send(Some(SentThrough(through)));
    }
    Ok(())
}

/// The part that is being filled.
struct Part<'a> {
    rows: Vec<ChangedRow>,
    bytes: usize,
    parts: &'a mpsc::Sender<Result<OutgoingRows>>,
}

impl Part<'_> {
    /// Adds a row; false if there is no receiver any more.
    fn add(&mut self, row: ChangedRow) -> bool {
        let bytes = size(&row);
        // Full before the row that would exceed it, so that only a single row may.
        let is_full = !self.rows.is_empty() && self.bytes + bytes > BATCH_BYTES;
        if is_full && !self.send(None) {
            return false;
        }
        self.rows.push(row);
        self.bytes += bytes;
        true
    }

    fn send(&mut self, through: Option<SentThrough>) -> bool {
        self.bytes = 0;
        let rows = std::mem::take(&mut self.rows);
        self.parts.blocking_send(Ok(OutgoingRows { rows, through })).is_ok()
    }
}

/// At least the bytes of a row in a message.
fn size(row: &ChangedRow) -> usize {
    let value = |value: &RowValue| match value {
        RowValue::Null => 1,
        RowValue::Integer(_) => 11,
        RowValue::Text(text) => text.len() + 4,
        RowValue::Blob(bytes) => bytes.len() + 4,
    };
    ROW_OVERHEAD + row.key.iter().chain(row.rest.iter().flatten()).map(value).sum::<usize>()
}

/// The values of a key that a trigger wrote.
fn key_from_json(text: &str) -> Vec<RowValue> {
    let values: Vec<serde_json::Value> = serde_json::from_str(text).unwrap_or_default();
    let value = |value: serde_json::Value| match value {
        serde_json::Value::Number(number) => number.as_i64().map_or(RowValue::Null, RowValue::Integer),
        serde_json::Value::String(text) => RowValue::Text(text),
        _ => RowValue::Null,
    };
    values.into_iter().map(value).collect()
}

/// The values of a row beside its key; `None`: there is no such row.
fn row_with_key(
    connection: &Connection,
    table: &FleetTable,
    key: &[RowValue],
) -> Result<Option<Vec<RowValue>>> {
    // A table may consist of its key alone.
    let columns = if table.rest.is_empty() { "1".to_owned() } else { table.rest.join(", ") };
    let sql = format!("SELECT {columns} FROM {} WHERE {}", table.name, table.by_key());
    let read =
        |row: &rusqlite::Row<'_>| (0..table.rest.len()).map(|column| value(row.get_ref(column)?)).collect();
    let found =
        connection.prepare_cached(&sql)?.query_row(rusqlite::params_from_iter(key), read).optional()?;
    Ok(found)
}

fn value(found: ValueRef<'_>) -> rusqlite::Result<RowValue> {
    Ok(match found {
        // No column of these tables is REAL.
        ValueRef::Null | ValueRef::Real(_) => RowValue::Null,
        ValueRef::Integer(number) => RowValue::Integer(number),
        ValueRef::Text(_) => RowValue::Text(found.as_str()?.to_owned()),
        ValueRef::Blob(bytes) => RowValue::Blob(bytes.to_vec()),
    })
}
