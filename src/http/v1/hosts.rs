//! The devices, and what is known of each.

use std::{
    borrow::Cow,
    cell::LazyCell,
    collections::{BTreeMap, HashMap},
    ops::Deref,
};

use axum::{extract::State, response::Response};
use bytes::Bytes;
use hyper::{StatusCode, header::HeaderMap};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{
    Api, gated,
    identified::{IdentifiedBody, KindBody, KindPatch, given},
    runs::Share,
    scan_state::{ScanState, ScannedBody},
    shapes::{AdviceBody, DeviceText, NameSourceText, PresenceText, ProtocolText},
};
use crate::{
    http::{
        answer::{ErrorBody, Refusal, json},
        auth::Gate,
        body,
        extract::Path,
        routes::{Routes, route},
        rows::{self, PIECE, ResponseQueue, Source, write_elements, write_json},
    },
    model::{Address, DeviceKey, Mac, Name, Protocol},
    service::{
        directory::{DeviceDirectory, FoundHost},
        evidence::DeviceEvidence,
    },
    services,
    store::{self, AddressRecord, AnnotationPatch, DeviceRecord, PortKey, Store, StoreError},
};

/// The longest name, in characters: what fits into a column.
const NAME_MAX: usize = 64;

/// Devices that are read at a time: with a few open ports each, and advice on most of these, they fill one piece of the
/// response, or two. Each read costs more than the writing.
const DEVICES: u32 = 6;

/// Ports of a device that are written at a time, if they fit into a piece: some 10 KB, and five times as much if there
/// is advice on each.
const PORTS: usize = 128;

/// The first of a device's ports.
const FIRST_PORT: PortKey = (Protocol::Ip, 0);

/// The longest note, in characters.
const NOTE_MAX: usize = 1000;

pub(super) fn routes(gate: &Gate) -> Routes<Api> {
    Routes::new()
        .with(route!(hosts))
        .with(route!(host))
        .with(gated(gate, route!(describe)))
        .with(gated(gate, route!(forget)))
}

/// A device.
#[derive(Serialize, ToSchema)]
struct HostRow {
    /// `null` where no neighbour tells: behind a router.
    #[schema(value_type = Option<String>, example = "B8:27:EB:AC:14:3E")]
    mac: Option<Mac>,
    /// Where it was last seen.
    #[schema(value_type = String, example = "192.168.1.7")]
    address: Address,
    /// The maker of its network interface, by the IEEE's registry; `null` where that does not know.
    #[schema(example = "Raspberry Pi Foundation")]
    vendor: Option<String>,
    /// Whether the MAC was made up by software, as phones do: there is no maker, and it may be another tomorrow.
    locally_administered: bool,
    /// The name to show: the first of `names`.
    name: Option<String>,
    /// The source of that name; see `names`.
    #[schema(value_type = Option<NameSourceText>)]
    name_source: Option<&'static str>,
    /// All names, in the order of precedence: from the owner here (`owner`), from the configuration (`config`), from
    /// a feed, the list of hosts or an import (`feed`), from the device itself (`mdns`), from this machine's resolver
    /// (`dns`).
    names: Vec<NameBody>,
    /// The owner's name for it, set on the page or over the API.
    own_name: Option<String>,
    /// The owner's note.
    note: Option<String>,
    #[serde(flatten)]
    kind: KindBody,
    #[schema(value_type = String, format = DateTime)]
    first_seen: Timestamp,
    /// At most an hour behind.
    #[schema(value_type = String, format = DateTime)]
    last_seen: Timestamp,
    /// Every address that it has had, the latest first.
    addresses: Vec<AddressBody>,
    /// Its IPv6 addresses in the neighbour table of this machine's kernel; they are not scanned unless the
    /// configuration names them.
    #[schema(value_type = Vec<String>, example = json!(["fe80::ba27:ebff:feac:143e%eth0"]))]
    ipv6: Vec<Address>,
    /// When it was scanned, and how much of it; `null` if it never was.
    scanned: Option<ScannedBody>,
    /// How many of its ports have a verdict by the scan that runs now, until its result is stored; `null` if none runs.
    scanning: Option<Share>,
    /// Whether the device is present: `online` or `offline` by its last scan, `offline` also after a long absence;
    /// `unknown` if this appliance has never scanned it. It was last present at `last_seen`.
    #[schema(value_type = PresenceText)]
    presence: &'static str,
    /// Its open ports. Those that only the running scan has found come last; they stay in the list while the result
    /// is being stored.
    // The last field, because there may be so many ports that `write_device` writes them separately.
    ports: Vec<OpenPort>,
}

