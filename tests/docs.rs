//! The documents agree with the repository: every link, anchor and name leads somewhere, and everything that exists is
//! described. No test here needs a network.

pub mod markdown;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Component, Path},
};

use clap::CommandFactory;
use portscan::{
    cli::Arguments,
    config::{Config, Overrides},
};

use markdown::Markdown;

/// README is read first, and only a short one is read to its end.
const README_LINES: usize = 150;

/// The folders of the files that the documents name in code spans.
const FOLDERS: &[&str] = &[
    ".ci/",
    "benches/",
    "cross/",
    "debian/",
    "docs/",
    "examples/",
    "fuzz/",
    "monitoring/",
    "src/",
    "systemd/",
    "tests/",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The documents by their paths.
fn documents() -> BTreeMap<String, Markdown> {
    let docs = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().file_name());
    let docs = docs.map(|name| format!("docs/{}", name.to_string_lossy()));
    let others = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "cross/README.md", "monitoring/README.md"];
    let paths = docs.chain(others.map(str::to_owned));
    paths.map(|path| (path.clone(), Markdown::parse(&text(&path)))).collect()
}

/// The path from the repository's root that a relative link leads to.
fn resolve(document: &str, target: &str) -> String {
    let mut path = Path::new(document).parent().unwrap().to_owned();
    for component in Path::new(target).components() {
        match component {
            Component::ParentDir => assert!(path.pop(), "{document}: {target} leaves the repository"),
            component => path.push(component),
        }
    }
    path.display().to_string()
}

/// Relative links: the document, the path, and the anchor.
fn links(documents: &BTreeMap<String, Markdown>) -> Vec<(&str, String, Option<&str>)> {
    let mut found = Vec::new();
    for (document, markdown) in documents {
        for link in markdown.links.iter().filter(|link| !link.contains("://")) {
            let (target, anchor) =
                link.split_once('#').map_or((link.as_str(), None), |(target, anchor)| (target, Some(anchor)));
            let path = if target.is_empty() { document.clone() } else { resolve(document, target) };
            found.push((document.as_str(), path, anchor));
        }
    }
    found
}

/// The words that the Makefile assigns to a variable or lists as a rule's prerequisites.
fn words_of_makefile(name: &str) -> Vec<String> {
    let makefile = text("Makefile").replace("\\\n", " ");
    let mut rest =
        makefile.lines().filter_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'));
    let words = rest.next().unwrap_or_else(|| panic!("the Makefile has no {name}"));
    words.trim_start_matches('=').split_whitespace().map(str::to_owned).collect()
}

