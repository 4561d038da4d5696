//! Who may change things: the layer around routes that do.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use hyper::{
    StatusCode, Uri,
    header::{self, HeaderMap, HeaderName, HeaderValue},
};
use tokio::sync::watch;

use super::{
    answer::Refusal,
    conversation::Peer,
    names::{Names, host_of},
    token::Token,
};
use crate::config::Config;

/// What a proxy adds: then the peer is the proxy, and who stands behind it we do not know. Without this a
/// proxy on the same machine would make everybody a trusted neighbour.
const FORWARDED: [HeaderName; 6] = [
    header::FORWARDED,
    header::VIA,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-real-ip"),
];

/// Decides about writes.
#[derive(Clone)]
pub struct Gate {
    token: Arc<Token>,
    names: Names,
    config: watch::Receiver<Arc<Config>>,
}

impl Gate {
    /// Writes take this token, or come from `[auth] trust`, which may change while we run.
    pub fn new(token: Token, names: Names, config: watch::Receiver<Arc<Config>>) -> Self {
        Self { token: Arc::new(token), names, config }
    }

    fn check(&self, peer: Option<Peer>, headers: &HeaderMap) -> Result<(), Refusal> {
        if self.is_cross_site(headers) {
            return Err(Refusal::new(
                StatusCode::FORBIDDEN,
                "another site's page may not change anything here; if the page is yours, add its name to \
                 `names` under [http]",
            ));
        }
        let trusted = peer.is_some_and(|peer| self.trusts(peer, headers));
        if trusted || bearer(headers).is_some_and(|shown| self.token.is(shown)) {
            return Ok(());
        }
        let refusal = Refusal::new(
            StatusCode::UNAUTHORIZED,
            "this changes something: send `Authorization: Bearer TOKEN` with the token that `portscan token` \
             prints, or add your address to `trust` under [auth]",
        );
        Err(refusal.with(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")))
    }

    /// Whether a request is the owner's, for whom places are kept: it comes from this machine and by no proxy, or it
    /// shows the token. No leave to change anything.
    pub(super) fn is_owner(&self, is_from_here: bool, headers: &HeaderMap) -> bool {
        let is_direct = !FORWARDED.iter().any(|name| headers.contains_key(name));
        (is_from_here && is_direct) || bearer(headers).is_some_and(|shown| self.token.is(shown))
    }

    fn trusts(&self, Peer(peer): Peer, headers: &HeaderMap) -> bool {
        let direct = !FORWARDED.iter().any(|name| headers.contains_key(name));
        direct && self.config.borrow().auth_trust.iter().any(|net| net.contains(&peer.ip()))
    }

    /// Whether a browser sends this for a page that is not ours. Other clients send neither header.
    fn is_cross_site(&self, headers: &HeaderMap) -> bool {
        let site = headers.get("sec-fetch-site");
        let origin = headers.get(header::ORIGIN);
        site.is_some_and(|site| site == "cross-site")
            || origin.is_some_and(|origin| !self.ours(origin, headers))
    }

    /// Whether an Origin is the Host of the same request, or one of the owner's names.
    fn ours(&self, origin: &HeaderValue, headers: &HeaderMap) -> bool {
        let Some((origin, default_port)) = origin.to_str().ok().and_then(origin_of) else { return false };
        let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else { return false };
        let bare =
            |authority: &str| authority.strip_suffix(default_port).unwrap_or(authority).to_ascii_lowercase();
        bare(&origin) == bare(host) || host_of(&origin).is_some_and(|name| self.names.are(name))
    }
}

/// The authority of an Origin, and what its default port looks like; `None` for `null` and the like.
fn origin_of(origin: &str) -> Option<(String, &'static str)> {
    let uri: Uri = origin.parse().ok()?;
    let default_port = match uri.scheme_str()? {
        "http" => ":80",
        "https" => ":443",
        _ => return None,
    };
    Some((uri.authority()?.as_str().to_owned(), default_port))
}

/// The token that a request shows (RFC 6750, 2.1; the scheme in any case, RFC 9110, 11.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The layer, for `route_layer` around routes that change state.
pub async fn require(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().copied();
    match gate.check(peer, request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}
