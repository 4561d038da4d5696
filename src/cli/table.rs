//! Prints a scan's results for people: one block for each host, fitted to the terminal.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    fmt::Write as _,
    io::{self, Write},
    time::Duration,
};

use comfy_table::{ColumnConstraint, ContentArrangement, Table, presets};
use indicatif::HumanCount;

use super::found::{HostResult, ScanResult, sanitize_for_terminal};
use crate::{
    model::{HostStatus, PortFinding, PortIdentification, PortState, Reason, ScanStatus},
    services,
};

/// More ports than this in one state (other than open) are counted, not listed; nmap's users know the number.
const MOST_LISTED: usize = 25;

/// More open ports than this on one host are summed up: something on the way accepts everything, and 65,535
/// lines are of no use.
const MOST_OPEN: usize = 1000;

/// The layout of the tables.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Style {
    /// The terminal's columns; `None`: a file or a pipe, where nothing is folded.
    pub(super) width: Option<u16>,
    /// 1: reasons and down hosts too; 2: every port.
    pub(super) verbose: u8,
    /// Only open ports and their hosts.
    pub(super) open_only: bool,
    /// Whether to show the reasons of verdicts.
    pub(super) reason: bool,
    /// Whether to show what the ports were identified as.
    pub(super) versions: bool,
}

/// Writes one host's block and an empty line; nothing for a host that the output omits.
pub(super) fn host(out: &mut dyn Write, found: &HostResult, style: &Style) -> io::Result<()> {
    let is_shown = found.is_listed(style.open_only) && (style.verbose > 0 || !found.is_down());
    if !is_shown {
        return Ok(());
    }
    writeln!(out, "{}", header(found))?;
    if found.is_down() {
        return writeln!(out);
    }
    if style.sums_up(found) {
        let open = counted(found.open(), "port");
        writeln!(out, "{open} open: something on the way accepts everything (-vv lists them)")?;
    }
    let (listed, unlisted) = split_listed(found, style);
    if !listed.is_empty() {
        ports(out, found, &listed, style)?;
    }
    if !unlisted.is_empty() {
        writeln!(out, "Not shown: {}", unlisted.join(", "))?;
    }
    writeln!(out)
}

impl Style {
    /// Whether the host's open ports are shown as one number.
    fn sums_up(&self, found: &HostResult) -> bool {
        self.verbose < 2 && found.open() > MOST_OPEN
    }
}

/// `10.0.0.5 (printer.lan)  B8:27:EB:AC:14:3E  up 1.2 ms`
fn header(found: &HostResult) -> String {
    let report = &found.report;
    let mut header = report.address.to_string();
    if let Some(name) = &found.name {
        _ = write!(header, " ({})", sanitize_for_terminal(name));
    }
    if let Some(mac) = found.mac {
        _ = write!(header, "  {mac}");
    }
    _ = write!(header, "  {}", report.status.as_str());
    if let Some(rtt) = found.rtt() {
        _ = write!(header, " {}", milliseconds(rtt));
    }
    if report.status != HostStatus::Up && !report.detail.is_empty() {
        _ = write!(header, ": {}", sanitize_for_terminal(&report.detail));
    }
    if report.status == HostStatus::Partial {
        _ = write!(header, " ({} ports have a verdict)", report.coverage.len());
    }
    header
}

/// Returns the ports to list, and a summary of each group that is only counted.
fn split_listed(found: &HostResult, style: &Style) -> (Vec<PortFinding>, Vec<String>) {
    let mut groups: BTreeMap<PortState, Vec<PortFinding>> = BTreeMap::new();
    for finding in found.report.verdicts() {
        groups.entry(finding.state).or_default().push(finding);
    }
    if style.sums_up(found) {
        groups.remove(&PortState::Open);
    }
    let mut listed = Vec::new();
    let mut counts: BTreeMap<(PortState, Reason), u32> = BTreeMap::new();
    for (state, group) in groups {
        let shown = match state {
            PortState::Open => true,
            _ => !style.open_only && (style.verbose > 1 || group.len() <= MOST_LISTED),
        };
        if shown {
            listed.extend(group);
        } else {
            group.iter().for_each(|finding| *counts.entry((state, finding.reason)).or_default() += 1);
        }
    }
    listed.sort_unstable_by_key(|finding| finding.port);
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|&(_, count)| Reverse(count));
    let describe = |((state, reason), count): ((PortState, Reason), u32)| {
        format!("{} {state} ({reason})", HumanCount(count.into()))
    };
    (listed, counts.into_iter().map(describe).collect())
}

