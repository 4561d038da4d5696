//! Uploads of scans over a socket.

use serde_json::json;

use super::{
    portscan::{TestAppliance, appliance, appliance_with},
    *,
};

/// 2026-03-01T10:00:00Z
const START: i64 = 1_772_359_200;

fn report(open: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?>\n<!DOCTYPE nmaprun>\n<nmaprun scanner=\"nmap\" start=\"{START}\" version=\"7.93\" \
         xmloutputversion=\"1.05\"><scaninfo type=\"syn\" protocol=\"tcp\" numservices=\"100\" services=\"1-100\"/>\
         <host endtime=\"{START}\"><status state=\"up\"/><address addr=\"192.0.2.5\" addrtype=\"ipv4\"/><ports>\
         <extraports state=\"closed\" count=\"99\"/><port protocol=\"tcp\" portid=\"{open}\"><state state=\"open\"/></port>\
         </ports></host><runstats><finished time=\"{START}\" exit=\"success\"/></runstats></nmaprun>\n"
    )
}

impl TestAppliance {
    async fn post(&self, kind: &str, body: &str) -> Answer {
        self.post_accepting("", kind, body).await
    }

    async fn post_accepting(&self, accept: &str, kind: &str, body: &str) -> Answer {
        let token = self.token.reveal();
        let head = format!(
            "POST /v1/scan HTTP/1.1\r\nHost: pi\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
             {accept}Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        self.served.ask(&(head + body)).await
    }
}

#[tokio::test]
async fn a_report_is_imported_once() {
    let appliance = appliance();
    for kind in ["application/xml", "text/xml; charset=utf-8", "Text/XML"] {
        let answer = appliance.post(kind, &report("22")).await;
        assert_eq!((answer.status, answer.body.as_str()), (204, ""), "{kind}: {answer:?}");
    }
    let scans = appliance.served.get("/v1/scans").await;
    assert_eq!(serde_json::from_str::<serde_json::Value>(&scans.body).unwrap(), json!([{ "id": START }]));
    let rows = appliance.served.get(&format!("/v1/scan/{START}")).await;
    let row =
        json!({"address": "192.0.2.5", "port": 22, "protocol": "tcp", "state": "open", "scan_id": START});
    assert_eq!(serde_json::from_str::<serde_json::Value>(&rows.body).unwrap(), json!([row]));
    let metrics = appliance.served.get("/metrics").await.body;
    assert!(metrics.contains("\nportmantool_imports_failed_total 0\n"), "{metrics}");
    assert!(!metrics.contains("\nportmantool_imports_last 0\n"), "{metrics}");
}

#[tokio::test]
async fn the_summary_is_sent_if_only_json_is_accepted() {
    let appliance = appliance();
    let seen = report("22").replace(
        "<runstats>",
        "<host><status state=\"up\"/><address addr=\"192.0.2.6\"/></host>\
         <host><status state=\"down\"/><address addr=\"192.0.2.7\"/></host><runstats>",
    );
    for known in [false, true] {
        let accept = "Accept: application/json; charset=utf-8\r\n";
        let answer = appliance.post_accepting(accept, "text/xml", &seen).await;
        let count = |count: u8| if known { 0 } else { count };
        let expected = json!({
            "id": START, "known": known,
            "hosts": {"scanned": count(1), "seen": count(1), "unfinished": 0},
            "ports": {"listed": count(1), "open": count(1)},
            "left_out": [{"what": "hosts", "count": 1, "reason": "down"}],
        });
        assert_eq!((answer.status, answer.json()), (200, expected));
    }
    for accept in [
        "",
        "Accept: */*\r\n",
        "Accept: application/json, text/plain, */*\r\n",
        "Accept: application/json\r\nAccept: */*\r\n",
        "Accept: text/html\r\n",
    ] {
        let answer = appliance.post_accepting(accept, "text/xml", &seen).await;
        assert_eq!((answer.status, answer.body.as_str()), (204, ""), "{accept:?}");
    }
    let hosts = appliance.served.get("/v1/hosts").await.json();
    let addresses: Vec<_> =
        hosts.as_array().unwrap().iter().map(|host| host["address"].as_str().unwrap()).collect();
    assert_eq!(addresses, ["192.0.2.5", "192.0.2.6"], "{hosts}");
}

#[tokio::test]
async fn a_body_that_is_no_report_is_refused_with_the_reason() {
    let appliance = appliance();
    let whole = report("22");
    for (kind, body, status, why) in [
        ("text/plain", whole.as_str(), 415, "application/xml"),
        ("", &whole, 415, "application/xml"),
        ("text/xml", "", 400, "the file is empty"),
        ("text/xml", "hello", 400, "no XML element"),
        ("application/json", "{\"macs\":[]}", 400, "one for each MAC"),
        ("text/xml", "<html/>", 400, "<html>"),
        ("text/xml", &whole[..whole.len() - 30], 400, "in the middle"),
        ("text/xml", "<!DOCTYPE nmaprun [<!ENTITY a 'b'>]><nmaprun/>", 400, "declarations"),
        ("text/xml", &whole.replace(&START.to_string(), "99999999999"), 400, "set the clock"),
    ] {
        let answer = appliance.post(kind, body).await;
        assert!(answer.status == status && answer.error().contains(why), "{body}: {answer:?}");
    }
    assert_eq!(appliance.served.get("/v1/scans").await.body, "[]\n");
    let metrics = appliance.served.get("/metrics").await.body;
    assert!(metrics.contains("\nportmantool_imports_failed_total 7\n"), "{metrics}");
}

#[tokio::test]
async fn an_upload_needs_permission_to_write() {
    let appliance = appliance();
    let answer =
        appliance.served.request("POST", "/v1/scan", &["Content-Type: text/xml", "Content-Length: 0"]).await;
    assert_eq!(answer.status, 401, "{answer:?}");
}

#[tokio::test]
async fn a_report_may_be_larger_than_other_bodies_but_not_endless() {
    let appliance = appliance_with(ServerLimits { upload: 3 << 20, ..ServerLimits::default() });
    let comment = format!("<!--{}-->", "x".repeat(1 << 20));
    let large = report("22").replace("<scaninfo", &format!("{comment}{comment}<scaninfo"));
    assert_eq!(appliance.post("text/xml", &large).await.status, 204);
    let larger = report("23").replace("<scaninfo", &format!("{comment}{comment}{comment}<scaninfo"));
    assert_eq!(appliance.post("text/xml", &larger).await.status, 413, "announced");
    let token = appliance.token.reveal();
    let head = format!(
        "POST /v1/scan HTTP/1.1\r\nHost: pi\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: text/xml\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{larger}\r\n0\r\n\r\n",
        larger.len()
    );
    assert_eq!(appliance.served.ask(&head).await.status, 413, "counted");
    assert_eq!(
        std::fs::read_dir(appliance.dir.path())
            .unwrap()
            .filter(|entry| { entry.as_ref().unwrap().file_name().to_string_lossy().starts_with(".report") })
            .count(),
        0,
        "no temporary file is left"
    );
}

#[tokio::test]
async fn an_imported_scan_can_be_exported_and_imported_again() {
    let appliance = appliance();
    assert_eq!(appliance.post("text/xml", &report("22")).await.status, 204);
    // HTTP/1.0: without chunks.
    let ask = async |query: &str| {
        appliance.served.ask(&format!("GET /v1/scan/{query} HTTP/1.0\r\nHost: pi\r\n\r\n")).await
    };
    let get = async |format: &str| ask(&format!("{START}?format={format}")).await;
    let csv = get("csv").await;
    assert_eq!(csv.header("content-type"), Some("text/csv; charset=utf-8"));
    assert_eq!(csv.body, format!("address,port,protocol,state,scan_id\n192.0.2.5,22,tcp,open,{START}\n"));
    let xml = get("xml").await;
    assert_eq!((xml.status, xml.header("content-type")), (200, Some("application/xml")));
    let mut taken = crate::nmap::Report::open(xml.body.as_bytes()).unwrap();
    let host = taken.next_host().unwrap().unwrap();
    assert_eq!((taken.started().as_second(), host.address.to_string()), (START, "192.0.2.5".to_owned()));
    assert_eq!(host.reports[0].coverage.to_string(), "1-100");
    assert_eq!(host.reports[0].open_ports().collect::<Vec<_>>(), [22]);
    assert_eq!(taken.next_host().unwrap(), None);
    assert_eq!(taken.summary().status, crate::model::ScanStatus::Complete);
    // Another appliance imports it like a report of nmap.
    assert_eq!(self::appliance().post("text/xml", &xml.body).await.status, 204);
    assert_eq!(get("yaml").await.status, 400);
    assert_eq!(ask("7?format=xml").await.status, 404);
    assert_eq!(ask("7?format=csv").await.body, "address,port,protocol,state,scan_id\n");
}
