//! Who may write.

use rstest::rstest;

use super::*;

/// A server that trusts these networks, and its token.
fn served(trust: &str) -> (Served, Token) {
    let token = token();
    let served = serve_with(Limits::default(), Router::new(), token.clone());
    let trust = trust.split_whitespace().map(|net| net.parse().unwrap()).collect();
    served.config.send_modify(|config| Arc::make_mut(config).auth_trust = trust);
    (served, token)
}

#[tokio::test]
async fn strangers_need_the_token() {
    let (served, token) = served("192.0.2.0/24");
    let refused = served.request("POST", "/write", &[]).await;
    assert_eq!(refused.status, 401);
    assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
    assert!(refused.error().contains("portscan token"), "{refused:?}");

    let right = token.reveal();
    for (shown, status) in [
        (format!("Authorization: Bearer {right}"), 204),
        (format!("authorization: bearer {right}"), 204),
        (format!("Authorization: Bearer {right}x"), 401),
        (format!("Authorization: Bearer {}", &right[1..]), 401),
        (format!("Authorization: Basic {right}"), 401),
        (format!("Authorization: {right}"), 401),
        ("Authorization: Bearer ".into(), 401),
    ] {
        assert_eq!(served.request("POST", "/write", &[&shown]).await.status, status, "{shown}");
    }
}

#[tokio::test]
async fn the_trusted_need_none_unless_a_proxy_speaks_for_them() {
    let (served, token) = served("192.0.2.0/24 127.0.0.0/8 ::1/128");
    assert_eq!(served.request("POST", "/write", &[]).await.status, 204);
    for header in [
        "Forwarded: for=192.0.2.1",
        "Via: 1.1 proxy",
        "X-Forwarded-For: 192.0.2.1",
        "X-Forwarded-Host: pi",
        "X-Forwarded-Proto: https",
        "X-Real-IP: 192.0.2.1",
    ] {
        assert_eq!(served.request("POST", "/write", &[header]).await.status, 401, "{header}");
        let shown = format!("Authorization: Bearer {}", token.reveal());
        assert_eq!(served.request("POST", "/write", &[header, &shown]).await.status, 204, "{header}");
    }
}

#[rstest]
#[case::own_page("Origin: http://pi", 204)]
#[case::own_page_default_port("Origin: http://pi:80", 204)]
#[case::own_page_any_case("Origin: http://PI", 204)]
#[case::behind_tls("Origin: https://pi", 204)]
#[case::configured_name("Origin: https://scan.example.org", 204)]
#[case::same_origin_fetch("Sec-Fetch-Site: same-origin", 204)]
#[case::typed("Sec-Fetch-Site: none", 204)]
#[case::cross_site_fetch("Sec-Fetch-Site: cross-site", 403)]
#[case::other_port("Origin: http://pi:8080", 403)]
#[case::other_page("Origin: http://evil.example", 403)]
#[case::other_page_with_our_end("Origin: http://evil.pi", 403)]
#[case::sandboxed("Origin: null", 403)]
#[case::other_scheme("Origin: file://pi", 403)]
#[case::nothing("Origin: ", 403)]
#[tokio::test]
async fn other_sites_pages_write_nothing(#[case] header: &str, #[case] status: u16) {
    let (served, token) = served("127.0.0.0/8");
    let shown = format!("Authorization: Bearer {}", token.reveal());
    for headers in [&[header][..], &[header, shown.as_str()][..]] {
        assert_eq!(served.request("POST", "/write", headers).await.status, status, "{headers:?}");
    }
}

#[tokio::test]
async fn reads_are_open() {
    let (served, _) = served("");
    for header in ["X-Forwarded-For: 192.0.2.1", "Sec-Fetch-Site: cross-site", "Origin: http://evil.example"]
    {
        assert_eq!(served.request("GET", "/healthz", &[header]).await.status, 200, "{header}");
    }
}
