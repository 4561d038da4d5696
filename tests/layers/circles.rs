//! Finds files of a module that import from one another in a circle.
//!
//! The rules:
//! - A file imports from a sibling if it names it, or anything in it, by a path. A file and the directory of its
//!   children (`host.rs` and `host/`) are one sibling to the others.
//! - An item that the parent merely imports or re-exports (`pub use run::RunId` in `mod.rs`, then `super::RunId` in
//!   `orders.rs`) is imported from the file that defines it.
//! - A parent and its children are one module spread over files, so imports between them are no circle: `mod.rs`
//!   declares, re-exports and calls its children, and they implement its types. Two children that import from each
//!   other are a circle, directly or by way of others.
//! - A file's own tests do not count, because nothing imports from them. Glob imports are not followed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{
    Source,
    paths::{NamedPath, named_paths},
};

/// A file's place in the tree of modules: `engine::host` for `engine/host.rs` and for `engine/host/mod.rs`.
type Module<'a> = Vec<&'a str>;

/// The siblings below one parent: each with the siblings it imports from, and a sentence that names the files.
type Siblings<'a> = BTreeMap<&'a str, BTreeMap<&'a str, String>>;

struct File<'a> {
    path: &'a str,
    names: Vec<NamedPath<'a>>,
}

type Files<'a> = BTreeMap<Module<'a>, File<'a>>;

/// One sentence for each circle, which says which file imports from which.
pub(super) fn circles(sources: &[Source]) -> Vec<String> {
    let files: Files<'_> = sources.iter().map(|source| (module_of(&source.path), read(source))).collect();
    let mut parents: BTreeMap<&[&str], Siblings<'_>> = BTreeMap::new();
    for (module, file) in &files {
        for other in file.names.iter().filter_map(|named| resolve(&files, module, &named.segments)) {
            let depth = module.iter().zip(&other).take_while(|(own, other)| own == other).count();
            if let (Some(own), Some(sibling)) = (module.get(depth), other.get(depth)) {
                let siblings = parents.entry(&module[..depth]).or_default();
                let import = || format!("{} imports from {}", file.path, files[&other].path);
                siblings.entry(own).or_default().entry(sibling).or_insert_with(import);
            }
        }
    }
    let found: BTreeSet<String> = parents
        .values()
        .flat_map(|siblings| siblings.keys().filter_map(|from| circle(siblings, from)))
        .collect();
    found.into_iter().collect()
}

fn module_of(path: &str) -> Module<'_> {
    let path = path.strip_suffix(".rs").unwrap_or(path);
    let path = path.strip_suffix("/mod").unwrap_or(path);
    path.split('/').filter(|&name| name != "lib").collect()
}

fn read(source: &Source) -> File<'_> {
    let code = source.text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    File { path: &source.path, names: named_paths(code) }
}

/// The module that a path leads to, seen from another; `None` if it leads out of the crate.
fn resolve<'a>(files: &Files<'a>, from: &[&'a str], path: &[&'a str]) -> Option<Module<'a>> {
    let supers = path.iter().take_while(|&&segment| segment == "super").count();
    let (mut module, mut rest) = match path {
        ["crate" | "portscan", rest @ ..] => (Vec::new(), rest),
        ["self", rest @ ..] => (from.to_vec(), rest),
        ["super", ..] => (from[..from.len().checked_sub(supers)?].to_vec(), &path[supers..]),
        [first, ..] if files.contains_key(&[from, &[*first]].concat()) => (from.to_vec(), path),
        _ => return None,
    };
    while let [child, behind @ ..] = rest
        && let inner = [&module[..], &[*child]].concat()
        && files.contains_key(&inner)
    {
        (module, rest) = (inner, behind);
    }
    let imported = rest.first().and_then(|item| {
        let names = &files.get(&module)?.names;
        names.iter().find(|named| named.alias == Some(item) && from != module)
    });
    match imported {
        Some(named) => resolve(files, &module, &named.segments),
        None => Some(module),
    }
}