fn ports(out: &mut dyn Write, found: &HostResult, listed: &[PortFinding], style: &Style) -> io::Result<()> {
    let reasons = style.reason || style.verbose > 0;
    // On a narrow terminal the times are dropped first: they matter least.
    let times = style.width.is_none_or(|width| width >= 60);
    let wanted = [true, true, true, reasons, style.versions, times];
    let pick =
        |cells: [String; 6]| cells.into_iter().zip(wanted).filter(|(_, yes)| *yes).map(|(cell, _)| cell);
    let rows = listed.iter().map(|finding| {
        pick([
            format!("{}/{}", finding.port, found.report.protocol),
            finding.state.to_string(),
            service(found, finding.port),
            finding.reason.to_string(),
            found.identified_as(finding.port).map(version).unwrap_or_default(),
            finding.rtt.map(milliseconds).unwrap_or_default(),
        ])
        .collect()
    });
    let header: Vec<String> =
        pick(["PORT", "STATE", "SERVICE", "REASON", "VERSION", "RTT"].map(str::to_owned)).collect();
    write(out, &header, rows, 2, style.width)
}

/// What listens on a port: as it was identified, else what is usual there. `ssl/` before what is spoken inside TLS, as in
/// nmap.
fn service(found: &HostResult, port: u16) -> String {
    let usual = services::usual(found.report.protocol, port).unwrap_or_default();
    let identified = found.identified_as(port).and_then(|found| Some((found.tls, found.service.as_deref()?)));
    match identified {
        Some((true, service)) => format!("ssl/{service}"),
        Some((false, service)) => service.to_owned(),
        None => usual.to_owned(),
    }
}

/// Formats product and version, or what else identifies the service, for a cell of a table: `OpenSSH 9.2p1`.
fn version(found: &PortIdentification) -> String {
    let PortIdentification { product, version, title, certificate, .. } = found;
    let mut text = product.clone().unwrap_or_default();
    if let Some(version) = version {
        _ = write!(text, "{}{version}", if text.is_empty() { "" } else { " " });
    }
    if text.is_empty() {
        let subject = certificate.as_ref().map(|certificate| certificate.subject.clone());
        text = title.clone().or(subject).unwrap_or_default();
    }
    sanitize_for_terminal(&text)
}

