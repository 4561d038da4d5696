//! The database file and its schema: opening it, and upgrading it from every older version.

use std::{
    ffi::{CStr, OsString},
    fmt::Write as _,
    fs::{self, File},
    io, mem,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, MAIN_DB, OpenFlags, TransactionBehavior, ffi};

use super::{
    error::{Result, StoreError},
    health::{StoreHealth, diagnose},
};
use crate::data_dir::{self, Obstacle, parent};

/// The database's name in the data directory.
pub const FILE_NAME: &str = "portscan.db";

/// All schema versions: step N leads from version N to N + 1. A released step never changes; corrections are further
/// steps.
pub(super) const LADDER: &[&str] = &[
    include_str!("v1.sql"),
    include_str!("v2.sql"),
    include_str!("v3.sql"),
    include_str!("v4.sql"),
    include_str!("v5.sql"),
    include_str!("v6.sql"),
    include_str!("v7.sql"),
    include_str!("v8.sql"),
    include_str!("v9.sql"),
    include_str!("v10.sql"),
    include_str!("v11.sql"),
    include_str!("v12.sql"),
    include_str!("v13.sql"),
];

/// The oldest schema of a site or a hub with which this program exchanges rows: that of the release before this one, so
/// that neither has to be upgraded first. The steps after it only add tables, and columns that may be left out; a test
/// compares them. A step that must do more sets this to the schema that it leads to, and CHANGELOG says so.
pub(super) const EXCHANGED_SINCE: usize = 12;

/// Marks the file as ours (`PRAGMA application_id`): "pscn".
const APPLICATION_ID: i64 = 0x7073_636e;

/// Settings of every connection. The caches are small because the whole appliance idles in 12 MB; mapping the file
/// would turn a read error of the card into a SIGBUS.
const EVERY_CONNECTION: &str = "
    PRAGMA mmap_size = 0;
    PRAGMA temp_store = MEMORY;
    PRAGMA foreign_keys = ON;
    PRAGMA trusted_schema = OFF;
";

/// Settings of the writer. FULL syncs the log at every commit, so that acknowledged data survives a power cut. The log
/// is copied back at 256 pages (1 MB) and keeps at most that. Triggers also see a row that REPLACE deletes.
const WRITER: &str = "
    PRAGMA recursive_triggers = ON;
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA wal_autocheckpoint = 256;
    PRAGMA journal_size_limit = 1048576;
    PRAGMA cache_size = -256;
";

/// Settings of the reader.
const READER: &str = "
    PRAGMA query_only = ON;
    PRAGMA cache_size = -512;
";

/// How long a connection waits for a lock. Only a backup or a user's `sqlite3` ever holds one.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The VFS for a writer that needs no file for the index of the log: the index is in memory, where all connections of
/// the process find it, and other processes are locked out (SQLite, "The OS Backend For SQLite"). It is not the
/// default, because it keeps a user's `sqlite3` from reading while the appliance runs.
const WITHOUT_INDEX_FILE: &CStr = c"unix-excl";

/// Opens the writer's connection: creates the file (mode 0600) or upgrades it to the newest schema.
pub(super) fn open_writer(path: &Path, ladder: &[&str]) -> Result<Connection> {
    create_private(path, parent(path)).map_err(|source| match (source.kind(), obstacle(path, true)) {
        (io::ErrorKind::StorageFull, _) => StoreError::Full { path: path.to_owned() },
        (io::ErrorKind::NotFound, _) | (_, None) => StoreError::File { path: path.to_owned(), source },
        (_, Some(obstacle)) => obstacle.into(),
    })?;
    let is_full = |source: &rusqlite::Error| diagnose(path, source) == StoreHealth::Full;
    let opened = match open_to_write(path, ladder, None) {
        // SQLite needs 32 KB for the index. A disk without room for it may hold years of results.
        Err(StoreError::Open { source, .. }) if is_full(&source) => {
            open_to_write(path, ladder, Some(WITHOUT_INDEX_FILE))
        }
        opened => opened,
    };
    opened.map_err(|error| match &error {
        StoreError::Open { source, .. } | StoreError::Migrate { source, from: 0, .. } if is_full(source) => {
            StoreError::Full { path: path.to_owned() }
        }
        StoreError::Open { source, .. } if is_refusal(source) => {
            obstacle(path, true).map_or(error, StoreError::from)
        }
        _ => error,
    })
}

