//! The page as the server delivers it.

use std::{fs, path::Path};

use super::*;

#[tokio::test]
async fn the_page_may_load_from_its_own_site_only() {
    let served = serve_routes(ServerLimits::default(), Router::new());
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/page/main.js", "text/javascript; charset=utf-8"),
        ("/page/style.css", "text/css; charset=utf-8"),
        ("/page/icon.svg", "image/svg+xml"),
        ("/page/vendor/lit-html/LICENSE", "text/plain; charset=utf-8"),
    ] {
        let answer = served.get(path).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(kind)), "{path}");
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"), "{path}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
    }
    for path in
        ["/page", "/page/", "/page/none.js", "/page/../Cargo.toml", "/page/index.html", "/page/main.js/"]
    {
        assert_eq!(served.get(path).await.status, 404, "{path}");
    }
    assert_eq!(served.request("POST", "/page/main.js", &[]).await.status, 405);
}

/// The names of all files below a folder.
fn names(folder: &Path, within: &str) -> Vec<String> {
    let entries = fs::read_dir(folder.join(within)).unwrap();
    let names = entries.flat_map(|entry| {
        let entry = entry.unwrap();
        let name = format!("{within}{}", entry.file_name().to_str().unwrap());
        if entry.path().is_dir() { names(folder, &format!("{name}/")) } else { vec![name] }
    });
    names.collect()
}

#[tokio::test]
async fn every_file_of_the_page_is_served() {
    let served = serve_routes(ServerLimits::default(), Router::new());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http/dashboard/page");
    let names = names(&folder, "");
    assert!(names.len() > 40, "{names:?}");
    for name in names {
        let answer = served.get(&format!("/page/{name}")).await;
        let text = fs::read_to_string(folder.join(&name)).unwrap();
        assert_eq!((answer.status, answer.body == text), (200, true), "{name}");
    }
}

#[tokio::test]
async fn a_file_that_the_browser_has_is_not_sent_again() {
    let served = serve_routes(ServerLimits::default(), Router::new());
    let first = served.get("/page/main.js").await;
    assert_eq!(first.header("cache-control"), Some("no-cache"));
    assert_eq!((first.header("pragma"), first.header("expires")), (None, None));
    let tag = first.header("etag").unwrap();
    for known in [tag.to_owned(), format!("W/{tag}"), format!("\"other\", {tag}")] {
        let again = served.request("GET", "/page/main.js", &[&format!("If-None-Match: {known}")]).await;
        assert_eq!(
            (again.status, again.body.as_str(), again.header("etag")),
            (304, "", Some(tag)),
            "{known}"
        );
    }
    let changed = served.request("GET", "/page/main.js", &["If-None-Match: \"other\""]).await;
    assert_eq!((changed.status, &changed.body), (200, &first.body));
    let other = served.get("/page/api.js").await;
    assert_ne!(other.header("etag"), Some(tag));
}

#[tokio::test]
async fn without_scripts_the_page_has_links_and_notices() {
    let served = serve_routes(ServerLimits::default(), Router::new());
    let notices = vec!["feed <b>: write \"x\" & y".to_owned()];
    served.health.send_replace(Health { problems: Vec::new(), notices });
    let page = served.get("/").await.body;
    let (_, rest) = page.split_once("<noscript>").unwrap();
    let (signpost, _) = rest.split_once("</noscript>").unwrap();
    // Relative, so that it works below a proxy's path, too.
    assert!(signpost.contains("href=\"a&quot;&lt;b/json\""), "{signpost}");
    assert!(signpost.contains("<p><b>feed &lt;b&gt;: write &quot;x&quot; &amp; y</b>"), "{signpost}");
}
