//! An appliance as a site of a fleet: its connection to the broker, its uplink, and the requests of the hub's clients.

use std::{sync::Arc, time::Duration};

use axum::{Router, body::Body};
use http_body_util::{BodyExt, Limited};
use hyper::{StatusCode, header};
use tokio::{sync::watch, time::sleep};
use tower::ServiceExt;

use crate::{
    clock::Clock,
    config::{Config, FleetConfig, HubAccess},
    fleet::{FORWARDED_MAX, ForwardedAnswer, ForwardedRequest, is_forwardable},
    http::{Token, owners_request},
    net::nats::{BrokerAccess, BrokerError, SiteConnection},
    service::{
        fleet::{Uplink, UplinkParts},
        health::Health,
    },
    store::Store,
};

/// The pause after credentials that cannot be used; a person has to put others there.
const PAUSE: Duration = Duration::from_secs(60);

/// What makes an appliance a site.
pub(super) struct SiteParts {
    pub(super) fleet: FleetConfig,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) store: Store,
    pub(super) config: watch::Receiver<Arc<Config>>,
    pub(super) health: watch::Receiver<Health>,
    pub(super) host: String,
    pub(super) notices: watch::Sender<Vec<String>>,
    /// The appliance's own routes, and the token that authorises changes there.
    pub(super) router: Router,
    pub(super) token: Token,
}

/// Keeps the site connected, for ever.
pub(super) async fn run(parts: SiteParts) {
    loop {
        let error = match open(&parts).await {
            Ok(connection) => match serve(&parts, connection).await {
                Ok(never) => match never {},
                Err(error) => error,
            },
            Err(error) => error,
        };
        tracing::warn!(%error, "the hub cannot be reached; trying again");
        parts.notices.send_replace(vec![format!("fleet: {error}")]);
        sleep(PAUSE).await;
    }
}

async fn open(SiteParts { fleet, clock, .. }: &SiteParts) -> Result<SiteConnection, BrokerError> {
    SiteConnection::open(&broker_access(&fleet.access), fleet.site.clone(), Arc::clone(clock)).await
}

/// Where the broker is, and by what a member of the fleet is known there.
pub(super) fn broker_access(access: &HubAccess) -> BrokerAccess {
    BrokerAccess {
        host: access.hub.host().to_owned(),
        port: access.hub.port(),
        authority: access.authority_file(),
        certificate: access.certificate_file(),
        key: access.key_file(),
    }
}

async fn serve(
    parts: &SiteParts,
    connection: SiteConnection,
) -> Result<std::convert::Infallible, BrokerError> {
    let mut requests = connection.requests().await?;
    // A broker that is there is no news.
    connection.wait_until_connected().await;
    let uplink = Uplink::new(UplinkParts {
        store: parts.store.clone(),
        link: Arc::new(connection),
        config: parts.config.clone(),
        health: parts.health.clone(),
        host: parts.host.clone(),
        notices: parts.notices.clone(),
    });
    let answering = async {
        // One after another: a person at the hub changes one thing at a time.
        while let Some((request, answering)) = requests.next().await {
            answering.answer(&answer(parts, request).await).await;
        }
    };
    tokio::select! {
        () = uplink.run() => {}
        () = answering => {}
    }
    Err(BrokerError::Closed)
}

/// Has the appliance's own routes answer. The hub's gate has authorised the client; the site decides what a hub may do.
async fn answer(parts: &SiteParts, request: ForwardedRequest) -> ForwardedAnswer {
    let ForwardedRequest { method, path, content_type, body } = request;
    let refused = |status: StatusCode, text: &str| ForwardedAnswer {
        status: status.as_u16(),
        content_type: Some("text/plain; charset=utf-8".to_owned()),
        body: text.as_bytes().to_vec(),
    };
    if !is_forwardable(&method, &path) {
        return refused(StatusCode::FORBIDDEN, "a hub may not do this here; do it at the site");
    }
    let content_type = content_type.unwrap_or_else(|| "application/json".to_owned());
    let request = owners_request(&parts.token, (&method, &path), &content_type, Body::from(body));
    let Ok(request) = request else {
        return refused(StatusCode::BAD_REQUEST, "the hub's request cannot be read");
    };
    let answer = parts.router.clone().oneshot(request).await.unwrap_or_else(|never| match never {});
    let status = answer.status().as_u16();
    let content_type = answer.headers().get(header::CONTENT_TYPE);
    let content_type = content_type.and_then(|kind| kind.to_str().ok()).map(str::to_owned);
    match Limited::new(answer.into_body(), FORWARDED_MAX).collect().await {
        Ok(body) => ForwardedAnswer { status, content_type, body: body.to_bytes().to_vec() },
        Err(_) => refused(StatusCode::BAD_GATEWAY, "the site's answer is too long to pass on"),
    }
}