fn open_to_write(path: &Path, ladder: &[&str], vfs: Option<&CStr>) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open_error = |source| StoreError::Open { path: path.to_owned(), source };
    let opened = match vfs {
        Some(vfs) => Connection::open_with_flags_and_vfs(path, flags, vfs),
        None => Connection::open_with_flags(path, flags),
    };
    let mut connection = opened.map_err(open_error)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(open_error)?;
    // SQLite opens a file read-only if it may not write it, and reports that only at the first write, which a caller
    // would wait for in vain. Checked first, because reading creates a log and leaves it there.
    if connection.is_readonly(MAIN_DB).map_err(open_error)? {
        let read_only = ffi::Error::new(ffi::SQLITE_READONLY);
        return Err(open_error(rusqlite::Error::SqliteFailure(read_only, None)));
    }
    let found = version(&connection, path, ladder)?;
    connection.execute_batch(WRITER).map_err(open_error)?;
    // The same for the log.
    connection.execute_batch("BEGIN IMMEDIATE; ROLLBACK").map_err(open_error)?;
    migrate(&mut connection, path, found, ladder)?;
    connection.execute_batch(EVERY_CONNECTION).map_err(open_error)?;
    Ok(connection)
}

/// Whether another file can be created beside the database.
pub(super) fn takes_files(path: &Path) -> bool {
    let another = beside(path, ".try");
    let removed = || fs::remove_file(&another);
    // A file that a crash left says nothing.
    let _ = removed();
    data_dir::create_file(&another, parent(path)).is_ok_and(|_| removed().is_ok())
}

/// Opens the writer's connection to a file that was opened [at rest](open_at_rest), and replaces that connection with
/// one that sees new writes.
///
/// The old connection is closed first: SQLite ignores changes to a file that was opened as immutable, and a process
/// that closes any of its descriptors of a file loses all its locks on it (fcntl(2)), including the writer's.
pub(super) fn reopen(path: &Path, reader: &mut Connection) -> Result<Connection> {
    let open_error = |source| StoreError::Open { path: path.to_owned(), source };
    drop(mem::replace(reader, Connection::open_in_memory().map_err(open_error)?));
    let opened = open_writer(path, LADDER).and_then(|writer| Ok((writer, open_reader(path)?)));
    match opened {
        Ok((writer, opened)) => {
            *reader = opened;
            Ok(writer)
        }
        Err(error) => {
            *reader = open_at_rest(path)?;
            Err(error)
        }
    }
}

/// Whether the system refused access to the database, its log or its directory, as far as SQLite reports it.
fn is_refusal(error: &rusqlite::Error) -> bool {
    use ErrorCode::{CannotOpen, PermissionDenied, ReadOnly, SystemIoFailure};
    matches!(error.sqlite_error_code(), Some(CannotOpen | PermissionDenied | ReadOnly | SystemIoFailure))
}

/// What denies this user access to the database, its log or its directory, if anything does. It explains a refusal and
/// does not predict one: a capability or an access control list may allow more than owner and mode show.
fn obstacle(path: &Path, writes: bool) -> Option<Obstacle> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let files = ["", "-wal", "-shm"].map(|suffix| format!("{name}{suffix}"));
    data_dir::obstacle(parent(path), &files.each_ref().map(String::as_str), writes)
}

/// Opens the reader's connection to a file that [`open_writer`] has prepared.
pub(super) fn open_reader(path: &Path) -> Result<Connection> {
    ready_to_read(open_read_only(path)?, path)
}

/// Opens a file that no other process has open, and creates no file beside it: no log and no index of the log.
///
/// # Errors
/// The file does not exist, cannot be read, or has another schema than the newest.
pub(super) fn open_at_rest(path: &Path) -> Result<Connection> {
    let connection = open_resting(path)?;
    let known = LADDER.len();
    match version(&connection, path, LADDER)? {
        0 => Err(StoreError::NoDatabase { path: path.to_owned() }),
        found if found < known => Err(StoreError::Older { path: path.to_owned(), found, known }),
        _ => ready_to_read(connection, path),
    }
}

fn ready_to_read(connection: Connection, path: &Path) -> Result<Connection> {
    let open_error = |source| StoreError::Open { path: path.to_owned(), source };
    connection.execute_batch(READER).map_err(open_error)?;
    Ok(connection)
}

/// Opens a file of any schema for copying, if it is ours; it may be in use.
pub(super) fn open_copied(path: &Path) -> Result<Connection> {
    let connection = open_read_only(path)?;
    version(&connection, path, LADDER)?;
    Ok(connection)
}

