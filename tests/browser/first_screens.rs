//! What an owner sees of the first minutes, with nothing configured but the feed: `make first-minute` writes the
//! pictures.

use std::{path::Path, time::Duration};

use super::visit;
use crate::{
    harness::{
        Portscan,
        browser::{Browser, Screen},
        eventually, static_feed,
    },
    lab::Lab,
};

/// All ports of 40 devices take 20 min.
const LONG: Duration = Duration::from_secs(3600);

/// Lines that say more than is known before everything is scanned.
const EARLY: [&str; 2] = ["none", "0 open ports"];

/// What a fault in the page would say.
const FALSE: [&str; 3] = ["undefined", "NaN", "null"];

#[test]
#[ignore = "an hour: `make first-minute`"]
fn no_word_of_the_first_screens_is_wrong() {
    let lab = Lab::alone("forty");
    // Before the appliance: its start takes seconds.
    let browser = Browser::start(&lab);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/first-minute");
    std::fs::create_dir_all(&folder).unwrap();
    let began = lab.now();
    let running = Portscan::new(&lab, &static_feed(&lab)).start();
    let count = lab.hosts().count();
    for (moment, after) in [("5s", Some(5)), ("30s", Some(30)), ("5min", Some(300)), ("end", None)] {
        match after {
            Some(seconds) => eventually(LONG, moment, || {
                (lab.now().since(began) >= Duration::from_secs(seconds)).then_some(())
            }),
            None => running.wait_for_complete(count, LONG),
        }
        for screen in Screen::ALL {
            browser.show(screen, "light");
            visit(&browser, running.base());
            let seconds = lab.now().since(began).as_secs_f32();
            browser.screenshot(&folder.join(format!("{moment}-{}.png", screen.name())));
            let text = browser.text();
            let is_wrong = |line: &&str| {
                after.is_some() && EARLY.contains(line) || FALSE.iter().any(|word| line.contains(word))
            };
            let said: Vec<&str> = text.lines().filter(is_wrong).collect();
            let summary: Vec<&str> = text.lines().filter(|line| !line.is_empty()).take(16).collect();
            eprintln!("{moment}, {}, after {seconds:.1} s: {}", screen.name(), summary.join(" | "));
            assert!(said.is_empty(), "{moment}: {said:?}");
            let empty = "return [...document.querySelectorAll('tbody tr')].filter((row) => \
                         [...row.cells].some((cell) => cell.textContent.trim() === '')).length";
            eprintln!("{} rows with an empty cell", browser.script(empty));
        }
    }
    assert_eq!(browser.complaints(), Vec::<String>::new());
    running.stop();
}
