//! Differences between the network and its expected state, and between two scans.

use std::borrow::Cow;

use axum::{extract::State, response::Response};
use futures_util::TryStreamExt;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Api, scans::scan_id, shapes::DeviceText};
use crate::{
    http::{
        answer::{ErrorBody, Refusal},
        extract::{Path, Query},
        routes::{Routes, route},
        rows::{self, ResponseQueue},
    },
    model::{DeviceKey, KnownState, PortState, Protocol},
    service::differences::{HostDifference, HostDisagreement},
};

/// The time if no scan covers a port: Go's zero time, which portmantool's pages know.
const NEVER: &str = "0001-01-01T00:00:00Z";

pub(super) fn routes() -> Routes<Api> {
    Routes::new()
        .with(route!(differences))
        .with(route!(scan_differences))
        .with(route!(disagreements_now))
        .with(route!(disagreements))
}

/// A port that is not in the expected state.
#[derive(Serialize, ToSchema)]
struct DifferenceRow {
    /// The device's address; its MAC if another device has the address by now.
    #[schema(example = "192.168.1.7")]
    address: String,
    port: u16,
    #[schema(value_type = String, example = "tcp")]
    protocol: Protocol,
    /// Empty: nothing is expected.
    #[schema(value_type = String, example = "closed")]
    expected_state: &'static str,
    /// Empty: no scan has covered the port.
    #[schema(value_type = String, example = "open")]
    actual_state: &'static str,
    /// When the scan that found the actual state began.
    #[schema(value_type = String, format = DateTime)]
    scan_id: Cow<'static, str>,
    /// The expectation's comment.
    comment: String,
}

/// A port that one scan did not find in the expected state.
#[derive(Serialize, ToSchema)]
struct ScanDifferenceRow {
    #[serde(flatten)]
    difference: DifferenceRow,
    #[serde(flatten)]
    sides: Sides,
}

/// A port that two scans found in different states.
#[derive(Serialize, ToSchema)]
struct DisagreementRow {
    /// The device's address in the second scan.
    #[schema(example = "192.168.1.7")]
    address: String,
    port: u16,
    #[schema(value_type = String, example = "tcp")]
    protocol: Protocol,
    #[serde(flatten)]
    sides: Sides,
}

/// The port's state in both; the state is empty, and the time is year 1, if a side does not cover the port.
#[derive(Serialize, ToSchema)]
struct Sides {
    #[schema(value_type = String, example = "open")]
    state_a: &'static str,
    #[schema(value_type = String, example = "closed")]
    state_b: &'static str,
    #[schema(value_type = String, format = DateTime)]
    scan_a: Cow<'static, str>,
    #[schema(value_type = String, format = DateTime)]
    scan_b: Cow<'static, str>,
}

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct DiffQuery {
    /// `device`: each row's `address` is the most lasting key of the device: its MAC if that is known and not random.
    /// To accept these rows, send them to PATCH /v1/expected with `actual_state` as `state`.
    #[param(example = "device", pattern = "^(device|address)$")]
    by: Option<String>,
    /// Only this device: its MAC or address.
    #[param(value_type = Option<DeviceText>, inline, example = "192.168.1.7")]
    host: Option<String>,
}

/// Lists where the current state differs from the expected state.
///
/// A port without an expectation differs if it is open, or was found possibly open. A port with one differs if it is
/// in any other state, or if no scan has covered it.
#[utoipa::path(
    get, path = "/v1/diff", tag = "differences", params(DiffQuery),
    responses((status = 200, body = Vec<DifferenceRow>), (status = 400, body = ErrorBody)),
)]
async fn differences(
    State(api): State<Api>,
    queue: ResponseQueue,
    Query(query): Query<DiffQuery>,
) -> Result<Response, Refusal> {
    let by_device = match query.by.as_deref() {
        None | Some("address") => false,
        Some("device") => true,
        Some(_) => return Err(Refusal::bad_request("`by` is unknown; write by=device or by=address")),
    };
    let host = query.host.as_deref().map(str::parse::<DeviceKey>).transpose();
    let host = host.map_err(|error| Refusal::bad_request(error.to_string()))?;
    let found = api.differences.differences().map_ok(move |page| {
        let host = host.clone();
        let meant = move |found: &HostDifference| host.as_ref().is_none_or(|host| found.is_of(host));
        page.into_iter().filter(meant).map(move |found| DifferenceRow::of(found, by_device))
    });
    rows::array(&queue, found).await
}

