//! Where the network is not as it should be, and where one scan is not as another.

use std::borrow::Cow;

use axum::{extract::State, response::Response};
use futures_util::TryStreamExt;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Api, scans::scan_id, shapes::DeviceText};
use crate::{
    http::{
        answer::{ErrorBody, Refusal},
        extract::{Path, Query},
        rows::{self, ResponseQueue},
    },
    model::{DeviceKey, KnownState, PortState, Protocol},
    service::differences::{HostDifference, HostDisagreement},
};

/// Where no scan has a say: Go's zero time, which portmantool's pages know.
const NEVER: &str = "0001-01-01T00:00:00Z";

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(differences))
        .routes(routes!(scan_differences))
        .routes(routes!(disagreements_now))
        .routes(routes!(disagreements))
}

/// A port that is not what it should be.
#[derive(Serialize, ToSchema)]
struct DifferenceRow {
    /// The device's address; its MAC where another device has the address by now.
    #[schema(example = "192.168.1.7")]
    address: String,
    port: u16,
    #[schema(value_type = String, example = "tcp")]
    protocol: Protocol,
    /// Empty: nothing is expected.
    #[schema(value_type = String, example = "closed")]
    expected_state: &'static str,
    /// Empty: nobody has ever looked.
    #[schema(value_type = String, example = "open")]
    actual_state: &'static str,
    /// When the scan began that says so.
    #[schema(value_type = String, format = DateTime)]
    scan_id: Cow<'static, str>,
    /// Of what is expected.
    comment: String,
}

/// A port that is not what it should be by the word of one scan.
#[derive(Serialize, ToSchema)]
struct ScanDifferenceRow {
    #[serde(flatten)]
    difference: DifferenceRow,
    #[serde(flatten)]
    sides: Sides,
}

/// A port that two scans do not agree on.
#[derive(Serialize, ToSchema)]
struct DisagreementRow {
    /// The device's address by the word of the second scan.
    #[schema(example = "192.168.1.7")]
    address: String,
    port: u16,
    #[schema(value_type = String, example = "tcp")]
    protocol: Protocol,
    #[serde(flatten)]
    sides: Sides,
}

/// Both words on a port; empty, and never, where there is none.
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
struct Naming {
    /// `device`: each row's `address` is what an expectation is best written under, the MAC where that is known
    /// and was not made up. So these rows, with `actual_state` as `state`, are what accepting them sends.
    #[param(example = "device", pattern = "^(device|address)$")]
    by: Option<String>,
    /// Just this device: its MAC or address.
    #[param(value_type = Option<DeviceText>, inline, example = "192.168.1.7")]
    host: Option<String>,
}

/// Where the present state differs from what is expected.
///
/// Where nothing is expected, only what is open differs, or was found perhaps open. What is expected differs if it
/// is not exactly that, or if nobody has ever looked.
#[utoipa::path(
    get, path = "/v1/diff", tag = "differences", params(Naming),
    responses((status = 200, body = Vec<DifferenceRow>), (status = 400, body = ErrorBody)),
)]
async fn differences(
    State(api): State<Api>,
    queue: ResponseQueue,
    Query(naming): Query<Naming>,
) -> Result<Response, Refusal> {
    let by_device = match naming.by.as_deref() {
        None | Some("address") => false,
        Some("device") => true,
        Some(_) => return Err(Refusal::bad_request("`by` is unknown; write by=device or by=address")),
    };
    let host = naming.host.as_deref().map(str::parse::<DeviceKey>).transpose();
    let host = host.map_err(|error| Refusal::bad_request(error.to_string()))?;
    let found = api.differences.differences().map_ok(move |page| {
        let host = host.clone();
        let meant = move |found: &HostDifference| host.as_ref().is_none_or(|host| found.is_of(host));
        page.into_iter().filter(meant).map(move |found| DifferenceRow::of(found, by_device))
    });
    rows::array(&queue, found).await
}

/// Where a scan differs from what is expected now of what it looked at.
#[utoipa::path(
    get, path = "/v1/diff/{id}", tag = "differences",
    params(("id" = i64, Path, description = "Unix seconds, as /v1/scans tells them")),
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

/// Where a scan (a) differs from the present state (b).
#[utoipa::path(
    get, path = "/v1/diff/{id}/current", tag = "differences",
    params(("id" = i64, Path, description = "Unix seconds, as /v1/scans tells them")),
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

/// Where two scans (a and b) differ: on what one of them lists.
#[utoipa::path(
    get, path = "/v1/diff/{id1}/{id2}", tag = "differences",
    params(("id1" = i64, Path, description = "Unix seconds, as /v1/scans tells them"),
           ("id2" = i64, Path, description = "Unix seconds, as /v1/scans tells them")),
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