/// Writes a table without lines, and without a header if that is empty. Only the columns from `folded` on are folded to fit the width: those before
/// are what people search for and copy.
pub(super) fn write<T: ToString>(
    out: &mut dyn Write,
    header: &[T],
    rows: impl Iterator<Item = Vec<String>>,
    folded: usize,
    width: Option<u16>,
) -> io::Result<()> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if let Some(width) = width {
        // Below 20 columns the words themselves no longer fit; folding them letter by letter helps no reader.
        table.set_width(width.max(20)).set_content_arrangement(ContentArrangement::Dynamic);
    }
    if !header.is_empty() {
        table.set_header(header.iter().map(ToString::to_string));
    }
    table.add_rows(rows);
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if index < folded {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    for line in table.lines() {
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// Writes the last line: `3 hosts up, 253 down; 12 ports open; 4.1 s, 276 probes/s`.
pub(super) fn summary(out: &mut dyn Write, scan: &ScanResult, found: &[HostResult]) -> io::Result<()> {
    let with = |status| found.iter().filter(|host| host.report.status == status).count();
    let open = found.iter().map(HostResult::open).sum();
    let probes = found.iter().fold(0_u64, |sum, host| sum.saturating_add(host.report.probes));
    let mut line = match scan.status {
        ScanStatus::Failed => "failed: ".to_owned(),
        _ if scan.interrupted => "interrupted: ".to_owned(),
        _ => String::new(),
    };
    _ = write!(line, "{} up", counted(with(HostStatus::Up), "host"));
    let missing = scan.targets.saturating_sub(found.len());
    for (count, word) in
        [(with(HostStatus::Partial), "partial"), (with(HostStatus::Down), "down"), (missing, "not scanned")]
    {
        if count > 0 {
            _ = write!(line, ", {count} {word}");
        }
    }
    let seconds = scan.elapsed.as_secs_f64();
    let rate = if seconds > 0.0 { probes as f64 / seconds } else { 0.0 };
    let ports = counted(open, "port");
    writeln!(out, "{line}; {ports} open; {seconds:.1} s, {rate:.0} probes/s")
}

pub(super) fn counted(count: usize, what: &str) -> String {
    format!("{} {what}{}", HumanCount(count as u64), if count == 1 { "" } else { "s" })
}

/// `0.42 ms`, `1.3 ms`, `250 ms`: as many digits as mean something.
pub(super) fn milliseconds(time: Duration) -> String {
    let milliseconds = time.as_secs_f64() * 1000.0;
    let digits = match milliseconds {
        _ if milliseconds < 1.0 => 2,
        _ if milliseconds < 100.0 => 1,
        _ => 0,
    };
    format!("{milliseconds:.digits$} ms")
}

#[cfg(test)]
mod tests {
    use super::{
        super::found::tests::{host as closed_host, open_host},
        *,
    };

    fn printer() -> HostResult {
        let mut found = closed_host(
            "10.0.0.5",
            "1-65535",
            &[
                (22, PortState::Open, 412),
                (80, PortState::Open, 1_300),
                (515, PortState::Filtered, 0),
                (8443, PortState::Open, 250_000),
                (9100, PortState::Open, 990),
                (49_999, PortState::Open, 2_000),
            ],
        );
        found.mac = "02:00:00:00:00:05".parse().ok();
        found.name = Some("printer\x1b[31m.lan".to_owned());
        found
    }

    fn shown(found: &HostResult, style: Style) -> String {
        let mut out = Vec::new();
        host(&mut out, found, &style).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_table_fits_the_terminal() {
        for width in [40, 80, 120] {
            let style = Style { width: Some(width), verbose: 1, ..Style::default() };
            let text = shown(&printer(), style);
            insta::assert_snapshot!(format!("table_{width}"), text);
            let rows = text.lines().skip(1).filter(|line| !line.starts_with("Not shown"));
            for line in rows {
                assert!(line.chars().count() <= usize::from(width), "{width}: {line}");
            }
        }
    }

    #[test]
    fn piped_every_port_is_one_line() {
        insta::assert_snapshot!("piped", shown(&printer(), Style::default()));
    }

    #[test]
    fn few_ports_are_listed_whatever_their_state() {
        insta::assert_snapshot!(
            "few_closed",
            shown(&closed_host("10.0.0.6", "22,80", &[]), Style::default())
        );
        insta::assert_snapshot!("one_open", shown(&open_host("22", &[]), Style::default()));
    }

    #[test]
    fn open_shows_only_what_is_open() {
        let style = Style { open_only: true, ..Style::default() };
        assert_eq!(shown(&closed_host("10.0.0.6", "22,80", &[]), style), "");
        let text = shown(&printer(), style);
        assert!(!text.contains("515/tcp") && text.contains("1 filtered (no-response)"), "{text}");
    }

    #[test]
    fn sums_up_a_host_that_accepts_everything() {
        insta::assert_snapshot!(
            "accepts_everything",
            shown(&open_host("1-65535", &[(80, PortState::Filtered)]), Style::default())
        );
        let listed = shown(&open_host("1-1000", &[]), Style::default());
        assert_eq!(listed.matches("/tcp").count(), 1000);
        let all = Style { verbose: 2, ..Style::default() };
        assert_eq!(shown(&open_host("1-1001", &[]), all).matches("/tcp").count(), 1001);
    }

    #[test]
    fn shows_down_hosts_only_when_verbose() {
        let mut found = closed_host("10.0.0.7", "22", &[]);
        found.report.status = HostStatus::Down;
        found.report.coverage = crate::model::PortSet::default();
        found.report.detail = "no answer to ARP".to_owned();
        assert_eq!(shown(&found, Style::default()), "");
        let style = Style { verbose: 1, ..Style::default() };
        assert_eq!(shown(&found, style), "10.0.0.7  down: no answer to ARP\n\n");
    }

    #[test]
    fn an_unfinished_host_is_marked() {
        let mut found = closed_host("10.0.0.8", "1-300", &[(22, PortState::Open, 412)]);
        found.report.status = HostStatus::Partial;
        found.report.detail = "the host went silent".to_owned();
        insta::assert_snapshot!("unfinished", shown(&found, Style::default()));
    }

    #[test]
    fn the_last_line_sums_up() {
        let mut down = closed_host("10.0.0.7", "22", &[]);
        down.report.status = HostStatus::Down;
        down.report.probes = 1;
        let found = [printer(), down];
        let scan = ScanResult {
            started: jiff::Timestamp::UNIX_EPOCH,
            elapsed: Duration::from_secs(250),
            status: ScanStatus::Complete,
            targets: 2,
            interrupted: false,
        };
        let line = |scan: &ScanResult| {
            let mut out = Vec::new();
            summary(&mut out, scan, &found).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(line(&scan), "1 host up, 1 down; 5 ports open; 250.0 s, 280 probes/s\n");
        let stopped = ScanResult { status: ScanStatus::Partial, targets: 256, interrupted: true, ..scan };
        assert_eq!(
            line(&stopped),
            "interrupted: 1 host up, 1 down, 254 not scanned; 5 ports open; 250.0 s, 280 probes/s\n"
        );
    }
}
