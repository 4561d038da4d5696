//! The page of sites is usable with a screen reader and without a mouse.

use super::{DEVICES, Fleet};
use crate::{
    browser::{axe_faults, reach_all_by_keyboard, visit},
    harness::{
        LONG,
        browser::{Browser, RETURN, Scope, TAB},
        eventually,
    },
    lab::Lab,
};

/// Presses Tab until an element has the focus whose name begins so: that of a heading ends with an arrow.
fn go_to(browser: &Browser, role: &str, name: &str) {
    // There are fewer stops on the page.
    for _ in 0..50 {
        browser.press([TAB]);
        let (at, named) = browser.focused();
        if at == role && named.starts_with(name) {
            return;
        }
    }
    panic!("Tab does not reach the {role} {name:?}");
}

fn first_row(browser: &Browser) -> String {
    browser.all("rowheader").first().map(|header| header.text()).unwrap_or_default()
}

#[test]
fn the_page_of_sites_has_no_fault_that_axe_finds_and_needs_no_mouse() {
    let lab = Lab::describe(DEVICES);
    let mut fleet = Fleet::start(&lab, 0);
    let browser = Browser::start(&lab);
    let base = fleet.running.as_ref().unwrap().base().to_owned();
    visit(&browser, &base);
    browser.wait_for_text("No sites yet");
    let mut faults = axe_faults(&browser, "no sites");

    for site in ["house-1", "house-2"] {
        fleet.enrol(site);
    }
    for place in 0..2 {
        fleet.site(place).wait_for_complete(6, LONG);
    }
    fleet.wait_until_equal();
    // A site that needs its owner, with words of its own.
    fleet.hub_command(&["revoke", "house-2"]);
    eventually(LONG, "the hub says that house-2 is silent", || {
        (fleet.at_hub("/v1/sites")[1]["state"] == "silent").then_some(())
    });
    visit(&browser, &base);
    browser.wait_for_text("not heard");
    faults.extend(axe_faults(&browser, "sites"));
    // What keeps the hub itself from its work.
    drop(fleet.broker.take());
    eventually(LONG, "the hub says that it has no broker", || {
        (fleet.running.as_ref().unwrap().get("/healthz").status == 503).then_some(())
    });
    visit(&browser, &base);
    browser.wait_for_text("start nats-server");
    faults.extend(axe_faults(&browser, "trouble"));
    visit(&browser, &format!("{base}/sites/house-1/"));
    browser.wait_for_text("10.77.0.10");
    faults.extend(axe_faults(&browser, "one site"));
    assert!(faults.is_empty(), "{}", faults.join("\n"));

    visit(&browser, &base);
    browser.wait_for_text("house-2");
    reach_all_by_keyboard(&browser, "sites");
    visit(&browser, &base);
    browser.wait_for_text("house-2");
    browser.press([TAB]);
    assert_eq!(browser.focused().1, "Skip to the content");
    browser.press([RETURN]);
    assert_eq!(browser.script("return document.activeElement.id"), "main");
    go_to(&browser, "button", "Site");
    browser.press([RETURN]);
    browser.wait_until("the sites are sorted by name", || {
        first_row(&browser).starts_with("house-1").then_some(())
    });
    browser.press([RETURN]);
    browser.wait_until("the sites are sorted the other way", || {
        first_row(&browser).starts_with("house-2").then_some(())
    });
    visit(&browser, &base);
    browser.wait_for_text("house-2");
    go_to(&browser, "searchbox", "Filter");
    browser.press("site:house-1".chars());
    browser.wait_until("one site is left", || {
        (browser.all("rowheader").len() == 1 && first_row(&browser).starts_with("house-1")).then_some(())
    });
    go_to(&browser, "link", "house-1");
    browser.press([RETURN]);
    browser.wait_for_text("10.77.0.10");
    let seen = browser.end();
    assert!(seen.requests.iter().all(|url| url.starts_with(&base)), "{:?}", seen.requests);
}
