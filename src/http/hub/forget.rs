//! DELETE /v1/sites/NAME: what the hub has of a site that does not report any more.

use axum::{
    extract::{Path, Request, State},
    response::{IntoResponse, Response},
};
use futures_util::future::BoxFuture;
use hyper::StatusCode;

use super::{Hub, no_such_site};
use crate::{
    fleet::SiteName,
    http::{answer::Refusal, sender::Sender},
};

/// Drops sites; `app` implements it.
pub trait ForgetSite: Send + Sync {
    /// Closes the copy of this site and removes its directory.
    fn forget(&self, site: SiteName) -> BoxFuture<'_, Result<(), ForgetError>>;
}

/// Why a site is not forgotten. Its copy is as it was, unless its directory was removed in part.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForgetError {
    /// The hub has nothing of it.
    #[error("there is no such site")]
    Unknown,
    /// It would be there again at once.
    #[error(
        "the site reports to this hub; revoke its certificates first, by portscan hub revoke, and repeat this once the \
         hub says that it is silent"
    )]
    Connected,
    /// The directory cannot be removed.
    #[error("cannot remove the copy: {0}")]
    Failed(String),
}

/// Forgets a site.
pub(super) async fn forget(
    State(hub): State<Hub>,
    Path(name): Path<String>,
    sender: Sender,
    request: Request,
) -> Result<Response, Refusal> {
    let name = hub.site_of_owner(&name, sender, request).await?;
    hub.forget.forget(name.clone()).await.map_err(|error| match error {
        ForgetError::Unknown => no_such_site(),
        ForgetError::Connected => Refusal::new(StatusCode::CONFLICT, error.to_string()),
        ForgetError::Failed(_) => Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    })?;
    tracing::info!(site = %name, "the site is forgotten: its copy is removed");
    Ok(StatusCode::NO_CONTENT.into_response())
}
