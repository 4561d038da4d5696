//! Detects requests that a browser sends on behalf of another site's page.
//!
//! Clients other than browsers send none of these headers, and pages cannot forge them. A browser sends
//! `Sec-Fetch-Site` only over encrypted connections and the loopback, so the other headers count, too.

use hyper::{
    Uri,
    header::{self, HeaderMap, HeaderName, HeaderValue},
};

use super::host_allowlist::{Authority, HostAllowlist};

const SITE: &str = "sec-fetch-site";

/// Whether a page of another site would change something with this request.
pub(super) fn is_cross_site_write(headers: &HeaderMap, allowlist: &HostAllowlist) -> bool {
    let site = headers.get(SITE);
    let origin = headers.get(header::ORIGIN);
    site.is_some_and(|site| site == "cross-site")
        || origin.is_some_and(|origin| !is_own_origin(origin, headers, allowlist))
}

/// Whether a page of another site would make this machine connect to a host with this request. Stricter than for a
/// write, because a page may send a GET without its origin; laxer in that another port of the same host is the same
/// site.
pub(super) fn is_cross_site_probe(headers: &HeaderMap, allowlist: &HostAllowlist) -> bool {
    if headers.contains_key(SITE) {
        // The browser's own judgement. `none`: a user typed the address, or opened a bookmark.
        let is_own = |site: &HeaderValue| site == "same-origin" || site == "same-site" || site == "none";
        return !headers.get_all(SITE).iter().all(is_own);
    }
    let sources = [header::ORIGIN, header::REFERER];
    let mut sources = sources.iter().flat_map(|name| headers.get_all(name)).peekable();
    if sources.peek().is_none() {
        return is_anonymous_subresource(headers);
    }
    !sources.all(|url| is_own_host(url, headers, allowlist))
}

/// Whether a page with `referrerpolicy="no-referrer"` loads this: a browser's request that is no navigation. Chromium
/// 156 sends it so for an image, a script, a fetch or a prefetch.
fn is_anonymous_subresource(headers: &HeaderMap) -> bool {
    is_browser(headers) && !headers.contains_key(header::UPGRADE_INSECURE_REQUESTS)
}

/// Whether a browser navigates here without a referrer: its user typed the address, or a page that sends no
/// referrer has it in a frame. Without encryption Chromium sends the same for both.
pub(super) fn is_anonymous_navigation(headers: &HeaderMap) -> bool {
    let tells = [header::ORIGIN, header::REFERER, HeaderName::from_static(SITE)];
    is_browser(headers) && !tells.iter().any(|name| headers.contains_key(name))
}

/// Whether a browser sends this: browsers send `Accept-Language`.
fn is_browser(headers: &HeaderMap) -> bool {
    let agent = headers.get(header::USER_AGENT);
    agent.is_some_and(|agent| agent.as_bytes().starts_with(b"Mozilla/"))
        && headers.contains_key(header::ACCEPT_LANGUAGE)
}

/// Whether an Origin is the Host of the same request, or on the allowlist.
fn is_own_origin(origin: &HeaderValue, headers: &HeaderMap, allowlist: &HostAllowlist) -> bool {
    let Some((origin, default_port)) = server_of(origin) else { return false };
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else { return false };
    let bare =
        |authority: &str| authority.strip_suffix(default_port).unwrap_or(authority).to_ascii_lowercase();
    bare(&origin) == bare(host)
        || Authority::parse(&origin).is_some_and(|origin| allowlist.contains(origin.host))
}

/// Whether the host of an Origin or a Referer is that of the same request, or on the allowlist.
fn is_own_host(url: &HeaderValue, headers: &HeaderMap, allowlist: &HostAllowlist) -> bool {
    let Some((server, _)) = server_of(url) else { return false };
    let Some(theirs) = Authority::parse(&server) else { return false };
    let asked = headers.get(header::HOST).and_then(|host| Authority::parse(host.to_str().ok()?));
    allowlist.contains(theirs.host) || asked.is_some_and(|asked| asked.host.eq_ignore_ascii_case(theirs.host))
}

