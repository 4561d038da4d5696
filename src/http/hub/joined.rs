//! The lists of all sites as one: one site after the other, in the order of their names, each element with its `site`.
//! A device that other sites know, too, has these in `elsewhere`.
//!
//! A site whose copy cannot be read has one element with an `error` in place of those that are missing.
//!
//! They are not merged by time: for that, every site's list would have to be open at once, and a slow client would hold
//! a position in the databases of all of them.

use std::{io, sync::Arc, vec};

use axum::{
    body::{Body, to_bytes},
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body_util::BodyExt;
use hyper::{
    Method, StatusCode,
    header::{self, HeaderMap, HeaderValue},
    http::Extensions,
};
use serde_json::{Value, json};

use super::{Hub, HubSite, read::Read, selection::SiteSelection, splice::Splice};
use crate::{
    fleet::SiteName,
    http::{answer::Refusal, rows::PIECE, v1::is_change_id},
    service::fleet::Elsewhere,
};

/// The lists, beside /v1/expected. Each is an array of objects.
pub(super) const PATHS: [&str; 5] = ["/v1/hosts", "/v1/diff", "/v1/changes", "/v1/scans", "/v1/runs"];

/// The longest error of a site that is read, in bytes.
const ERROR_MAX: usize = 4096;

/// Responds with a list of all sites, or of those that the query names.
pub(super) async fn list(State(hub): State<Hub>, request: Request) -> Result<Response, Refusal> {
    let selection = SiteSelection::of(request.uri().query(), &hub.sites())?;
    let path = request.uri().path().to_owned();
    let since = selection.parameter("since").filter(|_| path == "/v1/changes");
    // 0 is before the first change of every site.
    let is_cursor = since.is_some_and(|since| since != "0" && is_change_id(&since));
    if is_cursor && !(selection.is_named && selection.sites.len() == 1) {
        return Err(Refusal::bad_request(
            "the ids of changes are each site's own: `since` is a time, or name the site of the id by ?site=NAME",
        ));
    }
    let is_of_one = selection.sites.len() == 1;
    let elsewhere = if path == "/v1/hosts" { Some(hub.elsewhere.get(&hub.sites()).await) } else { None };
    let parts = request.into_parts().0;
    let mut joined = Joined {
        target: selection.target(&path),
        sites: selection.sites.into_iter(),
        current: None,
        elsewhere,
        headers: parts.headers,
        extensions: parts.extensions,
        has_opened: false,
        has_elements: false,
        has_ended: false,
        is_of_one,
    };
    let first = match joined.piece().await {
        Ok(piece) => piece.unwrap_or_default(),
        Err(Broken::Refused(answer)) => return Ok(answer),
        Err(Broken::Site(_, error)) => return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error)),
    };
    let rest = stream::try_unfold(joined, async |mut joined| match joined.piece().await {
        Ok(piece) => Ok(piece.map(|piece| (piece, joined))),
        Err(Broken::Site(_, error)) => {
            tracing::warn!(error, "failed to continue a list of all sites; its client gets a truncated one");
            Err(io::Error::other(error))
        }
        Err(Broken::Refused(_)) => Err(io::Error::other("a site refuses what another one does not")),
    });
    let body = Body::from_stream(stream::once(async { Ok(first) }).chain(rest));
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response())
}

/// Why the list cannot go on.
enum Broken {
    /// The request itself is wrong, by this answer.
    Refused(Response),
    /// A site's copy cannot be read, as this sentence says.
    Site(SiteName, String),
}

/// The lists, as far as they are written.
struct Joined {
    target: String,
    sites: vec::IntoIter<(SiteName, HubSite)>,
    current: Option<(SiteName, Splice, Body)>,
    /// If the elements are devices, which sites know them.
    elsewhere: Option<Arc<Elsewhere>>,
    headers: HeaderMap,
    extensions: Extensions,
    has_opened: bool,
    has_elements: bool,
    has_ended: bool,
    /// Whether there is one site alone: if its copy cannot be read, there is nothing to answer.
    is_of_one: bool,
}

impl Joined {
    /// The next kilobytes; `None` after the end.
    async fn piece(&mut self) -> Result<Option<Bytes>, Broken> {
        if self.has_ended {
            return Ok(None);
        }
        let mut text = Vec::new();
        if !std::mem::replace(&mut self.has_opened, true) {
            text.push(b'[');
        }
        while text.len() < PIECE {
            let read = match self.current {
                Some(_) => self.read(&mut text).await,
                None => match self.open_next().await {
                    Ok(false) => {
                        text.extend_from_slice(b"]\n");
                        self.has_ended = true;
                        break;
                    }
                    opened => opened.map(|_| ()),
                },
            };
            match read {
                Err(Broken::Site(name, error)) if self.may_leave_out() => {
                    tracing::warn!(error, "a list of all sites goes on without a site");
                    self.write_unreadable(&name, &error, &mut text);
                }
                read => read?,
            }
        }
        Ok(Some(text.into()))
    }

    /// Whether the list can go on with the next site: not within an element.
    fn may_leave_out(&self) -> bool {
        !self.is_of_one && self.current.as_ref().is_none_or(|(_, splice, _)| splice.is_between())
    }

    /// Writes an element in place of those that a site still has: a list never lacks a site silently.
    fn write_unreadable(&mut self, site: &SiteName, error: &str, text: &mut Vec<u8>) {
        self.current = None;
        if std::mem::replace(&mut self.has_elements, true) {
            text.push(b',');
        }
        text.extend_from_slice(json!({ "site": site, "error": error }).to_string().as_bytes());
    }

    /// Asks the next site; returns whether there is one.
    async fn open_next(&mut self) -> Result<bool, Broken> {
        let Some((name, site)) = self.sites.next() else { return Ok(false) };
        let read = Read { headers: &self.headers, extensions: &self.extensions };
        let answer = read.send(&site.router, Method::GET, &self.target).await;
        let answer = answer.map_err(|refusal| Broken::Refused(refusal.into_response()))?;
        let status = answer.status();
        if status.is_client_error() {
            return Err(Broken::Refused(answer));
        }
        let body = answer.into_body();
        if status != StatusCode::OK {
            let text = to_bytes(body, ERROR_MAX).await.unwrap_or_default();
            let error: Value = serde_json::from_slice(&text).unwrap_or_default();
            let why = error.get("error").and_then(Value::as_str).unwrap_or("it does not say why");
            return Err(broken(&name, &why));
        }
        let splice = Splice::of_list(&name, self.elsewhere.clone());
        self.current = Some((name, splice, body));
        Ok(true)
    }

    /// Appends the next piece of the present site's list.
    async fn read(&mut self, text: &mut Vec<u8>) -> Result<(), Broken> {
        let Some((name, splice, body)) = &mut self.current else { return Ok(()) };
        match body.frame().await {
            Some(Ok(frame)) => {
                let data = frame.into_data().unwrap_or_default();
                splice.write(&data, &mut self.has_elements, text).map_err(|error| broken(name, &error))
            }
            Some(Err(error)) => Err(broken(name, &error)),
            None => {
                splice.finish().map_err(|error| broken(name, &error))?;
                self.current = None;
                Ok(())
            }
        }
    }
}

fn broken(site: &SiteName, why: &dyn std::fmt::Display) -> Broken {
    Broken::Site(site.clone(), format!("the hub's copy of the site {site} cannot be read: {why}"))
}
