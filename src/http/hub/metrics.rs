//! The metrics of all sites on one page, each sample with its `site`, and whether the sites are heard.

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
    fleet::{SiteName, SiteState, SiteStatus},
    http::{
        answer::Refusal,
        metrics::failed,
        rows::{self, PIECE, ResponseQueue, Source},
    },
    metrics,
    model::SiteFacts,
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
    let (mut pages, mut about) = (Vec::new(), Vec::new());
    // A site's page is in its router's memory anyway, for all clients; here are references to it.
    for (name, site) in sites {
        let page = page(site, read).await;
        about.push(facts(name, &site.status.borrow(), page.is_some()));
        pages.extend(page.map(|page| SitePage::new(name.as_str(), page)));
    }
    let own = metrics::encode_sites(&about).map_err(|error| failed(&error))?;
    let source = Page { own, joined: Joined::new(pages) };
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

/// The facts about a site for the hub's own families.
fn facts(name: &SiteName, status: &SiteStatus, is_readable: bool) -> SiteFacts {
    let is_up = matches!(status.state, SiteState::Current | SiteState::CatchingUp);
    SiteFacts { name: name.to_string(), is_up, heard: status.heard, is_readable }
}
