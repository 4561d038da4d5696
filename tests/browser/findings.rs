//! The page shows what a look has found while the look runs, marked as unconfirmed, and until it is confirmed.

use std::{collections::BTreeMap, thread};

use portscan::clock::{Clock, SystemClock};
use serde::Deserialize;

use super::{LONG, visit};
use crate::{
    harness::{
        Portscan,
        browser::{Browser, Scope},
        eventually, static_feed,
    },
    lab::Lab,
    live_view::{SOON, is_confirmed_everywhere, slow_scanner, watch_devices},
};

/// The page itself records the time of each event `port` and of each port's first view, and every port that it shows no
/// longer: polling it from outside would miss what is gone for a moment.
const FOLLOW: &str = "
    Object.assign(window, { heard: {}, shown: {}, lost: [] });
    new EventSource('v1/events').addEventListener('port', ({ data }) => {
        const { address, port } = JSON.parse(data);
        heard[`${address} ${port}`] ??= Date.now();
    });
    const read = () => {
        const now = new Set();
        for (const row of document.querySelectorAll('tbody tr')) {
            // The MAC follows without a space.
            const [address] = row.textContent.match(/10\\.77\\.0\\.\\d/);
            for (const chip of row.querySelectorAll('.chip')) {
                const port = chip.querySelector('b')?.textContent;
                if (!port) continue;
                const key = `${address} ${port}`;
                now.add(key);
                shown[key] ??= { at: Date.now(), unconfirmed: chip.textContent.includes('unconfirmed') };
            }
        }
        for (const key of Object.keys(shown)) if (!now.has(key)) lost.push(`${key} at ${Date.now()}`);
    };
    read();
    new MutationObserver(read).observe(document, { childList: true, subtree: true, characterData: true });";

/// When the page first showed a port, in milliseconds since 1970.
#[derive(Deserialize)]
struct Shown {
    at: i64,
    unconfirmed: bool,
}

#[test]
fn an_open_port_is_shown_unconfirmed_within_a_second_and_never_disappears() {
    let lab = Lab::enter("near");
    let running = Portscan::new(&lab, &(static_feed(&lab) + &slow_scanner())).start();
    running.wait_for_devices(lab.hosts().count(), LONG);
    let browser = Browser::start(&lab);
    visit(&browser, running.base());
    browser.find_reading("status", &["live"]);
    browser.script(FOLLOW);
    // On all of them, so that some results wait for the next commit.
    lab.hosts().for_each(|host| host.open(8090));
    let clock = SystemClock::start();
    let answered = thread::scope(|scope| {
        let watched =
            scope.spawn(|| watch_devices(&running, |devices| is_confirmed_everywhere(devices, 8090)));
        assert_eq!(running.post("/v1/run/lan").status, 202);
        let mut answered = BTreeMap::new();
        eventually(LONG, "all hosts have answered", || {
            for host in lab.hosts().filter(|host| host.stats().accepted.contains(8090)) {
                answered
                    .entry(format!("{} 8090", host.address()))
                    .or_insert_with(|| clock.wall().as_millisecond());
            }
            (answered.len() == lab.hosts().count()).then_some(())
        });
        watched.join().unwrap();
        answered
    });
    // The page loads the confirmed state soon after the event of the change.
    browser.wait_until("the page shows that all are confirmed", || {
        let unconfirmed = "return document.querySelectorAll('.chip.unconfirmed').length";
        (browser.script(unconfirmed) == 0).then_some(())
    });
    let read = |name: &str| browser.script(&format!("return window.{name}"));
    let heard: BTreeMap<String, i64> = serde_json::from_value(read("heard")).unwrap();
    let shown: BTreeMap<String, Shown> = serde_json::from_value(read("shown")).unwrap();
    let soon = i64::try_from(SOON.as_millis()).unwrap();
    for (port, verdict) in answered {
        let Shown { at, unconfirmed } = shown[&port];
        let (since_verdict, since_event) = (at - verdict, at - heard[&port]);
        eprintln!("{port} is shown {since_verdict} ms after its verdict, {since_event} ms after its event");
        assert!(unconfirmed, "{port} was shown as confirmed at first");
        assert!(since_verdict < soon && since_event < soon, "{port}: {since_verdict} ms, {since_event} ms");
    }
    assert_eq!(read("lost"), serde_json::json!([]), "ports that the page showed no longer");
    assert_eq!(browser.complaints(), Vec::<String>::new());
    running.stop();
}
