//! What `make fuzz` begins with and what it has found, asked again in every run, with some of what is near it.

mod inputs;

use std::{fs, path::Path};

use self::inputs::{Paths, config, feed, nmap, words};

/// Says which of all it was that something broke at.
struct Asking<'a>(&'a Path, u64, Vec<u8>);

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}, change {}: {:?}", self.0.display(), self.1, String::from_utf8_lossy(&self.2));
        }
    }
}

/// An input with up to four changes; the same number makes the same ones.
fn changed(input: &[u8], number: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(number);
    let mut changed = input.to_vec();
    for _ in 0..random.usize(1..=4) {
        let (from, to) = (random.usize(..=changed.len()), random.usize(..=changed.len()));
        let (from, to) = (from.min(to), from.max(to));
        match random.u8(..5) {
            0 => drop(changed.drain(from..to)),
            1 => changed.insert(from, random.u8(..)),
            2 => changed.insert(from, *random.choice(b"\"'<>[]{}%:/-,.0 ").unwrap_or(&0)),
            3 => changed.extend_from_within(from..to.min(from + 256)),
            _ => changed.iter_mut().skip(from).take(1).for_each(|byte| *byte ^= 1 << random.u8(..8)),
        }
    }
    changed
}

/// Hands every kept input of a kind to what takes them, as it is and changed; a few there are of each.
fn replay(kind: &str, take: impl Fn(&[u8])) {
    let asked = std::env::var("PORTSCAN_TEST_SEEDS").ok().and_then(|text| text.parse().ok());
    let changes: u64 = asked.unwrap_or(50);
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(kind);
    let files: Vec<_> = fs::read_dir(kept).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 4, "{kind}: {files:?}");
    for file in files {
        let input = fs::read(&file).unwrap();
        for number in 0..=changes {
            let asking = if number == 0 { input.clone() } else { changed(&input, number) };
            let asking = Asking(&file, number, asking);
            take(&asking.2);
        }
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
