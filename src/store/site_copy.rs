//! A hub's side: the copy of a site's database.
//!
//! A batch is applied in one transaction together with its place in the succession. Foreign keys are not enforced
//! meanwhile: a long copy arrives in several batches, and a row may refer to one that arrives later.

use rusqlite::{Connection, OptionalExtension, params, params_from_iter};

use super::{
    copied_text, copied_values,
    error::{Result, StoreError},
    fleet_tables::{FleetTable, fleet_tables},
    handle::Store,
    health::StoreHealth,
    schema,
};
use crate::fleet::{Batch, ChangedRow, Pass, Standing, Succession, SuccessionVerdict};

/// The most bytes of a copy: some ten years of a large site. More is a site that fills the hub's disk.
const COPY_MAX: u64 = 2 << 30;

/// The end of the name of the file that has what the copy had before another database was adopted.
const BEFORE_ADOPT: &str = ".before-adopt";

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It is committed.
    Committed,
    /// It does not continue what is committed; nothing is changed.
    NotNext(SuccessionVerdict),
    /// Its rows are none of this schema; nothing is changed.
    Malformed(String),
    /// A value in it could not be read again; nothing is changed.
    Unreadable(String),
    /// The copy has reached its largest size; nothing is changed.
    TooLarge,
}

impl Store {
    /// The version of the schema, which a site and its hub must share.
    pub const SCHEMA: usize = schema::LADDER.len();

    /// Returns what is committed of the site.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn succession(&self) -> Result<Succession> {
        self.read(succession).await
    }

    /// Applies a batch; the next one must show `pass`.
    ///
    /// # Errors
    /// The database cannot be written, or the store is closed.
    pub async fn apply_batch(&self, batch: Batch, pass: Pass) -> Result<Applied> {
        if self.bytes() > COPY_MAX {
            return Ok(Applied::TooLarge);
        }
        let applying = self.run_exclusive(move |connection| {
            // Without effect inside a transaction.
            connection.execute_batch("PRAGMA foreign_keys = OFF")?;
            let applied = apply(connection, batch, pass);
            connection.execute_batch("PRAGMA foreign_keys = ON")?;
            applied
        });
        let applied = applying.await;
        // Nothing else writes to a copy, so nothing else would notice a full disk.
        match &applied {
            Ok(Applied::Committed) => self.condition.note_writing(StoreHealth::Ok),
            Err(StoreError::Sqlite(error)) => self.condition.note_failed_write(error),
            _ => {}
        }
        applied
    }

    /// Forgets which database the copy is of: the next batch begins a whole copy, of whichever database. What the copy has
    /// is kept in a file beside it, in place of what an earlier call has kept.
    ///
    /// # Errors
    /// That file cannot be written, the database cannot be written, or the store is closed; nothing has changed then.
    pub async fn forget_succession(&self) -> Result<()> {
        // A copy that was never complete, or is forgotten already, must not replace one that was.
        if self.succession().await?.standing.is_some_and(|standing| !standing.is_partial) {
            self.keep_copy(BEFORE_ADOPT).await?;
        }
        self.run_exclusive(|connection| {
            connection.execute("DELETE FROM succession", [])?;
            Ok(())
        })
        .await
    }
}

fn succession(connection: &Connection) -> Result<Succession> {
    let sql = "SELECT epoch, pass, before, is_partial FROM succession WHERE pass IS NOT NULL";
    let standing = connection.prepare_cached(sql)?.query_row([], |row| {
        Ok(Standing { epoch: row.get(0)?, pass: row.get(1)?, before: row.get(2)?, is_partial: row.get(3)? })
    });
    Ok(Succession { standing: standing.optional()? })
}

fn apply(connection: &mut Connection, batch: Batch, pass: Pass) -> Result<Applied> {
    let transaction = connection.transaction()?;
    let known = succession(&transaction)?;
    match known.judge(&batch) {
        SuccessionVerdict::StartsAnew if known.standing.is_none() => forget_alerts(&transaction)?,
        SuccessionVerdict::Continues(_) | SuccessionVerdict::StartsAnew => {}
        verdict => return Ok(Applied::NotNext(verdict)),
    }
    let tables = fleet_tables(&transaction)?;
    if batch.replaces_all {
        for table in &tables {
            transaction.execute_batch(&format!("DELETE FROM {}", table.name))?;
        }
    }
    for mut row in batch.rows {
        let table = tables.get(usize::from(row.table));
        let Some(table) = table.filter(|table| has_its_columns(table, &row)) else {
            return Ok(Applied::Malformed(format!("table {} has other columns", row.table)));
        };
        copied_text::clean(table, &mut row);
        match write(&transaction, table, &row) {
            Err(StoreError::Sqlite(error)) if is_of_the_row(&error) => {
                return Ok(Applied::Malformed(format!("table {}: {error}", table.name)));
            }
            Err(StoreError::Damaged(reason)) => return Ok(Applied::Unreadable(reason)),
            written => written?,
        }
    }
    let sql = "INSERT OR REPLACE INTO succession (single, epoch, pass, before, is_partial) VALUES (1, ?1, ?2, ?3, ?4)";
    transaction.execute(sql, params![batch.epoch, pass, batch.pass, !batch.is_last])?;
    transaction.commit()?;
    Ok(Applied::Committed)
}

/// The hub's alert channels begin anew after the events of another database, whose numbers are its own.
fn forget_alerts(connection: &Connection) -> Result<()> {
    connection.execute_batch("DELETE FROM alert_channels; DELETE FROM alert_messages")?;
    Ok(())
}

fn has_its_columns(table: &FleetTable, row: &ChangedRow) -> bool {
    let has_rest = row.rest.as_ref().is_none_or(|rest| rest.len() == table.rest.len());
    row.key.len() == table.key.len() && has_rest
}

/// Whether SQLite refused the row itself, by a type or a constraint, rather than failed.
fn is_of_the_row(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{ConstraintViolation, TypeMismatch};
    matches!(error.sqlite_error_code(), Some(ConstraintViolation | TypeMismatch))
}

fn write(connection: &Connection, table: &FleetTable, row: &ChangedRow) -> Result<()> {
    let Some(rest) = &row.rest else {
        let sql = format!("DELETE FROM {} WHERE {}", table.name, table.by_key());
        connection.prepare_cached(&sql)?.execute(params_from_iter(&row.key))?;
        return Ok(());
    };
    copied_values::check(table, row)?;
    let columns: Vec<&str> = table.key.iter().chain(&table.rest).map(String::as_str).collect();
    let places: Vec<String> = (1..=columns.len()).map(|place| format!("?{place}")).collect();
    // REPLACE also drops a row with the same MAC or digest and another key: at the site that row is changed or gone, too,
    // and so it is in this copy at the latest with the last batch.
    let sql = format!(
        "INSERT OR REPLACE INTO {} ({}) VALUES ({})",
        table.name,
        columns.join(", "),
        places.join(", ")
    );
    connection.prepare_cached(&sql)?.execute(params_from_iter(row.key.iter().chain(rest)))?;
    if table.name == "changes" {
        copied_values::check_change(connection, connection.last_insert_rowid())?;
    }
    Ok(())
}
