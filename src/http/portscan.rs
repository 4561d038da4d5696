//! The portscan API, as the original's clients know it: three paths under `base_url`.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{Path, State},
    response::Response,
    routing::get,
};
use hyper::StatusCode;
use serde::Serialize;

use super::{
    answer::{Refusal, json},
    probes::Probes,
};
use crate::{
    clock::Clock,
    model::{Address, Mac, PortFinding, PortState, Reason, TargetSpec},
    service::queries::{ProbeAnswer, ProbeError, Queries},
    store::{CachedHost, StoreError},
};

#[derive(Clone)]
struct Api {
    queries: Arc<Queries>,
    probes: Arc<Probes>,
}

/// The paths under `/base`.
pub(super) fn routes(base: &str, queries: Arc<Queries>, clock: Arc<dyn Clock>) -> Router {
    // Braces would be the router's wildcards.
    let base = base.replace('{', "{{").replace('}', "}}");
    Router::new()
        .route(&format!("/{base}/json"), get(macs))
        .route(&format!("/{base}/{{mac}}/json"), get(device))
        .route(&format!("/{base}/{{host}}/{{port}}/json"), get(probe))
        .with_state(Api { queries, probes: Arc::new(Probes::new(clock)) })
}

async fn macs(State(api): State<Api>) -> Result<Response, Refusal> {
    let macs = api.queries.macs().await.map_err(|error| unreadable(&error))?;
    Ok(json(StatusCode::OK, &MacsBody { macs }))
}

async fn device(State(api): State<Api>, Path(mac): Path<String>) -> Result<Response, Refusal> {
    let mac: Mac = mac.parse().map_err(|error| Refusal::bad_request(format!("{error}")))?;
    match api.queries.device(mac).await.map_err(|error| unreadable(&error))? {
        Some(host) => Ok(json(StatusCode::OK, &HostBody::of(&host, mac))),
        None => Ok(original_error("host not found")),
    }
}

async fn probe(
    State(api): State<Api>,
    Path((host, port)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    let number = port_number(&port)?;
    check_host(&host)?;
    let _admitted = api.probes.admit()?;
    match api.queries.probe(&host, number).await {
        Ok(answer) => Ok(json(StatusCode::OK, &ProbeBody::of(&host, &port, &answer))),
        Err(error) => probe_refused(&error),
    }
}

/// The original answers 200 whatever happened, and its clients look for the key `error`.
fn original_error(error: &str) -> Response {
    json(StatusCode::OK, &serde_json::json!({ "error": error }))
}

fn probe_refused(error: &ProbeError) -> Result<Response, Refusal> {
    let status = match error {
        ProbeError::Unresolved(error) => return Ok(original_error(&error.to_string())),
        ProbeError::NoHost(_) => StatusCode::BAD_REQUEST,
        ProbeError::Excluded(_) => StatusCode::FORBIDDEN,
        ProbeError::Stopping => StatusCode::SERVICE_UNAVAILABLE,
    };
    Err(Refusal::new(status, error.to_string()))
}

fn unreadable(error: &StoreError) -> Refusal {
    tracing::warn!(%error, "cannot read the database");
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
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

#[derive(Serialize)]
struct MacsBody {
    macs: Vec<Mac>,
}

#[derive(Serialize)]
struct HostBody<'a> {
    host: HostPart<'a>,
    time: TimePart,
    ports: &'a [u16],
    count: usize,
}

#[derive(Serialize)]
struct HostPart<'a> {
    ipv4: &'a Address,
    mac: Mac,
}

#[derive(Serialize)]
struct TimePart {
    utc: String,
    prep_sec: f64,
    scan_sec: f64,
    total_sec: f64,
}

impl<'a> HostBody<'a> {
    fn of(host: &'a CachedHost, mac: Mac) -> Self {
        Self {
            host: HostPart { ipv4: &host.device.address, mac },
            time: TimePart {
                utc: host.started.strftime("%Y-%m-%d %H:%M:%S").to_string(),
                prep_sec: seconds(host.preparation),
                scan_sec: seconds(host.scanning),
                total_sec: seconds(host.preparation + host.scanning),
            },
            ports: &host.open,
            count: host.open.len(),
        }
    }
}

