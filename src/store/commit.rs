//! A commit: changes that share a transaction, and which of its failures may pass.

use rusqlite::{Connection, ErrorCode, TransactionBehavior};

use super::{
    apply::Change,
    error::{Result, StoreError},
};

/// A change that waits for its commit, and what then tells the asker.
pub(super) struct Pending {
    pub(super) change: Change,
    pub(super) tell: Box<dyn FnOnce(Result<()>) + Send>,
}

/// Whether a failure is the disk's or the machine's, so that the same change may well be made later. Any other
/// would fail again and again, and with it all that is in the same commit.
fn may_pass(error: &rusqlite::Error) -> bool {
    use ErrorCode::{
        CannotOpen, DatabaseBusy, DatabaseCorrupt, DatabaseLocked, DiskFull, FileLockingProtocolFailed,
        NotADatabase, OperationInterrupted, OutOfMemory, PermissionDenied, ReadOnly, SystemIoFailure,
    };
    matches!(
        error.sqlite_error_code(),
        Some(
            CannotOpen
                | DatabaseBusy
                | DatabaseCorrupt
                | DatabaseLocked
                | DiskFull
                | FileLockingProtocolFailed
                | NotADatabase
                | OperationInterrupted
                | OutOfMemory
                | PermissionDenied
                | ReadOnly
                | SystemIoFailure
        )
    )
}

/// Makes the changes in one transaction. A change that cannot be made, whatever the disk, is left out and its
/// asker told; a failure that may pass undoes them all.
pub(super) fn write(connection: &mut Connection, batch: &[Pending]) -> rusqlite::Result<Vec<Result<()>>> {
    if batch.is_empty() {
        return Ok(Vec::new());
    }
    let mut transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut made = Vec::with_capacity(batch.len());
    for pending in batch {
        let savepoint = transaction.savepoint()?;
        match pending.change.apply(&savepoint) {
            Ok(()) => {
                savepoint.commit()?;
                made.push(Ok(()));
            }
            Err(StoreError::Sqlite(error)) if may_pass(&error) => return Err(error),
            Err(refused) => made.push(Err(refused)),
        }
    }
    transaction.commit()?;
    Ok(made)
}

/// Writes a page that says what it said before: whether the disk takes anything is not known otherwise.
pub(super) fn touch(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    transaction.pragma_update(None, "user_version", version)?;
    transaction.commit()
}
