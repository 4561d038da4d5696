//! Finds names that several public types share.

use std::collections::BTreeMap;

use super::Source;

/// Where each public type stands, by its name: the paths of the files, one for each definition. A type counts as public
/// once it has a `pub` of any kind, because the files that may name it then are not its own alone. Macros are not
/// expanded, and neither are comments read.
fn definitions(sources: &[Source]) -> BTreeMap<&str, Vec<&str>> {
    let mut found: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for Source { path, text } in sources {
        for name in text.lines().filter_map(public_type) {
            found.entry(name).or_default().push(path);
        }
    }
    found
}

/// The name of the public type that is defined from this line on, if one does.
fn public_type(line: &str) -> Option<&str> {
    let after = line.trim_start().strip_prefix("pub")?;
    let after = match after.strip_prefix('(') {
        Some(scope) => scope.split_once(')')?.1,
        None => after,
    };
    let (kind, name) = after.strip_prefix(' ')?.split_once(' ')?;
    if !["enum", "struct", "trait", "type", "union"].contains(&kind) {
        return None;
    }
    name.split(|letter: char| !letter.is_alphanumeric() && letter != '_')
        .next()
        .filter(|name| !name.is_empty())
}

/// The names that several public types share, each with the files that define them.
pub(super) fn shared_names(sources: &[Source]) -> Vec<String> {
    let shared = definitions(sources).into_iter().filter(|(_, paths)| paths.len() > 1);
    shared.map(|(name, paths)| format!("{name}: {}", paths.join(", "))).collect()
}

#[test]
fn finds_a_name_that_two_public_types_share() {
    let source = |path: &str, text: &str| Source { path: path.to_owned(), text: text.to_owned() };
    let sources = [
        source("a.rs", "pub struct Pace(u8);\nstruct Step;\n/// pub struct Once;\npub fn run() {}\n"),
        source("b.rs", "mod tests {\n    pub(super) trait Pace: Send {}\n}\npub enum Step {}\n"),
        source("c.rs", "pub(in crate::c) type Once<T> = Option<T>;\npub use super::a::Pace;\n"),
    ];
    assert_eq!(shared_names(&sources), ["Pace: a.rs, b.rs"]);
}
