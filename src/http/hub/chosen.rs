//! The paths below /v1 that are one site's, at the root: `?site=NAME` names it. A device that exactly one site knows
//! names its site, too.

use axum::{
    extract::{Request, State},
    response::Response,
};
use hyper::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{
    Hub, HubSite, device,
    owners::{Owners, key_of, several, unknown},
    read::Read,
    selection::SiteSelection,
    site,
};
use crate::{
    fleet::SiteName,
    http::{answer::Refusal, sender::Sender},
};

/// Serves what `/sites/NAME/...` serves.
pub(super) async fn serve(
    State(hub): State<Hub>,
    sender: Sender,
    request: Request,
) -> Result<Response, Refusal> {
    let selection = SiteSelection::of(request.uri().query(), &hub.sites())?;
    let path = request.uri().path().to_owned();
    let named = device_of(&path, &selection, request.method());
    if let (&Method::GET | &Method::HEAD, Some(named)) = (request.method(), &named) {
        return device::read(&hub, &selection, (&path, named), sender, request).await;
    }
    let (name, site) = match &*selection.sites {
        [(name, site)] if selection.is_named => (name, site),
        _ if selection.is_named => {
            return Err(Refusal::bad_request("this is for one site at a time; name one by `site` alone"));
        }
        _ => {
            let read = Read { headers: request.headers(), extensions: request.extensions() };
            owner(&selection, named, read).await?
        }
    };
    site::serve_at(&hub, (name, site), &selection.target(&path), sender, request).await
}

/// The device that a request names, escaped for a path.
fn device_of(path: &str, selection: &SiteSelection, method: &Method) -> Option<String> {
    if let Some(device) = path.strip_prefix("/v1/hosts/") {
        return Some(device.to_owned()).filter(|device| !device.contains('/'));
    }
    let is_run = method == Method::POST && (path == "/v1/run" || path.starts_with("/v1/run/"));
    let device = selection.parameter("host").filter(|_| is_run)?;
    Some(utf8_percent_encode(&device, NON_ALPHANUMERIC).to_string())
}

/// The one site that knows the device, which a request is to change.
async fn owner<'a>(
    selection: &'a SiteSelection,
    device: Option<String>,
    read: Read<'_>,
) -> Result<(&'a SiteName, &'a HubSite), Refusal> {
    let Some(device) = device else {
        return Err(Refusal::bad_request(
            "this is for one site; name it by ?site=NAME, as /v1/sites lists them",
        ));
    };
    key_of(&device)?;
    let Owners { sites, unreadable } = Owners::of(selection, &device, read).await?;
    if let Some(unreadable) = unreadable {
        // To guess then could change another site.
        return Err(unreadable);
    }
    match &*sites {
        [owner] => Ok(*owner),
        [] => Err(unknown()),
        owners => Err(several(owners)),
    }
}
