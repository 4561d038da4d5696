//! The page's sources: static checks of what they promise, and its pure functions' tests in Node.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The most that the page may add to the binary, in octets. What devices and ports were identified as, types and tags
/// take 7,000 of it, the alerts 8,000, what the machine lacks 900.
const LARGEST: usize = 181_000;

/// The most that the page of a hub adds to that, in octets.
const LARGEST_OF_HUB: usize = 12_000;

/// Text that the page's sources must not contain: it would load, run or trust something foreign.
const FORBIDDEN: &[&str] = &[
    "http://",
    "https://",
    "\"//",
    "javascript:",
    "innerHTML",
    "outerHTML",
    "insertAdjacentHTML",
    "unsafeHTML",
    "unsafeSVG",
    "unsafeStatic",
    "document.write",
    "eval(",
    "new Function",
    "localStorage",
    "style=\"",
    " onclick=",
    " onerror=",
    " onload=",
];

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http/dashboard").join(name)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// The files of the page in the binary: what is served at `/`, and the others by their paths below its folder.
fn page() -> Vec<(String, String)> {
    page_of("page", "index.html")
}

/// The files that only a hub's page has.
fn page_of_hub() -> Vec<(String, String)> {
    page_of("hub", "hub.html")
}

fn page_of(below: &str, index: &str) -> Vec<(String, String)> {
    let page = folder(below);
    let named = |path: PathBuf| {
        let name =
            path.strip_prefix(&page).map_or_else(|_| index.to_owned(), |name| name.display().to_string());
        (name, fs::read_to_string(&path).unwrap())
    };
    files(&page).into_iter().chain([folder(index)]).map(named).collect()
}

#[test]
fn the_page_stays_below_its_size_limit() {
    let (mut octets, mut lines) = (0, 0);
    for (name, text) in page() {
        octets += text.len();
        if !name.starts_with("vendor/") {
            lines += text.lines().count();
        }
    }
    eprintln!("the page: {octets} octets in the binary, {lines} lines of its own");
    assert!(octets <= LARGEST, "{octets} octets are more than {LARGEST}");
    let octets: usize = page_of_hub().iter().map(|(_, text)| text.len()).sum();
    assert!(octets <= LARGEST_OF_HUB, "{octets} octets are more than {LARGEST_OF_HUB}");
}

#[test]
fn the_page_loads_nothing_foreign_and_uses_no_unsafe_sink() {
    let names = |text: &str| text.replace("http://www.w3.org/", "");
    let own = page().into_iter().filter(|(name, _)| !name.starts_with("vendor/"));
    for (name, text) in own.chain(page_of_hub()) {
        let text = names(&text);
        let found: Vec<_> = FORBIDDEN.iter().filter(|words| text.contains(**words)).collect();
        assert!(found.is_empty(), "{name}: {found:?}");
    }
    for (index, main) in [("index.html", "page/main.js"), ("hub.html", "hub/main.js")] {
        let index = fs::read_to_string(folder(index)).unwrap();
        let scripts: Vec<_> = index.matches("<script").collect();
        assert_eq!(scripts.len(), 1, "{index}");
        assert!(index.contains(&format!("<script type=\"module\" src=\"{main}\"></script>")), "{index}");
        assert!(!index.contains("<style"), "{index}");
        // An absolute path would leave the folder that a proxy serves the page below.
        assert!(!index.contains("=\"/"), "{index}");
    }
}

#[test]
fn the_pages_own_unit_tests_pass_in_node() {
    let tests = files(&folder("tests"));
    assert!(!tests.is_empty());
    let output = Command::new("node").arg("--test").args(&tests).output();
    let output = output.unwrap_or_else(|error| panic!("node: {error}; `make setup` installs it"));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
}
