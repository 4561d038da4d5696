//! What `make fuzz` began with and what it has found, asked again in every run.

mod inputs;

use std::{fs, path::Path};

use self::inputs::{Paths, config, feed, nmap, words};

/// Hands every kept input of a kind to what takes them; a few there are of each.
fn replay(kind: &str, take: impl Fn(&[u8])) {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(kind);
    let files: Vec<_> = fs::read_dir(kept).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 4, "{kind}: {files:?}");
    for file in files {
        eprintln!("{}", file.display());
        take(&fs::read(&file).unwrap());
    }
}

#[test]
fn feeds_hold_what_they_promise() {
    replay("feed", feed);
}

#[test]
fn nmaps_reports_hold_what_they_promise() {
    replay("nmap", nmap);
}

#[test]
fn words_hold_what_they_promise() {
    replay("words", words);
}

#[test]
fn configurations_hold_what_they_promise() {
    replay("config", config);
}

#[test]
fn paths_hold_what_they_promise() {
    let paths = Paths::open();
    replay("paths", |data| paths.ask(data));
}
