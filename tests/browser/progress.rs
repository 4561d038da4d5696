//! The first minutes of an appliance: the page says what runs and how far each device is, and never that nothing is open
//! before the ports are scanned.

use serde_json::Value;

use super::{LONG, appliance, visit};
use crate::{
    harness::{
        Portscan, Running,
        browser::{Browser, Scope, Screen},
        eventually, static_feed,
    },
    lab::Lab,
};

/// Three devices, each paced to hundreds of probes a second: a quick scan takes seconds, all ports take minutes.
const LAN: &str = "
[[host]]
address = \"10.77.0.5-7\"
mac = \"02:00:00:00:00:05+\"
open = \"22,80,443,8080\"
rtt = \"300us\"
";

/// Collects every text of the page, because a state may be gone before a test asks for it.
const WATCH: &str = "
    window.seen = new Set();
    new MutationObserver(() => {
        for (const item of document.querySelectorAll('tbody .state, .activity a, .figures button')) {
            seen.add(item.textContent.trim());
        }
        for (const item of document.querySelectorAll('.chip.unconfirmed')) seen.add(item.textContent);
    }).observe(document, { childList: true, subtree: true, characterData: true });";

/// Every text of the page since it was opened.
fn seen(browser: &Browser) -> Vec<String> {
    serde_json::from_value(browser.script("return [...window.seen]")).expect("texts")
}

fn wait_for_seen(browser: &Browser, what: &str, is_it: impl Fn(&str) -> bool) {
    eventually(LONG, &format!("the page says {what}"), || {
        seen(browser).iter().any(|text| is_it(text)).then_some(())
    });
}

/// Starts an appliance with the default scanners that has no results yet.
fn new_appliance(lab: &Lab) -> Running {
    Portscan::new(lab, &static_feed(lab)).start()
}

#[test]
fn the_first_look_is_shown_while_it_runs_and_the_full_scan_after_it() {
    let lab = Lab::describe(LAN);
    // Before the appliance: the quick scan takes less time than a browser's start.
    let browser = Browser::start(&lab);
    browser.before_each_page(WATCH);
    let running = new_appliance(&lab);
    browser.show(Screen::Phone, "light");
    visit(&browser, running.base());

    wait_for_seen(&browser, "how far a device is", |text| text.starts_with("scanning "));
    wait_for_seen(&browser, "what is open so far", |text| text.contains("unconfirmed"));
    wait_for_seen(&browser, "that all ports are scanned", |text| text.starts_with("Scanning "));
    browser.find("progressbar", "Progress of the scan");
    let spoken = "return document.querySelector('.activity progress').ariaValueText";
    browser.wait_until("the bar has a text", || {
        browser.script(spoken).as_str().filter(|text| text.starts_with("Scanning ")).map(drop)
    });
    browser.find_reading("row", &["10.77.0.5", "22", "80", "443", "8080"]);
    browser.wait_for_text("Available when the first full scan is through");
    browser.find("button", "Accept now anyway");

    let false_words = ["0 open ports", "no open ports"];
    let seen = seen(&browser);
    assert!(seen.iter().all(|text| !false_words.contains(&text.as_str())), "{seen:?}");
    let wider = "return document.documentElement.scrollWidth > document.documentElement.clientWidth";
    assert_eq!(browser.script(wider), false, "a phone shows it without scrolling sideways");
    assert_eq!(browser.axe(), Vec::<String>::new());
    assert_eq!(browser.complaints(), Vec::<String>::new());
    running.stop();
}

#[test]
fn open_ports_are_shown_by_their_events_and_the_devices_are_loaded_at_most_once_a_second() {
    const COUNT: &str = "
        window.opened = 0;
        new EventSource('v1/events').addEventListener('port', () => { window.opened += 1; });
        window.lists = () => performance.getEntriesByType('resource')
            .filter(({ name }) => name.endsWith('v1/hosts')).length;";
    let lab = Lab::describe(LAN);
    // Before the appliance: the quick scan takes less time than a browser's start.
    let browser = Browser::start(&lab);
    browser.before_each_page(WATCH);
    let running = new_appliance(&lab);
    visit(&browser, running.base());
    browser.script(COUNT);
    eventually(LONG, "an event `port` comes", || {
        (browser.script("return window.opened").as_u64() > Some(0)).then_some(())
    });
    wait_for_seen(&browser, "an open port", |text| text.contains("unconfirmed"));
    let loaded = || -> (f64, f64) {
        serde_json::from_value(browser.script("return [lists(), performance.now() / 1000]")).expect("numbers")
    };
    let (lists_before, before) = loaded();
    wait_for_seen(&browser, "that all ports are scanned", |text| text.starts_with("Scanning "));
    let (lists, now) = loaded();
    let seconds = now - before;
    assert!(lists - lists_before <= seconds + 2.0, "{} lists in {seconds} s", lists - lists_before);
    running.stop();
}

#[test]
fn after_a_reconnection_the_page_shows_what_it_missed() {
    let lab = Lab::enter("near");
    // The page reconnects to the address that it came from, so that the restarted appliance must have the same one.
    let portscan = Portscan::new(&lab, &super::config(&lab))
        .env("MY_REST_API_HOST_ADDRESS", "127.0.0.1")
        .env("MY_REST_API_PORT", "9180");
    let running = portscan.start();
    running.wait_for_devices(lab.hosts().count(), LONG);
    let browser = Browser::start(&lab);
    visit(&browser, running.base());
    browser.find_reading("status", &["live"]);
    let base = running.base().to_owned();
    running.stop();
    browser.find_reading("status", &["not live"]);
    lab.host("10.77.0.5").open(53);
    let running = portscan.start();
    assert_eq!(running.base(), base, "the page's address stays");
    assert_eq!(running.post("/v1/run?host=10.77.0.5").status, 202);
    browser.find_reading("row", &["10.77.0.5", "53"]);
    running.stop();
}

#[test]
fn the_baseline_is_offered_when_every_online_device_is_scanned() {
    let lab = Lab::enter("near");
    let running = appliance(&lab);
    let browser = Browser::start(&lab);
    visit(&browser, running.base());
    browser.find("button", "Accept the present state as baseline");
    browser.find("button", &format!("{} devices", lab.hosts().count()));
    assert!(!browser.text().contains("not scanned yet"), "{}", browser.text());
    running.stop();
}

#[test]
fn an_appliance_without_devices_names_its_sources() {
    let lab = Lab::enter("near");
    let feed = "http://10.77.0.7:81/lanscan/json";
    let running = Portscan::new(&lab, &format!("[feed]\nurl = [\"{feed}\"]\n")).start();
    let browser = Browser::start(&lab);
    visit(&browser, running.base());
    browser.wait_for_text("No devices yet");
    browser.wait_for_text(feed);
    assert_eq!(browser.script("return document.querySelector('table')"), Value::Null);
    assert_eq!(browser.axe(), Vec::<String>::new());
    running.stop();
}
