//! A hub's side: the copy of a site's database.
//!
//! A batch is applied in one transaction together with its place in the succession. Foreign keys are not enforced
//! meanwhile: a long copy arrives in several batches, and a row may refer to one that arrives later.

use rusqlite::{Connection, OptionalExtension, params, params_from_iter};

use super::{
    copied_text, copied_values,
    copy_form::{ArrivingTable, CopyForm},
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
    /// The version of the schema.
    pub const SCHEMA: usize = schema::LADDER.len();

    /// The oldest version of the schema of a site or a hub with which this program exchanges rows.
    pub const EXCHANGED_SINCE: usize = schema::EXCHANGED_SINCE;

    /// Returns what is committed of the site, for batches that arrive in this form; `None`: in one that is not known yet.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn succession(&self, form: Option<CopyForm>) -> Result<Succession> {
        self.read(move |connection| succession(connection, form.as_ref())).await
    }

    /// Returns the form in which the copy has arrived; `None`: there is no copy, or one of a version that knew no forms.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn copy_form(&self) -> Result<Option<CopyForm>> {
        let stored = self.read(|connection| {
            let sql = "SELECT form FROM succession WHERE form IS NOT NULL";
            Ok(connection.prepare_cached(sql)?.query_row([], |row| row.get::<_, String>(0)).optional()?)
        });
        Ok(stored.await?.and_then(|form| serde_json::from_str(&form).ok()))
    }

    /// Applies a batch that has arrived in this form; the next one must show `pass`.
    ///
    /// # Errors
    /// The database cannot be written, or the store is closed.
    pub async fn apply_batch(&self, batch: Batch, pass: Pass, form: CopyForm) -> Result<Applied> {
        if self.bytes() > COPY_MAX {
            return Ok(Applied::TooLarge);
        }
        let applying = self.run_exclusive(move |connection| {
            // Without effect inside a transaction.
            connection.execute_batch("PRAGMA foreign_keys = OFF")?;
            let applied = apply(connection, batch, pass, &form);
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
        if self.succession(None).await?.standing.is_some_and(|standing| !standing.is_partial) {
            self.keep_copy(BEFORE_ADOPT).await?;
        }
        self.run_exclusive(|connection| {
            connection.execute("DELETE FROM succession", [])?;
            Ok(())
        })
        .await
    }
}

fn succession(connection: &Connection, form: Option<&CopyForm>) -> Result<Succession> {
    let sql = "SELECT epoch, pass, before, is_partial, form FROM succession WHERE pass IS NOT NULL";
    let standing = connection.prepare_cached(sql)?.query_row([], |row| {
        let stored: Option<String> = row.get(4)?;
        let is_outdated = form.is_none_or(|form| stored.as_deref() != Some(&*as_text(form)));
        let (epoch, pass, before, is_partial) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
        Ok(Standing { epoch, pass, before, is_partial, is_outdated })
    });
    Ok(Succession { standing: standing.optional()? })
}

/// A form as it is stored.
fn as_text(form: &CopyForm) -> String {
    // Texts, numbers and lists of texts: that cannot fail.
    serde_json::to_string(form).unwrap_or_default()
}

fn apply(connection: &mut Connection, batch: Batch, pass: Pass, form: &CopyForm) -> Result<Applied> {
    let transaction = connection.transaction()?;
    let known = succession(&transaction, Some(form))?;
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
    let arriving = match form.arriving(&tables) {
        Ok(arriving) => arriving,
        Err(reason) => return Ok(Applied::Malformed(reason)),
    };
    for row in batch.rows {
        let (number, arriving) = (row.table, arriving.get(usize::from(row.table)));
        let taken = match arriving {
            // A table that is new at the site.
            Some(None) => continue,
            Some(Some(arriving)) => arriving.take(row).map(|row| (arriving, row)),
            None => None,
        };
        let Some((ArrivingTable { table, .. }, mut row)) = taken else {
            return Ok(Applied::Malformed(format!("table {number} has other columns")));
        };
        copied_text::clean(table, &mut row);
        let refused = match write(&transaction, table, &row) {
            Err(StoreError::Sqlite(error)) if is_of_the_row(&error) => {
                Applied::Malformed(format!("table {}: {error}", table.name))
            }
            Err(StoreError::Damaged(reason)) => Applied::Unreadable(reason),
            written => {
                written?;
                continue;
            }
        };
        // A value that the newer site has and the hub does not know; it comes again once the hub is upgraded.
        if !form.is_newer() {
            return Ok(refused);
        }
    }
    let sql = "INSERT OR REPLACE INTO succession (single, epoch, pass, before, is_partial, form)
               VALUES (1, ?1, ?2, ?3, ?4, ?5)";
    transaction.execute(sql, params![batch.epoch, pass, batch.pass, !batch.is_last, as_text(form)])?;
    transaction.commit()?;
    Ok(Applied::Committed)
}

/// The hub's alert channels begin anew after the events of another database, whose numbers are its own.
fn forget_alerts(connection: &Connection) -> Result<()> {
    connection.execute_batch("DELETE FROM alert_channels; DELETE FROM alert_messages")?;
    Ok(())
}

/// Whether SQLite refused the row itself, by a type or a constraint, rather than failed.
fn is_of_the_row(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{ConstraintViolation, TypeMismatch};
    matches!(error.sqlite_error_code(), Some(ConstraintViolation | TypeMismatch))
}

fn write(connection: &Connection, table: &FleetTable, row: &ChangedRow) -> Result<()> {
    let Some(rest) = &row.rest else { return delete(connection, table, row) };
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
    if table.name == "changes"
        && let Err(error) = copied_values::check_change(connection, connection.last_insert_rowid())
    {
        delete(connection, table, row)?;
        return Err(error);
    }
    Ok(())
}

fn delete(connection: &Connection, table: &FleetTable, row: &ChangedRow) -> Result<()> {
    let sql = format!("DELETE FROM {} WHERE {}", table.name, table.by_key());
    connection.prepare_cached(&sql)?.execute(params_from_iter(&row.key))?;
    Ok(())
}
