//! The change events.

use axum::{extract::State, response::Response};
use futures_util::{TryStreamExt, stream};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Api, shapes::DeviceText};
use crate::{
    http::{
        answer::{ErrorBody, Refusal},
        extract::Query,
        routes::{Routes, route},
        rows::{self, ResponseQueue},
    },
    model::{Address, ChangeEvent, ChangeFilter, DeviceKey, Mac, PortSet, Protocol},
};

/// The least number that counts as Unix seconds; a smaller one is an id. No SD card lasts for that many changes.
const SECONDS: i64 = 1_000_000_000;

pub(super) fn routes() -> Routes<Api> {
    Routes::new().with(route!(changes))
}

/// Whether this value of `since` is the id of a change, and no time.
pub(in crate::http) fn is_change_id(since: &str) -> bool {
    since.parse().is_ok_and(|number: i64| number < SECONDS)
}

/// A confirmed change: two scans found an opened port open, or a closed port closed a minute apart.
#[derive(Serialize, ToSchema)]
pub(super) struct ChangeRow {
    /// Ascending; the value of `since` for the next request.
    id: i64,
    /// When it was observed.
    #[schema(value_type = String, format = DateTime)]
    time: Timestamp,
    /// The scan that observed it; `null` if a feed reported it.
    scan_id: Option<i64>,
    /// `new` (a device never seen before), `opened`, `closed`, `moved`, `gone` (unseen for a week) or `back`; of a port,
    /// `host-key` (another SSH host key than before), `certificate` or `product` (other software; never for a version);
    /// `advice` (what listens there calls for action), `certificate-expires` (in 21 days, in 7, or has);
    /// `snooze-ended` (alerts about the device are on again, and report what was held).
    #[schema(value_type = String, example = "opened")]
    kind: &'static str,
    /// The device's address at that time.
    #[schema(value_type = String, example = "192.168.1.7")]
    address: Address,
    #[schema(value_type = Option<String>, example = "B8:27:EB:AC:14:3E")]
    mac: Option<Mac>,
    /// Only of a change of ports.
    #[schema(value_type = Option<String>, example = "tcp")]
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol: Option<Protocol>,
    /// The port, if a single port changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    /// The ports, if too many changed at once to be listed one by one.
    #[schema(value_type = Option<String>, example = "1-65535")]
    #[serde(skip_serializing_if = "Option::is_none")]
    ports: Option<PortSet>,
    /// With `moved`: the previous address. With `host-key`, `certificate` and `product`: what was there before.
    #[schema(example = "192.168.1.6")]
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    /// With `host-key`, `certificate` and `product`: what is there now, by the port's own words. With `advice` and
    /// `certificate-expires`: what was found.
    #[schema(example = "OpenSSH")]
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<String>,
    /// Whether the change was unexpected. Always false before the expected state is set for the first time.
    alert: bool,
}

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct ChangesQuery {
    /// Only changes after the one with this id, or since a time, in Unix seconds or as 2026-03-01T10:00:00Z.
    #[param(
        example = "0",
        pattern = "^([0-9]{1,10}|20[0-9]{2}-(0[1-9]|1[0-2])-[0-2][1-8]T[01][0-9]:[0-5][0-9]:[0-5][0-9]Z)$"
    )]
    since: Option<String>,
    /// Only changes of this device: its MAC, or its address if it has no MAC.
    #[param(value_type = Option<DeviceText>, inline, example = "B8:27:EB:AC:14:3E")]
    mac: Option<String>,
}

/// Lists the changes, oldest first.
#[utoipa::path(
    get, path = "/v1/changes", tag = "changes", params(ChangesQuery),
    responses((status = 200, body = Vec<ChangeRow>), (status = 400, body = ErrorBody)),
)]
async fn changes(
    State(api): State<Api>,
    queue: ResponseQueue,
    Query(query): Query<ChangesQuery>,
) -> Result<Response, Refusal> {
    let asked = query.asked()?;
    let pages = stream::try_unfold(Some(asked), move |asked| {
        let differences = api.differences.clone();
        async move {
            let Some(asked) = asked else { return Ok(None) };
            let page = differences.change_events(asked.clone()).await?;
            Ok(Some((page.rows, page.next.map(|after| ChangeFilter { after, ..asked }))))
        }
    });
    rows::array(&queue, pages.map_ok(|page: Vec<ChangeEvent>| page.into_iter().map(ChangeRow::of))).await
}

impl ChangesQuery {
    fn asked(self) -> Result<ChangeFilter, Refusal> {
        let mut asked = ChangeFilter::default();
        match self.since.as_deref() {
            None => {}
            Some(since) => match since.parse::<i64>() {
                Ok(id) if id < SECONDS => asked.after = id,
                Ok(seconds) => asked.since = Some(Timestamp::from_second(seconds).map_err(|_| no_time())?),
                Err(_) => asked.since = Some(since.parse().map_err(|_| no_time())?),
            },
        }
        if let Some(mac) = self.mac {
            let device = mac.parse::<DeviceKey>();
            asked.device = Some(device.map_err(|error| Refusal::bad_request(error.to_string()))?);
        }
        Ok(asked)
    }
}

fn no_time() -> Refusal {
    Refusal::bad_request(
        "`since` is malformed; write the id of a change, Unix seconds, or a time as 2026-03-01T10:00:00Z",
    )
}

impl ChangeRow {
    pub(super) const fn id(&self) -> i64 {
        self.id
    }

    pub(super) fn of(event: ChangeEvent) -> Self {
        let ChangeEvent { id, at, scan, device, address, kind: change, alert } = event;
        let kind = change.as_str();
        let mac = device.mac();
        let (protocol, ports) = change.ports().unzip();
        let port = ports.filter(|ports| ports.len() == 1).and_then(|ports| ports.nth(0));
        let ports = ports.filter(|_| port.is_none()).cloned();
        let (from, to) = match change.replaced() {
            Some((from, to)) => (Some(from.to_owned()), Some(to.to_owned())),
            None => {
                (change.previous_address().map(ToString::to_string), change.found().map(ToOwned::to_owned))
            }
        };
        let scan_id = scan.map(|scan| scan.0);
        Self { id, time: at, scan_id, kind, address, mac, protocol, port, ports, from, to, alert }
    }
}
