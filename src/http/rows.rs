//! Long responses, written while the client reads them: a response of a hundred thousand rows begins at once, and they
//! are never in memory together. For a slow client only one piece of text is held, and the position to continue from.

use std::{convert::Infallible, pin::Pin, sync::Arc};

use axum::{
    body::Body,
    extract::FromRequestParts,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use hyper::{
    header::{self, HeaderValue},
    http::request::Parts,
};
use serde::Serialize;
use tokio::sync::Semaphore;

use super::{admission::Client, answer::Refusal};
use crate::store::StoreError;

/// The size of a piece that is written before it is sent, in bytes; a piece may exceed it by some kilobytes.
pub(super) const PIECE: usize = 8 * 1024;

/// Pieces of one queue that are made at a time: one may take a device's 65,535 ports in memory, and the reader's
/// thread could otherwise prepare data for hundreds of clients.
const AT_ONCE: usize = 1;

/// The queues for making pieces. The owner has a separate one, and so does not wait for a crowd of other clients.
#[derive(Clone, Default)]
pub(super) struct ResponseQueues {
    clients: ResponseQueue,
    owner: ResponseQueue,
}

/// The queue in which the pieces of one response are made; an extension of the request, chosen by its client.
#[derive(Clone)]
pub(super) struct ResponseQueue(Arc<Semaphore>);

impl Default for ResponseQueue {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

impl<S: Sync> FromRequestParts<S> for ResponseQueue {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let is_owner = parts.extensions.get::<Client>().is_some_and(|client| client.is_owner);
        let queues = parts.extensions.get::<ResponseQueues>();
        // A request that did not come through the server gets a queue of its own.
        Ok(queues.map_or_else(Self::default, |queues| {
            if is_owner { &queues.owner } else { &queues.clients }.clone()
        }))
    }
}

/// The source of a long response.
pub(super) trait Source: Send + 'static {
    /// Appends the next kilobytes; returns whether more may follow.
    fn write(&mut self, text: &mut Vec<u8>) -> impl Future<Output = Result<bool, StoreError>> + Send;
}

/// Responds with the whole text of the source. Until the first piece is full, an error is a response of its own; after
/// that it truncates the response, which the client notices, because the end is missing.
pub(super) async fn streamed(
    queue: &ResponseQueue,
    kind: &'static str,
    mut source: impl Source,
) -> Result<Response, Refusal> {
    let (first, more) = piece(queue, &mut source).await?;
    let body = if more {
        let rest = stream::try_unfold((queue.clone(), source, true), async |(queue, mut source, more)| {
            if !more {
                return Ok(None);
            }
            let (text, more) = piece(&queue, &mut source).await.inspect_err(|error| {
                tracing::warn!(%error, "failed to continue a response; its client gets a truncated one");
            })?;
            Ok::<_, StoreError>(Some((text, (queue, source, more))))
        });
        Body::from_stream(stream::once(async { Ok(first) }).chain(rest))
    } else {
        Body::from(first)
    };
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static(kind))], body).into_response())
}

async fn piece(queue: &ResponseQueue, source: &mut impl Source) -> Result<(Bytes, bool), StoreError> {
    // Never closed.
    let _leave = queue.0.acquire().await;
    let mut text = Vec::with_capacity(PIECE);
    while text.len() < PIECE {
        if !source.write(&mut text).await? {
            return Ok((text.into(), false));
        }
    }
    // It may wait for a long time.
    text.shrink_to_fit();
    Ok((text.into(), true))
}

/// Appends a value as JSON.
pub(super) fn write_json(text: &mut Vec<u8>, value: &impl Serialize) -> Result<(), StoreError> {
    serde_json::to_writer(text, value).map_err(|error| StoreError::Damaged(error.to_string()))
}

/// Appends the elements of an array, after a comma if any were written before.
pub(super) fn write_elements<T: Serialize>(
    text: &mut Vec<u8>,
    begun: &mut bool,
    elements: impl IntoIterator<Item = T>,
) -> Result<(), StoreError> {
    for element in elements {
        if std::mem::replace(begun, true) {
            text.push(b',');
        }
        write_json(text, &element)?;
    }
    Ok(())
}

/// Responds with all rows of all pages as one JSON array. A page is written at once, and should be small.
pub(super) async fn array<P, T>(
    queue: &ResponseQueue,
    pages: impl Stream<Item = Result<P, StoreError>> + Send + 'static,
) -> Result<Response, Refusal>
where
    P: IntoIterator<Item = T> + Send + 'static,
    P::IntoIter: Send,
    T: Serialize + Send,
{
    streamed(queue, "application/json", Array { pages: Box::pin(pages), begun: false }).await
}

/// An array that is partly written.
struct Array<P> {
    pages: Pin<Box<dyn Stream<Item = Result<P, StoreError>> + Send>>,
    /// The bracket is written, and a row.
    begun: bool,
}

impl<P, T> Source for Array<P>
where
    P: IntoIterator<Item = T> + Send + 'static,
    P::IntoIter: Send,
    T: Serialize + Send,
{
    async fn write(&mut self, text: &mut Vec<u8>) -> Result<bool, StoreError> {
        let Some(page) = self.pages.next().await else {
            text.extend_from_slice(if self.begun { b"]\n" } else { b"[]\n" });
            return Ok(false);
        };
        for row in page? {
            text.push(if self.begun { b',' } else { b'[' });
            self.begun = true;
            write_json(text, &row)?;
        }
        Ok(true)
    }
}
