//! The ports that a scan listed, read in portions.

use futures_util::{Stream, stream};
use serde::Serialize;
use utoipa::ToSchema;

use super::shapes::{ProtocolText, StateText};
use crate::{
    model::{Address, PortState, Protocol, ScanId},
    store::{Page, ScanHost, Store, StoreError},
};

/// Ports that are written at a time: some 10 KB.
const ROWS: usize = 128;

/// A port that a scan listed.
#[derive(Serialize, ToSchema)]
pub(super) struct PortRow {
    #[schema(value_type = String, example = "192.168.1.7")]
    address: Address,
    #[schema(maximum = 65535)]
    port: u16,
    #[schema(value_type = ProtocolText)]
    protocol: Protocol,
    #[schema(value_type = StateText)]
    state: PortState,
    scan_id: i64,
}

impl PortRow {
    /// Formats the row as a line of CSV (RFC 4180).
    pub(super) fn csv(&self) -> String {
        let Self { address, port, protocol, state, scan_id } = self;
        let mut address = address.to_string();
        // An interface may have almost any name.
        if address.contains([',', '"']) {
            address = format!("\"{}\"", address.replace('"', "\"\""));
        }
        format!("{address},{port},{protocol},{state},{scan_id}\n")
    }
}

/// A position in a scan: after this host, and after some ports of the next.
#[derive(Clone, Copy)]
struct ScanPosition {
    after: i64,
    written: usize,
}

/// Returns the listed ports of a scan in portions; only the position is kept in between.
pub(super) fn port_rows(store: Store, scan: ScanId) -> impl Stream<Item = Result<Vec<PortRow>, StoreError>> {
    let start = ScanPosition { after: i64::MIN, written: 0 };
    stream::try_unfold((store, scan, Some(start)), async |(store, scan, position)| {
        let Some(position) = position else { return Ok(None) };
        let page = store.scan_hosts(scan, position.after).await?;
        let (rows, next) = some_rows(page, position, scan);
        Ok(Some((rows, (store, scan, next))))
    })
}

fn some_rows(
    page: Page<ScanHost>,
    mut position: ScanPosition,
    scan: ScanId,
) -> (Vec<PortRow>, Option<ScanPosition>) {
    let mut rows = Vec::new();
    for ScanHost { place, address, protocol, listed } in page.rows {
        let ports = listed.iter().flat_map(|&(first, last, state)| (first..=last).map(move |at| (at, state)));
        let mut ports = ports.skip(position.written);
        let room = ROWS - rows.len();
        let row =
            |(port, state)| PortRow { address: address.clone(), port, protocol, state, scan_id: scan.0 };
        rows.extend(ports.by_ref().take(room).map(row));
        if ports.next().is_some() {
            return (rows, Some(ScanPosition { written: position.written + room, ..position }));
        }
        position = ScanPosition { after: place, written: 0 };
        if rows.len() >= ROWS {
            return (rows, Some(position));
        }
    }
    (rows, page.next.map(|after| ScanPosition { after, written: 0 }))
}
