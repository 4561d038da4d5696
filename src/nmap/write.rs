//! A report in nmap's three formats, for the tools and habits that nmap's users have.
//!
//! The formats say "Nmap" where a tool looks for that word (the DTD allows no other `scanner`, scripts wait for
//! `# Nmap done`), and portscan where somebody reads: in the first line and as the version.

mod grepable;
mod listing;
mod normal;
mod xml;

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, Write},
    ops::Range,
    time::Duration,
};

use jiff::{Timestamp, tz::TimeZone};

use self::listing::Listing;
use crate::model::{Address, HostReport, HostStatus, Mac, PortSet, PortState, Protocol};

/// How a report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// `-oX`, for programs.
    Xml,
    /// `-oN`, for people.
    Normal,
    /// `-oG`, a line or two for each host.
    Grepable,
}

/// A scan as a whole.
#[derive(Clone, Debug)]
pub struct Run<'a> {
    /// The command line, or what stands for one.
    pub args: &'a str,
    /// When it began.
    pub started: Timestamp,
    /// How long it took.
    pub elapsed: Duration,
    /// What was looked at.
    pub asked: &'a BTreeMap<Protocol, PortSet>,
    /// How many hosts were to be looked at.
    pub targets: usize,
    /// Why not all is known; `None`: all is.
    pub unfinished: Option<&'a str>,
    /// Tells of ports by name and number, as nmap does by its own list.
    pub service: fn(u16) -> Option<&'static str>,
    /// How times are shown to people.
    pub zone: TimeZone,
    /// How much is told, as `-v`: from 1 on hosts that are down, too.
    pub verbose: u8,
    /// Whether only open ports are listed.
    pub open_only: bool,
    /// Whether people are told what verdicts rest on.
    pub reasons: bool,
}

/// A host of it.
#[derive(Clone, Copy, Debug)]
pub struct Scanned<'a> {
    /// What was found, a report for each protocol; of the first are the address and the status.
    pub reports: &'a [HostReport],
    /// Who has the address, where that is known.
    pub mac: Option<Mac>,
    /// What it is called.
    pub name: Option<&'a str>,
    /// When the first probe was made.
    pub started: Timestamp,
    /// When the last answer had come.
    pub finished: Timestamp,
}

/// Writes a whole report of `up` hosts that were there; not all of them need be told of.
///
/// # Errors
/// `out` does not take it.
pub fn write<'a>(
    out: &mut dyn Write,
    format: Format,
    run: &Run<'_>,
    up: usize,
    hosts: impl Iterator<Item = Scanned<'a>>,
) -> io::Result<()> {
    begin(out, format, run)?;
    for host in hosts {
        write_host(out, format, run, &host)?;
    }
    end(out, format, run, up)
}

/// Writes what comes before the hosts.
///
/// # Errors
/// `out` does not take it.
pub fn begin(out: &mut dyn Write, format: Format, run: &Run<'_>) -> io::Result<()> {
    match format {
        Format::Xml => xml::begin(out, run),
        Format::Normal => normal::begin(out, run),
        Format::Grepable => grepable::begin(out, run),
    }
}

/// Writes a host, unless it is not to be told of.
///
/// # Errors
/// `out` does not take it.
pub fn write_host(out: &mut dyn Write, format: Format, run: &Run<'_>, host: &Scanned<'_>) -> io::Result<()> {
    match format {
        _ if run.verbose == 0 && host.status() == HostStatus::Down => Ok(()),
        Format::Xml => xml::host(out, run, host),
        Format::Normal => normal::host(out, run, host),
        Format::Grepable => grepable::host(out, run, host),
    }
}

/// Writes a part of a host as XML: these of the ports that are listed, what comes before them with the first, and what
/// follows with the last. Whether there are more.
///
/// # Errors
/// `out` does not take it.
pub fn write_xml_part(
    out: &mut dyn Write,
    run: &Run<'_>,
    host: &Scanned<'_>,
    ports: Range<usize>,
) -> io::Result<bool> {
    xml::part(out, run, host, ports)
}

/// Writes what follows the hosts, of which so many were up.
///
/// # Errors
/// `out` does not take it.
pub fn end(out: &mut dyn Write, format: Format, run: &Run<'_>, up: usize) -> io::Result<()> {
    match format {
        Format::Xml => xml::end(out, run, up),
        Format::Normal | Format::Grepable => writeln!(out, "# {}", summary(run, up)),
    }
}

/// The last line, by which scripts know that all is there.
fn summary(run: &Run<'_>, up: usize) -> String {
    let (ended, total) = (clock(run, run.started + run.elapsed), run.targets);
    let counted = |count: usize, what: &str, more: &str| {
        format!("{count} {what}{}", if count == 1 { "" } else { more })
    };
    let word = match run.unfinished {
        None => format!("Nmap done at {ended}"),
        Some(why) => format!("Nmap interrupted at {ended} ({why})"),
    };
    let (addresses, hosts) = (counted(total, "IP address", "es"), counted(up, "host", "s"));
    format!("{word} -- {addresses} ({hosts} up) scanned in {:.2} seconds", run.elapsed.as_secs_f64())
}

/// The first line of the formats for people.
fn headline(run: &Run<'_>) -> String {
    let (began, args) = (clock(run, run.started), run.args);
    format!("Nmap output of portscan {} scan initiated {began} as: {args}", env!("CARGO_PKG_VERSION"))
}

/// A time as C's `ctime` has it.
fn clock(run: &Run<'_>, time: Timestamp) -> impl fmt::Display {
    time.to_zoned(run.zone.clone()).strftime("%a %b %e %H:%M:%S %Y").to_string()
}

impl<'a> Scanned<'a> {
    /// How it is: there is always a report to tell.
    fn status(&self) -> HostStatus {
        self.reports.first().map_or(HostStatus::Down, |report| report.status)
    }

    fn address(&self) -> Option<&'a Address> {
        self.reports.first().map(|report| &report.address)
    }

    /// `name (address)`, or the address alone.
    fn title(&self) -> String {
        let address = self.address().map(ToString::to_string).unwrap_or_default();
        match self.name {
            Some(name) => format!("{name} ({address})"),
            None => address,
        }
    }

    fn listing(&self, run: &Run<'_>) -> Listing {
        Listing::of(self.reports, run)
    }

    /// By what it was known to be up, in nmap's words.
    fn reason(&self) -> &'static str {
        let any =
            |state| self.reports.iter().any(|report| report.verdicts().any(|found| found.state == state));
        match self.mac {
            _ if any(PortState::Open) => "syn-ack",
            _ if any(PortState::Closed) => "conn-refused",
            Some(_) => "arp-response",
            None => "unknown-response",
        }
    }

    /// The shortest time that an answer took.
    fn latency(&self) -> Option<Duration> {
        self.reports.iter().flat_map(|report| &report.findings).filter_map(|finding| finding.rtt).min()
    }

    /// Why it was left unfinished.
    fn unfinished(&self) -> Option<&'a str> {
        let report = self.reports.first().filter(|report| report.status == HostStatus::Partial)?;
        Some(&report.detail)
    }
}

#[cfg(test)]
mod tests;
