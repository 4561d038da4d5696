//! `make bench`, from runs to tables: medians, ratios, and the files that show them. It is here because a benchmark
//! (`benches/compare`) cannot have tests of its own.
//!
//! `benches/results.json` keeps every run; `benches/RESULTS.md` and the table of `docs/performance.md` are written from
//! it, so that one target can be measured anew and the others stay.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::{Deserialize, Serialize};

/// All that was measured, by target.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Results(pub BTreeMap<String, Section>);

/// The measurements of one target, from one session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Section {
    /// What the target is.
    pub about: String,
    /// The machine and the date.
    pub machine: String,
    /// Open ports that are there.
    pub there: u32,
    /// Seconds after which a scanner was stopped.
    pub patience: u64,
    /// In the order in which they were made.
    pub runs: Vec<Run>,
    /// The scanners that could not be measured, each with the reason.
    pub absent: BTreeMap<String, String>,
}

/// One scan by one scanner.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    pub scanner: String,
    /// Seconds from start to end.
    pub wall: f64,
    /// Seconds on a processor, for itself and in the kernel.
    pub cpu: f64,
    /// Most resident memory, in kB.
    pub peak: i64,
    /// SYNs sent to all hosts, the kernel's retransmits included.
    pub syns: u64,
    /// Open ports that it found, and others that it reported as open; `None`: it was stopped before it reported any.
    pub found: Option<(u32, u32)>,
    /// How often a host failed.
    pub reboots: usize,
}

/// The summary of one scanner's runs on one target.
struct Line<'a> {
    scanner: &'a str,
    wall: f64,
    cpu: f64,
    peak: f64,
    syns: f64,
    /// Of the worst run.
    found: Option<(u32, u32)>,
    /// Of the worst run.
    reboots: usize,
    /// So many runs were stopped.
    stopped: usize,
}

/// The scanner that the others are compared with.
const OURS: &str = "portscan-T4";

impl Section {
    /// One line per scanner, in the order of their first runs.
    fn lines(&self) -> Vec<Line<'_>> {
        let mut names: Vec<&str> = Vec::new();
        for run in &self.runs {
            if !names.contains(&run.scanner.as_str()) {
                names.push(&run.scanner);
            }
        }
        names.into_iter().map(|scanner| self.line(scanner)).collect()
    }

    fn line<'a>(&self, scanner: &'a str) -> Line<'a> {
        let runs: Vec<&Run> = self.runs.iter().filter(|run| run.scanner == scanner).collect();
        let middle = |value: fn(&Run) -> f64| median(runs.iter().map(|run| value(run)).collect());
        let said: Vec<(u32, u32)> = runs.iter().filter_map(|run| run.found).collect();
        let least = said.iter().map(|(right, _)| *right).min();
        Line {
            scanner,
            wall: middle(|run| run.wall),
            cpu: middle(|run| run.cpu),
            peak: middle(|run| kilobytes(run.peak)),
            syns: middle(|run| count(run.syns)),
            found: least.map(|right| (right, said.iter().map(|(_, wrong)| *wrong).max().unwrap_or(0))),
            reboots: runs.iter().map(|run| run.reboots).max().unwrap_or(0),
            stopped: runs.len() - said.len(),
        }
    }

    /// Writes the whole table with its notes.
    pub fn table(&self) -> String {
        let lines = self.lines();
        let ours = lines.iter().find(|line| line.scanner == OURS);
        let mut table = String::from(
            "| scanner | wall s | CPU s | peak MB | SYNs | open found | false | reboots | wall : T4 | CPU : T4 |\n\
             |---|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
        );
        for line in &lines {
            let (found, wrong) = match line.found {
                Some((right, wrong)) => (format!("{right}/{}", self.there), wrong.to_string()),
                None => ("?".to_owned(), "?".to_owned()),
            };
            let more = if line.stopped > 0 { "> " } else { "" };
            let ratio = |of: fn(&Line<'_>) -> f64| match ours {
                Some(ours) if ours.stopped == 0 => format!("{more}{:.2}", of(line) / of(ours)),
                _ => String::new(),
            };
            let _ = writeln!(
                table,
                "| {} | {} | {:.2} | {:.0} | {:.0} | {found} | {wrong} | {} | {} | {} |",
                line.scanner,
                line.time(self.patience),
                line.cpu,
                line.peak / 1024.0,
                line.syns,
                line.reboots,
                ratio(|line| line.wall),
                ratio(|line| line.cpu),
            );
        }
        for (scanner, why) in &self.absent {
            let _ = writeln!(table, "| {scanner} | {why} | | | | | | | | |");
        }
        table
    }
}

