//! Modules import only from lower layers, and modules of layer 2 never from one another; the files of a module do not
//! import one another in a circle; a public type has a name of its own; the message of a log line is constant.

mod circles;
mod log_lines;
mod paths;
mod types;

use std::{fs, path::Path};

use self::{
    circles::circles,
    log_lines::changing_messages,
    paths::{NamedPath, named_paths},
    types::shared_names,
};

/// Every top-level module and its layer; `lib.rs` explains them. A new module must get its layer here.
const LAYERS: &[(&str, u8)] = &[
    ("model", 0),
    ("alerts", 1),
    ("clock", 1),
    ("config", 1),
    ("data_dir", 1),
    ("engine", 1),
    ("fleet", 1),
    ("identify", 1),
    ("messages", 1),
    ("resolve", 1),
    ("tls", 1),
    ("udp", 1),
    ("advice", 2),
    ("client", 2),
    ("feed", 2),
    ("metrics", 2),
    ("net", 2),
    ("nmap", 2),
    ("services", 2),
    ("smtp", 2),
    ("store", 2),
    ("syslog", 2),
    ("vendor", 2),
    ("service", 3),
    ("http", 4),
    ("app", 5),
    ("cli", 5),
    ("doctor", 5),
    ("main", 5),
];

/// Layers whose modules may import from one another: layer 1 shares its vocabulary, layer 5 is the top.
const OPEN_LAYERS: &[u8] = &[0, 1, 5];

/// A source file: its path below `src`, and its text.
struct Source {
    path: String,
    text: String,
}

fn layer_of(module: &str) -> Option<u8> {
    LAYERS.iter().find(|(name, _)| *name == module).map(|(_, layer)| *layer)
}

fn read_sources(root: &Path, folder: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_sources(root, &path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let path = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            found.push(Source { path, text });
        }
    }
}

fn all_sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    read_sources(&root, &root, &mut sources);
    assert!(sources.len() > 20, "only {} sources were found", sources.len());
    sources
}

/// The top-level module that a path names, if it begins at the crate.
fn top_level_module<'a>(named: &NamedPath<'a>) -> Option<&'a str> {
    match named.segments[..] {
        ["crate" | "portscan", module, ..] => Some(module),
        _ => None,
    }
}

fn may_import(module: &str, other: &str) -> bool {
    let (Some(own), Some(their)) = (layer_of(module), layer_of(other)) else { return false };
    module == other || their < own || (their == own && OPEN_LAYERS.contains(&own))
}

#[test]
fn a_module_imports_only_from_lower_layers() {
    let mut faults = Vec::new();
    for Source { path, text } in all_sources() {
        let module = path.split(['/', '.']).next().unwrap_or_default();
        if module == "lib" {
            continue;
        }
        if layer_of(module).is_none() {
            faults.push(format!(
                "{path}: the module \"{module}\" has no layer yet; give it one in tests/layers.rs"
            ));
        }
        let named = named_paths(&text);
        let mut others: Vec<&str> = named.iter().filter_map(top_level_module).collect();
        others.sort_unstable();
        others.dedup();
        others.retain(|other| layer_of(other).is_some() && !may_import(module, other));
        faults.extend(others.iter().map(|other| format!("{path}: {module} must not import {other}")));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Identification gets hostile bytes, and must stay a function of them alone: layer 1 would let it import its siblings.
#[test]
fn identify_imports_only_the_model() {
    let mut faults = Vec::new();
    for Source { path, text } in all_sources().iter().filter(|source| source.path.starts_with("identify/")) {
        let named = named_paths(text);
        let others =
            named.iter().filter_map(top_level_module).filter(|other| !matches!(*other, "identify" | "model"));
        faults.extend(others.map(|other| format!("{path}: identify must not import {other}")));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn may_import_refuses_higher_layers_and_siblings() {
    assert!(may_import("store", "model") && may_import("http", "service") && may_import("engine", "clock"));
    assert!(!may_import("store", "net") && !may_import("engine", "net") && !may_import("service", "http"));
}

#[test]
fn no_files_of_a_module_import_one_another_in_a_circle() {
    let found = circles(&all_sources());
    assert!(found.is_empty(), "move what these share into a file of its own:\n{}", found.join("\n"));
}

/// A reader assumes that two types with one name are the same type.
#[test]
fn no_two_public_types_share_a_name() {
    let found = shared_names(&all_sources());
    assert!(
        found.is_empty(),
        "give each its own name, of docs/glossary.md where it has one:\n{}",
        found.join("\n")
    );
}

/// So that a reader can search for the message, and a program can read the data.
#[test]
fn log_lines_carry_data_in_fields() {
    let found = changing_messages(&all_sources());
    assert!(found.is_empty(), "make fields of the data in these messages:\n{}", found.join("\n"));
}
