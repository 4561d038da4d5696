//! What listens on a port, in nmap's words.

use super::{ReportInfo, ScannedHost};
use crate::model::{PortIdentification, Protocol};

/// What a port was identified as; only TCP ports are.
pub(super) fn identified<'a>(
    host: &ScannedHost<'a>,
    protocol: Protocol,
    port: u16,
) -> Option<&'a PortIdentification> {
    host.identified.get(&port).filter(|_| protocol == Protocol::Tcp)
}

/// The usual service on the port.
pub(super) fn usual(run: &ReportInfo<'_>, protocol: Protocol, port: u16) -> Option<&'static str> {
    (run.service)(protocol, port)
}

/// The service as people read it: as it was identified, else what is usual. `ssl/` before what is spoken inside TLS.
pub(super) fn name(
    run: &ReportInfo<'_>,
    host: &ScannedHost<'_>,
    protocol: Protocol,
    port: u16,
) -> Option<String> {
    let found =
        identified(host, protocol, port).and_then(|found| Some((found.tls, found.service.as_deref()?)));
    match found {
        Some((true, service)) => Some(format!("ssl/{service}")),
        Some((false, service)) => Some(service.to_owned()),
        None => usual(run, protocol, port).map(str::to_owned),
    }
}

/// Product and version; empty if neither is known.
pub(super) fn version(host: &ScannedHost<'_>, protocol: Protocol, port: u16) -> String {
    let Some(found) = identified(host, protocol, port) else { return String::new() };
    let words = [found.product.as_deref(), found.version.as_deref()];
    words.into_iter().flatten().collect::<Vec<_>>().join(" ")
}
