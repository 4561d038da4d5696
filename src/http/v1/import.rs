//! Uploads of scans that other tools made.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use futures_util::StreamExt;
use hyper::{
    StatusCode,
    header::{self, HeaderMap},
};
use serde::Serialize;
use tokio::{fs::File, io::AsyncWriteExt, sync::Semaphore, time::interval};
use utoipa::ToSchema;

use super::{Api, gated};
use crate::{
    http::{
        answer::{ErrorBody, Refusal, json},
        auth::Gate,
        body,
        conversation::ExtendedTimeout,
        routes::{Routes, route},
    },
    service::import::{Counts, ImportError, Importer, Taken},
};

/// How often a client's time limit is extended while its report is read and stored.
const PATIENCE: Duration = Duration::from_secs(5);

/// Imports reports, one at a time: each may need the disk space of the largest.
#[derive(Clone)]
pub(in crate::http) struct Imports {
    importer: Importer,
    turns: Arc<Semaphore>,
    /// The largest report, in bytes.
    most: usize,
}

impl Imports {
    pub(in crate::http) fn new(importer: Importer, most: usize) -> Self {
        Self { importer, turns: Arc::new(Semaphore::new(1)), most }
    }
}

/// What was imported from a report, and what was left out.
#[derive(Serialize, ToSchema)]
struct ImportSummary {
    /// The id under which the scan is stored, in Unix seconds.
    id: i64,
    /// Whether it was already stored: then nothing was changed, and `hosts` and `ports` are 0.
    known: bool,
    hosts: ImportedHosts,
    ports: ImportedPorts,
    /// The parts of the report that were left out.
    left_out: Vec<ImportOmission>,
}

/// Imported hosts, each counted once however many entries it has.
#[derive(Serialize, ToSchema)]
struct ImportedHosts {
    /// Hosts with port results.
    scanned: u64,
    /// Hosts that were up, without port results (`nmap -sn`).
    seen: u64,
    /// Hosts that the scanner gave up: imported as up, without their ports.
    unfinished: u64,
}

/// Imported ports.
#[derive(Serialize, ToSchema)]
struct ImportedPorts {
    /// Ports in another state than most ports of their host.
    listed: u64,
    /// Open ports.
    open: u64,
}

/// What was left out, and why.
#[derive(Serialize, ToSchema)]
struct ImportOmission {
    /// `hosts` or `ports`.
    what: &'static str,
    count: u64,
    /// The reason, for people.
    reason: &'static str,
}

impl From<&Taken> for ImportSummary {
    fn from(taken: &Taken) -> Self {
        let Counts { scanned, seen, unfinished, listed, open } = taken.counts;
        let omission = |(what, count, reason)| ImportOmission { what, count, reason };
        Self {
            id: taken.imported.scan().0,
            known: taken.is_known(),
            hosts: ImportedHosts { scanned, seen, unfinished },
            ports: ImportedPorts { listed, open },
            left_out: taken.reasons().map(omission).collect(),
        }
    }
}

pub(super) fn routes(gate: &Gate) -> Routes<Api> {
    Routes::new().with(gated(gate, route!(import)))
}

/// Imports a scan of nmap or masscan: a complete file of `-oX FILE`; or, as JSON, a result of the original portscan.
/// Importing the same report again changes nothing. The answer lists what was imported and left out only with
/// `Accept: application/json` and no other type, because portmantool's clients expect a 204.
#[utoipa::path(
    post, path = "/v1/scan", tag = "scans",
    request_body(content((String = "application/xml"), (String = "text/xml"), (String = "application/json"))),
    responses(
        (status = 200, body = ImportSummary, description = "Stored now or before; the request accepts JSON"),
        (status = 204, description = "Stored now or before"),
        (status = 400, body = ErrorBody, description = "Not a report of nmap's, or an incomplete one"),
        (status = 413, body = ErrorBody, description = "It is larger than 128 MB"),
        (status = 415, body = ErrorBody, description = "The content type is that of another format"),
    ),
)]
async fn import(
    State(api): State<Api>,
    extended: ExtendedTimeout,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    if !is_report(&headers) {
        return Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "send what `nmap -oX FILE` has written as Content-Type: application/xml (or text/xml)",
        )
        .closing());
    }
    let Imports { importer, turns, most } = api.imports.clone();
    extended.enable();
    // Never closed; a client that waits too long is refused by the time limit.
    let _turn = turns.acquire().await;
    let file = receive(&importer, most, body, &extended).await?;
    // If the client disconnects now, the report that it has sent completely is still imported.
    let mut importing = tokio::spawn(async move { importer.import(file).await });
    let mut ticks = interval(PATIENCE);
    loop {
        tokio::select! {
            imported = &mut importing => {
                // The task ends early only if the process does.
                let imported = imported.unwrap_or(Err(ImportError::Stopping));
                let taken = imported.map_err(|error| refusal(&error))?;
                return Ok(match wants_summary(&headers) {
                    true => json(StatusCode::OK, &ImportSummary::from(&taken)),
                    false => StatusCode::NO_CONTENT.into_response(),
                });
            }
            _ = ticks.tick() => extended.note_own_work(),
        }
    }
}

/// Whether the content type may be that of a report; the file itself decides which kind it is.
fn is_report(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    ["application/xml", "text/xml", "application/json"].iter().any(|known| kind.eq_ignore_ascii_case(known))
}

/// Whether the client accepts only JSON: libraries that send `*/*` or a list by default do not request the summary.
fn wants_summary(headers: &HeaderMap) -> bool {
    let mut accepted = headers.get_all(header::ACCEPT).iter();
    let only = accepted.next().and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let essence = only.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json") && !only.contains(',') && accepted.next().is_none()
}

/// Writes the body to a file as it arrives.
async fn receive(
    importer: &Importer,
    most: usize,
    body: Body,
    extended: &ExtendedTimeout,
) -> Result<std::fs::File, Refusal> {
    let full = |error: std::io::Error| {
        let error = format!("the report cannot be kept for the moment: {error}; try again later");
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error).closing()
    };
    let mut file = File::from_std(importer.room().map_err(full)?);
    let mut pieces = body.into_data_stream();
    let mut length = 0;
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| Refusal::bad_request(format!("the report broke off: {error}")))?;
        length += piece.len();
        if length > most {
            return Err(body::too_large());
        }
        file.write_all(&piece).await.map_err(full)?;
        extended.note_received(piece.len());
    }
    file.flush().await.map_err(full)?;
    Ok(file.into_std().await)
}

fn refusal(error: &ImportError) -> Refusal {
    let status = if error.may_pass() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::BAD_REQUEST };
    Refusal::new(status, error.to_string())
}
