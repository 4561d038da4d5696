//! The page for people: all its files are in the binary.
//!
//! `page/` holds the files as they are served below `/page`, without a build step. They get their data as JSON from the
//! API, so nothing here depends on what they show. All their URLs are relative: behind a proxy the page may be below a
//! path. `hub/` holds those that only the page of a hub has, `hub.html`.

use std::fmt::Write;

use axum::{
    Router,
    extract::Path,
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use hyper::{
    StatusCode,
    header::{self, HeaderMap, HeaderName, HeaderValue},
};
use include_dir::{Dir, include_dir};
use sha2::{Digest, Sha256};

use super::answer::not_found;
use crate::{fleet::SiteName, model::escape_markup, service::health::Health};

/// The path of the page's files. `base_url` must not be the same.
const FOLDER: &str = "/page";

/// Nothing from other sites, nothing inline: even a device's name that became HTML could do no harm. Only a page of
/// the same origin may frame it, as Home Assistant's ingress does: such a page could do everything here anyway.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'";

/// The placeholder in `index.html` for [`signpost`].
const SIGNPOST: &str = "{signpost}";

/// The page at `/`.
const INDEX: &str = include_str!("dashboard/index.html");

/// The beginning of the page's header.
const HEADER: &str = "<header class=\"top\" id=\"top\">";

/// The path of the files of a hub's page.
const HUB_FOLDER: &str = "/hub";

/// A hub's page at `/`: the sites.
const HUB_INDEX: &str = include_str!("dashboard/hub.html");

/// All files that are served beside [`HUB_INDEX`], and no appliance has.
static HUB_FILES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/src/http/dashboard/hub");

/// All files that are served beside [`INDEX`]. Cargo watches the files, not the folder: an added file is noticed
/// because another one changes to name it.
static FILES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/src/http/dashboard/page");

/// The page at `/` and its files.
pub(super) fn routes<H>(base: &str, health: H) -> Router
where
    H: Fn() -> Health + Clone + Send + Sync + 'static,
{
    let base = base.to_owned();
    let index = async move || {
        let page = INDEX.replace(SIGNPOST, &signpost(&base, &health()));
        (common("text/html; charset=utf-8"), page)
    };
    files(FOLDER, &FILES).route("/", get(index))
}

/// The page of a hub at `/`, its own files, and those of an appliance's page, which it uses, too.
pub(super) fn hub_routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let index = async || (common("text/html; charset=utf-8"), HUB_INDEX);
    files(FOLDER, &FILES).merge(files(HUB_FOLDER, &HUB_FILES)).route("/", get(index))
}

/// The files below this path.
// One route for all of them: fifty would take as many tables in memory, for a page that is seldom open.
fn files<S: Clone + Send + Sync + 'static>(below: &str, files: &'static Dir<'static>) -> Router<S> {
    let named = async move |Path(name): Path<String>, asked: HeaderMap| {
        // Paths are compared by their parts, by which `main.js/` would be a file, too.
        match files.get_file(&name).filter(|file| file.path().as_os_str() == name.as_str()) {
            Some(found) => file(&name, found.contents(), &asked),
            None => not_found().await.into_response(),
        }
    };
    Router::new().route(&format!("{below}/{{*name}}"), get(named))
}

/// The page of a site, as its appliance serves it, with a link to all sites before its navigation. The link stands
/// before what the page's script draws there, which keeps it; the appliance's page itself need not know of it.
pub(super) fn with_link_to_sites(page: &str, site: &SiteName) -> String {
    let link =
        format!("{HEADER}<a class=\"brand\" href=\"../../\">← Sites</a><span class=\"brand\">{site}</span>");
    page.replacen(HEADER, &link, 1)
}

/// A file, or 304 if the browser has it already. The browser asks each time, so that after an upgrade no old file is
/// used with a new one.
fn file(name: &str, bytes: &'static [u8], asked: &HeaderMap) -> Response {
    let tag = tag(bytes);
    let known = asked.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok()).unwrap_or_default();
    // A proxy that compresses makes the tag a weak one.
    let is_known = known.split(',').any(|known| known.trim().trim_start_matches("W/") == tag);
    let told = [(header::ETAG, tag), (header::CACHE_CONTROL, "no-cache".to_owned())];
    if is_known {
        return (StatusCode::NOT_MODIFIED, told).into_response();
    }
    (told, common(kind(name)), Bytes::from_static(bytes)).into_response()
}

/// The headers of each file, the scripts included: a worker obeys the policy of its own response.
fn common(kind: &'static str) -> [(HeaderName, HeaderValue); 3] {
    [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ]
}

fn kind(name: &str) -> &'static str {
    match name.rsplit_once('.') {
        Some((_, "js")) => "text/javascript; charset=utf-8",
        Some((_, "css")) => "text/css; charset=utf-8",
        Some((_, "svg")) => "image/svg+xml",
        _ => "text/plain; charset=utf-8",
    }
}

/// The `ETag` of these bytes: the first half of a digest is more than enough to tell two builds apart.
fn tag(bytes: &[u8]) -> String {
    let mut tag = String::from('"');
    for octet in Sha256::digest(bytes).iter().take(16) {
        // Writing to a string cannot fail.
        let _ = write!(tag, "{octet:02x}");
    }
    tag + "\""
}

/// The content for browsers without scripts and for `curl`: the paths, and the health.
fn signpost(base: &str, health: &Health) -> String {
    let base = escape_markup(base);
    let told = health.problems.iter().chain(&health.notices);
    let told: String = told.map(|sentence| format!("<p><b>{}</b>\n", escape_markup(sentence))).collect();
    format!(
        "{told}<ul>\n\
         <li><a href=\"{base}/json\">/{base}/json</a>: the devices that have a result\n\
         <li>/{base}/MAC/json: one device's open ports\n\
         <li>/{base}/HOST/PORT/json: one port, probed now\n\
         <li><a href=\"lanscan/json\">/lanscan/json</a>: the devices that it has found itself, if it looks for any\n\
         <li><a href=\"v1/info\">/v1</a>: scans, runs and hosts; \
         <a href=\"v1/openapi.json\">its description</a>\n\
         <li><a href=\"healthz\">/healthz</a>: whether the appliance is well\n\
         <li><a href=\"metrics\">/metrics</a>: its figures, for Prometheus\n</ul>"
    )
}
