//! Lists of the store's as streams.

use futures_util::{Stream, stream};

use crate::store::{Page, StoreError};

/// All rows, read a page at a time as they are taken: between two pages the reader is free for others.
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
