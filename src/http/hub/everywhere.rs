//! `?site=*` of /v1/expected: what is expected of a device at every site that knows it.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    body::to_bytes,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use futures_util::{StreamExt, TryStreamExt};
use hyper::{Method, StatusCode, header};
use serde::Serialize;
use tokio::sync::{Notify, watch};

use super::{
    Hub, chosen, joined,
    selection::{ALL_SITES, names_all_sites},
};
use crate::{
    fleet::{FORWARDED_MAX, SiteName, comment_at_site},
    http::{
        answer::Refusal,
        body::too_large,
        rows::{self, ResponseQueue},
        sender::Sender,
        v1::{COMMENT_MAX, ExpectedRow, expected_additions, expected_removals},
    },
    model::Expectation,
    service::expectations::all_expectations,
    store::{ExpectationUpdate, Store, StoreError},
};

/// The most expectations for all sites: those of 250 devices with 40 ports each.
const MOST: usize = 10_000;

/// The expectations for all sites.
#[derive(Clone)]
pub struct Everywhere {
    /// The hub's own database, which has them.
    pub store: Store,
    /// Told when they have changed.
    pub changed: Arc<Notify>,
    /// How far each site is behind.
    pub behind: watch::Receiver<Arc<BTreeMap<SiteName, SiteBehind>>>,
}

/// How far a site is behind the expectations for all sites.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SiteBehind {
    /// The rows that are to be set or removed there.
    pub rows: usize,
    /// Why they are not yet, as a sentence.
    pub reason: Option<String>,
}

/// A row of the list.
#[derive(Serialize)]
struct RowForAll {
    site: &'static str,
    #[serde(flatten)]
    row: ExpectedRow,
}

/// Lists the expectations for all sites, or those of the sites.
pub(super) async fn list(
    hub: State<Hub>,
    queue: ResponseQueue,
    request: Request,
) -> Result<Response, Refusal> {
    if !is_for_all(&request) {
        return joined::list(hub, request).await;
    }
    let pages = all_expectations(&hub.everywhere.store);
    let row = |expectation| RowForAll { site: ALL_SITES, row: ExpectedRow::of(expectation) };
    rows::array(&queue, pages.map_ok(move |page| page.into_iter().map(row))).await
}

/// Refuses other methods for all sites; what one site's do is the site's.
pub(super) async fn other(hub: State<Hub>, sender: Sender, request: Request) -> Result<Response, Refusal> {
    if !is_for_all(&request) {
        return chosen::serve(hub, sender, request).await;
    }
    Ok((StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET,HEAD,PATCH,DELETE")]).into_response())
}

/// Changes the expectations for all sites, or those of one.
pub(super) async fn change(hub: State<Hub>, sender: Sender, request: Request) -> Result<Response, Refusal> {
    if !is_for_all(&request) {
        return chosen::serve(hub, sender, request).await;
    }
    let (parts, body) = request.into_parts();
    hub.gate.check(sender, parts.extensions.get(), &parts.headers).await?;
    let body = to_bytes(body, FORWARDED_MAX).await.map_err(|_| too_large())?;
    let updates = match parts.method {
        Method::PATCH => expected_additions(&parts.headers, &body)?,
        _ => expected_removals(&parts.headers, &body)?,
    };
    updates.iter().enumerate().try_for_each(|(index, update)| check(index, update))?;
    let store = &hub.everywhere.store;
    let added = updates.iter().filter(|update| update.state.is_some()).count();
    if added > 0 && count(store).await? + added > MOST {
        let error = format!("there are at most {MOST} expectations for all sites; nothing was changed");
        return Err(Refusal::bad_request(error));
    }
    store.expect(updates).await?;
    hub.everywhere.changed.notify_one();
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Whether the query names all sites by `site=*`.
fn is_for_all(request: &Request) -> bool {
    names_all_sites(request.uri().query())
}

/// What is wrong with a row for all sites.
fn check(index: usize, update: &ExpectationUpdate) -> Result<(), Refusal> {
    let refused =
        |what: String| Refusal::bad_request(format!("row {}: {what}; nothing was changed", index + 1));
    if update.device.mac().is_none() {
        return Err(refused(format!(
            "{} is an address, which may be another device at each site; name the device by its MAC",
            update.device
        )));
    }
    if update.device.mac().is_some_and(|mac| !mac.is_unicast()) {
        return Err(refused(format!("{} is not the MAC of one device", update.device)));
    }
    let is_long = |comment: &str| comment_at_site(comment).chars().count() > COMMENT_MAX;
    if update.state.as_ref().is_some_and(|(_, comment)| is_long(comment)) {
        let room = COMMENT_MAX - comment_at_site(" ").chars().count() + 1;
        return Err(refused(format!("the comment is longer than {room} characters; shorten it")));
    }
    Ok(())
}

async fn count(store: &Store) -> Result<usize, StoreError> {
    let pages: Vec<Vec<Expectation>> = all_expectations(store).take(MOST).try_collect().await?;
    Ok(pages.iter().map(Vec::len).sum())
}
