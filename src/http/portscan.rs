//! The portscan API, as the original's clients know it: three paths under `base_url`.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use hyper::{StatusCode, http::request::Parts};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    answer::{ErrorBody, Refusal, json},
    auth::Gate,
    extract::Path,
    probes::Probes,
    routes::{Routes, route},
    rows::{self, ResponseQueue, Source, write_elements, write_json},
    sender::Sender,
};
use crate::{
    clock::Clock,
    feed::{seconds, utc},
    model::{Address, DeviceKey, Mac, PortFinding, PortState, Reason, TargetSpec},
    resolve::ResolveError,
    service::probe::{Asker, PortProber, ProbeAnswer, ProbeError},
    store::{CachedHost, Store, StoreError},
};

/// Devices that are read at a time; their MACs take some 10 KB.
const MACS: u32 = 512;

/// Ports that are written at a time, with the same aim.
const PORTS: usize = 2048;

#[derive(Clone)]
struct Api {
    store: Store,
    prober: Arc<PortProber>,
    probes: Arc<Probes>,
    gate: Gate,
}

/// The paths under `/base`.
pub(super) fn routes(
    base: &str,
    store: Store,
    prober: PortProber,
    gate: Gate,
    clock: Arc<dyn Clock>,
) -> Routes {
    // Braces would be the router's wildcards.
    let base = base.replace('{', "{{").replace('}', "}}");
    let routes = Routes::new().with(route!(macs)).with(route!(device)).with(route!(probe));
    let prober = Arc::new(prober);
    let api = Api { store, prober, probes: Arc::new(Probes::new(clock)), gate };
    routes.with_state(api).below(&format!("/{base}"))
}

/// The devices that have a result.
#[utoipa::path(get, path = "/json", tag = "portscan", responses((status = 200, body = MacsBody)))]
async fn macs(State(api): State<Api>, queue: ResponseQueue) -> Result<Response, Refusal> {
    let list = Macs { store: api.store, after: None };
    rows::streamed(&queue, "application/json", list).await
}

/// A device's open TCP ports.
#[utoipa::path(
    get, path = "/{mac}/json", tag = "portscan",
    params(("mac" = String, Path, description = "In any case, with any separator", example = "B8:27:EB:AC:14:3E",
            pattern = "^([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}$")),
    responses((status = 200, body = DeviceBody), (status = 400, body = ErrorBody)),
)]
async fn device(
    State(api): State<Api>,
    queue: ResponseQueue,
    Path(mac): Path<String>,
) -> Result<Response, Refusal> {
    let mac: Mac = mac.parse().map_err(|error| Refusal::bad_request(format!("{error}")))?;
    let ports = Ports { store: api.store, mac, begun: false, next: 0, count: 0 };
    rows::streamed(&queue, "application/json", ports).await
}

