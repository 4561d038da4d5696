//! `-oN`: nmap's normal output, as people grep it (`Nmap scan report for`, `22/tcp open`).

use std::{
    io::{self, Write},
    time::Duration,
};

use super::{ReportInfo, ScannedHost, headline, listing::Listing, service};
use crate::model::{HostReport, HostStatus};

pub(super) fn begin(out: &mut dyn Write, run: &ReportInfo<'_>) -> io::Result<()> {
    writeln!(out, "# {}", headline(run))
}

pub(super) fn host(out: &mut dyn Write, run: &ReportInfo<'_>, host: &ScannedHost<'_>) -> io::Result<()> {
    if host.status() == HostStatus::Down {
        return writeln!(out, "Nmap scan report for {} [host down]", host.title());
    }
    writeln!(out, "Nmap scan report for {}", host.title())?;
    let received = if run.reasons { format!(", received {}", host.reason()) } else { String::new() };
    match host.latency() {
        Some(time) => writeln!(out, "Host is up{received} ({}s latency).", seconds(time))?,
        None => writeln!(out, "Host is up{received}.")?,
    }
    if let Some(why) = host.unfinished() {
        let known: u32 = host.reports.iter().map(|report| report.coverage.len()).sum();
        writeln!(out, "Unfinished, {known} ports have a verdict: {why}")?;
    }
    ports(out, run, host)?;
    if let Some(mac) = host.mac {
        writeln!(out, "MAC Address: {mac} (Unknown)")?;
    }
    writeln!(out)
}

fn ports(out: &mut dyn Write, run: &ReportInfo<'_>, host: &ScannedHost<'_>) -> io::Result<()> {
    let listing = host.listing(run);
    if listing.listed.is_empty() && !listing.extra.is_empty() {
        let all: u32 = host.reports.iter().map(|report: &HostReport| report.coverage.len()).sum();
        writeln!(out, "All {all} scanned ports on {} are in ignored states.", host.title())?;
    }
    let not_shown = not_shown(&listing);
    if !not_shown.is_empty() {
        writeln!(out, "Not shown: {not_shown}")?;
    }
    let mut rows = vec![["PORT", "STATE", "SERVICE", "REASON", "VERSION"].map(str::to_owned)];
    rows.extend(listing.listed.iter().map(|&(protocol, found)| {
        let service = service::name(run, host, protocol, found.port);
        [
            format!("{}/{protocol}", found.port),
            found.state.to_string(),
            service.unwrap_or_else(|| "unknown".to_owned()),
            found.reason.to_string(),
            service::version(host, protocol, found.port),
        ]
    }));
    if rows.len() == 1 {
        return Ok(());
    }
    let shown = [true, true, true, run.reasons, run.versions];
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths = [0, 1, 2, 3, 4].map(width);
    for row in &rows {
        let cells = row.iter().zip(widths).zip(shown).filter(|(_, shown)| *shown);
        let cells = cells.map(|((cell, width), _)| format!("{cell:width$}"));
        writeln!(out, "{}", cells.collect::<Vec<_>>().join(" ").trim_end())?;
    }
    Ok(())
}

/// `8997 closed tcp ports (conn-refused), 1 filtered tcp port (no-response)`
fn not_shown(listing: &Listing) -> String {
    let reasons = listing.extra.iter().flat_map(|extra| {
        extra.reasons.iter().map(|(reason, protocol, ports)| {
            let (count, plural) = (ports.len(), if ports.len() == 1 { "" } else { "s" });
            format!("{count} {} {protocol} port{plural} ({reason})", extra.state)
        })
    });
    reasons.collect::<Vec<_>>().join(", ")
}

/// Two significant digits: `0.00013`, `0.039`, `1.50`.
pub(super) fn seconds(time: Duration) -> String {
    let decimals = (2..6).find(|&decimals| time.as_secs_f64() * 10_f64.powi(decimals) >= 10.0).unwrap_or(6);
    format!("{:.*}", usize::try_from(decimals).unwrap_or(6), time.as_secs_f64())
}
