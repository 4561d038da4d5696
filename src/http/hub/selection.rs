//! `?site=NAME`: which sites a request is for. It may be there several times; without it, all sites are meant.

use hyper::StatusCode;
use percent_encoding::percent_decode_str;

use super::{HubSite, Sites, no_such_site};
use crate::{fleet::SiteName, http::answer::Refusal};

/// What stands for all sites, where a path takes it.
pub(super) const ALL_SITES: &str = "*";

/// The sites of a request, and the rest of its query.
pub(super) struct SiteSelection {
    /// In the order of their names.
    pub(super) sites: Vec<(SiteName, HubSite)>,
    /// Whether the request names any.
    pub(super) is_named: bool,
    /// The other parameters as they are written.
    pub(super) query: String,
}

impl SiteSelection {
    /// # Errors
    /// A named site does not exist.
    pub(super) fn of(query: Option<&str>, sites: &Sites) -> Result<Self, Refusal> {
        let (mut names, mut rest) = (Vec::new(), Vec::new());
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            match value_of(pair, "site") {
                Some(name) if name == ALL_SITES => return Err(not_for_all()),
                Some(name) => names.push(name.parse::<SiteName>().map_err(|_| no_such_site())?),
                None => rest.push(pair),
            }
        }
        if !names.iter().all(|name| sites.contains_key(name)) {
            return Err(no_such_site());
        }
        let is_named = !names.is_empty();
        let selected = sites.iter().filter(|(name, _)| !is_named || names.contains(name));
        let sites = selected.map(|(name, site)| (name.clone(), site.clone())).collect();
        Ok(Self { sites, is_named, query: rest.join("&") })
    }

    /// The path with the rest of the query.
    pub(super) fn target(&self, path: &str) -> String {
        if self.query.is_empty() { path.to_owned() } else { format!("{path}?{}", self.query) }
    }

    /// The value of another parameter.
    pub(super) fn parameter(&self, name: &str) -> Option<String> {
        self.query.split('&').find_map(|pair| value_of(pair, name))
    }
}

/// Whether a query is for all sites by that name.
pub(super) fn names_all_sites(query: Option<&str>) -> bool {
    let mut pairs = query.unwrap_or_default().split('&');
    pairs.any(|pair| value_of(pair, "site").is_some_and(|name| name == ALL_SITES))
}

fn not_for_all() -> Refusal {
    let error = "only /v1/expected takes site=*; other paths take the name of a site, or none";
    Refusal::new(StatusCode::NOT_FOUND, error)
}

/// The value of a pair with this name, without its escapes.
fn value_of(pair: &str, name: &str) -> Option<String> {
    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
    let plain = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    (plain(key) == name).then(|| plain(value))
}