impl Line<'_> {
    fn time(&self, patience: u64) -> String {
        if self.stopped > 0 { format!("> {patience}") } else { format!("{:.2}", self.wall) }
    }

    /// Formats the time, and what went wrong.
    fn cell(&self, section: &Section) -> String {
        let mut cell = format!("{} s", self.time(section.patience));
        match self.found {
            Some((right, wrong)) => {
                if right < section.there {
                    let _ = write!(cell, ", {right} of {} found", section.there);
                }
                if wrong > 0 {
                    let _ = write!(cell, ", {wrong} false");
                }
            }
            None => cell.push_str(", nothing said"),
        }
        if self.reboots > 0 {
            let _ = write!(cell, ", {} reboots", self.reboots);
        }
        cell
    }
}

impl Results {
    /// `benches/RESULTS.md`.
    pub fn document(&self) -> String {
        let mut text = String::from(
            "# Side by side\n\n\
             Written by `make bench`. All 65,535 ports of the host or hosts, from one network namespace to \
             another: medians of the runs; \"open found\", \"false\" and \"reboots\" are of the worst run. \
             \"wall : T4\" is a scanner's time divided by that of `portscan scan -T4`. `floor` connects to \
             every port once from one thread and thinks of nothing: what of CPU time is above it is care.\n",
        );
        for (name, section) in &self.0 {
            let runs = section.runs.iter().filter(|run| run.scanner == section.runs[0].scanner).count();
            let _ = write!(
                text,
                "\n## {name}\n\n{}. {}; {runs} runs each, stopped after {} s.\n\n{}",
                section.about,
                section.machine,
                section.patience,
                section.table()
            );
        }
        text
    }

    /// The table of `docs/performance.md`: a column per target, times with what went wrong, then CPU seconds.
    pub fn summary(&self) -> String {
        let mut names: Vec<&str> = Vec::new();
        let lines: Vec<(&Section, Vec<Line<'_>>)> = self.0.values().map(|s| (s, s.lines())).collect();
        for line in lines.iter().flat_map(|(_, lines)| lines) {
            if !names.contains(&line.scanner) {
                names.push(line.scanner);
            }
        }
        let heads: Vec<&str> = self.0.keys().map(String::as_str).collect();
        let mut text = format!("| | {} |\n|---|{}\n", heads.join(" | "), "---|".repeat(heads.len()));
        for name in names {
            let cells: Vec<String> = lines
                .iter()
                .map(|(section, lines)| {
                    let line = lines.iter().find(|line| line.scanner == name);
                    line.map_or(String::new(), |line| format!("{} ({:.1} CPU)", line.cell(section), line.cpu))
                })
                .collect();
            let _ = writeln!(text, "| {name} | {} |", cells.join(" | "));
        }
        text.push('\n');
        for (name, section) in &self.0 {
            let absent = section.absent.iter().map(|(scanner, why)| format!(" {scanner}: {why}."));
            let _ = writeln!(
                text,
                "- **{name}**: {}. {}.{}",
                section.about,
                section.machine,
                absent.collect::<String>()
            );
        }
        text
    }
}

/// Replaces the text between the markers; `None`: there are no such markers.
pub fn splice(text: &str, body: &str) -> Option<String> {
    const BEGIN: &str = "<!-- make bench writes from here -->\n";
    const END: &str = "<!-- to here -->\n";
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}{body}{END}{after}"))
}

/// The middle value, or the mean of the two in the middle.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => values[odd / 2],
        even => f64::midpoint(values[even / 2 - 1], values[even / 2]),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a float has 53 bits: far more than any machine's memory")]
fn kilobytes(peak: i64) -> f64 {
    peak as f64
}

#[expect(clippy::cast_precision_loss, reason = "a float has 53 bits: far more SYNs than are ever sent")]
fn count(syns: u64) -> f64 {
    syns as f64
}

#[cfg(test)]
mod tests;
