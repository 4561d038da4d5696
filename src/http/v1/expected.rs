//! Reads, writes and removes expectations.

use axum::{extract::State, response::Response};
use bytes::Bytes;
use futures_util::TryStreamExt;
use hyper::{StatusCode, header::HeaderMap};
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::Number;
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
    service::expectations::all_expectations,
    store::ExpectationUpdate,
};

/// The longest comment, in characters: enough for some sentences.
pub(in crate::http) const COMMENT_MAX: usize = 1000;

pub(super) fn routes(gate: &Gate) -> Routes<Api> {
    Routes::new()
        .with(route!(expected))
        .with(gated(gate, route!(expect)))
        .with(gated(gate, route!(expect_no_more)))
}

/// What is expected of one port.
#[derive(Serialize, Deserialize, ToSchema)]
pub(in crate::http) struct ExpectedRow {
    /// An address, or a MAC: the expectation then applies to the device at any address.
    #[schema(value_type = DeviceText, example = "192.168.1.7")]
    address: String,
    #[schema(maximum = 65535)]
    #[serde(deserialize_with = "read_port")]
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
#[derive(Serialize, Deserialize, ToSchema)]
struct TargetRow {
    /// The address or MAC under which the expectation was written.
    #[schema(value_type = DeviceText, example = "192.168.1.7")]
    address: String,
    #[schema(maximum = 65535)]
    #[serde(deserialize_with = "read_port")]
    port: u16,
    #[schema(value_type = ProtocolText)]
    protocol: String,
}

/// Reads a port; serde's own error would speak of Rust's types.
fn read_port<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    let number = Number::deserialize(deserializer)?;
    let port = number.as_u64().and_then(|port| u16::try_from(port).ok());
    port.ok_or_else(|| de::Error::custom(format!("{number} is not a port; write a number up to 65535")))
}

/// Lists all expectations, in the order in which they were written.
#[utoipa::path(get, path = "/v1/expected", tag = "expected", responses((status = 200, body = Vec<ExpectedRow>)))]
async fn expected(State(api): State<Api>, queue: ResponseQueue) -> Result<Response, Refusal> {
    let pages = all_expectations(&api.store);
    rows::array(&queue, pages.map_ok(|page| page.into_iter().map(ExpectedRow::of))).await
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
    api.store.expect(expected_additions(&headers, &body)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The expectations that a body has, or what is wrong with it.
pub(in crate::http) fn expected_additions(
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Vec<ExpectationUpdate>, Refusal> {
    let rows: Vec<ExpectedRow> = body::document(headers, body)?;
    let updates = rows.into_iter().enumerate();
    updates.map(|(index, row)| row.update().map_err(|error| error.at(index))).collect()
}

/// The expectations whose removal a body asks for, or what is wrong with it.
pub(in crate::http) fn expected_removals(
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Vec<ExpectationUpdate>, Refusal> {
    let rows: Vec<TargetRow> = body::document(headers, body)?;
    let updates = rows.into_iter().enumerate();
    updates.map(|(index, row)| row.update().map_err(|error| error.at(index))).collect()
}

/// The body of a PATCH of /v1/expected with these rows.
pub fn additions_body(rows: &[Expectation]) -> Vec<u8> {
    let rows: Vec<ExpectedRow> = rows.iter().cloned().map(ExpectedRow::of).collect();
    // Texts and numbers: that cannot fail.
    serde_json::to_vec(&rows).unwrap_or_default()
}

/// The body of a DELETE of /v1/expected of these rows.
pub fn removals_body(rows: &[Expectation]) -> Vec<u8> {
    let target = |row: &Expectation| {
        let ExpectedRow { address, port, protocol, .. } = ExpectedRow::of(row.clone());
        TargetRow { address, port, protocol }
    };
    let rows: Vec<TargetRow> = rows.iter().map(target).collect();
    serde_json::to_vec(&rows).unwrap_or_default()
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
    let updates = expected_removals(&headers, &body)?;
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
    pub(in crate::http) fn of(expectation: Expectation) -> Self {
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
