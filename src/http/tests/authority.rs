//! Which requests may write.

use futures_util::future::{Either, join_all, select};
use rstest::rstest;

use super::*;
use crate::clock::Clock;

/// A server that trusts these networks, and its token.
fn served(trust: &str) -> (Served, Token) {
    let token = token();
    let served = serve_with(ServerLimits::default(), Router::new(), token.clone());
    let trust = trust.split_whitespace().map(|net| net.parse().unwrap()).collect();
    served.config.send_modify(|config| Arc::make_mut(config).auth_trust = trust);
    (served, token)
}

#[tokio::test]
async fn other_clients_need_the_token() {
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
async fn trusted_networks_need_no_token_except_through_a_proxy() {
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
#[case::own_name("localhost", 204)]
#[case::own_address("127.0.0.1:8080", 204)]
#[case::own_address_mapped("[::ffff:127.0.0.1]", 204)]
#[case::forwarder_on_the_lan("192.168.1.2:8080", 401)]
#[case::forwarder_by_name("portscan.local", 401)]
#[case::forwarder_by_short_name("pi", 401)]
#[tokio::test]
async fn a_forwarder_on_this_machine_is_not_trusted_for_its_clients(#[case] host: &str, #[case] status: u16) {
    let (served, token) = served("127.0.0.0/8 ::1/128");
    let answer = served.request_to(host, "POST", "/write", &[]).await;
    assert_eq!(answer.status, status, "{answer:?}");
    if status == 401 {
        assert!(answer.error().contains("http://localhost"), "{answer:?}");
    }
    let shown = format!("Authorization: Bearer {}", token.reveal());
    assert_eq!(served.request_to(host, "POST", "/write", &[&shown]).await.status, 204);
    // A target in absolute form overrides Host.
    let lying = format!("POST http://{host}/write HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert_eq!(served.ask(&lying).await.status, status);
}

#[rstest]
#[case::own_page("Origin: http://localhost", 204)]
#[case::own_page_default_port("Origin: http://localhost:80", 204)]
#[case::own_page_any_case("Origin: http://LOCALHOST", 204)]
#[case::behind_tls("Origin: https://localhost", 204)]
#[case::configured_name("Origin: https://scan.example.org", 204)]
#[case::same_origin_fetch("Sec-Fetch-Site: same-origin", 204)]
#[case::typed("Sec-Fetch-Site: none", 204)]
#[case::cross_site_fetch("Sec-Fetch-Site: cross-site", 403)]
#[case::other_port("Origin: http://localhost:8080", 403)]
#[case::other_page("Origin: http://evil.example", 403)]
#[case::other_page_with_our_end("Origin: http://evil.localhost", 403)]
#[case::sandboxed("Origin: null", 403)]
#[case::other_scheme("Origin: file://localhost", 403)]
#[case::nothing("Origin: ", 403)]
#[tokio::test]
async fn other_sites_pages_cannot_write(#[case] header: &str, #[case] status: u16) {
    let (served, token) = served("127.0.0.0/8");
    let shown = format!("Authorization: Bearer {}", token.reveal());
    for headers in [&[header][..], &[header, shown.as_str()][..]] {
        assert_eq!(served.request("POST", "/write", headers).await.status, status, "{headers:?}");
    }
}

#[tokio::test]
async fn reads_need_no_token() {
    let (served, _) = served("");
    for header in ["X-Forwarded-For: 192.0.2.1", "Sec-Fetch-Site: cross-site", "Origin: http://evil.example"]
    {
        assert_eq!(served.request("GET", "/healthz", &[header]).await.status, 200, "{header}");
    }
}

#[tokio::test]
async fn responses_to_wrong_tokens_are_delayed_and_to_the_right_one_never() {
    let (served, token) = served("");
    let wrong = ["Authorization: Bearer a-token-that-is-guessed"];
    let right = format!("Authorization: Bearer {}", token.reveal());
    let right = [right.as_str()];
    let clock = SystemClock::start();
    // Delayed by 0.25, 0.5, 1 and 2 s, all at once.
    for answer in join_all((0..4).map(|_| served.request("POST", "/write", &wrong))).await {
        assert_eq!((answer.status, answer.header("www-authenticate")), (401, Some("Bearer")));
    }
    assert!(clock.now().since_start() >= Duration::from_secs(2));
    // The next one is delayed by 4 s.
    let guess = Box::pin(served.request("POST", "/write", &wrong));
    let rightly = Box::pin(served.request("POST", "/write", &right));
    let Either::Right((answer, guess)) = select(guess, rightly).await else {
        panic!("the guess was answered first")
    };
    assert_eq!(answer.status, 204);
    assert_eq!(guess.await.status, 401);
}

#[tokio::test]
async fn guesses_do_not_occupy_connections_without_bound() {
    let (served, token) = served("");
    let wrong = ["Authorization: Bearer a-token-that-is-guessed"];
    let answers = join_all((0..40).map(|_| served.request("POST", "/write", &wrong))).await;
    assert!(answers.iter().all(|answer| answer.status == 401));
    let shown = format!("Authorization: Bearer {}", token.reveal());
    assert_eq!(served.request("POST", "/write", &[&shown]).await.status, 204);
}
