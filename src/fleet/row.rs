//! Rows of tables, as they travel from a site to the hub.

use serde::{Deserialize, Serialize};

/// A value of a column. The database has no others: its tables are strict and have no column for reals.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RowValue {
    /// NULL.
    Null,
    /// INTEGER.
    Integer(i64),
    /// TEXT.
    Text(String),
    /// BLOB.
    Blob(Vec<u8>),
}

/// A row that was added, changed or deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedRow {
    /// The table, by its number, which it keeps in all versions.
    pub table: u8,
    /// The values of the key's columns.
    pub key: Vec<RowValue>,
    /// The values of the other columns; `None`: the row is deleted.
    pub rest: Option<Vec<RowValue>>,
}
