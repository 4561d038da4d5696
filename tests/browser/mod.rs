//! The page in a real browser, served by the real binary with the lab's devices.
//!
//! Elements are found by role and name, as a screen reader finds them (`harness::browser`), not by their markup.

use std::time::Duration;

use crate::{
    harness::{Portscan, Running, browser::Browser, scanner, static_feed},
    lab::Lab,
};

mod accessibility;
mod alerts;
mod findings;
mod first_screens;
mod hostile;
mod identified;
mod live;
mod pictures;
mod progress;
mod proxy;

pub use self::accessibility::{axe_faults, reach_all_by_keyboard};

/// The time for a scan, its second look and the commit, on a busy machine.
const LONG: Duration = Duration::from_secs(120);

/// Scans few ports of all devices of the lab.
fn config(lab: &Lab) -> String {
    static_feed(lab) + &scanner("lan", "1d", "20-90")
}

/// An appliance that has scanned all devices.
fn appliance(lab: &Lab) -> Running {
    let running = Portscan::new(lab, &config(lab)).start();
    running.wait_for_devices(lab.hosts().count(), LONG);
    running
}

/// Opens a page of the appliance from a blank page, and returns when it is complete.
pub fn visit(browser: &Browser, url: &str) {
    browser.open("about:blank");
    browser.open(url);
    settled(browser);
}

/// Waits until the page has its data.
fn settled(browser: &Browser) {
    let there = "return document.querySelector('main h1') !== null && !document.querySelector('[aria-busy]')";
    browser.wait_until("the page is complete", || (browser.script(there) == true).then_some(()));
}

/// Every page by its name: those in the navigation, and those that these link to.
fn pages(browser: &Browser, url: &str) -> Vec<(String, String)> {
    let links = |within: &str| {
        let script = format!(
            "return [...document.querySelectorAll('{within}')].map((link) => [link.textContent.trim(), link.href])"
        );
        serde_json::from_value::<Vec<(String, String)>>(browser.script(&script)).expect("links")
    };
    visit(browser, url);
    let mut pages = links("nav a");
    assert!(!pages.is_empty(), "the navigation names no page");
    let mut at = 0;
    while let Some((_, page)) = pages.get(at) {
        visit(browser, page);
        for (name, part) in [("Device", "device"), ("Scan", "scan"), ("Compare", "compare")] {
            let link = links(&format!("main a[href*=\"#/{part}/\"]")).into_iter().next();
            if let Some((_, link)) = link.filter(|_| pages.iter().all(|(known, _)| known != name)) {
                pages.push((name.to_owned(), link));
            }
        }
        at += 1;
    }
    pages
}
