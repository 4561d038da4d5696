//! A commit: the changes that share a transaction, and the failures after which a retry may succeed.

use rusqlite::{Connection, ErrorCode, TransactionBehavior};
use tokio::sync::oneshot;

use super::{
    change::{DatabaseChange, Urgency},
    error::{Result, StoreError},
};

/// Where the answer to a request goes. The change is made even if the caller no longer waits for the answer.
pub(super) type Done<T> = oneshot::Sender<Result<T>>;

/// A change that waits for its commit.
pub(super) trait Pending: Send {
    fn urgency(&self) -> Urgency;

    /// Applies the change and keeps the answer; returns whether the change was made.
    ///
    /// # Errors
    /// A transient failure: the change must be applied again later.
    fn apply(&mut self, connection: &Connection) -> rusqlite::Result<bool>;

    /// Gives the caller the answer of the last [`Pending::apply`].
    fn answer(self: Box<Self>);
}

struct PendingChange<C: DatabaseChange> {
    change: C,
    answer: Option<Result<C::Answer>>,
    done: Done<C::Answer>,
}

/// Boxes a change; its answer goes to `done`.
pub(super) fn pending<C: DatabaseChange>(change: C, done: Done<C::Answer>) -> Box<dyn Pending> {
    Box::new(PendingChange { change, answer: None, done })
}

impl<C: DatabaseChange> Pending for PendingChange<C> {
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

/// Whether a failure comes from the disk or the machine, so that the same change may succeed later. Any other failure
/// would recur at every try, and with it the failure of the whole commit.
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

/// Makes the changes in one transaction. A change that fails for any other reason than the disk is left out, and its
/// caller gets the error; a transient failure rolls all of them back.
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

/// Writes a page with its old content: only a write shows whether the disk accepts writes.
pub(super) fn touch(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    transaction.pragma_update(None, "user_version", version)?;
    transaction.commit()
}
