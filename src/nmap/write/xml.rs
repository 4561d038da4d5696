//! `-oX`: the elements that nmap's DTD (nmap.dtd, 7.9x) allows, in the order that it requires.

use std::{
    io::{self, Write},
    ops::Range,
};

use super::{
    ReportInfo, ScannedHost, clock, headline,
    listing::{Extra, Listing},
    service::{identified, usual},
    summary,
};
use crate::model::{Address, HostStatus, PortFinding, PortIdentification, Protocol, escape_markup};

/// The version of the format that is written (nmap 7.x).
const FORMAT: &str = "1.05";

pub(super) fn begin(out: &mut dyn Write, run: &ReportInfo<'_>) -> io::Result<()> {
    writeln!(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!DOCTYPE nmaprun>")?;
    // Two hyphens would end the comment.
    writeln!(out, "<!-- {} -->", escaped(&headline(run)).replace("--", "-&#45;"))?;
    writeln!(
        out,
        "<nmaprun scanner=\"nmap\" args=\"{}\" start=\"{}\" startstr=\"{}\" version=\"portscan {}\" \
         xmloutputversion=\"{FORMAT}\">",
        escaped(run.args),
        run.started.as_second(),
        clock(run, run.started),
        env!("CARGO_PKG_VERSION"),
    )?;
    for (protocol, ports) in run.requested {
        let kind = match protocol {
            Protocol::Tcp => "connect",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctpinit",
            Protocol::Ip => "ipproto",
        };
        let count = ports.len();
        writeln!(
            out,
            "<scaninfo type=\"{kind}\" protocol=\"{protocol}\" numservices=\"{count}\" services=\"{ports}\"/>"
        )?;
    }
    writeln!(out, "<verbose level=\"{}\"/>\n<debugging level=\"0\"/>", run.verbose)
}

pub(super) fn host(out: &mut dyn Write, run: &ReportInfo<'_>, host: &ScannedHost<'_>) -> io::Result<()> {
    part(out, run, host, 0..usize::MAX).map(|_| ())
}

/// Writes these of the listed ports, with the parts before and after them; returns whether more follow.
pub(super) fn part(
    out: &mut dyn Write,
    run: &ReportInfo<'_>,
    host: &ScannedHost<'_>,
    listed: Range<usize>,
) -> io::Result<bool> {
    let Some(address) = host.address() else { return Ok(false) };
    let listing = (host.status() != HostStatus::Down).then(|| host.listing(run));
    if listed.start == 0 {
        head(out, host, address)?;
        if let Some(listing) = &listing {
            extra(out, &listing.extra)?;
        }
    }
    let Some(Listing { listed: ports, .. }) = listing else {
        writeln!(out, "</host>")?;
        return Ok(false);
    };
    let is_last = ports.len() <= listed.end;
    for (protocol, found) in ports.into_iter().take(listed.end).skip(listed.start) {
        port(out, run, host, protocol, &found)?;
    }
    if is_last {
        writeln!(out, "</ports>\n</host>")?;
    }
    Ok(!is_last)
}

/// Everything about a host as a whole.
fn head(out: &mut dyn Write, host: &ScannedHost<'_>, address: &Address) -> io::Result<()> {
    let (started, finished) = (host.started.as_second(), host.finished.as_second());
    write!(out, "<host starttime=\"{started}\" endtime=\"{finished}\"")?;
    if let Some(why) = host.unfinished() {
        write!(out, " timedout=\"true\" comment=\"{}\"", escaped(why))?;
    }
    let down = host.status() == HostStatus::Down;
    let (state, reason) = if down { ("down", "no-response") } else { ("up", host.reason()) };
    writeln!(out, "><status state=\"{state}\" reason=\"{reason}\" reason_ttl=\"0\"/>")?;
    let family = if address.ipv4().is_some() { "ipv4" } else { "ipv6" };
    writeln!(out, "<address addr=\"{address}\" addrtype=\"{family}\"/>")?;
    if let Some(mac) = host.mac {
        writeln!(out, "<address addr=\"{mac}\" addrtype=\"mac\"/>")?;
    }
    if !down {
        writeln!(out, "<hostnames>")?;
        if let Some(name) = host.name {
            writeln!(out, "<hostname name=\"{}\" type=\"user\"/>", escaped(name))?;
        }
        writeln!(out, "</hostnames>")?;
    }
    Ok(())
}

/// The ports that are only counted.
fn extra(out: &mut dyn Write, extra: &[Extra]) -> io::Result<()> {
    write!(out, "<ports>")?;
    for Extra { state, reasons } in extra {
        let count: u32 = reasons.iter().map(|(_, _, ports)| ports.len()).sum();
        writeln!(out, "<extraports state=\"{state}\" count=\"{count}\">")?;
        for (reason, protocol, ports) in reasons {
            writeln!(
                out,
                "<extrareasons reason=\"{reason}\" count=\"{}\" proto=\"{protocol}\" ports=\"{ports}\"/>",
                ports.len()
            )?;
        }
        writeln!(out, "</extraports>")?;
    }
    Ok(())
}

fn port(
    out: &mut dyn Write,
    run: &ReportInfo<'_>,
    host: &ScannedHost<'_>,
    protocol: Protocol,
    found: &PortFinding,
) -> io::Result<()> {
    let PortFinding { port, state, reason, .. } = *found;
    write!(
        out,
        "<port protocol=\"{protocol}\" portid=\"{port}\"><state state=\"{state}\" reason=\"{reason}\" \
         reason_ttl=\"0\"/>"
    )?;
    let usual = usual(run, protocol, port);
    match (identified(host, protocol, port), usual) {
        (Some(found), _) if found.service.is_some() || found.tls || found.product.is_some() => {
            service(out, found, usual)?;
        }
        (_, Some(name)) => write!(out, "<service name=\"{name}\" method=\"table\" conf=\"3\"/>")?,
        (_, None) => {}
    }
    writeln!(out, "</port>")
}

/// What a port was identified as.
fn service(out: &mut dyn Write, found: &PortIdentification, usual: Option<&'static str>) -> io::Result<()> {
    let name = found.service.as_deref().or(usual).unwrap_or("unknown");
    write!(out, "<service name=\"{}\"", escaped(name))?;
    for (attribute, value) in [("product", &found.product), ("version", &found.version)] {
        if let Some(value) = value {
            write!(out, " {attribute}=\"{}\"", escaped(value))?;
        }
    }
    if found.tls {
        write!(out, " tunnel=\"ssl\"")?;
    }
    write!(out, " method=\"probed\" conf=\"{}\"/>", found.evidence.method.confidence())
}

pub(super) fn end(out: &mut dyn Write, run: &ReportInfo<'_>, up: usize) -> io::Result<()> {
    let ended = run.started + run.elapsed;
    let (exit, error) = match run.unfinished {
        None => ("success", String::new()),
        Some(why) => ("error", format!(" errormsg=\"{}\"", escaped(why))),
    };
    writeln!(
        out,
        "<runstats><finished time=\"{}\" timestr=\"{}\" summary=\"{}\" elapsed=\"{:.2}\" exit=\"{exit}\"{error}/>\
         <hosts up=\"{up}\" down=\"{}\" total=\"{}\"/>\n</runstats>\n</nmaprun>",
        ended.as_second(),
        clock(run, ended),
        escaped(&summary(run, up)),
        run.elapsed.as_secs_f64(),
        run.targets.saturating_sub(up),
        run.targets,
    )
}

/// A text as an attribute's value. Characters that XML 1.0 cannot represent (2.2) become U+FFFD.
fn escaped(text: &str) -> String {
    escape_markup(
        &text.replace(|c: char| matches!(c, '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}'), "\u{fffd}"),
    )
}
