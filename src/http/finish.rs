//! The outermost layer: what every response has in common, whatever made it. Errors are JSON, nothing is cached or
//! sniffed.

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

/// Longest text of a library's own error that is passed on, in bytes.
const TEXT_MAX: usize = 1024;

/// The outermost layer: finishes what the router and the extractors leave plain.
pub(super) async fn finish(request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let mut response = next.run(request).await;
    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        response = other_method(&method, response.headers());
    } else if is_plain_error(&response) {
        response = into_json(response).await;
    }
    let headers = response.headers_mut();
    // The page's own files say themselves how long they may be kept.
    if !headers.contains_key(header::CACHE_CONTROL) {
        // The newest one would do, but old proxies know only the older two.
        headers
            .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store, must-revalidate"));
        headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
        headers.insert(header::EXPIRES, HeaderValue::from_static("0"));
    }
    // Names that devices gave themselves must not be sniffed into a page.
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A method that the route does not have: OPTIONS is told which there are, others also that they are wrong.
fn other_method(method: &Method, headers: &HeaderMap) -> Response {
    let known = headers.get(header::ALLOW).and_then(|allow| allow.to_str().ok()).unwrap_or_default();
    let known: Vec<&str> = known.split(',').filter(|name| !name.is_empty()).chain(["OPTIONS"]).collect();
    let known = known.join(", ");
    let error = format!("this path does not take {method}; use one of {known}");
    // Made of the router's own words, so it is always a valid value.
    let allow = HeaderValue::from_str(&known).unwrap_or_else(|_| HeaderValue::from_static("OPTIONS"));
    if method == Method::OPTIONS {
        (StatusCode::NO_CONTENT, [(header::ALLOW, allow)]).into_response()
    } else {
        Refusal::new(StatusCode::METHOD_NOT_ALLOWED, error).with(header::ALLOW, allow).into_response()
    }
}

/// Whether this is an error that one of axum's extractors worded.
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
