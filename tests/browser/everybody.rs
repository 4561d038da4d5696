//! The page is for those, too, who do not see it well, or have no mouse.

use std::collections::BTreeSet;

use super::{appliance, pages, visit};
use crate::{
    harness::browser::{Browser, SCHEMES, Scope, Screen, TAB},
    lab::Lab,
};

/// Rules of WCAG 2.2, level AA, and what is beyond them good practice.
#[test]
fn axe_finds_no_fault() {
    let lab = Lab::enter("near");
    let running = appliance(&lab);
    let browser = Browser::start(&lab);
    let mut faults = Vec::new();
    for (name, url) in pages(&browser, running.base()) {
        visit(&browser, &url);
        for screen in Screen::ALL {
            for scheme in SCHEMES {
                browser.show(screen, scheme);
                let found = browser.axe();
                faults.extend(
                    found.iter().map(|fault| format!("{name}, {}, {scheme}: {fault}", screen.name())),
                );
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    running.stop();
}

/// Everything that can be clicked has the focus once, when somebody presses Tab often enough, and shows it.
#[test]
fn the_keyboard_reaches_everything() {
    let lab = Lab::enter("near");
    let running = appliance(&lab);
    let browser = Browser::start(&lab);
    for (page, url) in pages(&browser, running.base()) {
        visit(&browser, &url);
        let actors = ["link", "button", "searchbox", "textbox", "checkbox", "combobox"];
        let all: Vec<(String, String)> = actors
            .iter()
            .flat_map(|role| {
                browser.all(role).into_iter().map(|it| ((*role).to_owned(), it.name().to_owned()))
            })
            .collect();
        let mut reached = BTreeSet::new();
        // Behind the last is the browser's own; what scrolls is stopped at, too.
        for _ in 0..2 * all.len() {
            browser.press([TAB]);
            if browser.script("return document.activeElement === document.body") == true {
                break;
            }
            let seen = "const { outlineStyle, boxShadow } = getComputedStyle(document.activeElement); \
                        return outlineStyle !== 'none' || boxShadow !== 'none'";
            let (role, name) = browser.focused();
            assert_eq!(browser.script(seen), true, "{page}: the focus is not seen on the {role} {name:?}");
            reached.insert((role, name));
        }
        let missed: Vec<_> = all.iter().filter(|actor| !reached.contains(actor)).collect();
        assert!(missed.is_empty(), "{page}: {missed:?} are not among {reached:?}");
    }
    running.stop();
}
