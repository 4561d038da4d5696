//! The page says what a port was identified as, and keeps the type and the tags that its owner gives a device.

use rusqlite::Connection;

use super::{LONG, config, visit};
use crate::{
    harness::{
        Portscan,
        browser::{Browser, Scope},
    },
    lab::Lab,
};

/// What the first device's port 22 says of itself, as the store keeps it.
const GREETING: &str =
    r#"{"service":"ssh","product":"OpenSSH","version":"9.2p1","evidence":"SSH-2.0-OpenSSH_9.2p1"}"#;

#[test]
fn a_device_shows_what_it_is_and_is_found_by_its_tag() {
    let lab =
        Lab::describe("[[host]]\naddress = \"10.77.0.5\"\nmac = \"02:00:00:00:00:05\"\nopen = \"22,80\"\n");
    // The test stores what the port is identified as.
    let portscan = Portscan::new(&lab, &(config(&lab) + "\n[identify]\nlevel = \"off\"\n"));
    let running = portscan.start();
    running.wait_for_devices(1, LONG);
    let database = Connection::open(portscan.database()).unwrap();
    database.busy_timeout(LONG).unwrap();
    database
        .execute("INSERT INTO identifications (digest, body) VALUES (randomblob(32), ?1)", [GREETING])
        .unwrap();
    let sql =
        "INSERT INTO identified_ports SELECT id, 'tcp', 22, 'greeting', last_insert_rowid(), 1772359200000
               FROM endpoints WHERE held = 'now'";
    assert_eq!(database.execute(sql, []).unwrap(), 1);

    let browser = Browser::start(&lab);
    visit(&browser, running.base());
    browser.find_reading("row", &["22 OpenSSH 9.2p1", "80 usually a web page"]);
    visit(&browser, &format!("{}/#/device/02:00:00:00:00:05", running.base()));
    for text in ["is OpenSSH 9.2p1", "its greeting", "SSH-2.0-OpenSSH_9.2p1"] {
        browser.wait_for_text(text);
    }
    browser.find("textbox", "Tags, separated by spaces").write("critical floor-2");
    browser.script("document.querySelector('[name=type]').value = 'server'");
    browser.find("button", "Save").click();
    // The page asks for the token of a change, unless it comes from this machine.
    browser.wait_for_text("you say so");
    browser.find("link", "critical").click();
    browser.wait_until("the filter is applied", || browser.text().contains("1 of 1 device").then_some(()));
    visit(&browser, &format!("{}/#/?filter=-tag:critical", running.base()));
    browser.wait_for_text("0 of 1 device");
    let seen = browser.end();
    assert!(seen.requests.iter().all(|url| url.starts_with(running.base())), "{:?}", seen.requests);
    running.stop();
}