/// What a device is called.
#[derive(Serialize, ToSchema)]
struct NameBody {
    name: String,
    /// The source of the name.
    #[schema(value_type = NameSourceText)]
    source: &'static str,
    /// When the source last reported it (`feed`: first reported it); `null` if unknown.
    #[schema(value_type = Option<String>, format = DateTime)]
    time: Option<Timestamp>,
}

/// An address that a device has or had.
#[derive(Serialize, ToSchema)]
struct AddressBody {
    #[schema(value_type = String)]
    address: Address,
    #[schema(value_type = String, format = DateTime)]
    first_seen: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    last_seen: Timestamp,
    /// Whether the device has it now, as far as is known.
    present: bool,
}

/// An open port.
#[derive(Serialize, ToSchema)]
struct OpenPort {
    #[schema(maximum = 65535)]
    port: u16,
    #[schema(value_type = ProtocolText)]
    protocol: Protocol,
    /// What listens there: what the service says about itself if there is `evidence`, else the usual service by IANA.
    #[schema(example = "ssh")]
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<Cow<'static, str>>,
    #[serde(flatten)]
    identified: IdentifiedBody,
    /// When it was found opened; for a port that was always open, when the device was first known.
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    /// The newest scan that says so.
    scan_id: i64,
    /// Whether a second scan must still confirm it: the running scan has found it, or the last scan found it for the
    /// first time.
    unconfirmed: bool,
    /// The device's addresses at which it is open, if the device has several.
    #[schema(value_type = Option<Vec<String>>, nullable = false)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    addresses: Vec<Address>,
    /// The advice on it; `null` if nothing is known about the port.
    advice: Option<AdviceBody>,
}

/// The owner's annotation of a device. A missing key leaves the value as it is; `null` or an empty text deletes it.
#[derive(Deserialize, ToSchema)]
struct WordsBody {
    /// At most 64 characters on one line.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, max_length = 64, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*$")]
    name: Option<Option<String>>,
    /// At most 1,000 characters.
    #[serde(default, deserialize_with = "given")]
    #[schema(
        value_type = Option<String>, max_length = 1000,
        pattern = "^[^\\x00-\\x09\\x0b-\\x1f\\x7f-\\x9f]*$",
    )]
    note: Option<Option<String>>,
    #[serde(flatten)]
    kind: KindPatch,
}

impl HostRow {
    /// Without its ports.
    fn of(
        host: &DeviceRecord,
        (names, evidence): (Vec<Name>, &DeviceEvidence),
        directory: &DeviceDirectory,
        state: &ScanState,
    ) -> Self {
        let (device, words) = (&host.device, &host.words);
        Self {
            mac: device.mac,
            address: device.address.clone(),
            vendor: evidence.vendor().map(str::to_owned),
            locally_administered: device.mac.is_some_and(Mac::is_locally_administered),
            name: names.first().map(|name| name.text.clone()),
            name_source: names.first().map(|name| name.source.as_str()),
            names: names.into_iter().map(NameBody::of).collect(),
            own_name: words.name.clone(),
            note: words.note.clone(),
            kind: KindBody::of(host, evidence, directory),
            first_seen: host.first_seen,
            last_seen: host.last_seen,
            addresses: host.addresses.iter().cloned().map(AddressBody::of).collect(),
            ipv6: Vec::new(),
            scanned: ScannedBody::of(host, directory),
            scanning: state.scanning(host),
            presence: host.presence.as_str(),
            ports: Vec::new(),
        }
    }

    fn with_neighbours(self, by_ipv6: &HashMap<Mac, Vec<Address>>) -> Self {
        let ipv6 = self.mac.and_then(|mac| by_ipv6.get(&mac)).cloned().unwrap_or_default();
        Self { ipv6, ..self }
    }
}

impl NameBody {
    fn of(name: Name) -> Self {
        let Name { text, source, at } = name;
        Self { name: text, source: source.as_str(), time: at }
    }
}

impl AddressBody {
    fn of(record: AddressRecord) -> Self {
        let AddressRecord { address, first_seen, last_seen, is_present } = record;
        Self { address, first_seen, last_seen, present: is_present }
    }
}

