//! Writes a report in nmap's three formats, for the tools and habits of nmap's users.
//!
//! The formats say "Nmap" where a tool looks for that word (the DTD allows no other `scanner`, scripts wait for
//! `# Nmap done`), and portscan where a person reads: in the first line and as the version.

mod grepable;
mod listing;
mod normal;
mod service;
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
use crate::model::{Address, HostReport, HostStatus, Mac, PortIdentification, PortSet, PortState, Protocol};

/// The format of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// `-oX`, for programs.
    Xml,
    /// `-oN`, for people.
    Normal,
    /// `-oG`, a line or two for each host.
    Grepable,
}

/// The data of a report about the scan as a whole.
#[derive(Clone, Debug)]
pub struct ReportInfo<'a> {
    /// The command line, or its equivalent.
    pub args: &'a str,
    /// When it began.
    pub started: Timestamp,
    /// How long it took.
    pub elapsed: Duration,
    /// The requested ports.
    pub requested: &'a BTreeMap<Protocol, PortSet>,
    /// The number of hosts to be scanned.
    pub targets: usize,
    /// Why the report is incomplete; `None` if it is complete.
    pub unfinished: Option<&'a str>,
    /// Returns the name of the usual service on a port, as nmap takes it from its own list.
    pub service: fn(Protocol, u16) -> Option<&'static str>,
    /// The time zone for times that people read.
    pub zone: TimeZone,
    /// The verbosity, as `-v`: from 1 on hosts that are down are listed, too.
    pub verbose: u8,
    /// Whether only open ports are listed.
    pub open_only: bool,
    /// Whether the formats for people show the reasons of verdicts.
    pub reasons: bool,
    /// Whether the formats for people show what ports were identified as.
    pub versions: bool,
}

/// A host of the scan.
#[derive(Clone, Copy, Debug)]
pub struct ScannedHost<'a> {
    /// One report for each protocol; the address and the status are those of the first.
    pub reports: &'a [HostReport],
    /// The MAC of the address, if known.
    pub mac: Option<Mac>,
    /// Its name.
    pub name: Option<&'a str>,
    /// What its TCP ports were identified as.
    pub identified: &'a BTreeMap<u16, PortIdentification>,
    /// When the first probe was sent.
    pub started: Timestamp,
    /// When the last answer came.
    pub finished: Timestamp,
}

/// Writes a complete report of a scan in which `up` hosts were up; not all of them need be listed.
///
/// # Errors
/// Fails if `out` cannot be written.
pub fn write<'a>(
    out: &mut dyn Write,
    format: Format,
    run: &ReportInfo<'_>,
    up: usize,
    hosts: impl Iterator<Item = ScannedHost<'a>>,
) -> io::Result<()> {
    begin(out, format, run)?;
    for host in hosts {
        write_host(out, format, run, &host)?;
    }
    end(out, format, run, up)
}

/// Writes the part before the hosts.
///
/// # Errors
/// Fails if `out` cannot be written.
pub fn begin(out: &mut dyn Write, format: Format, run: &ReportInfo<'_>) -> io::Result<()> {
    match format {
        Format::Xml => xml::begin(out, run),
        Format::Normal => normal::begin(out, run),
        Format::Grepable => grepable::begin(out, run),
    }
}

/// Writes a host, unless it is not to be listed.
///
/// # Errors
/// Fails if `out` cannot be written.
pub fn write_host(
    out: &mut dyn Write,
    format: Format,
    run: &ReportInfo<'_>,
    host: &ScannedHost<'_>,
) -> io::Result<()> {
    match format {
        _ if run.verbose == 0 && host.status() == HostStatus::Down => Ok(()),
        Format::Xml => xml::host(out, run, host),
        Format::Normal => normal::host(out, run, host),
        Format::Grepable => grepable::host(out, run, host),
    }
}

/// Writes a part of a host as XML: these of the listed ports, the text before them with the first part, and the text
/// after them with the last. Returns whether more parts follow.
///
/// # Errors
/// Fails if `out` cannot be written.
pub fn write_xml_part(
    out: &mut dyn Write,
    run: &ReportInfo<'_>,
    host: &ScannedHost<'_>,
    ports: Range<usize>,
) -> io::Result<bool> {
    xml::part(out, run, host, ports)
}

/// Writes the part after the hosts, of which `up` were up.
///
/// # Errors
/// Fails if `out` cannot be written.
pub fn end(out: &mut dyn Write, format: Format, run: &ReportInfo<'_>, up: usize) -> io::Result<()> {
    match format {
        Format::Xml => xml::end(out, run, up),
        Format::Normal | Format::Grepable => writeln!(out, "# {}", summary(run, up)),
    }
}

/// The last line, by which scripts know that the report is complete.
fn summary(run: &ReportInfo<'_>, up: usize) -> String {
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
fn headline(run: &ReportInfo<'_>) -> String {
    let (began, args) = (clock(run, run.started), run.args);
    format!("Nmap output of portscan {} scan initiated {began} as: {args}", env!("CARGO_PKG_VERSION"))
}

/// A time as C's `ctime` has it.
fn clock(run: &ReportInfo<'_>, time: Timestamp) -> impl fmt::Display {
    time.to_zoned(run.zone.clone()).strftime("%a %b %e %H:%M:%S %Y").to_string()
}

impl<'a> ScannedHost<'a> {
    /// The status of the first report; there is always one.
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

    fn listing(&self, run: &ReportInfo<'_>) -> Listing {
        Listing::of(self.reports, run)
    }

    /// The reason why the host counts as up, in nmap's words.
    fn reason(&self) -> &'static str {
        let of = |state: PortState| {
            let mut found = self.reports.iter();
            let report = found.find(|report| report.verdicts().any(|found| found.state == state))?;
            Some(state.usual_reason(report.protocol).as_str())
        };
        let unanswered = if self.mac.is_some() { "arp-response" } else { "unknown-response" };
        of(PortState::Open).or_else(|| of(PortState::Closed)).unwrap_or(unanswered)
    }

    /// The shortest time to an answer.
    fn latency(&self) -> Option<Duration> {
        self.reports.iter().flat_map(|report| &report.findings).filter_map(|finding| finding.rtt).min()
    }

    /// Why the host was left unfinished.
    fn unfinished(&self) -> Option<&'a str> {
        let report = self.reports.first().filter(|report| report.status == HostStatus::Partial)?;
        Some(&report.detail)
    }
}

#[cfg(test)]
mod tests;
