//! Names that devices claim are shown as text, wherever they appear.

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

#[test]
fn hostile_names_are_shown_as_text() {
    let lab = Lab::describe(LAN);
    let feed = feed(&lab);
    let config = format!("[feed]\nurl = [\"{}\"]\n{}", feed.url(), scanner("lan", "1d", "20-90"));
    let running = Portscan::new(&lab, &config).start();
    running.wait_for_devices(lab.hosts().count(), LONG);
    eventually(LONG, "the names are known", || {
        running.get("/v1/hosts").body.contains("window.pwned").then_some(())
    });
    paste(&lab, &running);

    let browser = Browser::start(&lab);
    for (page, url) in pages(&browser, running.base()) {
        visit(&browser, &url);
        assert_eq!((browser.script(SET), browser.complaints()), (Value::Null, vec![]), "{page}");
    }
    visit(&browser, running.base());
    for payload in PAYLOADS.iter().filter(|payload| payload.is_ascii()) {
        browser.find_reading("row", &[payload]);
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
