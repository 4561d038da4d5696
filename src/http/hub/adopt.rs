//! POST /v1/sites/NAME/adopt: from now on the site is the appliance that reports next, whichever database it has.

use axum::{
    extract::{Path, Request, State},
    response::{IntoResponse, Response},
};
use hyper::StatusCode;

use super::{Hub, no_such_site};
use crate::{
    http::{answer::Refusal, sender::Sender},
    store::StoreError,
};

/// Forgets of which database the copy is. What it shows stays until that appliance's first batch replaces it, and is kept
/// in a file.
pub(super) async fn adopt(
    State(hub): State<Hub>,
    Path(name): Path<String>,
    sender: Sender,
    request: Request,
) -> Result<Response, Refusal> {
    let name = hub.site_of_owner(&name, sender, request).await?;
    let store = hub.sites().get(&name).map(|site| site.store.clone()).ok_or_else(no_such_site)?;
    // A task of its own: to keep what a large copy has may take longer than the client waits.
    let adopting = tokio::spawn(async move {
        store.forget_succession().await?;
        tracing::info!(site = %name, "the appliance that reports next replaces the site's data");
        Ok::<_, StoreError>(())
    });
    adopting.await.unwrap_or(Err(StoreError::Closed))?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
