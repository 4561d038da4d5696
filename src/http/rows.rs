//! A JSON array that is written while it is read: a hundred thousand rows begin at once and never lie in
//! memory together.

use std::pin::Pin;

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use hyper::header::{self, HeaderValue};
use serde::Serialize;

use super::answer::Refusal;
use crate::store::StoreError;

/// How much is written at a time, in bytes: what a socket takes in one go.
const FRAME: usize = 32 * 1024;

/// Answers with all rows of all pages as one array. Until the first [`FRAME`] is full a failure is an answer
/// of its own; after that it cuts the answer short, which its client sees, for the array has no end.
pub(super) async fn array<P, T>(
    pages: impl Stream<Item = Result<P, StoreError>> + Send + 'static,
) -> Result<Response, Refusal>
where
    P: IntoIterator<Item = T> + 'static,
    P::IntoIter: Send,
    T: Serialize,
{
    let mut array = Array { pages: Box::pin(pages), rows: None, begun: false, ended: false };
    let first = array.frame().await?;
    let body = if array.ended {
        Body::from(first)
    } else {
        let rest = stream::try_unfold(array, async |mut array| {
            if array.ended {
                return Ok(None);
            }
            let frame = array.frame().await.inspect_err(|error| {
                tracing::warn!(%error, "an answer is cut short");
            })?;
            Ok::<_, StoreError>(Some((frame, array)))
        });
        Body::from_stream(stream::once(async { Ok(first) }).chain(rest))
    };
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response())
}

/// An array as far as it is written.
struct Array<P: IntoIterator> {
    pages: Pin<Box<dyn Stream<Item = Result<P, StoreError>> + Send>>,
    /// What is left of the present page.
    rows: Option<P::IntoIter>,
    /// The bracket is written, and a row.
    begun: bool,
    ended: bool,
}

impl<P, T> Array<P>
where
    P: IntoIterator<Item = T>,
    T: Serialize,
{
    /// The next piece, the last one with the closing bracket.
    async fn frame(&mut self) -> Result<Bytes, StoreError> {
        let mut frame = Vec::with_capacity(FRAME + FRAME / 8);
        loop {
            while let Some(row) = self.rows.as_mut().and_then(Iterator::next) {
                frame.push(if self.begun { b',' } else { b'[' });
                self.begun = true;
                serde_json::to_writer(&mut frame, &row)
                    .map_err(|error| StoreError::Damaged(error.to_string()))?;
                if frame.len() >= FRAME {
                    return Ok(frame.into());
                }
            }
            match self.pages.next().await {
                Some(page) => self.rows = Some(page?.into_iter()),
                None => break,
            }
        }
        frame.extend_from_slice(if self.begun { b"]\n" } else { b"[]\n" });
        self.ended = true;
        Ok(frame.into())
    }
}