/// As [`open_copied`], for a file that no other process has open; creates no file beside it.
pub(super) fn open_copied_at_rest(path: &Path) -> Result<Connection> {
    let connection = open_resting(path)?;
    match version(&connection, path, LADDER)? {
        0 => Err(StoreError::NoDatabase { path: path.to_owned() }),
        _ => Ok(connection),
    }
}

fn open_read_only(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open_error = |source| StoreError::Open { path: path.to_owned(), source };
    let connection = Connection::open_with_flags(path, flags).map_err(open_error)?;
    prepare(connection).map_err(open_error)
}

fn prepare(connection: Connection) -> rusqlite::Result<Connection> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.execute_batch(EVERY_CONNECTION)?;
    Ok(connection)
}

/// Opens a file of any schema that no other process has open.
///
/// For a reader of a database in WAL mode, SQLite creates a log and its index, and leaves them there if the reader may
/// not write. As no other process has the file open, it can be opened as immutable. Data that a crash left in the log
/// is read only after the log is merged into the database, as every start of the appliance does.
fn open_resting(path: &Path) -> Result<Connection> {
    let has = |suffix| fs::metadata(beside(path, suffix)).is_ok_and(|log| log.len() > 0);
    let is_unclosed = has("-wal") || has("-journal");
    let opened = match is_unclosed {
        true => {
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            Connection::open_with_flags(path, flags)
        }
        false => {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            Connection::open_with_flags(unchanging(path), flags | OpenFlags::SQLITE_OPEN_URI)
        }
    };
    opened.and_then(prepare).and_then(readable).map_err(|source| {
        let is_missing = fs::metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        match obstacle(path, is_unclosed) {
            Some(obstacle) if is_refusal(&source) && !matches!(obstacle, Obstacle::Missing(_)) => {
                obstacle.into()
            }
            _ if is_missing => StoreError::NoDatabase { path: path.to_owned() },
            _ if is_unclosed => StoreError::Unclosed { path: path.to_owned(), source },
            _ => StoreError::Open { path: path.to_owned(), source },
        }
    })
}

/// Makes SQLite read the file and merge its log: it delays both until necessary.
fn readable(connection: Connection) -> rusqlite::Result<Connection> {
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    Ok(connection)
}

/// The file as an immutable URI (SQLite, "URI Filenames").
fn unchanging(path: &Path) -> PathBuf {
    let mut uri = "file:".to_owned();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' => uri.push(char::from(*byte)),
            byte if byte.is_ascii_alphanumeric() => uri.push(char::from(*byte)),
            // Writing to a `String` never fails.
            byte => drop(write!(uri, "%{byte:02X}")),
        }
    }
    PathBuf::from(OsString::from(uri + "?immutable=1"))
}

/// Creates the file, if it does not exist, readable only by its owner; SQLite gives its log the same mode and owner.
fn create_private(path: &Path, data_dir: &Path) -> io::Result<()> {
    match data_dir::create_file(path, data_dir) {
        Ok(file) => file.sync_all().and_then(|()| sync_dir(path)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Makes a directory entry as durable as its file.
fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(parent(path))?.sync_all()
}

/// Returns the file's schema version if the file is ours and not from a later version. Changes nothing, so that a
/// refused file stays as it was.
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

/// Upgrades from version `found` to the newest, all or nothing; first copies a database that is not empty.
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
    // A step may rebuild a table to which others refer; the pragma has no effect inside a transaction.
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
    match self::copy(connection, &copy, parent(path)) {
        Ok(()) => Ok(copy),
        Err(reason) => Err(StoreError::Copy { copy, reason }),
    }
}

/// The path of a file beside this one, with this suffix.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The size of the database at this path and of its log.
pub(super) fn size_on_disk(path: &Path) -> u64 {
    let size = |path: &Path| fs::metadata(path).map_or(0, |data| data.len());
    size(path) + size(&beside(path, "-wal"))
}

/// Copies the database to a file, which gets its name only once it is complete and synced. In `data_dir` the copy gets
/// the owner of the directory.
///
/// By VACUUM INTO: one read transaction, so that the copy is of one moment, and free pages are not copied. SQLite's
/// online backup would restart with every commit in between.
pub(super) fn copy(connection: &Connection, to: &Path, data_dir: &Path) -> Result<(), String> {
    let partial = beside(to, ".partial");
    let copied = || -> Result<(), Box<dyn std::error::Error>> {
        let _ = fs::remove_file(&partial);
        // VACUUM INTO accepts an existing empty file, which keeps the mode ours.
        create_private(&partial, data_dir)?;
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