/// Lists where a scan differs from the current expectations of the ports that it covered.
#[utoipa::path(
    get, path = "/v1/diff/{id}", tag = "differences",
    params(("id" = i64, Path, description = "Unix seconds, as listed by /v1/scans")),
    responses((status = 200, body = Vec<ScanDifferenceRow>), (status = 400, body = ErrorBody),
              (status = 404, body = ErrorBody)),
)]
async fn scan_differences(
    State(api): State<Api>,
    queue: ResponseQueue,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    let found = api.differences.scan_differences(scan_id(&id)?).await?;
    rows::array(&queue, found.map_ok(|page| page.into_iter().map(ScanDifferenceRow::of))).await
}

/// Lists where a scan (a) differs from the current state (b).
#[utoipa::path(
    get, path = "/v1/diff/{id}/current", tag = "differences",
    params(("id" = i64, Path, description = "Unix seconds, as listed by /v1/scans")),
    responses((status = 200, body = Vec<DisagreementRow>), (status = 400, body = ErrorBody),
              (status = 404, body = ErrorBody)),
)]
async fn disagreements_now(
    State(api): State<Api>,
    queue: ResponseQueue,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    let found = api.differences.disagreements_now(scan_id(&id)?).await?;
    rows::array(&queue, found.map_ok(|page| page.into_iter().map(DisagreementRow::of))).await
}

/// Lists where two scans (a and b) differ, among the ports that one of them lists.
#[utoipa::path(
    get, path = "/v1/diff/{id1}/{id2}", tag = "differences",
    params(("id1" = i64, Path, description = "Unix seconds, as listed by /v1/scans"),
           ("id2" = i64, Path, description = "Unix seconds, as listed by /v1/scans")),
    responses((status = 200, body = Vec<DisagreementRow>), (status = 400, body = ErrorBody),
              (status = 404, body = ErrorBody)),
)]
async fn disagreements(
    State(api): State<Api>,
    queue: ResponseQueue,
    Path((one, other)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    let found = api.differences.disagreements(scan_id(&one)?, scan_id(&other)?).await?;
    rows::array(&queue, found.map_ok(|page| page.into_iter().map(DisagreementRow::of))).await
}

impl DifferenceRow {
    fn of(found: HostDifference, by_device: bool) -> Self {
        let HostDifference { host, lasting, difference, .. } = found;
        Self {
            address: if by_device { lasting } else { host }.to_string(),
            port: difference.port,
            protocol: difference.protocol,
            expected_state: difference.expected.map_or("", PortState::as_str),
            actual_state: state(difference.actual),
            scan_id: time(difference.actual),
            comment: difference.comment,
        }
    }
}

impl ScanDifferenceRow {
    fn of(found: HostDifference) -> Self {
        let actual = found.difference.actual;
        let difference = DifferenceRow::of(found, false);
        let sides = Sides {
            state_a: difference.actual_state,
            state_b: difference.expected_state,
            scan_a: time(actual),
            scan_b: NEVER.into(),
        };
        Self { difference, sides }
    }
}

impl DisagreementRow {
    fn of(found: HostDisagreement) -> Self {
        let HostDisagreement { host, disagreement: at } = found;
        let sides = Sides {
            state_a: state(at.one),
            state_b: state(at.other),
            scan_a: time(at.one),
            scan_b: time(at.other),
        };
        Self { address: host.to_string(), port: at.port, protocol: at.protocol, sides }
    }
}

fn state(known: Option<KnownState>) -> &'static str {
    known.map_or("", |known| known.state.as_str())
}

/// When a scan began, by its id.
fn time(known: Option<KnownState>) -> Cow<'static, str> {
    let began = known.and_then(|known| Timestamp::from_second(known.scan).ok());
    began.map_or(NEVER.into(), |began| began.to_string().into())
}