/// Every device, in the order in which they became known.
#[utoipa::path(get, path = "/v1/hosts", tag = "hosts", responses((status = 200, body = Vec<HostRow>)))]
async fn hosts(State(api): State<Api>, queue: ResponseQueue) -> Result<Response, Refusal> {
    let times = (api.clock.now(), api.clock.wall());
    let (store, directory) = (api.store.clone(), api.directory.clone());
    let state = ScanState::read(&api);
    // Before the rows are read: a device that gets one meanwhile is in one of the two lists.
    let told = directory.hosts_without_row(times).await?;
    let told = told.into_iter().map(|host| (host.device.key(), host)).collect();
    let list = Devices {
        store,
        directory,
        state,
        begun: false,
        after: i64::MIN,
        within: None,
        is_stored: true,
        told,
    };
    rows::streamed(&queue, "application/json", list).await
}

/// All devices, as far as they are written.
struct Devices {
    store: Store,
    directory: DeviceDirectory,
    state: ScanState,
    /// Whether a device is written.
    begun: bool,
    /// The last device that is written completely.
    after: i64,
    /// The next device, and its first port that is not written yet.
    within: Option<(i64, PortKey)>,
    /// Whether devices that have a row may follow.
    is_stored: bool,
    /// The devices without a row that are not written yet; they follow after all others.
    told: BTreeMap<DeviceKey, DeviceRecord>,
}

impl Source for Devices {
    async fn write(&mut self, text: &mut Vec<u8>) -> Result<bool, StoreError> {
        if self.is_stored {
            return self.write_stored(text).await;
        }
        self.write_told(text)
    }
}

impl Devices {
    /// Writes a page of the devices that have a row.
    async fn write_stored(&mut self, text: &mut Vec<u8>) -> Result<bool, StoreError> {
        let page = self.store.hosts(self.after, DEVICES).await?;
        let directory = self.directory.clone();
        let by_ipv6 = LazyCell::new(|| directory.by_ipv6());
        for host in &page.rows {
            let Some(row) = host.row else { continue };
            let from = match self.within.take() {
                Some((begun, port)) if begun == row => Some(port),
                Some(_) => {
                    // The device has been forgotten in the middle of its ports.
                    text.extend_from_slice(PORTS_END);
                    None
                }
                None => None,
            };
            if from.is_none() {
                self.separate(text);
                self.forget_told(host);
            }
            if let Some(port) = write_device(text, (&directory, &self.state), host, &by_ipv6, from)? {
                self.within = Some((row, port));
                return Ok(true);
            }
            self.after = row;
            // Of devices with many ports, the rest of the page is read again.
            if text.len() >= 2 * PIECE {
                return Ok(true);
            }
        }
        self.after = page.next.unwrap_or(self.after);
        if page.next.is_none() {
            if self.within.take().is_some() {
                text.extend_from_slice(PORTS_END);
            }
            self.is_stored = false;
        }
        Ok(true)
    }

    /// Leaves out of the devices without a row one that has got this row since they were read.
    fn forget_told(&mut self, host: &DeviceRecord) {
        if self.told.is_empty() {
            return;
        }
        self.told.remove(&host.device.key());
        for record in host.addresses.iter().filter(|record| record.is_present) {
            self.told.remove(&DeviceKey::Address(record.address.clone()));
        }
    }

    /// Writes a page of the devices without a row, and after the last one the end.
    fn write_told(&mut self, text: &mut Vec<u8>) -> Result<bool, StoreError> {
        let directory = self.directory.clone();
        let by_ipv6 = LazyCell::new(|| directory.by_ipv6());
        for _ in 0..DEVICES {
            let Some((_, host)) = self.told.pop_first() else {
                text.extend_from_slice(if self.begun { b"]\n" } else { b"[]\n" });
                return Ok(false);
            };
            self.separate(text);
            write_device(text, (&directory, &self.state), &host, &by_ipv6, None)?;
        }
        Ok(true)
    }

    /// Writes the bracket before the first device, and a comma before each other.
    fn separate(&mut self, text: &mut Vec<u8>) {
        text.push(if self.begun { b',' } else { b'[' });
        self.begun = true;
    }
}