fn assert_none(faults: &[String]) {
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_link_leads_to_an_existing_file_and_heading() {
    let documents = documents();
    let mut faults = Vec::new();
    for (document, path, anchor) in links(&documents) {
        if !root().join(&path).exists() {
            faults.push(format!("{document}: {path} does not exist"));
        } else if let Some(anchor) = anchor {
            let anchors = &documents[&path].anchors;
            if !anchors.iter().any(|known| known == anchor) {
                faults.push(format!("{document}: {path} has no heading #{anchor}; it has {anchors:?}"));
            }
        }
    }
    assert_none(&faults);
}

/// In the book a link leads to a chapter or to a file that `make docs` copies.
#[test]
fn the_book_has_every_document_and_every_linked_file() {
    const SUMMARY: &str = "docs/SUMMARY.md";
    let documents = documents();
    let links = links(&documents);
    let chapters: BTreeSet<&str> = links
        .iter()
        .filter(|(document, ..)| *document == SUMMARY)
        .map(|(_, path, _)| path.as_str())
        .collect();
    let copied = words_of_makefile("LINKED");
    let mut faults = Vec::new();
    for document in documents.keys().filter(|document| *document != SUMMARY) {
        if !chapters.contains(document.as_str()) {
            faults.push(format!("{document} is not in {SUMMARY}"));
        }
    }
    for (document, path, _) in &links {
        if path.ends_with(".md") && !chapters.contains(path.as_str()) {
            faults.push(format!("{document}: {path} is not in {SUMMARY}"));
        }
        if !copied.iter().any(|copied| Path::new(path).starts_with(copied)) {
            faults.push(format!("{document}: {path} is not in LINKED of the Makefile"));
        }
    }
    assert_none(&faults);
}

#[test]
fn every_named_file_exists() {
    let mut faults = Vec::new();
    for (document, markdown) in documents() {
        let named =
            markdown.spans.iter().filter(|span| FOLDERS.iter().any(|folder| span.starts_with(folder)));
        for path in named.filter(|path| !path.contains([' ', '*'])) {
            if !root().join(path).exists() {
                faults.push(format!("{document}: {path} does not exist"));
            }
        }
    }
    assert_none(&faults);
}

/// The commands in shell blocks, line by line, and in code spans, without `sudo` and comments.
fn commands(markdown: &Markdown) -> impl Iterator<Item = &str> {
    let shell = markdown.blocks.iter().filter(|(language, _)| matches!(language.as_str(), "sh" | "console"));
    let lines = shell.flat_map(|(_, code)| code.lines());
    lines.chain(markdown.spans.iter().map(String::as_str)).map(|line| {
        let line = line.split(" #").next().unwrap_or_default().trim();
        let line = line.strip_prefix("$ ").unwrap_or(line);
        line.strip_prefix("sudo ").unwrap_or(line)
    })
}

/// Owners copy these lines, and an image of another version does not exist.
#[test]
fn every_named_image_is_of_this_version() {
    for path in ["compose.yaml", "docs/container.md"] {
        let text = text(path);
        let named = text.split(|c: char| !(c.is_ascii_alphanumeric() || ".-_:$={".contains(c)));
        let versions = named.filter_map(|word| {
            let tail = ["PORTSCAN_TAG:-", "PORTSCAN_TAG=", "portscan:", "portscan_"]
                .iter()
                .find_map(|head| word.split_once(head))?
                .1;
            tail.starts_with(|c: char| c.is_ascii_digit()).then_some(tail)
        });
        let versions: Vec<&str> = versions.collect();
        assert!(!versions.is_empty(), "{path} names no image");
        let others = versions.iter().filter(|version| !version.starts_with(env!("CARGO_PKG_VERSION")));
        assert_none(&others.map(|version| format!("{path}: the image {version}")).collect::<Vec<_>>());
    }
}

#[test]
fn make_targets_and_their_descriptions_match() {
    let targets: BTreeSet<String> = words_of_makefile(".PHONY").into_iter().collect();
    let mut faults = Vec::new();
    for (document, markdown) in documents() {
        let made = commands(&markdown).filter_map(|command| command.strip_prefix("make "));
        let words = made.flat_map(|made| made.split(" && ").next().unwrap_or_default().split_whitespace());
        for word in words.filter(|word| !word.contains('=') && !targets.contains(*word)) {
            faults.push(format!("{document}: the Makefile has no target {word}"));
        }
    }
    let testing = text("docs/testing.md");
    for target in &targets {
        if !testing.contains(&format!("`make {target}`")) {
            faults.push(format!("docs/testing.md does not describe `make {target}`"));
        }
    }
    assert_none(&faults);
}

#[test]
fn every_named_subcommand_exists() {
    let command = Arguments::command();
    let known: BTreeSet<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
    let mut faults = Vec::new();
    for (document, markdown) in documents() {
        let named = commands(&markdown).filter_map(|command| command.strip_prefix("portscan "));
        for word in named.filter_map(|rest| rest.split_whitespace().next()) {
            if !known.contains(word) && !word.starts_with("--") && word != "help" {
                faults.push(format!("{document}: portscan has no command {word}"));
            }
        }
    }
    assert_none(&faults);
}

#[test]
fn every_configuration_example_is_valid() {
    let mut examples = 0;
    for (document, markdown) in documents() {
        for (_, code) in markdown.blocks.iter().filter(|(language, _)| language == "toml") {
            let file = Some((Path::new(&document), code.as_str()));
            let loaded = Config::load(&Overrides::default(), &|_| None, file);
            loaded.unwrap_or_else(|error| panic!("{error}\n{code}"));
            examples += 1;
        }
    }
    assert!(examples > 0, "the documents have no example of a configuration");
}

#[test]
fn every_configuration_key_is_described() {
    let described = text("docs/configuration.md");
    let file = text("systemd/portscan.toml");
    let lines = file.lines().map(|line| line.trim_start_matches('#'));
    let keys: BTreeSet<&str> = lines
        .filter_map(|line| line.split_once(" = "))
        .map(|(key, _)| key)
        .filter(|key| !key.is_empty() && key.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
        .collect();
    assert!(keys.len() > 20, "{keys:?}");
    let is_described =
        |key: &str| described.contains(&format!("`{key}`")) || described.contains(&format!(".{key}`"));
    let missing: Vec<_> = keys.into_iter().filter(|key| !is_described(key)).collect();
    assert!(missing.is_empty(), "docs/configuration.md does not describe {missing:?}");
}

#[test]
fn every_metric_is_described() {
    let page = text("src/metrics/snapshots/portscan__metrics__tests__the_page.snap");
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let described = text("docs/monitoring.md");
    let missing: Vec<_> = types
        .filter_map(|line| line.split(' ').next())
        .filter(|name| !described.contains(&format!("`{name}`")))
        .collect();
    assert!(missing.is_empty(), "docs/monitoring.md does not describe {missing:?}");
}

/// Handlers declare `path = "/v1/..."`, from which the API's description is generated.
#[test]
fn every_path_of_the_api_is_described() {
    let described = text("docs/http-api.md");
    let names = [
        ("{id}", "ID"),
        ("{id1}", "ID1"),
        ("{id2}", "ID2"),
        ("{host}", "MAC"),
        ("{keep}", "KEEP"),
        ("{name}", "NAME"),
        ("{channel}", "CHANNEL"),
    ];
    let mut paths = 0;
    for entry in fs::read_dir(root().join("src/http/v1")).unwrap() {
        let source = fs::read_to_string(entry.unwrap().path()).unwrap();
        for path in source.split("path = \"").skip(1).filter_map(|rest| rest.split('"').next()) {
            let path = names.iter().fold(path.to_owned(), |path, (from, to)| path.replace(from, to));
            paths += 1;
            let ends = ['`', '?'].map(|end| described.contains(&format!("{path}{end}")));
            assert!(ends.contains(&true), "docs/http-api.md does not describe {path}");
        }
    }
    assert!(paths > 20, "only {paths} paths were found");
}

#[test]
fn readme_is_short_and_its_figures_are_those_of_the_benchmark() {
    let readme = text("README.md");
    let lines = readme.lines().count();
    assert!(lines <= README_LINES, "{lines} lines are more than {README_LINES}");
    let section = readme.split("## Performance").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap();
    let measured = text("docs/performance.md");
    let words: Vec<&str> = section.split_whitespace().collect();
    let times: Vec<&str> =
        words.windows(2).filter(|pair| matches!(pair[1], "s" | "s,")).map(|pair| pair[0]).collect();
    assert_eq!(times.len(), 2, "{section}");
    for time in times {
        assert!(measured.contains(&format!(" {time} s (")), "{time} s is not in docs/performance.md");
    }
}