/// The shortest circle through a sibling, starting at its alphabetically first member.
fn circle(siblings: &Siblings<'_>, start: &str) -> Option<String> {
    let mut reached_from = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(at) = queue.pop_front() {
        for &next in siblings.get(at).into_iter().flat_map(BTreeMap::keys) {
            if reached_from.contains_key(next) {
                continue;
            }
            reached_from.insert(next, at);
            queue.push_back(next);
        }
    }
    let mut members = vec![start];
    let mut at = *reached_from.get(start)?;
    while at != start {
        members.push(at);
        at = reached_from[at];
    }
    members.reverse();
    let first = members.iter().enumerate().min_by_key(|(_, name)| **name).map_or(0, |(index, _)| index);
    members.rotate_left(first);
    let after = members.iter().cycle().skip(1);
    let imports: Vec<&str> =
        members.iter().zip(after).map(|(from, to)| siblings[from][to].as_str()).collect();
    Some(imports.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(sources: &[(&str, &str)]) -> Vec<String> {
        let source = |&(path, text): &(&str, &str)| Source { path: path.to_owned(), text: text.to_owned() };
        circles(&sources.iter().map(source).collect::<Vec<_>>())
    }

    #[test]
    fn finds_circles_of_two_and_of_three_files() {
        let two = [
            ("lib.rs", "mod shop;"),
            ("shop/mod.rs", "mod cart;\nmod price;"),
            ("shop/cart.rs", "use super::price::Price;"),
            ("shop/price.rs", "fn f() { crate::shop::cart::total() }"),
        ];
        let circle = "shop/cart.rs imports from shop/price.rs, shop/price.rs imports from shop/cart.rs";
        assert_eq!(found(&two), [circle]);
        let three = [
            ("shop/mod.rs", ""),
            ("shop/a.rs", "use super::{b::{self, B}, d};"),
            ("shop/b.rs", "use crate::shop::c;"),
            ("shop/c.rs", "use super::a::A;"),
            ("shop/d.rs", "use super::c::C;"),
        ];
        let imports = |(from, to)| format!("shop/{from}.rs imports from shop/{to}.rs");
        let through_b = [("a", "b"), ("b", "c"), ("c", "a")].map(imports).join(", ");
        let through_d = [("a", "d"), ("d", "c"), ("c", "a")].map(imports).join(", ");
        assert_eq!(found(&three), [through_b, through_d]);
    }

    #[test]
    fn a_parent_and_its_children_are_no_circle() {
        let sources = [
            (
                "shop/mod.rs",
                "mod cart;\nmod price;\npub use price::Price;\nfn f() { cart::open() }\nstruct Shop;",
            ),
            ("shop/cart.rs", "use super::{Price, Shop};"),
            ("shop/price.rs", "impl super::Shop {}"),
        ];
        assert_eq!(found(&sources), [""; 0]);
    }

    #[test]
    fn an_import_of_a_re_exported_item_counts_for_its_defining_file() {
        let sources = [
            ("shop.rs", "pub use self::price::{Price as Cost};\nuse cart::Cart;"),
            ("shop/cart.rs", "use super::Cost;"),
            ("shop/price.rs", "use super::Cart;"),
        ];
        assert_eq!(
            found(&sources),
            ["shop/cart.rs imports from shop/price.rs, shop/price.rs imports from shop/cart.rs"]
        );
    }

    #[test]
    fn a_file_and_its_children_count_as_one_sibling() {
        let sources = [
            ("shop/cart.rs", "mod lines;\nuse super::price::Price;"),
            ("shop/cart/lines.rs", ""),
            ("shop/price.rs", "use super::tax::Tax;"),
            ("shop/tax.rs", "use super::cart::lines::Line;"),
        ];
        assert_eq!(found(&sources).len(), 1);
    }

    #[test]
    fn comments_tests_and_other_crates_do_not_count() {
        let sources = [
            ("shop/cart.rs", "use super::price::Price;\nuse std::fmt::Display;"),
            (
                "shop/price.rs",
                "/// See super::cart::Cart.\nstruct Price;\n#[cfg(test)]\nmod tests {\n    use crate::shop::cart;\n}",
            ),
        ];
        assert_eq!(found(&sources), [""; 0]);
    }
}
