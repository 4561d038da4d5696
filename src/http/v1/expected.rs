//! Reads, writes and removes expectations.

use axum::{extract::State, response::Response};
use bytes::Bytes;
use futures_util::TryStreamExt;
use hyper::{StatusCode, header::HeaderMap};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Api, gated,
    shapes::{DeviceText, ProtocolText, StateText},
};
use crate::{
    http::{
        answer::{ErrorBody, Refusal},
        auth::Gate,
        body,
        routes::{Routes, route},
        rows::{self, ResponseQueue},
    },
    model::{DeviceKey, Expectation, PortState, Protocol},
    store::ExpectationUpdate,
};

/// The longest comment, in characters: enough for some sentences.
const COMMENT_MAX: usize = 1000;

pub(super) fn routes(gate: &Gate) -> Routes<Api> {
    Routes::new()
        .with(route!(expected))
        .with(gated(gate, route!(expect)))
        .with(gated(gate, route!(expect_no_more)))
}

/// What is expected of one port.
#[derive(Serialize, Deserialize, ToSchema)]
struct ExpectedRow {
    /// An address, or a MAC: the expectation then applies to the device at any address.
    #[schema(value_type = DeviceText, example = "192.168.1.7")]
    address: String,
    #[schema(maximum = 65535)]
    port: u16,
    #[schema(value_type = ProtocolText)]
    protocol: String,
    /// One of open, closed, filtered, unfiltered, open|filtered, closed|filtered.
    #[schema(value_type = StateText)]
    state: String,
    /// Why it is expected; at most 1,000 characters.
    #[serde(default)]
    #[schema(max_length = 1000)]
    comment: Option<String>,
}

/// The port of an expectation that is to be removed.
#[derive(Deserialize, ToSchema)]
struct TargetRow {
    /// The address or MAC under which the expectation was written.
    #[schema(value_type = DeviceText, example = "192.168.1.7")]
    address: String,
    #[schema(maximum = 65535)]
    port: u16,
    #[schema(value_type = ProtocolText)]
    protocol: String,
}

/// Lists all expectations, in the order in which they were written.
#[utoipa::path(get, path = "/v1/expected", tag = "expected", responses((status = 200, body = Vec<ExpectedRow>)))]
async fn expected(State(api): State<Api>, queue: ResponseQueue) -> Result<Response, Refusal> {
    rows::array(&queue, api.differences.expectations().map_ok(|page| page.into_iter().map(ExpectedRow::of)))
        .await
}

/// Adds these expectations, or none of them if one is invalid. Replaces earlier expectations of the same ports.
///
/// The first such request sets the baseline, even with an empty list: from then on differences raise alerts.
#[utoipa::path(
    patch, path = "/v1/expected", tag = "expected", request_body = Vec<ExpectedRow>,
    responses((status = 204, description = "Stored"), (status = 400, body = ErrorBody),
              (status = 413, body = ErrorBody), (status = 415, body = ErrorBody)),
)]
async fn expect(State(api): State<Api>, headers: HeaderMap, body: Bytes) -> Result<StatusCode, Refusal> {
    let rows: Vec<ExpectedRow> = body::document(&headers, &body)?;
    let updates =
        rows.into_iter().enumerate().map(|(index, row)| row.update().map_err(|error| error.at(index)));
    api.store.expect(updates.collect::<Result<_, _>>()?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Removes the expectations of these ports. A port without an expectation is no error.
#[utoipa::path(
    delete, path = "/v1/expected", tag = "expected", request_body = Vec<TargetRow>,
    responses((status = 204, description = "Removed"), (status = 400, body = ErrorBody),
              (status = 413, body = ErrorBody), (status = 415, body = ErrorBody)),
)]
async fn expect_no_more(
    State(api): State<Api>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, Refusal> {
    let rows: Vec<TargetRow> = body::document(&headers, &body)?;
    let updates =
        rows.into_iter().enumerate().map(|(index, row)| row.update().map_err(|error| error.at(index)));
    let updates: Vec<_> = updates.collect::<Result<_, _>>()?;
    if !updates.is_empty() {
        api.store.expect(updates).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// What is wrong with a row.
struct RowError(String);

impl RowError {
    fn of(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }

    fn at(self, index: usize) -> Refusal {
        Refusal::bad_request(format!("row {}: {}; nothing was changed", index + 1, self.0))
    }
}

impl ExpectedRow {
    fn of(expectation: Expectation) -> Self {
        let Expectation { device, protocol, port, state, comment, .. } = expectation;
        Self {
            address: device.to_string(),
            port,
            protocol: protocol.to_string(),
            state: state.to_string(),
            comment: Some(comment),
        }
    }

    fn update(self) -> Result<ExpectationUpdate, RowError> {
        let Self { address, port, protocol, state, comment } = self;
        let state: PortState = state.parse().map_err(RowError::of)?;
        let comment = comment.unwrap_or_default();
        if comment.chars().count() > COMMENT_MAX {
            return Err(RowError(format!("the comment is longer than {COMMENT_MAX} characters; shorten it")));
        }
        let update = TargetRow { address, port, protocol }.update()?;
        Ok(ExpectationUpdate { state: Some((state, comment)), ..update })
    }
}

impl TargetRow {
    fn update(self) -> Result<ExpectationUpdate, RowError> {
        let device: DeviceKey = self.address.parse().map_err(RowError::of)?;
        let protocol: Protocol = self.protocol.parse().map_err(RowError::of)?;
        Ok(ExpectationUpdate { device, protocol, port: self.port, state: None })
    }
}
