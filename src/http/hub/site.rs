//! One site: its copy's answers, and what only the site itself can do.

use axum::{
    body::{Body, to_bytes},
    extract::Request,
    response::{IntoResponse, Response},
};
use hyper::{
    Method, StatusCode,
    header::{self, HeaderValue},
};
use serde_json::Value;

use super::{
    Hub, HubSite, forward, metrics, no_such_site,
    read::{Read, WHOLE_MAX},
};
use crate::{
    fleet::{SiteName, SiteState, SiteStatus, is_forwardable},
    http::{
        answer::{Refusal, json},
        dashboard,
        finish::allowed,
        sender::Sender,
    },
};

/// Serves `/sites/NAME/...`.
pub(super) async fn serve(hub: &Hub, sender: Sender, request: Request) -> Result<Response, Refusal> {
    let uri = request.uri();
    let below = uri.path().strip_prefix("/sites/").unwrap_or_default();
    let sites = hub.sites();
    let (segment, rest) = below.split_once('/').map_or((below, None), |(name, rest)| (name, Some(rest)));
    let name: SiteName = segment.parse().map_err(|_| no_such_site())?;
    let site = sites.get(&name).ok_or_else(no_such_site)?;
    if rest.is_none() {
        // Without the slash the page's URLs would leave the site.
        let target = HeaderValue::from_str(&format!("{name}/")).map_err(|_| no_such_site())?;
        return Ok((StatusCode::PERMANENT_REDIRECT, [(header::LOCATION, target)]).into_response());
    }
    let path = uri.path_and_query().map_or("/", |target| target.as_str());
    let start = "/sites/".len() + name.as_str().len();
    let target = path.get(start..).unwrap_or("/").to_owned();
    serve_at(hub, (&name, site), &target, sender, request).await
}

/// Serves a request for this path and query of a site.
pub(super) async fn serve_at(
    hub: &Hub,
    (name, site): (&SiteName, &HubSite),
    target: &str,
    sender: Sender,
    request: Request,
) -> Result<Response, Refusal> {
    if let &Method::POST | &Method::PUT | &Method::PATCH | &Method::DELETE = request.method() {
        return forward::write(hub, (name, site), target.to_owned(), sender, request).await;
    }
    let path = target.split('?').next().unwrap_or_default();
    if let Some(why) = only_there(path) {
        return Err(Refusal::new(StatusCode::FORBIDDEN, format!("{why}; do it at the site {name} itself")));
    }
    let parts = request.into_parts().0;
    let read = Read { headers: &parts.headers, extensions: &parts.extensions };
    let is_read = matches!(parts.method, Method::GET | Method::HEAD);
    match path {
        "/" if is_read => page(name, site, read).await,
        "/metrics" if is_read => metrics::of(name, site, read).await,
        "/v1/health" if is_read => health(name, site, read).await,
        _ => {
            let mut answer = read.send(&site.router, parts.method, target).await?;
            let allow = answer.headers().get(header::ALLOW).and_then(|allow| allow.to_str().ok());
            if let Some(allow) = allow {
                let allow = methods_here(path, allow).ok_or_else(|| forward::not_here(name))?;
                answer.headers_mut().insert(header::ALLOW, allow);
            }
            Ok(answer)
        }
    }
}

/// Those of a path's methods at the site that a hub has for it, too; `None`: there are none.
fn methods_here(path: &str, at_the_site: &str) -> Option<HeaderValue> {
    let is_here = |method: &str| matches!(method, "GET" | "HEAD") || is_forwardable(method, path);
    let here = allowed(at_the_site, is_here);
    if here == "OPTIONS" { None } else { HeaderValue::from_str(&here).ok() }
}

/// Why a path is answered at the site alone; `None`: the copy answers it.
fn only_there(path: &str) -> Option<&'static str> {
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    match *parts {
        // The first part is the site's `base_url`, which is one segment and none of those that are reserved.
        [base, _, _, "json"] if base != "v1" => Some("the hub probes no port"),
        ["lanscan", ..] => {
            Some("the hub does not have what the site's own discovery has just seen, but /v1/hosts")
        }
        ["v1", "doctor"] => Some("the hub cannot judge the site's machine"),
        ["v1", "backup"] => Some("the hub's copy is no backup of the site's database"),
        _ => None,
    }
}

/// The site's page, with a link to all sites.
async fn page(name: &SiteName, site: &HubSite, read: Read<'_>) -> Result<Response, Refusal> {
    let answer = read.send(&site.router, Method::GET, "/").await?;
    let (mut parts, body) = answer.into_parts();
    let broken = |_| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the page cannot be read");
    let text = to_bytes(body, WHOLE_MAX).await.map_err(broken)?;
    parts.headers.remove(header::CONTENT_LENGTH);
    let text = dashboard::with_link_to_sites(&String::from_utf8_lossy(&text), name);
    Ok(Response::from_parts(parts, Body::from(text)))
}

/// The copy's health, as far as it is the site's: the memory, the limits and the probes are those of the hub's process.
async fn health(name: &SiteName, site: &HubSite, read: Read<'_>) -> Result<Response, Refusal> {
    let text = match read.whole(&site.router, "/v1/health").await? {
        Ok(text) => text,
        Err(answer) => return Ok(answer),
    };
    let mut health: Value = serde_json::from_slice(&text).unwrap_or_default();
    let status = site.status.borrow().clone();
    if let Some(members) = health.as_object_mut() {
        members.insert("memory".to_owned(), Value::Null);
        members.insert("limits".to_owned(), Value::Null);
        members.insert("local_errors".to_owned(), Value::Array(Vec::new()));
        members.insert("version".to_owned(), status.version.clone().unwrap_or_default().into());
        add(members.entry("problems").or_insert(Value::Null), status.refusal.iter().chain(&status.problems));
        let late = lateness(name, &status);
        add(members.entry("notices").or_insert(Value::Null), late.iter().chain(&status.notices));
    }
    Ok(json(StatusCode::OK, &health))
}

/// Adds the sentences that are not there yet.
fn add<'a>(list: &mut Value, sentences: impl Iterator<Item = &'a String>) {
    let mut all = list.as_array().cloned().unwrap_or_default();
    for sentence in sentences {
        let sentence = Value::from(sentence.as_str());
        if !all.contains(&sentence) {
            all.push(sentence);
        }
    }
    *list = Value::Array(all);
}

/// That the copy may be old; `None`: the site reports.
fn lateness(name: &SiteName, status: &SiteStatus) -> Option<String> {
    match (status.state, status.heard) {
        (SiteState::Current | SiteState::CatchingUp, _) => None,
        (_, Some(heard)) => {
            Some(format!("the site {name} was last heard at {heard}; its devices are shown as they were"))
        }
        (_, None) => Some(format!("the site {name} has not been heard yet")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_on_the_network_or_the_machine_is_the_sites_own() {
        for path in [
            "/portscan/10.0.0.1/80/json",
            "/ports/nas/00080/json",
            "/portscan/nas/%38%30/json",
            "/lanscan/json",
            "/v1/doctor",
            "/v1/backup",
        ] {
            assert!(only_there(path).is_some(), "{path}");
        }
        for path in [
            "/",
            "/portscan/json",
            "/portscan/B8:27:EB:AC:14:3E/json",
            "/v1/hosts",
            "/v1/diff/1/2",
            "/page/main.js",
        ] {
            assert_eq!(only_there(path), None, "{path}");
        }
    }
}