/// Probes one port of any host, now. Like the original it answers 200 whatever the result: a port that is not open
/// has the key `error`.
#[utoipa::path(
    get, path = "/{host}/{port}/json", tag = "portscan",
    params(
        ("host" = String, Path, description = "Address or name", example = "127.0.0.1"),
        ("port" = u16, Path, minimum = 1, maximum = 65535),
    ),
    responses(
        (status = 200, body = ProbeBody),
        (status = 400, body = ErrorBody),
        (
            status = 403, body = ErrorBody,
            description = "Excluded; or one of this machine's own addresses, for another machine; or a cloud's metadata \
                           service; or asked for by another site's page",
        ),
    ),
)]
async fn probe(
    State(api): State<Api>,
    sender: Sender,
    parts: Parts,
    Path((host, port)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    api.gate.check_probe_site(&parts.headers)?;
    let number = port_number(&port)?;
    check_host(&host)?;
    let client = api.gate.client(sender, parts.extensions.get(), &parts.headers).await;
    let _admitted = api.probes.admit(client)?;
    let asker = if sender.is_this_machine() { Asker::ThisMachine } else { Asker::Network };
    let body = match api.prober.probe(&host, number, asker).await {
        Ok(answer) => ProbeBody::of(&host, &port, answer),
        Err(ProbeError::Unresolved(error)) => ProbeBody::unresolved(&error),
        Err(refused) => return Err(probe_refused(&refused)),
    };
    Ok(json(StatusCode::OK, &body))
}

fn probe_refused(error: &ProbeError) -> Refusal {
    let status = match error {
        ProbeError::NoHost(_) => StatusCode::BAD_REQUEST,
        ProbeError::Excluded(_)
        | ProbeError::NotAllowed(_)
        | ProbeError::OwnAddress(_)
        | ProbeError::Metadata(_) => StatusCode::FORBIDDEN,
        ProbeError::Stopping | ProbeError::Unresolved(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    let how = if matches!(error, ProbeError::OwnAddress(_)) { ", by http://localhost" } else { "" };
    Refusal::new(status, format!("{error}{how}"))
}

fn port_number(text: &str) -> Result<u16, Refusal> {
    // Without the check for digits `+80` would be a port, too.
    let number = text.parse().ok().filter(|&port: &u16| port > 0);
    number
        .filter(|_| text.chars().all(|c| c.is_ascii_digit()))
        .ok_or_else(|| Refusal::bad_request("the port is malformed; write a number from 1 to 65535"))
}

/// An address in any of its spellings, or a name.
fn check_host(text: &str) -> Result<(), Refusal> {
    match text.parse() {
        // Parsing trims, which a path does not.
        Ok(TargetSpec::Address(_) | TargetSpec::Name(_)) if !text.contains(char::is_whitespace) => Ok(()),
        _ => Err(Refusal::bad_request(
            "the host is malformed; write an IPv4 address, an IPv6 address (bare, in brackets, with %25eth0 \
             where it is link-local) or a name",
        )),
    }
}

/// The devices that have a result.
#[derive(Serialize, ToSchema)]
struct MacsBody {
    /// Sorted, in upper case.
    #[schema(value_type = Vec<String>)]
    macs: Vec<Mac>,
}

/// The list of devices, as far as it is written.
struct Macs {
    store: Store,
    after: Option<Mac>,
}

impl Source for Macs {
    async fn write(&mut self, text: &mut Vec<u8>) -> Result<bool, StoreError> {
        let macs = self.store.macs_after(self.after, MACS).await?;
        if self.after.is_none() {
            write_json(text, &MacsBody { macs: Vec::new() })?;
            text.truncate(text.len() - MACS_END.len());
        }
        let mut begun = self.after.is_some();
        self.after = macs.last().copied().or(self.after);
        let more = macs.len() == MACS as usize;
        write_elements(text, &mut begun, macs)?;
        if !more {
            text.extend_from_slice(MACS_END);
            text.push(b'\n');
        }
        Ok(more)
    }
}

/// The end of the list of devices.
const MACS_END: &[u8] = b"]}";

/// A device's open ports, as far as they are written.
struct Ports {
    store: Store,
    mac: Mac,
    begun: bool,
    /// The port to go on from.
    next: u16,
    /// How many are written.
    count: usize,
}

impl Source for Ports {
    async fn write(&mut self, text: &mut Vec<u8>) -> Result<bool, StoreError> {
        let host = self.store.latest(&DeviceKey::Mac(self.mac)).await?;
        if !std::mem::replace(&mut self.begun, true) {
            let Some(host) = &host else {
                write_json(text, &DeviceBody::Unknown(ErrorBody { error: "host not found".into() }))?;
                text.push(b'\n');
                return Ok(false);
            };
            write_json(text, &DeviceBody::Known(HostBody::without_ports(host, self.mac)))?;
            text.truncate(text.len() - NO_PORTS_END.len());
        }
        // A device that has been forgotten meanwhile has no more ports.
        let open = host.map(|host| host.open).unwrap_or_default();
        let from = open.partition_point(|&port| port < self.next);
        let rest = open.get(from..).unwrap_or_default();
        let (now, later) = rest.split_at(rest.len().min(PORTS));
        write_elements(text, &mut (self.count > 0), now)?;
        self.count += now.len();
        if let Some(&next) = later.first() {
            self.next = next;
            return Ok(true);
        }
        text.extend_from_slice(format!("],\"count\":{}}}\n", self.count).as_bytes());
        Ok(false)
    }
}

/// The end of a device without ports.
const NO_PORTS_END: &[u8] = b"],\"count\":0}";

/// A device, if it is known.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum DeviceBody<'a> {
    Known(HostBody<'a>),
    Unknown(ErrorBody<'a>),
}

/// A device's newest result.
#[derive(Serialize, ToSchema)]
struct HostBody<'a> {
    host: HostPart<'a>,
    time: TimePart,
    /// The number of scanned TCP ports; after its quick scan these are the 1,000 commonest.
    scanned_ports: u32,
    /// The open TCP ports, ascending.
    // The last field, together with their number, because there may be so many that `Ports` writes them separately.
    #[schema(value_type = Vec<u16>)]
    ports: &'a [u16],
    count: usize,
}

/// The device, and its last address.
#[derive(Serialize, ToSchema)]
struct HostPart<'a> {
    #[schema(value_type = String)]
    ipv4: &'a Address,
    #[schema(value_type = String)]
    mac: Mac,
}

/// The time of its scan, and the duration.
#[derive(Serialize, ToSchema)]
struct TimePart {
    #[schema(example = "2022-12-11 21:18:02")]
    utc: String,
    prep_sec: f64,
    scan_sec: f64,
    total_sec: f64,
}

impl<'a> HostBody<'a> {
    fn without_ports(host: &'a CachedHost, mac: Mac) -> Self {
        let total = host.preparation + host.scanning;
        // The original dates a result by its end, not by its beginning.
        let ended = host.started.checked_add(total).unwrap_or(host.started);
        Self {
            host: HostPart { ipv4: &host.device.address, mac },
            time: TimePart {
                utc: utc(ended),
                prep_sec: seconds(host.preparation),
                scan_sec: seconds(host.scanning),
                total_sec: seconds(total),
            },
            scanned_ports: host.coverage.len(),
            ports: &[],
            count: 0,
        }
    }
}

/// The original's keys first (its text says `ip`, its code `ipv4`), then ours.
#[derive(Serialize, ToSchema)]
struct ProbeBody<'a> {
    #[serde(flatten)]
    original: OriginalPart<'a>,
    /// The probed address: the first one of the name.
    #[schema(value_type = Option<String>, nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<Address>,
    #[schema(value_type = Option<String>, nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<PortState>,
    #[schema(value_type = Option<String>, nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    rtt_ms: Option<f64>,
}

/// The original's error text.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum OriginalPart<'a> {
    Open { ip: &'a str, ipv4: &'a str, port: &'a str },
    Error { error: String },
}

impl<'a> ProbeBody<'a> {
    /// `host` and `port` as the client wrote them.
    fn of(host: &'a str, port: &'a str, answer: ProbeAnswer) -> Self {
        let finding = answer.found.as_ref().ok().copied();
        Self {
            original: match finding {
                Some(PortFinding { state: PortState::Open, .. }) => {
                    OriginalPart::Open { ip: host, ipv4: host, port }
                }
                _ => OriginalPart::Error { error: why_not_open(host, port, &answer) },
            },
            address: Some(answer.address),
            state: finding.map(|finding| finding.state),
            reason: finding.map(|finding| finding.reason),
            rtt_ms: finding.as_ref().and_then(PortFinding::rtt_ms),
        }
    }

    fn unresolved(error: &ResolveError) -> Self {
        let original = OriginalPart::Error { error: error.to_string() };
        Self { original, address: None, state: None, reason: None, rtt_ms: None }
    }
}

/// The original's sentence, if it has one.
fn why_not_open(host: &str, port: &str, answer: &ProbeAnswer) -> String {
    match &answer.found {
        Ok(PortFinding { state: PortState::Closed, .. }) => {
            "Connection refused (no listener or too busy).".to_owned()
        }
        Ok(PortFinding { reason: Reason::NoResponse, .. }) => {
            "Connection timed out (filtered, or no host there).".to_owned()
        }
        Ok(finding) => format!("Unable to connect to host \"{host}:{port}\" ({}).", finding.reason),
        Err(detail) => format!("Unable to connect to host \"{host}:{port}\" ({detail})."),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use std::time::Duration;

    use super::*;
    use crate::model::{Device, ScanId};

    #[test]
    fn a_device_is_written_as_the_original_did() {
        let mac: Mac = "b8:27:eb:ac:14:3e".parse().unwrap();
        let host = CachedHost {
            device: Device { address: "192.168.1.7".parse().unwrap(), mac: Some(mac), name: None },
            scan: ScanId(1_670_793_678),
            started: "2022-12-11T22:21:18+01:00".parse().unwrap(),
            preparation: Duration::from_micros(1_234_567),
            scanning: Duration::from_millis(10_500),
            coverage: "1-1000".parse().unwrap(),
            open: vec![22, 80],
        };
        assert_eq!(
            serde_json::to_string(&HostBody::without_ports(&host, mac)).unwrap(),
            r#"{"host":{"ipv4":"192.168.1.7","mac":"B8:27:EB:AC:14:3E"},"time":{"utc":"2022-12-11 21:21:29","prep_sec":1.2346,"scan_sec":10.5,"total_sec":11.7346},"scanned_ports":1000,"ports":[],"count":0}"#
        );
    }

    fn body(found: Result<PortFinding, String>) -> String {
        let answer = ProbeAnswer { address: "192.168.1.7".parse().unwrap(), found };
        serde_json::to_string(&ProbeBody::of("nas.lan", "80", answer)).unwrap()
    }

    #[rstest]
    #[case::open(
        PortState::Open,
        Reason::SynAck,
        Some(421_300),
        r#"{"ip":"nas.lan","ipv4":"nas.lan","port":"80","address":"192.168.1.7","state":"open","reason":"syn-ack","rtt_ms":0.421}"#
    )]
    #[case::closed(
        PortState::Closed,
        Reason::ConnRefused,
        Some(2_000_000),
        r#"{"error":"Connection refused (no listener or too busy).","address":"192.168.1.7","state":"closed","reason":"conn-refused","rtt_ms":2.0}"#
    )]
    #[case::filtered(
        PortState::Filtered,
        Reason::NoResponse,
        None,
        r#"{"error":"Connection timed out (filtered, or no host there).","address":"192.168.1.7","state":"filtered","reason":"no-response"}"#
    )]
    #[case::unreachable(
        PortState::Filtered,
        Reason::HostUnreach,
        Some(1_000),
        r#"{"error":"Unable to connect to host \"nas.lan:80\" (host-unreach).","address":"192.168.1.7","state":"filtered","reason":"host-unreach","rtt_ms":0.001}"#
    )]
    fn a_probe_is_written_with_the_originals_keys_first(
        #[case] state: PortState,
        #[case] reason: Reason,
        #[case] rtt_nanos: Option<u64>,
        #[case] expected: &str,
    ) {
        let rtt = rtt_nanos.map(Duration::from_nanos);
        assert_eq!(body(Ok(PortFinding { port: 80, state, reason, rtt })), expected);
    }

    #[test]
    fn a_probe_without_a_verdict_says_why() {
        assert_eq!(
            body(Err("no host answers ARP".into())),
            r#"{"error":"Unable to connect to host \"nas.lan:80\" (no host answers ARP).","address":"192.168.1.7"}"#
        );
    }

    #[test]
    fn ports_are_plain_numbers() {
        for text in ["1", "80", "65535", "0080"] {
            assert!(port_number(text).is_ok(), "{text}");
        }
        for text in ["", "0", "65536", "+80", "-1", " 80", "80 ", "http", "8o", "99999999999", "٨٠"] {
            assert!(port_number(text).is_err(), "{text}");
        }
    }

    #[test]
    fn hosts_are_addresses_or_names() {
        for text in [
            "192.0.2.1",
            "2001:db8::1",
            "[2001:db8::1]",
            "fe80::1%eth0",
            "nas",
            "nas.lan",
            "a_b.local.",
            "münchen.local",
        ] {
            assert!(check_host(text).is_ok(), "{text}");
        }
        for text in [
            "",
            "1.2.3",
            "192.0.2.0/24",
            "192.0.2.1-9",
            "aa:bb:cc:dd:ee:ff",
            "a b",
            "nas ",
            "-x",
            "a/b",
            "e\u{301}",
            "[::1",
        ] {
            assert!(check_host(text).is_err(), "{text}");
        }
    }
}
