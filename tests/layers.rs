//! The house stands as drawn: a module imports only from lower floors, never sideways among the rooms of F2.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Every room and its floor; a new room must be given one here. `lib.rs` explains them.
const FLOORS: &[(&str, u8)] = &[
    ("model", 0),
    ("clock", 1),
    ("config", 1),
    ("data_dir", 1),
    ("engine", 1),
    ("resolve", 1),
    ("client", 2),
    ("feed", 2),
    ("metrics", 2),
    ("net", 2),
    ("nmap", 2),
    ("services", 2),
    ("store", 2),
    ("vendor", 2),
    ("service", 3),
    ("http", 4),
    ("app", 5),
    ("cli", 5),
    ("main", 5),
];

/// Rooms of one floor that may know each other: F1 shares its vocabulary, F5 is the top.
const OPEN_FLOORS: &[u8] = &[0, 1, 5];

fn floor_of(room: &str) -> Option<u8> {
    FLOORS.iter().find(|(name, _)| *name == room).map(|(_, floor)| *floor)
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The code of a source file: no comments, so that prose may name any room.
fn code_of(source: &str) -> String {
    source.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// The rooms that a source names: `crate::room` and every first name of `crate::{room::.., other}`.
fn rooms_named(code: &str) -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    for (at, prefix) in code.match_indices("crate::").chain(code.match_indices("portscan::")) {
        let rest = code[at + prefix.len()..].trim_start();
        match rest.strip_prefix('{') {
            Some(group) => rooms.extend(first_names(group)),
            None => rooms.extend([identifier(rest)]),
        }
    }
    rooms.remove("");
    rooms
}

fn identifier(text: &str) -> String {
    text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The first identifier of each member of a `use` group, up to its closing brace.
fn first_names(group: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut depth = 0;
    let mut member = String::new();
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(identifier(&std::mem::take(&mut member))),
            _ => {}
        }
        member.push(if c == ',' && depth == 0 { ' ' } else { c });
    }
    names.push(identifier(&member));
    names
}

fn may_import(room: &str, other: &str) -> bool {
    let (Some(own), Some(their)) = (floor_of(room), floor_of(other)) else { return false };
    room == other || their < own || (their == own && OPEN_FLOORS.contains(&own))
}

#[test]
fn a_module_imports_only_from_lower_floors() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 20, "only {} sources were found", files.len());
    let mut faults = Vec::new();
    for file in files {
        let inside = file.strip_prefix(&root).unwrap();
        let room = inside.components().next().unwrap().as_os_str().to_string_lossy().replace(".rs", "");
        if room == "lib" {
            continue;
        }
        let shown = inside.display();
        if floor_of(&room).is_none() {
            faults.push(format!(
                "{shown}: the room \"{room}\" has no floor yet; give it one in tests/floors.rs"
            ));
        }
        for other in rooms_named(&code_of(&fs::read_to_string(&file).unwrap())) {
            if floor_of(&other).is_some() && !may_import(&room, &other) {
                faults.push(format!("{shown}: {room} must not import {other}"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_reader_of_imports_sees_through_groups() {
    let code = "use crate::{clock::{Clock, X}, net::links, store as s}; fn f() { crate::http::go() } use crate::feed;";
    let rooms: Vec<String> = rooms_named(&code_of(code)).into_iter().collect();
    assert_eq!(rooms, ["clock", "feed", "http", "net", "store"]);
    assert!(rooms_named(&code_of("// crate::app\n")).is_empty());
}

#[test]
fn upwards_and_sideways_are_refused() {
    assert!(may_import("store", "model") && may_import("http", "service") && may_import("engine", "clock"));
    assert!(!may_import("store", "net") && !may_import("engine", "net") && !may_import("service", "http"));
}
