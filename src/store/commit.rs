//! A commit: changes that share a transaction, and which of its failures may pass.

use rusqlite::{Connection, ErrorCode, TransactionBehavior};
use tokio::sync::oneshot;

use super::{
    change::{Change, Urgency},
    error::{Result, StoreError},
};

/// Where the answer to a request goes. The caller may no longer wait for it; the change is made all the same.
pub(super) type Done<T> = oneshot::Sender<Result<T>>;

/// A change that waits for its commit.
pub(super) trait Pending: Send {
    fn urgency(&self) -> Urgency;

    /// Applies the change and keeps the answer; whether the change is made.
    ///
    /// # Errors
    /// A failure that may pass: the change is to be applied again later.
    fn apply(&mut self, connection: &Connection) -> rusqlite::Result<bool>;

    /// Gives the caller the answer of the last [`Pending::apply`].
    fn answer(self: Box<Self>);
}

struct PendingChange<C: Change> {
    change: C,
    answer: Option<Result<C::Answer>>,
    done: Done<C::Answer>,
}

/// A change to be committed, whose answer goes to `done`.
pub(super) fn pending<C: Change>(change: C, done: Done<C::Answer>) -> Box<dyn Pending> {
    Box::new(PendingChange { change, answer: None, done })
}

impl<C: Change> Pending for PendingChange<C> {
    fn urgency(&self) -> Urgency {
        self.change.urgency()
    }

    fn apply(&mut self, connection: &Connection) -> rusqlite::Result<bool> {
        match self.change.apply(connection) {
            Err(StoreError::Sqlite(error)) if may_pass(&error) => Err(error),
            made => Ok(self.answer.insert(made).is_ok()),
        }
    }

    fn answer(self: Box<Self>) {
        if let Some(answer) = self.answer {
            let _ = self.done.send(answer);
        }
    }
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
/// caller gets the error; a failure that may pass undoes them all.
pub(super) fn write(connection: &mut Connection, batch: &mut [Box<dyn Pending>]) -> rusqlite::Result<()> {
    if batch.is_empty() {
        return Ok(());
    }
    let mut transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for pending in batch {
        let savepoint = transaction.savepoint()?;
        if pending.apply(&savepoint)? {
            savepoint.commit()?;
        }
    }
    transaction.commit()
}

/// Writes a page that says what it said before: whether the disk takes anything is not known otherwise.
pub(super) fn touch(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    transaction.pragma_update(None, "user_version", version)?;
    transaction.commit()
}
