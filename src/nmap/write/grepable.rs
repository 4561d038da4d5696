//! `-oG`: a host's state on one line, its ports on another, tabs between the fields.

use std::io::{self, Write};

use super::{ReportInfo, ScannedHost, headline, service};
use crate::model::{HostStatus, PortSet, Protocol};

pub(super) fn begin(out: &mut dyn Write, run: &ReportInfo<'_>) -> io::Result<()> {
    writeln!(out, "# {}", headline(run))?;
    if run.verbose == 0 {
        return Ok(());
    }
    let requested = |protocol| {
        let ports: Option<&PortSet> = run.requested.get(&protocol);
        ports.map_or_else(|| "0;".to_owned(), |ports| format!("{};{ports}", ports.len()))
    };
    writeln!(
        out,
        "# Ports scanned: TCP({}) UDP({}) SCTP({}) PROTOCOLS({})",
        requested(Protocol::Tcp),
        requested(Protocol::Udp),
        requested(Protocol::Sctp),
        requested(Protocol::Ip)
    )
}

pub(super) fn host(out: &mut dyn Write, run: &ReportInfo<'_>, host: &ScannedHost<'_>) -> io::Result<()> {
    let Some(address) = host.address() else { return Ok(()) };
    let start = format!("Host: {address} ({})", host.name.unwrap_or_default());
    if host.status() == HostStatus::Down {
        return writeln!(out, "{start}\tStatus: Down");
    }
    writeln!(out, "{start}\tStatus: Up")?;
    let listing = host.listing(run);
    let ports = listing.listed.iter().map(|&(protocol, found)| {
        // A slash would end the field (nmap(1), "Grepable output").
        let field = |text: String| text.replace('/', "|");
        let name = field(service::name(run, host, protocol, found.port).unwrap_or_default());
        let version = field(service::version(host, protocol, found.port));
        // Owner and RPC belong to scans that determine them.
        format!("{}/{}/{protocol}//{name}//{version}/", found.port, found.state)
    });
    write!(out, "{start}\tPorts: {}", ports.collect::<Vec<_>>().join(", "))?;
    // There is room for only one: the largest.
    if let Some(extra) = listing.extra.first() {
        write!(out, "\tIgnored State: {} ({})", extra.state, extra.count())?;
    }
    writeln!(out)?;
    if host.unfinished().is_some() {
        writeln!(out, "{start}\tStatus: Timeout")?;
    }
    Ok(())
}
