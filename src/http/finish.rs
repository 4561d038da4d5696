//! The outermost layer, for all responses: errors are JSON, nothing is cached, and no browser guesses a content type.

use axum::{
    body::{Body, to_bytes},
    extract::Request,
    middleware::Next,
    response::{IntoResponse, Response},
};
use hyper::{
    Method, StatusCode,
    header::{self, HeaderMap, HeaderValue},
};

use super::{answer::Refusal, body::too_large};

/// The longest error text of a library that is passed on, in bytes.
const TEXT_MAX: usize = 1024;

/// The layer: turns the plain errors of the router and the extractors into JSON, and adds the common headers.
pub(super) async fn finish(request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let mut response = next.run(request).await;
    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        response = other_method(&method, response.headers());
    } else if is_plain_error(&response) {
        response = into_json(response).await;
    }
    let headers = response.headers_mut();
    // The page's files set their own cache policy.
    if !headers.contains_key(header::CACHE_CONTROL) {
        // The first header would do, but old proxies know only the other two.
        headers
            .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store, must-revalidate"));
        headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
        headers.insert(header::EXPIRES, HeaderValue::from_static("0"));
    }
    // A browser must not take names that devices gave themselves for HTML.
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// The response to a method that the route does not have: OPTIONS gets the list of methods, others an error with it.
fn other_method(method: &Method, headers: &HeaderMap) -> Response {
    let known = headers.get(header::ALLOW).and_then(|allow| allow.to_str().ok()).unwrap_or_default();
    let known = allowed(known, |_| true);
    let error = format!("this path does not take {method}; use one of {known}");
    // It consists of the router's own method names, so it is always a valid value.
    let allow = HeaderValue::from_str(&known).unwrap_or_else(|_| HeaderValue::from_static("OPTIONS"));
    if method == Method::OPTIONS {
        (StatusCode::NO_CONTENT, [(header::ALLOW, allow)]).into_response()
    } else {
        Refusal::new(StatusCode::METHOD_NOT_ALLOWED, error).with(header::ALLOW, allow).into_response()
    }
}

/// A list of methods as people read it, without those that are not meant: OPTIONS is the last, and no method is there
/// twice. A hub's answer passes here a second time.
pub(super) fn allowed(list: &str, is_meant: impl Fn(&str) -> bool) -> String {
    let names =
        list.split(',').map(str::trim).filter(|name| !matches!(*name, "" | "OPTIONS") && is_meant(name));
    names.chain(["OPTIONS"]).collect::<Vec<_>>().join(", ")
}

/// Whether this is an error in plain text, from one of axum's extractors.
fn is_plain_error(response: &Response) -> bool {
    let status = response.status();
    let content = response.headers().get(header::CONTENT_TYPE);
    (status.is_client_error() || status.is_server_error())
        && content.is_none_or(|content| content != "application/json")
}

async fn into_json(response: Response) -> Response {
    let (parts, body) = response.into_parts();
    let text = to_bytes(Body::new(body), TEXT_MAX).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    match parts.status {
        StatusCode::PAYLOAD_TOO_LARGE => too_large().into_response(),
        status if text.is_empty() => {
            Refusal::new(status, status.canonical_reason().unwrap_or("error")).into_response()
        }
        status => Refusal::new(status, text).into_response(),
    }
}
