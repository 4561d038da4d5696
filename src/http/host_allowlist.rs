//! The host names under which requests are answered.
//!
//! A page from the internet can make its own name resolve to this machine's address and then read the responses as if
//! they were its own site's (DNS rebinding). It cannot do that under a name that does not exist in the public DNS, so
//! requests under such names are answered, and others only if the configuration lists the name.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use hyper::{
    StatusCode, Uri,
    header::{self, HeaderMap},
};
use tokio::sync::watch;

use super::answer::Refusal;
use crate::{
    config::Config,
    model::{Address, is_local_name},
};

/// The longest name, RFC 1035, 2.3.4.
const NAME_MAX: usize = 253;

/// The names of this appliance.
#[derive(Clone)]
pub struct HostAllowlist {
    own: Option<Arc<str>>,
    config: watch::Receiver<Arc<Config>>,
}

impl HostAllowlist {
    /// Allows the machine's own fully qualified name, if it has one, and those of `[http] names`, which may change at
    /// run time.
    pub fn new(own: Option<&str>, config: watch::Receiver<Arc<Config>>) -> Self {
        Self { own: own.map(Arc::from), config }
    }

    /// Whether the name is the machine's own or configured.
    pub(super) fn contains(&self, name: &str) -> bool {
        let is = |own: &str| without_dot(own).eq_ignore_ascii_case(without_dot(name));
        self.own.as_deref().is_some_and(is) || self.config.borrow().http_names.iter().any(|own| is(own))
    }

    /// Whether to answer under this name or address, given without port and brackets.
    fn admits(&self, host: &str) -> bool {
        host.parse::<Address>().is_ok() || is_local_name(host) || self.contains(host)
    }
}

fn without_dot(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

/// `HOST[:PORT]`, as Host and URLs name a server (RFC 9112, 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Authority<'a> {
    /// Without brackets.
    pub(super) host: &'a str,
    /// `None`: the scheme's default.
    pub(super) port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// `None` if it is malformed.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']')?;
                // It must have colons: `::ffff:127.0.0.1` parses as the IPv4 address that it maps.
                host.parse::<Address>().ok().filter(|_| host.contains(':'))?;
                (host, port)
            }
            None => {
                let host = text.split(':').next()?;
                let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
                if host.is_empty() || host.len() > NAME_MAX || !host.chars().all(named) {
                    return None;
                }
                (host, text.get(host.len()..)?)
            }
        };
        let digits = if port.is_empty() { "" } else { port.strip_prefix(':')? };
        let port = if digits.is_empty() { None } else { Some(digits.parse().ok()?) };
        Some(Self { host, port })
    }

    /// The address, if the host is one.
    pub(super) fn ip(&self) -> Option<IpAddr> {
        self.host.parse::<Address>().ok().map(|address| address.ip())
    }

    /// Whether it names the loopback. A client on another machine may send that, too, but only a hostile one.
    pub(super) fn is_loopback(&self) -> bool {
        self.ip().is_some_and(|ip| ip.is_loopback())
            || without_dot(self.host).eq_ignore_ascii_case("localhost")
    }
}

/// The layer: requires exactly one Host, well-formed and allowed.
pub(super) async fn check(State(allowlist): State<HostAllowlist>, request: Request, next: Next) -> Response {
    match authority(request.uri(), request.headers()) {
        Err(refusal) => refusal.into_response(),
        Ok(Authority { host, .. }) if allowlist.admits(host) => next.run(request).await,
        Ok(Authority { host, .. }) => Refusal::new(
            StatusCode::MISDIRECTED_REQUEST,
            format!(
                "\"{host}\" is not a name of this appliance; if it should be, add it to `names` under [http]"
            ),
        )
        .into_response(),
    }
}

/// The server that a request is for. A target in absolute form overrides Host (RFC 9112, 3.2.2).
pub(super) fn authority<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Result<Authority<'a>, Refusal> {
    let bad = |what: &'static str| Refusal::bad_request(what).closing();
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next().ok_or_else(|| bad("there is no Host header; send one"))?;
    if hosts.next().is_some() {
        return Err(bad("there is more than one Host header; send one"));
    }
    let host = host.to_str().ok().and_then(Authority::parse);
    let host = host.ok_or_else(|| bad("the Host header is malformed; write it as name:port"))?;
    match uri.authority() {
        Some(authority) => {
            Authority::parse(authority.as_str()).ok_or_else(|| bad("the request's URL has a malformed host"))
        }
        None => Ok(host),
    }
}
