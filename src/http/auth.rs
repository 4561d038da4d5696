//! Decides which requests may change state: the layer around the routes that do.

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

/// Decides which requests may write, and which are the owner's.
#[derive(Clone)]
pub struct Gate {
    token: Arc<Token>,
    allowlist: HostAllowlist,
    config: watch::Receiver<Arc<Config>>,
    wrong_tokens: Arc<WrongTokens>,
}

/// The token that a request carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PresentedToken {
    Nothing,
    Token,
    WrongToken,
}

impl Gate {
    /// Allows writes with this token, or from the networks of `[auth] trust`, which may change at run time.
    pub fn new(
        token: Token,
        allowlist: HostAllowlist,
        config: watch::Receiver<Arc<Config>>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { token: Arc::new(token), allowlist, config, wrong_tokens: Arc::new(WrongTokens::new(clock)) }
    }

    /// Refuses a request for a probe that a page of another site sends.
    pub(super) fn check_probe_site(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        if !is_cross_site_probe(headers, &self.allowlist) {
            return Ok(());
        }
        Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "another site's page may not have ports probed; type the address into the browser, or, if the page is \
             yours, add its name to `names` under [http]",
        ))
    }

    /// Returns the client for which a port is probed.
    pub(super) async fn client(
        &self,
        sender: Sender,
        client: Option<&Client>,
        headers: &HeaderMap,
    ) -> ProbeClient {
        let presented = self.presented_token(headers);
        if presented == PresentedToken::Token || sender.is_this_machine() {
            return ProbeClient::Owner;
        }
        let peer = key_of(client);
        if presented == PresentedToken::WrongToken {
            // The owner's quota of probes must not reveal faster than a write whether a token is right.
            self.wrong_tokens.hold_back(peer).await;
        }
        if is_anonymous_navigation(headers) { ProbeClient::Browser(peer) } else { ProbeClient::Peer(peer) }
    }

    /// Refuses a request that may not change anything.
    pub(super) async fn check(
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
        match self.presented_token(headers) {
            PresentedToken::Token => Ok(()),
            PresentedToken::Nothing => Err(needs_token(sender)),
            PresentedToken::WrongToken if self.wrong_tokens.hold_back(key_of(client)).await => {
                Err(needs_token(sender))
            }
            PresentedToken::WrongToken => Err(needs_token(sender).closing()),
        }
    }

    /// Whether a request is the owner's, for which places are reserved: a program on this machine sends it, or it
    /// carries the token. That alone does not allow it to change anything.
    pub(super) fn is_owner(&self, sender: Sender, headers: &HeaderMap) -> bool {
        sender.is_this_machine() || self.presented_token(headers) == PresentedToken::Token
    }

    fn presented_token(&self, headers: &HeaderMap) -> PresentedToken {
        match bearer(headers) {
            None => PresentedToken::Nothing,
            Some(presented) if self.token.is(presented) => PresentedToken::Token,
            Some(_) => PresentedToken::WrongToken,
        }
    }
}

/// The key by which a request is counted; all requests without a connection share one.
fn key_of(client: Option<&Client>) -> PeerKey {
    client.map_or_else(|| PeerKey::of((Ipv4Addr::UNSPECIFIED, 0).into()), |client| client.key)
}

fn needs_token(sender: Sender) -> Refusal {
    let remedy = match sender {
        Sender::Forwarded(_) => {
            "; without it, only a program on this machine may do that, by http://localhost or the very address \
             that it connects to, without a proxy or forwarder between"
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

/// The token that a request carries (RFC 6750, 2.1; the scheme in any case, RFC 9110, 11.1).
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
