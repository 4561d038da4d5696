//! Where the tables are kept: `benches/` and `docs/performance.md`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use testkit::report::{Results, splice};

/// Returns the results of earlier runs.
pub fn read() -> Results {
    let path = file("benches/results.json");
    if !path.exists() {
        return Results::default();
    }
    serde_json::from_str(&text(&path)).unwrap_or_else(|e| panic!("{}: {e}; remove it", path.display()))
}

/// Rewrites all three files.
pub fn write(results: &Results) {
    let json = serde_json::to_string_pretty(results).expect("plain values");
    put(&file("benches/results.json"), &format!("{json}\n"));
    put(&file("benches/RESULTS.md"), &results.document());
    let document = file("docs/performance.md");
    let renewed = splice(&text(&document), &results.summary());
    put(&document, &renewed.expect("the document has the markers: a test sees to it"));
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn put(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}