/// With the original's four decimals.
fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e4).round() / 1e4
}

/// The original's keys first (its text says `ip`, its code `ipv4`), then ours.
#[derive(Serialize)]
struct ProbeBody<'a> {
    #[serde(flatten)]
    original: OriginalPart<'a>,
    address: &'a Address,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<PortState>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rtt_ms: Option<f64>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum OriginalPart<'a> {
    Open { ip: &'a str, ipv4: &'a str, port: &'a str },
    Error { error: String },
}

impl<'a> ProbeBody<'a> {
    /// `host` and `port` as the client wrote them.
    fn of(host: &'a str, port: &'a str, answer: &'a ProbeAnswer) -> Self {
        let finding = answer.found.as_ref().ok();
        Self {
            original: match finding {
                Some(PortFinding { state: PortState::Open, .. }) => {
                    OriginalPart::Open { ip: host, ipv4: host, port }
                }
                _ => OriginalPart::Error { error: why_not_open(host, port, answer) },
            },
            address: &answer.address,
            state: finding.map(|finding| finding.state),
            reason: finding.map(|finding| finding.reason),
            rtt_ms: finding.and_then(PortFinding::rtt_ms),
        }
    }
}

/// The original's sentences where it has one.
fn why_not_open(host: &str, port: &str, answer: &ProbeAnswer) -> String {
    match &answer.found {
        Ok(PortFinding { state: PortState::Closed, .. }) => {
            "Connection refused (no listener or too busy).".to_owned()
        }
        Ok(PortFinding { reason: Reason::NoResponse, .. }) => {
            "Connection timed out (filtered, or nobody there).".to_owned()
        }
        Ok(finding) => format!("Unable to connect to host \"{host}:{port}\" ({}).", finding.reason),
        Err(detail) => format!("Unable to connect to host \"{host}:{port}\" ({detail})."),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::{model::Device, store::ScanId};

    #[test]
    fn a_device_is_told_as_the_original_did() {
        let mac: Mac = "b8:27:eb:ac:14:3e".parse().unwrap();
        let host = CachedHost {
            device: Device { address: "192.168.1.7".parse().unwrap(), mac: Some(mac), name: None },
            scan: ScanId(1_670_793_678),
            started: "2022-12-11T22:21:18+01:00".parse().unwrap(),
            preparation: Duration::from_micros(1_234_567),
            scanning: Duration::from_millis(10_500),
            open: vec![22, 80],
        };
        assert_eq!(
            serde_json::to_string(&HostBody::of(&host, mac)).unwrap(),
            r#"{"host":{"ipv4":"192.168.1.7","mac":"B8:27:EB:AC:14:3E"},"time":{"utc":"2022-12-11 21:21:18","prep_sec":1.2346,"scan_sec":10.5,"total_sec":11.7346},"ports":[22,80],"count":2}"#
        );
    }

    fn body(found: Result<PortFinding, String>) -> String {
        let answer = ProbeAnswer { address: "192.168.1.7".parse().unwrap(), found };
        serde_json::to_string(&ProbeBody::of("nas.lan", "80", &answer)).unwrap()
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
        r#"{"error":"Connection timed out (filtered, or nobody there).","address":"192.168.1.7","state":"filtered","reason":"no-response"}"#
    )]
    #[case::unreachable(
        PortState::Filtered,
        Reason::HostUnreach,
        Some(1_000),
        r#"{"error":"Unable to connect to host \"nas.lan:80\" (host-unreach).","address":"192.168.1.7","state":"filtered","reason":"host-unreach","rtt_ms":0.001}"#
    )]
    fn a_probe_is_told_with_the_originals_keys_first(
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
            body(Err("nobody answers ARP".into())),
            r#"{"error":"Unable to connect to host \"nas.lan:80\" (nobody answers ARP).","address":"192.168.1.7"}"#
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
        for text in
            ["192.0.2.1", "2001:db8::1", "[2001:db8::1]", "fe80::1%eth0", "nas", "nas.lan", "a_b.local."]
        {
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
            "é",
            "[::1",
        ] {
            assert!(check_host(text).is_err(), "{text}");
        }
    }
}