/// The authority of a URL, and its scheme's default port as a suffix; `None` for `null` and the like.
fn server_of(url: &HeaderValue) -> Option<(String, &'static str)> {
    let uri: Uri = url.to_str().ok()?.parse().ok()?;
    let default_port = match uri.scheme_str()? {
        "http" => ":80",
        "https" => ":443",
        _ => return None,
    };
    Some((uri.authority()?.as_str().to_owned(), default_port))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rstest::rstest;
    use tokio::sync::watch;

    use super::*;
    use crate::config::Config;

    const BROWSER: &str = "user-agent: Mozilla/5.0 (X11; Linux x86_64)|accept-language: en";

    #[rstest]
    #[case::curl("user-agent: curl/8.5.0|accept: */*", false)]
    #[case::nothing("", false)]
    #[case::powershell("user-agent: Mozilla/5.0 (Windows NT; en-US) WindowsPowerShell/5.1", false)]
    #[case::text_browser("user-agent: Lynx/2.9|accept-language: en", false)]
    #[case::typed_over_http("BROWSER|upgrade-insecure-requests: 1", false)]
    #[case::typed("BROWSER|sec-fetch-site: none", false)]
    #[case::own_page("BROWSER|sec-fetch-site: same-origin", false)]
    #[case::own_page_behind_a_proxy("sec-fetch-site: same-origin|referer: https://pi.example/lan/", false)]
    #[case::neighbouring_page("sec-fetch-site: same-site|origin: http://pi:3000", false)]
    #[case::own_page_over_http("BROWSER|referer: http://pi/", false)]
    #[case::own_page_any_case("BROWSER|referer: http://PI:80/#/now", false)]
    #[case::other_port_over_http("BROWSER|origin: http://pi:3000|referer: http://pi:3000/", false)]
    #[case::configured_name("BROWSER|referer: https://scan.example.org/a?b", false)]
    #[case::other_site("sec-fetch-site: cross-site", true)]
    #[case::other_site_with_two_words("sec-fetch-site: none|sec-fetch-site: cross-site", true)]
    #[case::a_word_that_is_none("sec-fetch-site: friendly", true)]
    #[case::other_origin("origin: http://evil.example", true)]
    #[case::other_referer("referer: http://evil.example/pi/", true)]
    #[case::referer_without_path("referer: http://evil.example", true)]
    #[case::one_of_both("origin: http://pi|referer: http://evil.example/", true)]
    #[case::two_referers("referer: http://pi/|referer: http://evil.example/", true)]
    #[case::ours_as_a_user("referer: http://pi@evil.example/", true)]
    #[case::ours_as_the_beginning("referer: http://pi.evil.example/", true)]
    #[case::sandboxed("origin: null", true)]
    #[case::other_scheme("referer: android-app://pi/", true)]
    #[case::empty("referer: ", true)]
    #[case::image_without_referer("BROWSER|accept: image/avif,*/*", true)]
    #[case::prefetch_without_referer("BROWSER|sec-purpose: prefetch|accept: text/html", true)]
    #[case::fetch_without_referer("BROWSER|accept: text/html", true)]
    fn a_probe_is_refused_to_another_sites_page_and_to_no_other_client(
        #[case] lines: &str,
        #[case] is_cross_site: bool,
    ) {
        let config = Config { http_names: vec!["scan.example.org".into()], ..Config::default() };
        let allowlist = HostAllowlist::new(None, watch::channel(Arc::new(config)).1);
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("pi"));
        for line in lines.replace("BROWSER", BROWSER).split('|').filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(": ").unwrap();
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        assert_eq!(is_cross_site_probe(&headers, &allowlist), is_cross_site);
        let is_anonymous = lines == "BROWSER|upgrade-insecure-requests: 1";
        assert!(is_cross_site || is_anonymous_navigation(&headers) == is_anonymous);
    }
}
