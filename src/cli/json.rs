//! A scan's results for programs: one JSON document.

use std::io::{self, Write};

use serde::Serialize;

use super::found::{HostResult, ScanResult, sanitize_for_terminal};
use crate::{
    model::{
        Certificate, Evidence, HostStatus, PortFinding, PortIdentification, PortState, Protocol, Reason,
    },
    services,
};

#[derive(Serialize)]
struct Document<'a> {
    scan: ScanJson,
    hosts: Vec<HostJson<'a>>,
}

#[derive(Serialize)]
struct ScanJson {
    /// RFC 3339, UTC, to the second.
    started: String,
    /// To the millisecond.
    seconds: f64,
    status: &'static str,
}

#[derive(Serialize)]
struct HostJson<'a> {
    address: &'a crate::model::Address,
    mac: Option<crate::model::Mac>,
    name: Option<String>,
    status: &'static str,
    /// Why it is not up, or was left in the middle.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    default_state: PortState,
    /// The ports that have a verdict, if not all that were asked have one: the default state is that of these alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    coverage: Option<String>,
    /// The ports that differ from the default state.
    ports: Vec<PortJson>,
}

#[derive(Serialize)]
struct PortJson {
    protocol: Protocol,
    port: u16,
    state: PortState,
    reason: Reason,
    /// As identified, else what is usual there.
    service: Option<String>,
    /// To the microsecond.
    rtt_ms: Option<f64>,
    /// Only with `-sV`.
    #[serde(flatten)]
    identified: Option<IdentifiedJson>,
}

/// What a port was identified as; all `null` if nothing was learned.
#[derive(Default, Serialize)]
struct IdentifiedJson {
    tls: bool,
    vendor: Option<String>,
    product: Option<String>,
    version: Option<String>,
    title: Option<String>,
    certificate: Option<Certificate>,
    host_key: Option<String>,
    evidence: Option<Evidence>,
}

/// Writes the document and a line end. With `open_only`: only open ports, and the hosts that have some.
pub(super) fn write(
    out: &mut dyn Write,
    scan: &ScanResult,
    found: &[HostResult],
    open_only: bool,
) -> io::Result<()> {
    let document = Document {
        scan: ScanJson {
            started: rfc3339(scan.started),
            seconds: (scan.elapsed.as_secs_f64() * 1e3).round() / 1e3,
            status: scan.status.as_str(),
        },
        hosts: found
            .iter()
            .filter(|found| found.is_listed(open_only))
            .map(|found| of_host(found, open_only))
            .collect(),
    };
    serde_json::to_writer_pretty(&mut *out, &document)?;
    writeln!(out)
}

fn of_host(found: &HostResult, open_only: bool) -> HostJson<'_> {
    let report = &found.report;
    let listed = report.findings.iter();
    let has_detail = report.status != HostStatus::Up && !report.detail.is_empty();
    HostJson {
        address: &report.address,
        mac: found.mac,
        name: found.name.as_deref().map(sanitize_for_terminal),
        status: report.status.as_str(),
        detail: has_detail.then(|| sanitize_for_terminal(&report.detail)),
        default_state: report.default_state,
        coverage: (report.status == HostStatus::Partial).then(|| report.coverage.to_string()),
        ports: listed
            .filter(|finding| !open_only || finding.state == PortState::Open)
            .map(|finding| of_port(found, finding))
            .collect(),
    }
}

fn of_port(found: &HostResult, finding: &PortFinding) -> PortJson {
    let identified = found.identified_as(finding.port).cloned();
    let service = identified.as_ref().and_then(|identified| identified.service.clone());
    PortJson {
        protocol: found.report.protocol,
        port: finding.port,
        state: finding.state,
        reason: finding.reason,
        service: service.or_else(|| services::usual(found.report.protocol, finding.port).map(str::to_owned)),
        rtt_ms: finding.rtt_ms(),
        identified: found.identified.is_some().then(|| of_identified(identified)),
    }
}

fn of_identified(found: Option<PortIdentification>) -> IdentifiedJson {
    let Some(found) = found else {
        return IdentifiedJson::default();
    };
    let PortIdentification { tls, vendor, product, version, title, certificate, host_key, evidence, .. } =
        found;
    let evidence = Some(evidence);
    IdentifiedJson { tls, vendor, product, version, title, certificate, host_key, evidence }
}

/// To the second: a wall clock is no more exact than that.
fn rfc3339(time: jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{
        super::found::tests::{host, open_host},
        *,
    };
    use crate::model::ScanStatus;

    #[test]
    fn the_shape_is_the_contract() {
        let mut down = host("10.0.0.7", "22", &[]);
        down.report.status = HostStatus::Down;
        let mut named =
            host("fe80::1%eth0", "1-1000", &[(22, PortState::Open, 412), (999, PortState::Filtered, 0)]);
        named.name = Some("nas\n.lan".to_owned());
        named.mac = "02:00:00:00:00:05".parse().ok();
        let scan = ScanResult {
            started: "2026-01-02T03:04:05.678Z".parse().unwrap(),
            elapsed: Duration::from_micros(4_123_456),
            status: ScanStatus::Complete,
            targets: 3,
            interrupted: false,
        };
        let text = |open_only| {
            let mut out = Vec::new();
            write(&mut out, &scan, &[named.clone(), down.clone(), open_host("22", &[])], open_only).unwrap();
            String::from_utf8(out).unwrap()
        };
        insta::assert_snapshot!("json", text(false));
        let open: serde_json::Value = serde_json::from_str(&text(true)).unwrap();
        assert_eq!(open["hosts"].as_array().unwrap().len(), 2);
        assert_eq!(open["hosts"][0]["ports"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn a_host_that_was_left_says_why_and_which_ports_have_a_verdict() {
        let mut left = host("10.0.0.7", "1-300,8080", &[(22, PortState::Open, 412)]);
        left.report.status = HostStatus::Partial;
        left.report.detail = "no route from this machine".to_owned();
        let written = serde_json::to_value(of_host(&left, false)).unwrap();
        assert_eq!(written["coverage"], "1-300,8080");
        assert_eq!(written["detail"], "no route from this machine");
        let whole = serde_json::to_value(of_host(&host("10.0.0.7", "1-300", &[]), false)).unwrap();
        assert!(whole.get("coverage").is_none() && whole.get("detail").is_none(), "{whole}");
    }
}
