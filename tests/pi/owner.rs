//! The owner of the Pi, who types what the documents say, line by line as it is written there: a command that is
//! documented and does not work fails a test.

use std::fs;

use testkit::clock::Stopwatch;

use super::LONG;
use crate::{docs::markdown::Markdown, harness::pi::Pi};

/// Where a command is to be typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Computer,
    Pi,
}

/// What begins the comment of a line that is typed at another machine than the line before.
const PLACES: [(&str, Place); 2] = [("on your computer", Place::Computer), ("on the Pi", Place::Pi)];

/// A chapter of a document.
#[derive(Debug)]
pub(super) struct Chapter(Markdown);

impl Chapter {
    /// Reads the chapter below this heading, up to the next of the same level.
    pub(super) fn of(document: &str, heading: &str) -> Self {
        let path = format!("{}/{document}", env!("CARGO_MANIFEST_DIR"));
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let (_, rest) = text
            .split_once(&format!("\n## {heading}\n"))
            .unwrap_or_else(|| panic!("{document} has no chapter {heading}"));
        Self(Markdown::parse(rest.split("\n## ").next().unwrap_or_default()))
    }

    /// Returns the commands of its shell blocks without their comments, with the place at which each is typed. A line
    /// that ends with a backslash is continued.
    fn commands(&self) -> Vec<(Place, String)> {
        let shell = self.0.blocks.iter().filter(|(language, _)| language == "sh");
        let mut place = Place::Pi;
        let mut commands = Vec::new();
        for line in shell
            .flat_map(|(_, code)| code.replace("\\\n", "").lines().map(str::to_owned).collect::<Vec<_>>())
        {
            let (command, comment) = line.split_once(" #").unwrap_or((&line, ""));
            let named = PLACES.iter().find(|(name, _)| comment.trim_start().starts_with(name));
            place = named.map_or(place, |(_, named)| *named);
            commands.push((place, command.trim().to_owned()));
        }
        commands
    }

    /// Returns those that are typed at this place.
    pub(super) fn at(&self, place: Place) -> Vec<String> {
        let commands = self.commands().into_iter();
        commands.filter(|(there, _)| *there == place).map(|(_, command)| command).collect()
    }

    /// Returns the commands within its sentences that begin like this.
    pub(super) fn spans(&self, start: &str) -> Vec<&str> {
        self.0.spans.iter().map(String::as_str).filter(|span| span.starts_with(start)).collect()
    }
}

/// The owner at the Pi's keyboard, logged in as `pi`, who may use sudo as on Raspberry Pi OS.
pub(super) struct Owner<'a> {
    pub(super) pi: Pi<'a>,
}

impl Owner<'_> {
    /// Types a command, and each time it asks something, Enter; returns what the terminal shows. The command must
    /// succeed. Prints how long it took.
    pub(super) fn types(&mut self, command: &str) -> String {
        // The line comes from a file, so that it needs no quoting. script(1) is the terminal: on its standard input
        // are more line breaks than any command asks questions, then the end of the input.
        let terminal = "script --quiet --return --echo never --command \"bash /tmp/line\" /dev/null";
        let script = format!(
            "cat >/tmp/line <<'END'\n{command}\nEND\n\
             printf '\\n\\n\\n\\n' | runuser --login pi --command '{terminal}'"
        );
        let said = self.takes(command, |owner| owner.pi.ask(&script, LONG));
        let text = said.text.replace('\r', "");
        assert_eq!(said.code, 0, "{command}: {text}");
        text
    }

    /// Prints how long something took.
    pub(super) fn takes<T>(&mut self, what: &str, act: impl FnOnce(&mut Self) -> T) -> T {
        let watch = Stopwatch::start();
        let done = act(self);
        eprintln!("| {:.1} s | {what} |", watch.elapsed().as_secs_f64());
        done
    }
}

#[test]
fn commands_are_typed_where_the_comment_says() {
    let text = "See `sudo a` and `b`.\n```sh\nmake x  # on your computer\nscp x pi:\n\
        sudo x  # on the Pi, and from here on\ny \\\n  --z\n```\n";
    let chapter = Chapter(Markdown::parse(text));
    assert_eq!(chapter.at(Place::Computer), ["make x", "scp x pi:"]);
    assert_eq!(chapter.at(Place::Pi), ["sudo x", "y --z"]);
    assert_eq!(chapter.spans("sudo "), ["sudo a"]);
}
