//! Streams of the store's lists.

use futures_util::{Stream, stream};

use crate::store::{Page, StoreError};

/// Streams all rows. A page is read when it is needed, so that the reader is free for others between two pages.
pub fn pages<T, F>(read: impl Fn(i64) -> F) -> impl Stream<Item = Result<Vec<T>, StoreError>>
where
    F: Future<Output = Result<Page<T>, StoreError>>,
{
    stream::try_unfold((Some(i64::MIN), read), async |(next, read)| {
        let Some(next) = next else { return Ok(None) };
        let Page { rows, next } = read(next).await?;
        Ok(Some((rows, (next, read))))
    })
}
