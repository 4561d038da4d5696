//! GET /v1/hosts/DEVICE at the root: the device, with its `site`, and `elsewhere`, the other sites that know its MAC.

use std::io;

use axum::{
    body::Body,
    extract::Request,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::stream;
use http_body_util::BodyExt;
use hyper::{Method, StatusCode, header};

use super::{
    Hub, HubSite,
    elsewhere::stores,
    owners::{Owners, key_of, several, unknown},
    read::Read,
    selection::SiteSelection,
    site,
    splice::Splice,
};
use crate::{
    fleet::SiteName,
    http::{answer::Refusal, sender::Sender},
    model::Mac,
    service::fleet::Elsewhere,
};

/// Answers with a device of the sites that the query selects: of several that know its MAC, as the one where it was seen
/// last does. An address means another device at each site, and has to name it.
pub(super) async fn read(
    hub: &Hub,
    selection: &SiteSelection,
    (path, device): (&str, &str),
    sender: Sender,
    request: Request,
) -> Result<Response, Refusal> {
    let mac = key_of(device)?.mac();
    let owners = match &*selection.sites {
        [(name, site)] if selection.is_named => Owners { sites: vec![(name, site)], unreadable: None },
        _ => {
            let read = Read { headers: request.headers(), extensions: request.extensions() };
            Owners::of(selection, device, read).await?
        }
    };
    // Of all sites, whatever the query selects.
    let elsewhere = match mac {
        Some(mac) => Elsewhere::of(vec![mac], &stores(&hub.sites())).await,
        None => Elsewhere::default(),
    };
    let (name, site) = match (&*owners.sites, mac) {
        ([owner], _) => *owner,
        ([], _) => return Err(owners.unreadable.unwrap_or_else(unknown)),
        (sites, Some(mac)) => latest(sites, &elsewhere, mac)?,
        (sites, None) => return Err(several(sites)),
    };
    let is_get = request.method() == Method::GET;
    let answer = site::serve_at(hub, (name, site), &selection.target(path), sender, request).await?;
    if answer.status() != StatusCode::OK || !is_get {
        return Ok(answer);
    }
    let (mut parts, body) = answer.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    let passing = Passing { splice: Splice::of_one(name, elsewhere.into()), body, site: name.clone() };
    let body = stream::try_unfold(passing, async |mut passing| {
        let piece = passing.piece().await.map_err(|error| {
            tracing::warn!(site = %passing.site, error, "failed to continue a device of a site; its client gets a truncated one");
            io::Error::other(error)
        })?;
        Ok::<_, io::Error>(piece.map(|piece| (piece, passing)))
    });
    Ok((parts, Body::from_stream(body)).into_response())
}

/// Of the sites that know the device, the one where it was seen last.
fn latest<'a>(
    owners: &[(&'a SiteName, &'a HubSite)],
    elsewhere: &Elsewhere,
    mac: Mac,
) -> Result<(&'a SiteName, &'a HubSite), Refusal> {
    let order: Vec<_> = elsewhere.sites_of(mac).map(|known| &known.site).collect();
    // One that is not among the latest comes after these.
    let place = |name: &SiteName| order.iter().position(|known| *known == name).unwrap_or(usize::MAX);
    let found = owners.iter().min_by_key(|(name, _)| place(name));
    found.copied().ok_or_else(|| several(owners))
}

/// A device that passes.
struct Passing {
    splice: Splice,
    body: Body,
    site: SiteName,
}

impl Passing {
    /// The next piece; `None` after the end.
    async fn piece(&mut self) -> Result<Option<Bytes>, String> {
        match self.body.frame().await {
            Some(Ok(frame)) => {
                let mut text = Vec::new();
                let data = frame.into_data().unwrap_or_default();
                self.splice.write(&data, &mut false, &mut text).map_err(|error| error.to_string())?;
                Ok(Some(text.into()))
            }
            Some(Err(error)) => Err(error.to_string()),
            None => self.splice.finish().map(|()| None).map_err(|error| error.to_string()),
        }
    }
}
