//! lanscan's API, as its clients know it: two paths, answered from the last sweeps of this appliance's own discovery.
//!
//! If discovery is off they are 404, not lanscan's `{}`, which means that the first sweep is still to come: a client
//! would wait for it for ever. But it reports a failed request to its user, with the reason.

use axum::{extract::State, response::Response};
use hyper::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    answer::{ErrorBody, Refusal, json},
    routes::{Routes, route},
    rows::{self, ResponseQueue, Source, write_elements, write_json},
};
use crate::{
    feed::{DocumentEntry, FeedDocument, seconds, utc},
    service::{
        directory::{DeviceDirectory, Discovered},
        feeds::Found,
    },
    store::StoreError,
};

/// Devices that are written at a time: some 10 KB.
const ENTRIES: usize = 200;

pub(super) fn routes(directory: DeviceDirectory) -> Routes {
    Routes::new().with(route!(devices)).with(route!(status)).with_state(directory)
}

/// Lists the devices of the LAN.
#[utoipa::path(
    get, path = "/lanscan/json", tag = "lanscan",
    responses(
        (status = 200, description = "`{}` before the first sweep", body = Object, example = json!({
            "time": {"utc": "2022-12-11 21:18:02", "prep_sec": 0.0004, "scan_sec": 5.51, "total_sec": 5.5104},
            "scan": [{"ipv4": "192.168.1.7", "mac": "b8:27:eb:ac:14:3e"}], "count": 1
        })),
        (status = 404, description = "Discovery is off", body = ErrorBody),
    ),
)]
async fn devices(
    State(directory): State<DeviceDirectory>,
    queue: ResponseQueue,
) -> Result<Response, Refusal> {
    match discovered(&directory)? {
        Some(found) => {
            rows::streamed(&queue, "application/json", DiscoveredDevices { found, written: 0 }).await
        }
        None => Ok(json(StatusCode::OK, &NoDevices {})),
    }
}

/// The document, and how much of it is written. All readers share the devices.
struct DiscoveredDevices {
    found: Found,
    /// How many devices are written.
    written: usize,
}

impl Source for DiscoveredDevices {
    async fn write(&mut self, text: &mut Vec<u8>) -> Result<bool, StoreError> {
        let Found { devices, ended, preparation, sweeping } = &self.found;
        if self.written == 0 {
            write_json(text, &FeedDocument::new(&[], *ended, *preparation, *sweeping))?;
            text.truncate(text.len() - NONE_END.len());
        }
        let count = devices.iter().filter_map(DocumentEntry::of).count();
        let mut begun = self.written > 0;
        let entries = devices.iter().filter_map(DocumentEntry::of).skip(self.written).take(ENTRIES);
        write_elements(text, &mut begun, entries)?;
        self.written += ENTRIES;
        if self.written < count {
            return Ok(true);
        }
        text.extend_from_slice(format!("],\"count\":{count}}}\n").as_bytes());
        Ok(false)
    }
}

/// The end of a document without devices.
const NONE_END: &[u8] = b"],\"count\":0}";

/// Returns the time of the last sweep and the number of devices found.
#[utoipa::path(
    get, path = "/lanscan/status", tag = "lanscan",
    responses(
        (status = 200, body = StatusBody),
        (status = 404, description = "Discovery is off", body = ErrorBody),
    ),
)]
async fn status(State(directory): State<DeviceDirectory>) -> Result<Response, Refusal> {
    let status = match discovered(&directory)? {
        Some(Found { devices, ended, preparation, sweeping }) => StatusPart {
            last_utc: utc(ended),
            last_time_sec: seconds(preparation + sweeping),
            last_count: devices.len(),
        },
        // lanscan's own text.
        None => StatusPart { last_utc: "(just starting up)".to_owned(), last_time_sec: 0.0, last_count: 0 },
    };
    Ok(json(StatusCode::OK, &StatusBody { status }))
}

/// `None` before the first sweep.
fn discovered(directory: &DeviceDirectory) -> Result<Option<Found>, Refusal> {
    match directory.discovered() {
        Discovered::Off => Err(Refusal::new(
            StatusCode::NOT_FOUND,
            "this appliance does not look for devices itself; to have it do so, write discover = [\"eth0\"] (its \
             interface) under [feed] in its configuration",
        )),
        Discovered::NotYet => Ok(None),
        Discovered::Found(found) => Ok(Some(found)),
    }
}

/// `{}`
#[derive(Serialize)]
struct NoDevices {}

/// lanscan's status.
#[derive(Serialize, ToSchema)]
struct StatusBody {
    status: StatusPart,
}

#[derive(Serialize, ToSchema)]
struct StatusPart {
    /// UTC; "(just starting up)" before the first sweep.
    #[schema(example = "2022-12-11 21:18:02")]
    last_utc: String,
    last_time_sec: f64,
    last_count: usize,
}
