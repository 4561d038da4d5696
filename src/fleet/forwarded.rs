//! The requests of a hub's clients that change something at a site. The site that owns the device answers them.

use serde::{Deserialize, Serialize};

/// The most bytes of a forwarded body: an expected state of thousands of ports. Reports of other scanners, which may be
/// larger, are imported at the site.
pub const FORWARDED_MAX: usize = 512 * 1024;

/// A request as it travels to a site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardedRequest {
    /// POST, PUT, PATCH or DELETE.
    pub method: String,
    /// The path at the site, with the query: `/v1/run`.
    pub path: String,
    /// The body's media type.
    pub content_type: Option<String>,
    /// The body.
    pub body: Vec<u8>,
}

/// The site's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardedAnswer {
    /// The status code.
    pub status: u16,
    /// The body's media type.
    pub content_type: Option<String>,
    /// The body.
    pub body: Vec<u8>,
}

/// Whether a site takes this request from a hub: runs, expected states and annotations. Nothing else is the hub's to
/// change: alerts, imports and the token belong to the appliance.
pub fn is_forwardable(method: &str, path: &str) -> bool {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let first = path.strip_prefix("/v1/").and_then(|rest| rest.split('/').next());
    let is_method = matches!(method, "POST" | "PUT" | "PATCH" | "DELETE");
    // A segment that a router might resolve to another path is refused rather than understood.
    let is_plain = !path.contains("//") && !path.split('/').any(|segment| matches!(segment, "." | ".."));
    is_method && is_plain && matches!(first, Some("run" | "runs" | "expected" | "hosts"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hub_changes_what_is_the_networks_and_nothing_of_the_appliance() {
        for (method, path) in
            [("POST", "/v1/run"), ("PUT", "/v1/expected?device=a"), ("PATCH", "/v1/hosts/10.0.0.1")]
        {
            assert!(is_forwardable(method, path), "{method} {path}");
        }
        for (method, path) in [
            ("GET", "/v1/run"),
            ("POST", "/v1/import"),
            ("POST", "/v1/alerts/test"),
            ("POST", "/v1/expected/../import"),
            ("POST", "/v1//import"),
            ("POST", "/portscan/json"),
            ("POST", "v1/run"),
        ] {
            assert!(!is_forwardable(method, path), "{method} {path}");
        }
    }
}
