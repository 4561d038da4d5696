//! The file and its schema: how it is opened, and the ladder from every older version.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::error::{Result, StoreError};

/// Every schema there has been: step N leads from version N to N + 1. A step that was once released never
/// changes; what it left to be desired is another step.
pub(super) const LADDER: &[&str] = &[
    include_str!("v1.sql"),
    include_str!("v2.sql"),
    include_str!("v3.sql"),
    include_str!("v4.sql"),
    include_str!("v5.sql"),
    include_str!("v6.sql"),
    include_str!("v7.sql"),
];

/// SQLite's mark of whose file it is (`PRAGMA application_id`): "pscn".
const APPLICATION_ID: i64 = 0x7073_636e;

/// What every connection needs. The caches are small because the whole appliance idles in 12 MB; mapping the
/// file would turn a read error of the card into a SIGBUS.
const EVERY_CONNECTION: &str = "
    PRAGMA mmap_size = 0;
    PRAGMA temp_store = MEMORY;
    PRAGMA foreign_keys = ON;
    PRAGMA trusted_schema = OFF;
";

/// The writer's own. FULL syncs the log at every commit: what was acknowledged survives a power cut. The log
/// is copied back at 256 pages (1 MB) and keeps at most that.
const WRITER: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA wal_autocheckpoint = 256;
    PRAGMA journal_size_limit = 1048576;
    PRAGMA cache_size = -256;
";

/// The reader's own.
const READER: &str = "
    PRAGMA query_only = ON;
    PRAGMA cache_size = -512;
";

/// How long a connection waits for a lock. Only a backup or a curious `sqlite3` ever holds one.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Opens the writer's connection: makes the file (mode 0600) or brings it up to the newest schema.
pub(super) fn open_writer(path: &Path, ladder: &[&str]) -> Result<Connection> {
    create_private(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open_error = |source| StoreError::Open { path: path.to_owned(), source };
    let mut connection = Connection::open_with_flags(path, flags).map_err(open_error)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(open_error)?;
    let found = version(&connection, path, ladder)?;
    connection.execute_batch(WRITER).map_err(open_error)?;
    migrate(&mut connection, path, found, ladder)?;
    connection.execute_batch(EVERY_CONNECTION).map_err(open_error)?;
    Ok(connection)
}

/// Opens the reader's connection to a file that [`open_writer`] has prepared.
pub(super) fn open_reader(path: &Path) -> Result<Connection> {
    let connection = open_read_only(path)?;
    let open_error = |source| StoreError::Open { path: path.to_owned(), source };
    connection.execute_batch(READER).map_err(open_error)?;
    Ok(connection)
}

/// Opens a file of any schema, as long as it is ours, to be copied.
pub(super) fn open_copied(path: &Path) -> Result<Connection> {
    let connection = open_read_only(path)?;
    version(&connection, path, LADDER)?;
    Ok(connection)
}

fn open_read_only(path: &Path) -> Result<Connection> {
    let open_error = |source| StoreError::Open { path: path.to_owned(), source };
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(open_error)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(open_error)?;
    connection.execute_batch(EVERY_CONNECTION).map_err(open_error)?;
    Ok(connection)
}

/// Makes the file, if it is not there, readable by nobody else; SQLite gives its log the same mode.
fn create_private(path: &Path) -> Result<()> {
    let file_error = |source| StoreError::File { path: path.to_owned(), source };
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => file.sync_all().and_then(|()| sync_dir(path)).map_err(file_error),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(source) => Err(file_error(source)),
    }
}

/// Makes a name in a directory as durable as the file is.
fn sync_dir(path: &Path) -> io::Result<()> {
    match path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

/// The file's schema version, if the file is ours and not from the future. Changes nothing, so that a file
/// that is refused stays as it was.
fn version(connection: &Connection, path: &Path, ladder: &[&str]) -> Result<usize> {
    let open_error = |source| StoreError::Open { path: path.to_owned(), source };
    let number = |sql| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).map_err(open_error);
    let (owner, found) = (number("PRAGMA application_id")?, number("PRAGMA user_version")?);
    let is_empty = number("SELECT count(*) FROM sqlite_schema")? == 0;
    if owner != APPLICATION_ID && !(is_empty && owner == 0 && found == 0) {
        return Err(StoreError::Foreign { path: path.to_owned() });
    }
    let known = i64::try_from(ladder.len()).unwrap_or(i64::MAX);
    usize::try_from(found).ok().filter(|&found| found <= ladder.len()).ok_or_else(|| StoreError::Newer {
        path: path.to_owned(),
        found,
        known,
    })
}

/// Climbs from version `found` to the top, all or nothing; copies a database that holds something first.
fn migrate(connection: &mut Connection, path: &Path, found: usize, ladder: &[&str]) -> Result<()> {
    if found == ladder.len() {
        return Ok(());
    }
    if found > 0 {
        let copy = copy_of_version(connection, path, found)?;
        tracing::info!(from = found, to = ladder.len(), copy = %copy.display(), "upgrading the database");
    }
    climb(connection, found, ladder).map_err(|source| StoreError::Migrate {
        path: path.to_owned(),
        from: i64::try_from(found).unwrap_or(i64::MAX),
        source,
    })
}

fn climb(connection: &mut Connection, found: usize, ladder: &[&str]) -> rusqlite::Result<()> {
    // A step may rebuild a table that others refer to; the pragma does nothing inside a transaction.
    connection.execute_batch("PRAGMA foreign_keys = OFF")?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for step in &ladder[found..] {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", i64::try_from(ladder.len()).unwrap_or(i64::MAX))?;
    transaction.commit()
}

/// Copies the database to `NAME.vN`, N being its schema.
fn copy_of_version(connection: &Connection, path: &Path, version: usize) -> Result<PathBuf> {
    let copy = beside(path, &format!(".v{version}"));
    match self::copy(connection, &copy) {
        Ok(()) => Ok(copy),
        Err(reason) => Err(StoreError::Copy { copy, reason }),
    }
}

/// A file's neighbour, whose name is this much longer.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Copies the database to a file, under that name only once it is whole and synced.
///
/// By VACUUM INTO: one read transaction, so that the copy is of one moment, and no room is copied that holds
/// nothing. SQLite's online backup would begin anew with every commit in between.
pub(super) fn copy(connection: &Connection, to: &Path) -> Result<(), String> {
    let partial = beside(to, ".partial");
    let copied = || -> Result<(), Box<dyn std::error::Error>> {
        let _ = fs::remove_file(&partial);
        // VACUUM INTO accepts an empty file, and so the mode is ours.
        create_private(&partial)?;
        connection.execute("VACUUM INTO ?1", [partial.to_str().ok_or("the path is not UTF-8")?])?;
        File::open(&partial)?.sync_all()?;
        fs::rename(&partial, to)?;
        Ok(sync_dir(to)?)
    };
    copied().map_err(|reason| {
        let _ = fs::remove_file(&partial);
        reason.to_string()
    })
}
