//! The original portscan's results: one JSON document for each MAC, as its cache directory has them and
//! `/portscan/MAC/json` returns them.

use std::{io::Read, time::Duration};

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use serde::Deserialize;

use crate::{
    model::{
        Address, Device, HostReport, HostStatus, Mac, PortFinding, PortSet, PortState, Protocol, Reason,
        ScanStatus,
    },
    store::{Import, ImportedHost},
};

/// The longest document that is read, in bytes: 65,535 ports are 450 KB.
const LONGEST: u64 = 1 << 20;

/// The format in which the original writes times.
const TIME: &str = "%Y-%m-%d %H:%M:%S";

/// Why a document is refused.
#[derive(Debug, thiserror::Error)]
#[error(
    "this is neither nmap's XML nor a result of the original portscan's ({0}); it keeps one for each MAC"
)]
pub struct CacheError(String);

#[derive(Deserialize)]
struct Document {
    host: Host,
    time: Time,
    ports: Vec<u16>,
}

#[derive(Deserialize)]
struct Host {
    ipv4: Address,
    mac: Mac,
}

#[derive(Deserialize)]
struct Time {
    utc: String,
    #[serde(default)]
    total_sec: f64,
}

/// The result of one device.
pub(super) struct CachedReport {
    document: Document,
    started: Timestamp,
    finished: Timestamp,
}

impl CachedReport {
    pub(super) fn read(source: impl Read) -> Result<Self, CacheError> {
        let none = |why: &dyn std::fmt::Display| CacheError(why.to_string());
        let mut source = source.take(LONGEST + 1);
        let document: Document =
            serde_json::from_reader(&mut source).map_err(|error| match source.limit() {
                0 => none(&"it is larger than 1 MB"),
                _ => none(&error),
            })?;
        let finished = DateTime::strptime(TIME, &document.time.utc)
            .and_then(|time| time.to_zoned(TimeZone::UTC))
            .map_err(|error| none(&error))?
            .timestamp();
        // The original dates a result by when it was written.
        let took = Duration::try_from_secs_f64(document.time.total_sec).unwrap_or_default();
        let started = finished.checked_sub(took).map_err(|error| none(&error))?;
        match started.as_second() {
            ..=0 => Err(none(&"its time is before 1970")),
            _ => Ok(Self { document, started, finished }),
        }
    }

    pub(super) fn import(&self, digest: [u8; 32]) -> Import {
        Import {
            scanner: "portscan".to_owned(),
            digest,
            ports: PortSet::all(),
            status: ScanStatus::Complete,
            started: self.started,
            finished: self.finished,
        }
    }

    /// Returns the host. The original always scans all ports, and lists those that are open.
    pub(super) fn host(&self) -> ImportedHost {
        let Host { ipv4, mac } = &self.document.host;
        let open = self.document.ports.iter().filter(|port| **port > 0);
        let open: PortSet = open.copied().collect();
        let found = |port| PortFinding { port, state: PortState::Open, reason: Reason::SynAck, rtt: None };
        let report = HostReport {
            address: ipv4.clone(),
            status: HostStatus::Up,
            coverage: PortSet::all(),
            default_state: PortState::Closed,
            default_reason: Reason::ConnRefused,
            findings: open.iter().map(found).collect(),
            protocol: Protocol::Tcp,
            probes: 0,
            preparation: Duration::ZERO,
            scanning: Duration::try_from(self.finished.duration_since(self.started)).unwrap_or_default(),
            detail: String::new(),
        };
        ImportedHost {
            device: Device { address: ipv4.clone(), mac: Some(*mac), name: None },
            reports: vec![report],
            started: self.started,
            finished: self.finished,
        }
    }
}
