//! Long answers, written while they are read: a hundred thousand rows begin at once and never lie in memory together.
//! While a client takes its time nothing is held for it but one piece of text, and where to go on reading.

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

/// How much is written before it is sent, in bytes; what is read at a time may exceed it by some kilobytes.
const PIECE: usize = 8 * 1024;

/// Pieces that are being made at a time at a desk: to make one may take a device's 65,535 ports in memory, and the
/// reader's thread could prepare for hundreds of clients what waits here to be written.
const AT_ONCE: usize = 1;

/// Where pieces are made. The owner's are not kept waiting by those of a crowd of other clients.
#[derive(Clone, Default)]
pub(super) struct Desks {
    clients: Desk,
    owner: Desk,
}

/// Where the pieces of one request are made. Found among the request's extensions, by who has sent it.
#[derive(Clone)]
pub(super) struct Desk(Arc<Semaphore>);

impl Default for Desk {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

impl<S: Sync> FromRequestParts<S> for Desk {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let is_owner = parts.extensions.get::<Client>().is_some_and(|client| client.is_owner);
        let desks = parts.extensions.get::<Desks>();
        // A request that came by no server has a desk of its own.
        Ok(desks
            .map_or_else(Self::default, |desks| if is_owner { &desks.owner } else { &desks.clients }.clone()))
    }
}

/// What a long answer is written by.
pub(super) trait Source: Send + 'static {
    /// Appends what comes next, some kilobytes; whether more may follow.
    fn write(&mut self, text: &mut Vec<u8>) -> impl Future<Output = Result<bool, StoreError>> + Send;
}

/// Answers with all that the source has to say. Until the first piece is full a failure is an answer of its own; after
/// that it cuts the answer short, which its client sees, for the text has no end.
pub(super) async fn streamed(
    desk: &Desk,
    kind: &'static str,
    mut source: impl Source,
) -> Result<Response, Refusal> {
    let (first, more) = piece(desk, &mut source).await?;
    let body = if more {
        let rest = stream::try_unfold((desk.clone(), source, true), async |(desk, mut source, more)| {
            if !more {
                return Ok(None);
            }
            let (text, more) = piece(&desk, &mut source).await.inspect_err(|error| {
                tracing::warn!(%error, "an answer is cut short");
            })?;
            Ok::<_, StoreError>(Some((text, (desk, source, more))))
        });
        Body::from_stream(stream::once(async { Ok(first) }).chain(rest))
    } else {
        Body::from(first)
    };
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static(kind))], body).into_response())
}

async fn piece(desk: &Desk, source: &mut impl Source) -> Result<(Bytes, bool), StoreError> {
    // Never closed.
    let _leave = desk.0.acquire().await;
    let mut text = Vec::with_capacity(PIECE);
    while text.len() < PIECE {
        if !source.write(&mut text).await? {
            return Ok((text.into(), false));
        }
    }
    // It may wait for long.
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

/// Answers with all rows of all pages as one JSON array. A page is written whole, and should be small.
pub(super) async fn array<P, T>(
    desk: &Desk,
    pages: impl Stream<Item = Result<P, StoreError>> + Send + 'static,
) -> Result<Response, Refusal>
where
    P: IntoIterator<Item = T> + Send + 'static,
    P::IntoIter: Send,
    T: Serialize + Send,
{
    streamed(desk, "application/json", Array { pages: Box::pin(pages), begun: false }).await
}

/// An array as far as it is written.
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
