//! The page is usable with a screen reader and without a mouse.

use std::collections::BTreeSet;

use super::{appliance, pages, visit};
use crate::{
    harness::browser::{Browser, SCHEMES, Scope, Screen, TAB},
    lab::Lab,
};

/// The rules of WCAG 2.2, level AA, and axe's best practices.
#[test]
fn axe_finds_no_fault_on_any_page() {
    let lab = Lab::enter("near");
    let running = appliance(&lab);
    let browser = Browser::start(&lab);
    let mut faults = Vec::new();
    for (name, url) in pages(&browser, running.base()) {
        visit(&browser, &url);
        faults.extend(axe_faults(&browser, &name));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    running.stop();
}

/// What axe finds on the page that is open, on every screen and in both schemes.
pub fn axe_faults(browser: &Browser, name: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for screen in Screen::ALL {
        for scheme in SCHEMES {
            browser.show(screen, scheme);
            let found = browser.axe();
            faults.extend(found.iter().map(|fault| format!("{name}, {}, {scheme}: {fault}", screen.name())));
        }
    }
    faults
}

#[test]
fn the_keyboard_reaches_every_control_and_shows_the_focus() {
    let lab = Lab::enter("near");
    let running = appliance(&lab);
    let browser = Browser::start(&lab);
    for (page, url) in pages(&browser, running.base()) {
        visit(&browser, &url);
        reach_all_by_keyboard(&browser, &page);
    }
    running.stop();
}

/// Pressing Tab often enough focuses each clickable element of the open page once, and the focus is visible.
pub fn reach_all_by_keyboard(browser: &Browser, page: &str) {
    let actors = ["link", "button", "searchbox", "textbox", "checkbox", "combobox"];
    let all: Vec<(String, String)> = actors
        .iter()
        .flat_map(|role| browser.all(role).into_iter().map(|it| ((*role).to_owned(), it.name().to_owned())))
        .collect();
    let mut reached = BTreeSet::new();
    // After the last element the focus goes to the browser's own controls; scrollable elements are tab stops, too.
    for _ in 0..2 * all.len() {
        browser.press([TAB]);
        if browser.script("return document.activeElement === document.body") == true {
            break;
        }
        let seen = "const { outlineStyle, boxShadow } = getComputedStyle(document.activeElement); \
                    return outlineStyle !== 'none' || boxShadow !== 'none'";
        let (role, name) = browser.focused();
        assert_eq!(browser.script(seen), true, "{page}: no visible focus on the {role} {name:?}");
        reached.insert((role, name));
    }
    let missed: Vec<_> = all.iter().filter(|actor| !reached.contains(actor)).collect();
    assert!(missed.is_empty(), "{page}: {missed:?} are not among {reached:?}");
}
