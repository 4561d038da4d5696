//! Who may change things: the layer around routes that do.

use std::{net::Ipv4Addr, sync::Arc};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use hyper::{
    StatusCode,
    header::{self, HeaderMap, HeaderValue},
};
use tokio::sync::watch;

use super::{
    admission::Client,
    answer::Refusal,
    cross_site::{is_anonymous_navigation, is_cross_site_probe, is_cross_site_write},
    host_allowlist::HostAllowlist,
    peer::PeerKey,
    probes::ProbeClient,
    sender::Sender,
    token::Token,
    wrong_tokens::WrongTokens,
};
use crate::{clock::Clock, config::Config};

/// Decides about writes, and which requests are the owner's.
#[derive(Clone)]
pub struct Gate {
    token: Arc<Token>,
    allowlist: HostAllowlist,
    config: watch::Receiver<Arc<Config>>,
    wrong_tokens: Arc<WrongTokens>,
}

/// What a request shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    Nothing,
    Token,
    WrongToken,
}

impl Gate {
    /// Writes take this token, or come from `[auth] trust`, which may change while we run.
    pub fn new(
        token: Token,
        allowlist: HostAllowlist,
        config: watch::Receiver<Arc<Config>>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { token: Arc::new(token), allowlist, config, wrong_tokens: Arc::new(WrongTokens::new(clock)) }
    }

    /// `Ok`: no other site's page is behind this request for a probe.
    pub(super) fn check_probe_site(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        if !is_cross_site_probe(headers, &self.allowlist) {
            return Ok(());
        }
        Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "another site's page may not have ports looked at; type the address into the browser, or, if the page is \
             yours, add its name to `names` under [http]",
        ))
    }

    /// For whom a port is looked at.
    pub(super) async fn client(
        &self,
        sender: Sender,
        client: Option<&Client>,
        headers: &HeaderMap,
    ) -> ProbeClient {
        let shown = self.shown(headers);
        if shown == Shown::Token || sender.is_this_machine() {
            return ProbeClient::Owner;
        }
        let peer = key_of(client);
        if shown == Shown::WrongToken {
            // The place among the owner's must not tell sooner than a write whether a token is right.
            self.wrong_tokens.hold_back(peer).await;
        }
        if is_anonymous_navigation(headers) { ProbeClient::Browser(peer) } else { ProbeClient::Peer(peer) }
    }

    /// `Ok`: the request may change something.
    async fn check(
        &self,
        sender: Sender,
        client: Option<&Client>,
        headers: &HeaderMap,
    ) -> Result<(), Refusal> {
        if is_cross_site_write(headers, &self.allowlist) {
            return Err(Refusal::new(
                StatusCode::FORBIDDEN,
                "another site's page may not change anything here; if the page is yours, add its name to \
                 `names` under [http]",
            ));
        }
        if sender.is_within(&self.config.borrow().auth_trust) {
            return Ok(());
        }
        match self.shown(headers) {
            Shown::Token => Ok(()),
            Shown::Nothing => Err(needs_token(sender)),
            Shown::WrongToken if self.wrong_tokens.hold_back(key_of(client)).await => {
                Err(needs_token(sender))
            }
            Shown::WrongToken => Err(needs_token(sender).closing()),
        }
    }

    /// Whether a request is the owner's, for whom places are kept: a program on this machine sends it, or it shows the
    /// token. No leave to change anything.
    pub(super) fn is_owner(&self, sender: Sender, headers: &HeaderMap) -> bool {
        sender.is_this_machine() || self.shown(headers) == Shown::Token
    }

    fn shown(&self, headers: &HeaderMap) -> Shown {
        match bearer(headers) {
            None => Shown::Nothing,
            Some(shown) if self.token.is(shown) => Shown::Token,
            Some(_) => Shown::WrongToken,
        }
    }
}

/// What a request counts for; all that came by no connection have one key together.
fn key_of(client: Option<&Client>) -> PeerKey {
    client.map_or_else(|| PeerKey::of((Ipv4Addr::UNSPECIFIED, 0).into()), |client| client.key)
}

fn needs_token(sender: Sender) -> Refusal {
    let remedy = match sender {
        Sender::Forwarded(_) => {
            "; without it only a program on this machine may, that asks http://localhost or the address that it \
             connects to, with no proxy or forwarder between"
        }
        Sender::ThisMachine(_) | Sender::Other(_) => ", or add your address to `trust` under [auth]",
    };
    let refusal = Refusal::new(
        StatusCode::UNAUTHORIZED,
        format!(
            "this changes something: send `Authorization: Bearer TOKEN` with the token that `portscan token` \
             prints{remedy}"
        ),
    );
    refusal.with(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
}

/// The token that a request shows (RFC 6750, 2.1; the scheme in any case, RFC 9110, 11.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The layer, for `route_layer` around routes that change state.
pub(super) async fn require(
    State(gate): State<Gate>,
    sender: Sender,
    request: Request,
    next: Next,
) -> Response {
    match gate.check(sender, request.extensions().get(), request.headers()).await {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}
