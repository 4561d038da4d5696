//! The ascending numbers in the database: ids of scans, sequence numbers of observations, ids of change events.

use rusqlite::Connection;

/// The latest id of our own scans: an import dated tomorrow must not shift our ids.
pub(super) fn latest_own_scan(connection: &Connection) -> rusqlite::Result<i64> {
    let sql = "SELECT coalesce(max(id), 0) FROM scans WHERE kind <> 'import'";
    connection.query_row(sql, [], |row| row.get(0))
}

/// The latest sequence number. Reads the whole table, some 50 bytes a row, once at start. An index would cost a page
/// per commit.
pub(super) fn latest_observation(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT coalesce(max(seq), 0) FROM observations", [], |row| row.get(0))
}

/// The latest id of a change event; 0 before the first.
pub(super) fn latest_event(connection: &Connection) -> rusqlite::Result<i64> {
    let sql = "SELECT coalesce(max(id), 0) FROM changes";
    connection.prepare_cached(sql)?.query_row([], |row| row.get(0))
}

/// The first id, beginning with `wanted`, that no scan has.
pub(super) fn free_scan_id(connection: &Connection, wanted: i64) -> rusqlite::Result<i64> {
    let mut taken = connection.prepare_cached("SELECT 1 FROM scans WHERE id = ?1")?;
    let mut id = wanted;
    while taken.exists([id])? {
        id += 1;
    }
    Ok(id)
}