/// One device, as far as it is written.
struct Device {
    store: Store,
    directory: DeviceDirectory,
    state: ScanState,
    row: i64,
    /// The first port that is not written yet; `None`: nothing is written.
    from: Option<PortKey>,
}

impl Source for Device {
    async fn write(&mut self, text: &mut Vec<u8>) -> Result<bool, StoreError> {
        let found = self.store.hosts(self.row.saturating_sub(1), 1).await?.rows.pop();
        match found.filter(|host| host.row == Some(self.row)) {
            Some(host) => {
                let by_ipv6 = LazyCell::new(|| self.directory.by_ipv6());
                self.from = write_device(text, (&self.directory, &self.state), &host, &by_ipv6, self.from)?;
            }
            // The device has just been forgotten: before it was written, or in the middle of its ports.
            None if self.from.is_none() => {
                return Err(StoreError::Damaged("the device has just been forgotten".to_owned()));
            }
            None => {
                text.extend_from_slice(PORTS_END);
                self.from = None;
            }
        }
        if self.from.is_none() {
            text.push(b'\n');
        }
        Ok(self.from.is_some())
    }
}

/// The end of the list of ports, and of the device.
const PORTS_END: &[u8] = b"]}";

/// Writes a device, or the rest of it; returns the port from which on it is to be continued. `by_ipv6` is evaluated
/// only for the beginning of a device, because the kernel has to list its neighbours for it.
fn write_device(
    text: &mut Vec<u8>,
    (directory, state): (&DeviceDirectory, &ScanState),
    host: &DeviceRecord,
    by_ipv6: &impl Deref<Target = HashMap<Mac, Vec<Address>>>,
    from: Option<PortKey>,
) -> Result<Option<PortKey>, StoreError> {
    let begins_at = text.len();
    let names = directory.names_of(host);
    let evidence = DeviceEvidence::of(host.device.mac, &names, &host.identified, state.now);
    if from.is_none() {
        write_json(text, &HostRow::of(host, (names, &evidence), directory, state).with_neighbours(by_ipv6))?;
        text.truncate(text.len() - PORTS_END.len());
    }
    let (ports, next) = host.open_ports_from(from.unwrap_or(FIRST_PORT), PORTS);
    let has_several = host.endpoints.len() > 1;
    let body = |open: store::OpenPort| {
        let store::OpenPort { protocol, port, scan, addresses } = open;
        OpenPort {
            port,
            protocol,
            service: service(&evidence, protocol, port),
            identified: IdentifiedBody::of(evidence.found(protocol, port)),
            since: host.open_since(protocol, port),
            scan_id: scan,
            unconfirmed: protocol == Protocol::Tcp && host.unconfirmed.contains(port),
            addresses: if has_several { addresses } else { Vec::new() },
            advice: evidence.advise(protocol, port).map(AdviceBody::from),
        }
    };
    // The rest follows ports that are written.
    let mut begun = from.is_some();
    let mut ports = ports.into_iter().peekable();
    while let Some(open) = ports.next() {
        write_elements(text, &mut begun, [body(open)])?;
        if let Some(following) = ports.peek().filter(|_| text.len() - begins_at >= PIECE) {
            return Ok(Some((following.protocol, following.port)));
        }
    }
    if next.is_none() {
        write_elements(text, &mut begun, found_ports(host, state, &evidence))?;
        text.extend_from_slice(PORTS_END);
    }
    Ok(next)
}

/// What listens on a port, as it says itself, or as the registry has it.
fn service(evidence: &DeviceEvidence, protocol: Protocol, port: u16) -> Option<Cow<'static, str>> {
    let identified = evidence.found(protocol, port).and_then(|found| found.service.clone());
    let registered = || services::name(port).filter(|_| protocol == Protocol::Tcp);
    identified.map(Cow::Owned).or_else(|| registered().map(Cow::Borrowed))
}

/// The ports that only the looks in progress have found open.
fn found_ports(
    host: &DeviceRecord,
    state: &ScanState,
    evidence: &DeviceEvidence,
) -> impl Iterator<Item = OpenPort> {
    state.found(host).into_iter().map(|(port, scan_id)| OpenPort {
        port,
        protocol: Protocol::Tcp,
        service: service(evidence, Protocol::Tcp, port),
        identified: IdentifiedBody::of(evidence.found(Protocol::Tcp, port)),
        since: state.now,
        scan_id,
        unconfirmed: true,
        addresses: Vec::new(),
        advice: evidence.advise(Protocol::Tcp, port).map(AdviceBody::from),
    })
}

