//! What devices claim, their names and what their ports say, is shown as text, wherever it appears.

use rusqlite::{Connection, params};
use serde_json::{Value, json};

use super::{LONG, pages, visit};
use crate::{
    harness::{
        Portscan, Running,
        browser::{Browser, Scope},
        eventually,
        feed::{FeedServer, Says},
        scanner,
    },
    lab::Lab,
};

/// Each payload would set this if it were ever interpreted as more than text.
const SET: &str = "return window.pwned ?? null";

/// One payload for each context: an element, an attribute, a script's string, a URL, a template, a style.
const PAYLOADS: [&str; 9] = [
    "<script>window.pwned=1</script>",
    "<img src=x onerror=window.pwned=1>",
    "\"><svg onload=window.pwned=1>",
    "' autofocus onfocus=window.pwned=1 x='",
    "\\\";window.pwned=1;//",
    "javascript:window.pwned=1",
    "${window.pwned=1}{{window.pwned=1}}",
    "</title></style><script src=//evil.example/>",
    "\u{202e}gnp.\u{200b}sa\u{2066}n",
];

/// A device for each payload, and one whose name is 64 kB long.
const LAN: &str = "
[[host]]
address = \"10.77.0.5-14\"
mac = \"02:00:00:00:00:05+\"
open = \"22,80\"
rtt = \"300us\"
";

fn feed(lab: &Lab) -> FeedServer {
    let names =
        PAYLOADS.iter().map(|&payload| payload.to_owned()).chain([format!("<b>{}", "A".repeat(65_536))]);
    let entry = |(host, name): (crate::lab::Host<'_>, String)| json!({"ipv4": host.address(), "mac": host.mac().to_lower(), "name": name});
    let scan: Vec<Value> = lab.hosts().zip(names).map(entry).collect();
    FeedServer::start(Says::Body(json!({"scan": scan}).to_string()))
}

/// Writes the payloads into the three fields that the owner can edit.
fn paste(lab: &Lab, running: &Running) {
    for (host, payload) in lab.hosts().zip(PAYLOADS).take(3) {
        let path = format!("/v1/hosts/{}", host.mac());
        let annotation = json!({"name": payload, "note": format!("{payload}\n{}", payload.repeat(10))});
        assert_eq!(running.patch(&path, &annotation).status, 204, "{payload}");
        let row = json!([{"address": host.mac(), "port": 443, "protocol": "tcp", "state": "open", "comment": payload}]);
        assert_eq!(running.patch("/v1/expected", &row).status, 204, "{payload}");
    }
}

/// Stores each payload as what one device and its port 22 were identified as, and as a change of that.
fn identify(portscan: &Portscan) {
    let database = Connection::open(portscan.database()).unwrap();
    database.busy_timeout(LONG).unwrap();
    for (index, payload) in (0_i64..).zip(PAYLOADS) {
        let certificate = json!({"subject": payload, "sans": [payload], "issuer": payload, "self_signed": false,
            "not_after": "2030-01-01T00:00:00Z", "key": payload, "signature": payload, "fingerprint": payload});
        let body = json!({"service": payload, "tls": true, "product": payload, "version": payload, "title": payload,
            "certificate": certificate, "host_key": payload, "device_type": "nas", "maker": payload, "model": payload,
            "evidence": payload});
        let sql = "INSERT INTO identifications (digest, body) VALUES (randomblob(32), ?1)";
        database.execute(sql, [body.to_string()]).unwrap();
        let content = database.last_insert_rowid();
        let sql = "SELECT e.id, e.device, e.address, d.mac FROM endpoints e JOIN devices d ON d.id = e.device
                   ORDER BY e.id LIMIT 1 OFFSET ?1";
        let (endpoint, device, address, mac): (i64, i64, String, String) = database
            .query_row(sql, [index], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
            .unwrap();
        let sql = "INSERT INTO identified_ports VALUES (?1, 'tcp', 22, 'greeting', ?2, 1772359200000)";
        database.execute(sql, [endpoint, content]).unwrap();
        let sql = "INSERT INTO identified_devices VALUES (?1, 'upnp', ?2, 1772359200000)";
        database.execute(sql, [device, content]).unwrap();
        let sql = "INSERT INTO changes (at, device, address, kind, protocol, ports, was, becomes, alert)
                   VALUES (unixepoch() * 1000, ?1, ?2, 'product', 'tcp', '22', ?3, ?3, 1)";
        database.execute(sql, params![mac, address, payload]).unwrap();
    }
}

#[test]
fn hostile_names_and_identifications_are_shown_as_text() {
    let lab = Lab::describe(LAN);
    let feed = feed(&lab);
    // The test stores what the ports are identified as.
    let feed_and_identify = format!("[feed]\nurl = [\"{}\"]\n[identify]\nlevel = \"off\"\n", feed.url());
    let config = feed_and_identify + &scanner("lan", "1d", "20-90");
    let portscan = Portscan::new(&lab, &config);
    let running = portscan.start();
    running.wait_for_devices(lab.hosts().count(), LONG);
    eventually(LONG, "the names are known", || {
        running.get("/v1/hosts").body.contains("window.pwned").then_some(())
    });
    paste(&lab, &running);
    identify(&portscan);

    let browser = Browser::start(&lab);
    for (page, url) in pages(&browser, running.base()) {
        visit(&browser, &url);
        assert_eq!((browser.script(SET), browser.complaints()), (Value::Null, vec![]), "{page}");
    }
    visit(&browser, running.base());
    for payload in PAYLOADS.iter().filter(|payload| payload.is_ascii()) {
        browser.find_reading("row", &[payload]);
    }
    let mut shown = 0;
    for host in lab.hosts() {
        visit(&browser, &format!("{}/#/device/{}", running.base(), host.mac()));
        assert_eq!((browser.script(SET), browser.complaints()), (Value::Null, vec![]), "{}", host.mac());
        let text = browser.script("return document.querySelector('main').textContent");
        let text = text.as_str().unwrap().to_owned();
        let payload = PAYLOADS.iter().find(|payload| text.contains(&format!("Title{payload}")));
        shown += usize::from(payload.is_some_and(|payload| text.contains(&format!("Model{payload}"))));
    }
    assert_eq!(shown, PAYLOADS.len(), "devices with what they and their ports were identified as");
    visit(&browser, &format!("{}/#/changes", running.base()));
    let changes = browser.script("return document.querySelector('main').textContent");
    for payload in PAYLOADS {
        assert!(changes.as_str().unwrap().contains(&format!("{payload} instead of {payload}")), "{changes}");
    }
    // A link to the page may contain a payload, too.
    for payload in PAYLOADS.iter().filter(|payload| payload.is_ascii()) {
        let escaped: String = payload.bytes().map(|octet| format!("%{octet:02x}")).collect();
        for place in ["", "device/", "scan/", "?filter=", "changes?filter=", "differences?filter="] {
            visit(&browser, &format!("{}/#/{place}{escaped}", running.base()));
            let mut complaints = browser.complaints();
            // A 404 for an unknown device is no fault of the page.
            complaints.retain(|complaint| !complaint.contains("\"source\":\"network\""));
            assert_eq!((browser.script(SET), complaints), (Value::Null, vec![]), "{place}{payload}");
        }
    }
    let requests = browser.end().requests;
    assert!(requests.iter().all(|url| url.starts_with(running.base())), "{requests:?}");
    running.stop();
}
