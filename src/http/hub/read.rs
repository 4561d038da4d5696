//! Has a site's copy answer, within this process.

use std::convert::Infallible;

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::Request,
    response::Response,
};
use hyper::{
    Method, StatusCode, Uri,
    header::{self, HeaderMap, HeaderValue},
    http::Extensions,
};
use serde_json::Value;
use tower::ServiceExt;

use crate::http::{admission::Client, answer::Refusal, conversation::ExtendedTimeout};

/// The most bytes of an answer that is read as a whole: the page and the health have some 10 KB.
pub(super) const WHOLE_MAX: usize = 256 * 1024;

/// A request that reads from a site's copy, on behalf of a client.
#[derive(Clone, Copy)]
pub(super) struct Read<'a> {
    pub(super) headers: &'a HeaderMap,
    pub(super) extensions: &'a Extensions,
}

impl Read<'_> {
    /// Has the copy answer.
    pub(super) async fn send(
        self,
        router: &Router,
        method: Method,
        target: &str,
    ) -> Result<Response, Refusal> {
        let malformed = |_| Refusal::bad_request("the path behind the site's name is malformed");
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = target.parse::<Uri>().map_err(malformed)?;
        *request.method_mut() = method;
        let headers = request.headers_mut();
        for name in [header::ACCEPT, header::IF_NONE_MATCH] {
            headers.extend(self.headers.get(&name).map(|value| (name, value.clone())));
        }
        // It decides nothing: the hub has checked the client's.
        headers.insert(header::HOST, HeaderValue::from_static("localhost"));
        if let Some(id) = self.headers.get("last-event-id") {
            headers.insert("last-event-id", id.clone());
        }
        // The sender is left out: to the copy, no client is its own machine. So are the hub's own routing results.
        let extensions = request.extensions_mut();
        self.extensions.get().map(|client: &Client| extensions.insert(*client));
        self.extensions.get().map(|extended: &ExtendedTimeout| extensions.insert(extended.clone()));
        Ok(router.clone().oneshot(request).await.unwrap_or_else(|never: Infallible| match never {}))
    }

    /// Has the copy answer a GET, and reads the whole answer if it is a success, else returns it.
    pub(super) async fn whole(
        self,
        router: &Router,
        target: &str,
    ) -> Result<Result<Vec<u8>, Response>, Refusal> {
        let answer = self.send(router, Method::GET, target).await?;
        if answer.status() != StatusCode::OK {
            return Ok(Err(answer));
        }
        let bytes = to_bytes(answer.into_body(), WHOLE_MAX).await;
        let broken =
            |_| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the hub's copy of the site cannot be read");
        Ok(Ok(bytes.map_err(broken)?.into()))
    }

    /// Has the copy answer a GET, and parses it; `None`: it is no success, or no such document.
    pub(super) async fn document(self, router: &Router, target: &str) -> Option<Value> {
        serde_json::from_slice(&self.whole(router, target).await.ok()?.ok()?).ok()
    }
}