/// One device.
#[utoipa::path(
    get, path = "/v1/hosts/{host}", tag = "hosts",
    params(("host" = inline(DeviceText), Path, description = "Its MAC, or an address: the device that has it now", example = "192.168.1.7")),
    responses((status = 200, body = HostRow), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)),
)]
async fn host(
    State(api): State<Api>,
    queue: ResponseQueue,
    Path(host): Path<String>,
) -> Result<Response, Refusal> {
    let state = ScanState::read(&api);
    match found(&api, &host).await? {
        FoundHost::Stored(row) => {
            let device =
                Device { store: api.store.clone(), directory: api.directory.clone(), state, row, from: None };
            rows::streamed(&queue, "application/json", device).await
        }
        FoundHost::Told(host) => {
            let names = api.directory.names_of(&host);
            let evidence = DeviceEvidence::of(host.device.mac, &names, &host.identified, state.now);
            let mut row = HostRow::of(&host, (names, &evidence), &api.directory, &state);
            row.ports.extend(found_ports(&host, &state, &evidence));
            Ok(json(StatusCode::OK, &row.with_neighbours(&api.directory.by_ipv6())))
        }
    }
}

/// Stores the owner's annotation of a device.
#[utoipa::path(
    patch, path = "/v1/hosts/{host}", tag = "hosts", request_body = WordsBody,
    params(("host" = inline(DeviceText), Path, description = "Its MAC, or an address: the device that has it now", example = "192.168.1.7")),
    responses(
        (status = 204, description = "The annotation is stored"),
        (status = 400, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 413, body = ErrorBody), (status = 415, body = ErrorBody),
    ),
)]
async fn describe(
    State(api): State<Api>,
    Path(host): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, Refusal> {
    let words: Map<String, Value> = body::document(&headers, &body)?;
    // Parsed as an object first, because serde accepts an array for a struct, too.
    let words = serde_json::from_value(Value::Object(words));
    let WordsBody { name, note, kind } = words.map_err(|error| Refusal::bad_request(error.to_string()))?;
    let words = AnnotationPatch {
        name: name.map(|name| said("name", name, NAME_MAX)).transpose()?,
        note: note.map(|note| said("note", note, NOTE_MAX)).transpose()?,
        ..AnnotationPatch::default()
    };
    let words = kind.add_to(words)?;
    let host = found(&api, &host).await?;
    api.directory.annotate(host, words).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Forgets a device with all its results. Its expectations and changes stay. If it is still present, it counts as a
/// new device.
#[utoipa::path(
    delete, path = "/v1/hosts/{host}", tag = "hosts",
    params(("host" = inline(DeviceText), Path, description = "Its MAC, or an address: the device that has it now", example = "192.168.1.7")),
    responses(
        (status = 204, description = "The device is forgotten"),
        (status = 400, body = ErrorBody), (status = 404, body = ErrorBody),
    ),
)]
async fn forget(State(api): State<Api>, Path(host): Path<String>) -> Result<StatusCode, Refusal> {
    let host = found(&api, &host).await?;
    api.directory.forget(&host).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The device in a path.
async fn found(api: &Api, text: &str) -> Result<FoundHost, Refusal> {
    let key: DeviceKey = text
        .parse()
        .map_err(|error: crate::model::DeviceKeyError| Refusal::bad_request(error.to_string()))?;
    let unknown = || {
        let error = format!("{key} is not known; /v1/hosts lists the known devices");
        Refusal::new(StatusCode::NOT_FOUND, error)
    };
    api.directory.find(&key, (api.clock.now(), api.clock.wall())).await?.ok_or_else(unknown)
}

/// Checks a name or note for a device: it must not contain characters that control a terminal.
fn said(what: &str, text: Option<String>, most: usize) -> Result<Option<String>, Refusal> {
    let text = text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    match &text {
        Some(text) if text.chars().count() > most => {
            Err(Refusal::bad_request(format!("the {what} is longer than {most} characters; shorten it")))
        }
        Some(text) if text.chars().any(|c| c.is_control() && (c != '\n' || what == "name")) => {
            Err(Refusal::bad_request(format!("the {what} has control characters; leave them out")))
        }
        _ => Ok(text),
    }
}
