//! `-oX`: what nmap's DTD (nmap.dtd, 7.9x) allows, in the order it demands.

use std::io::{self, Write};

use super::{Run, Scanned, clock, headline, listing::Extra, summary};
use crate::model::{HostStatus, PortFinding, Protocol};

/// The version of the format that is written (nmap 7.x).
const FORMAT: &str = "1.05";

pub(super) fn begin(out: &mut dyn Write, run: &Run<'_>) -> io::Result<()> {
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
    for (protocol, ports) in run.asked {
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

pub(super) fn host(out: &mut dyn Write, run: &Run<'_>, host: &Scanned<'_>) -> io::Result<()> {
    let Some(address) = host.address() else { return Ok(()) };
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
        ports(out, run, host)?;
    }
    writeln!(out, "</host>")
}

fn ports(out: &mut dyn Write, run: &Run<'_>, host: &Scanned<'_>) -> io::Result<()> {
    let listing = host.listing(run);
    write!(out, "<ports>")?;
    for Extra { state, reasons } in &listing.extra {
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
    for (protocol, PortFinding { port, state, reason, .. }) in listing.listed {
        write!(
            out,
            "<port protocol=\"{protocol}\" portid=\"{port}\"><state state=\"{state}\" reason=\"{reason}\" \
             reason_ttl=\"0\"/>"
        )?;
        if let Some(name) = service(run, protocol, port) {
            write!(out, "<service name=\"{name}\" method=\"table\" conf=\"3\"/>")?;
        }
        writeln!(out, "</port>")?;
    }
    writeln!(out, "</ports>")
}

pub(super) fn end(out: &mut dyn Write, run: &Run<'_>, up: usize) -> io::Result<()> {
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

/// What usually listens there; the list is one of TCP ports.
pub(super) fn service(run: &Run<'_>, protocol: Protocol, port: u16) -> Option<&'static str> {
    (run.service)(port).filter(|_| protocol == Protocol::Tcp)
}

/// A text as an attribute's value. What XML 1.0 cannot hold at all (2.2) becomes U+FFFD.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => escaped.push(char::REPLACEMENT_CHARACTER),
            _ => escaped.push(c),
        }
    }
    escaped
}
