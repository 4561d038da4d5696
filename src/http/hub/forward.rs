//! Sends what changes something to the site that it changes.

use axum::{
    body::to_bytes,
    extract::Request,
    response::{IntoResponse, Response},
};
use hyper::{
    StatusCode,
    header::{self, HeaderValue},
};

use super::{ForwardError, Hub, HubSite};
use crate::{
    fleet::{FORWARDED_MAX, ForwardedAnswer, ForwardedRequest, SiteName, is_forwardable},
    http::{answer::Refusal, body::too_large, sender::Sender},
};

/// Forwards a request to a path of a site, if a hub may do it and the client may have it done.
pub(super) async fn write(
    hub: &Hub,
    (name, site): (&SiteName, &HubSite),
    target: String,
    sender: Sender,
    request: Request,
) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let method = parts.method.as_str().to_owned();
    if !is_forwardable(&method, &target) {
        return Err(not_here(name));
    }
    hub.gate.check(sender, parts.extensions.get(), &parts.headers).await?;
    let body = to_bytes(body, FORWARDED_MAX).await.map_err(|_| too_large())?.into();
    let content_type = parts.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let forwarded =
        ForwardedRequest { method, path: target, content_type: content_type.map(str::to_owned), body };
    match site.forward.forward(forwarded).await {
        Ok(answer) => response(name, answer),
        Err(error) => {
            let status = match error {
                ForwardError::Unreachable => StatusCode::SERVICE_UNAVAILABLE,
                ForwardError::TimedOut => StatusCode::GATEWAY_TIMEOUT,
            };
            Err(Refusal::new(status, format!("the site {name} was asked to do it: {error}")))
        }
    }
}

/// The refusal of what is the appliance's alone.
pub(super) fn not_here(name: &SiteName) -> Refusal {
    let error = format!(
        "a hub starts and stops runs, and changes expected states, names and notes; this is for the appliance to do: \
         send it to the site {name} itself"
    );
    Refusal::new(StatusCode::FORBIDDEN, error)
}

/// The site's answer. Whoever has taken a site over must not have browsers run a script as if it were the hub's: all
/// but JSON is plain text.
fn response(name: &SiteName, answer: ForwardedAnswer) -> Result<Response, Refusal> {
    let ForwardedAnswer { status, content_type, body } = answer;
    let status = StatusCode::from_u16(status).ok().filter(|status| {
        // The hub has authorised the client: that of another token is not for it.
        (status.is_success() || status.is_client_error() || status.is_server_error())
            && *status != StatusCode::UNAUTHORIZED
    });
    let Some(status) = status else {
        let error =
            format!("the site {name} has given an answer that is none for the hub; do it at the site itself");
        return Err(Refusal::new(StatusCode::BAD_GATEWAY, error));
    };
    if status == StatusCode::NO_CONTENT {
        return Ok(status.into_response());
    }
    let is_json = content_type.as_deref().and_then(|kind| kind.split(';').next()) == Some("application/json");
    let kind = if is_json { "application/json" } else { "text/plain; charset=utf-8" };
    Ok((status, [(header::CONTENT_TYPE, HeaderValue::from_static(kind))], body).into_response())
}
