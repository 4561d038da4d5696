//! Replays the seeds and findings of `make fuzz` in every test run, with some mutations of each.

mod inputs;

use std::{fs, path::Path};

use self::inputs::{Paths, config, feed, identify, nmap, words};

/// Prints which input failed when the test panics.
struct ReplayedInput<'a>(&'a Path, u64, Vec<u8>);

impl Drop for ReplayedInput<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}, change {}: {:?}", self.0.display(), self.1, String::from_utf8_lossy(&self.2));
        }
    }
}

/// An input with up to four mutations; the same number makes the same ones.
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

/// Passes every stored input of a kind to its parser, unchanged and mutated; there are at least four of each.
fn replay(kind: &str, take: impl Fn(&[u8])) {
    let seeds = std::env::var("PORTSCAN_TEST_SEEDS").ok().and_then(|text| text.parse().ok());
    let changes: u64 = seeds.unwrap_or(50);
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(kind);
    let files: Vec<_> = fs::read_dir(kept).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 4, "{kind}: {files:?}");
    for file in files {
        let input = fs::read(&file).unwrap();
        for number in 0..=changes {
            let input = if number == 0 { input.clone() } else { changed(&input, number) };
            let replayed = ReplayedInput(&file, number, input);
            take(&replayed.2);
        }
    }
}

#[test]
fn feed_inputs_keep_the_invariants() {
    replay("feed", feed);
}

#[test]
fn nmap_report_inputs_keep_the_invariants() {
    replay("nmap", nmap);
}

#[test]
fn word_inputs_keep_the_invariants() {
    replay("words", words);
}

#[test]
fn configuration_inputs_keep_the_invariants() {
    replay("config", config);
}

#[test]
fn identified_inputs_keep_the_invariants() {
    replay("identify", identify);
}

#[test]
fn path_inputs_keep_the_invariants() {
    let paths = Paths::open();
    replay("paths", |data| paths.ask(data));
}
