//! Parses the paths that a source names: `a::b` in its code, and each member of `use a::{b, c::d}`.

/// A path of at least two segments.
#[derive(Debug)]
pub(super) struct NamedPath<'a> {
    pub(super) segments: Vec<&'a str>,
    /// The name that a `use` gives it; `None` elsewhere.
    pub(super) alias: Option<&'a str>,
}

/// All paths in a source. Comments do not count, so that prose may name any module; strings are parsed as code, which
/// is harmless if they hold no paths.
pub(super) fn named_paths(source: &str) -> Vec<NamedPath<'_>> {
    let tokens: Vec<&str> =
        source.lines().flat_map(|line| tokens(line.split("//").next().unwrap_or_default())).collect();
    let mut paths = Vec::new();
    let mut rest = &tokens[..];
    let mut before = "";
    while let Some(&token) = rest.first() {
        if is_identifier(token) && before != "::" {
            let is_use = before == "use";
            let first = paths.len();
            read_tree(&mut rest, &[], &mut paths);
            paths[first..].iter_mut().filter(|_| !is_use).for_each(|path| path.alias = None);
        } else {
            rest = &rest[1..];
        }
        before = token;
    }
    paths.retain(|path| path.segments.len() > 1);
    paths
}

/// Parses a path, or a tree of paths with a common prefix, at the front of the tokens.
fn read_tree<'a>(tokens: &mut &[&'a str], beginning: &[&'a str], paths: &mut Vec<NamedPath<'a>>) {
    let mut segments = beginning.to_vec();
    loop {
        match *tokens {
            ["{", ..] if !segments.is_empty() => {
                while let ["{" | ",", ..] = *tokens {
                    *tokens = &tokens[1..];
                    read_tree(tokens, &segments, paths);
                }
                *tokens = tokens.strip_prefix(&["}"]).unwrap_or(tokens);
                return;
            }
            ["self", ..] if !beginning.is_empty() => *tokens = &tokens[1..],
            [name, ..] if is_identifier(name) => {
                segments.push(name);
                *tokens = &tokens[1..];
            }
            _ => break,
        }
        let Some(after) = tokens.strip_prefix(&["::"]) else { break };
        *tokens = after;
    }
    let mut alias = segments.last().copied();
    if let ["as", name, after @ ..] = *tokens {
        (alias, *tokens) = (Some(*name), after);
    }
    paths.push(NamedPath { segments, alias });
}

fn is_identifier(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Splits a line into words, `::`, and single other characters.
fn tokens(mut line: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    loop {
        line = line.trim_start();
        let word = line.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(line.len());
        let length = match line.chars().next() {
            None => return tokens,
            Some(_) if word > 0 => word,
            Some(_) if line.starts_with("::") => 2,
            Some(c) => c.len_utf8(),
        };
        let (token, rest) = line.split_at(length);
        tokens.push(token);
        line = rest;
    }
}

#[test]
fn named_paths_reads_groups_aliases_and_paths_in_code() {
    let code = "use crate::{clock::{self, Clock}, net::links,\n    store as s,\n};\n\
                fn f() { super::http::go(); other.call(); } // crate::app\npub(crate) use self::feed::*;";
    let read: Vec<(String, Option<&str>)> =
        named_paths(code).into_iter().map(|path| (path.segments.join("::"), path.alias)).collect();
    let expected = [
        ("crate::clock", Some("clock")),
        ("crate::clock::Clock", Some("Clock")),
        ("crate::net::links", Some("links")),
        ("crate::store", Some("s")),
        ("super::http::go", None),
        ("self::feed", Some("feed")),
    ];
    assert_eq!(read, expected.map(|(path, alias)| (path.to_owned(), alias)));
}
