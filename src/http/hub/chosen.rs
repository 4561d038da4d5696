//! The paths below /v1 that are one site's, at the root: `?site=NAME` names it. A device that exactly one site knows
//! names its site, too.

use axum::{
    extract::{Request, State},
    response::Response,
};
use hyper::{Method, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{Hub, HubSite, read::Read, selection::SiteSelection, site};
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
    let (name, site) = match &*selection.sites {
        [(name, site)] if selection.is_named => (name, site),
        _ if selection.is_named => {
            return Err(Refusal::bad_request("this is for one site at a time; name one by `site` alone"));
        }
        _ => {
            let read = Read { headers: request.headers(), extensions: request.extensions() };
            owner(&selection, device(&path, &selection, request.method()), read).await?
        }
    };
    site::serve_at(&hub, (name, site), &selection.target(&path), sender, request).await
}

/// The device that a request names, escaped for a path.
fn device(path: &str, selection: &SiteSelection, method: &Method) -> Option<String> {
    if let Some(device) = path.strip_prefix("/v1/hosts/") {
        return Some(device.to_owned()).filter(|device| !device.contains('/'));
    }
    let is_run = method == Method::POST && (path == "/v1/run" || path.starts_with("/v1/run/"));
    let device = selection.parameter("host").filter(|_| is_run)?;
    Some(utf8_percent_encode(&device, NON_ALPHANUMERIC).to_string())
}

/// The one site that knows the device.
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
    let mut owners = Vec::new();
    for (name, site) in &selection.sites {
        let answer = read.send(&site.router, Method::HEAD, &format!("/v1/hosts/{device}")).await?;
        match answer.status() {
            StatusCode::OK => owners.push((name, site)),
            StatusCode::NOT_FOUND => {}
            // The device is malformed, or the copy cannot be read: to guess then could change another site.
            status => {
                let error =
                    format!("the site {name} may know the device or not; name the site by ?site=NAME");
                return Err(Refusal::new(status, error));
            }
        }
    }
    match &*owners {
        [owner] => Ok(*owner),
        [] => {
            Err(Refusal::new(StatusCode::NOT_FOUND, "no site knows this device; /v1/hosts lists all devices"))
        }
        [(one, _), (other, _), ..] => Err(Refusal::bad_request(format!(
            "{} sites know this device, {one} and {other} among them; name one by ?site=NAME",
            owners.len(),
        ))),
    }
}
