//! The metrics of all sites on one page, each sample with its `site`, and whether the sites are heard.

use std::fmt::Write;

use axum::{
    body::Body,
    extract::{Request, State},
    response::Response,
};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{Method, StatusCode};

use super::{
    Hub, HubSite,
    exposition::{Joined, SitePage},
    read::Read,
    selection::SiteSelection,
};
use crate::{
    fleet::{SiteName, SiteState},
    http::{
        answer::Refusal,
        rows::{self, PIECE, ResponseQueue, Source},
    },
    metrics,
    store::StoreError,
};

/// Returns the metrics of all sites, or of those that the query names.
pub(super) async fn all(
    State(hub): State<Hub>,
    queue: ResponseQueue,
    request: Request,
) -> Result<Response, Refusal> {
    let selection = SiteSelection::of(request.uri().query(), &hub.sites())?;
    let parts = request.into_parts().0;
    let read = Read { headers: &parts.headers, extensions: &parts.extensions };
    respond(&queue, &selection.sites, read).await
}

/// Returns a site's own.
pub(super) async fn of(name: &SiteName, site: &HubSite, read: Read<'_>) -> Result<Response, Refusal> {
    respond(&ResponseQueue::default(), &[(name.clone(), site.clone())], read).await
}

async fn respond(
    queue: &ResponseQueue,
    sites: &[(SiteName, HubSite)],
    read: Read<'_>,
) -> Result<Response, Refusal> {
    let mut pages = Vec::new();
    let mut readable = Vec::new();
    // A site's page is in its router's memory anyway, for all clients; here are references to it.
    for (name, site) in sites {
        let page = page(site, read).await;
        readable.push(page.is_some());
        pages.extend(page.map(|page| SitePage::new(name.as_str(), page)));
    }
    let source = Page { own: own(sites, &readable), joined: Joined::new(pages) };
    rows::streamed(queue, metrics::CONTENT_TYPE, source).await
}

/// The parts of a site's page; `None`, if it cannot be written.
pub(super) async fn page(site: &HubSite, read: Read<'_>) -> Option<Vec<Bytes>> {
    let answer = read.send(&site.router, Method::GET, "/metrics").await.ok()?;
    if answer.status() != StatusCode::OK {
        return None;
    }
    let mut body: Body = answer.into_body();
    let mut parts = Vec::new();
    while let Some(frame) = body.frame().await {
        parts.extend(frame.ok()?.into_data().ok());
    }
    Some(parts)
}

/// The page, as far as it is written.
struct Page {
    own: String,
    joined: Joined,
}

impl Source for Page {
    async fn write(&mut self, text: &mut Vec<u8>) -> Result<bool, StoreError> {
        text.extend_from_slice(std::mem::take(&mut self.own).as_bytes());
        Ok(self.joined.write(text, PIECE))
    }
}

/// The hub's own families: about the sites.
fn own(sites: &[(SiteName, HubSite)], readable: &[bool]) -> String {
    let states = || sites.iter().map(|(name, site)| (name, site.status.borrow().clone()));
    let up = states().map(|(name, status)| {
        (name, Some(f64::from(u8::from(matches!(status.state, SiteState::Current | SiteState::CatchingUp)))))
    });
    let heard = states()
        .map(|(name, status)| (name, status.heard.map(|heard| heard.as_millisecond() as f64 / 1000.0)));
    let readable = sites.iter().zip(readable).map(|((name, _), &is)| (name, Some(f64::from(u8::from(is)))));
    let mut text = String::new();
    family(
        &mut text,
        "portscan_site_up",
        "Whether the site reports: it is current, or its data are being copied.",
        up,
    );
    family(
        &mut text,
        "portscan_site_heard_timestamp_seconds",
        "When the hub last heard from the site.",
        heard,
    );
    family(
        &mut text,
        "portscan_site_readable",
        "Whether the hub can write the metrics of its copy.",
        readable,
    );
    text
}

fn family<'a>(
    text: &mut String,
    name: &str,
    help: &str,
    samples: impl Iterator<Item = (&'a SiteName, Option<f64>)>,
) {
    // Writing to a string cannot fail.
    let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n");
    for (site, value) in samples.filter_map(|(site, value)| Some((site, value?))) {
        let _ = writeln!(text, "{name}{{site=\"{site}\"}} {value}");
    }
}
