//! Methods, host names, errors and headers.

use rstest::rstest;

use super::*;

#[tokio::test]
async fn healthz_names_the_problems() {
    let served = serve_routes(ServerLimits::default(), Router::new());
    let answer = served.get("/healthz").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "{\"status\":\"ok\",\"notices\":[]}\n"));

    let problems = vec!["the disk is full; free some space".to_owned()];
    let notices = vec!["http://lanscan.local does not answer".to_owned()];
    served.health.send_replace(Health { problems, notices });
    let answer = served.get("/healthz").await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.error(), "the disk is full; free some space");
    assert!(answer.body.contains("\"notices\":[\"http://lanscan.local does not answer\"]"), "{answer:?}");
}

#[tokio::test]
async fn no_response_is_cached_and_every_error_is_json() {
    let served = serve_routes(ServerLimits::default(), Router::new());
    for (path, status) in [("/healthz", 200), ("/", 200), ("/no/such/thing", 404), ("/portscan/", 404)] {
        let answer = served.get(path).await;
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.header("cache-control"), Some("no-cache, no-store, must-revalidate"), "{path}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), None, "{path}");
        if status != 200 {
            assert!(answer.error().contains("lists the paths"), "{path}");
        }
    }
}

#[tokio::test]
async fn head_is_get_without_its_body() {
    let served = serve_routes(ServerLimits::default(), Router::new());
    let get = served.get("/healthz").await;
    let head = served.request("HEAD", "/healthz", &[]).await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(head.header("content-length"), get.header("content-length"));
    assert_eq!(head.header("content-type"), get.header("content-type"));
    let missing = served.request("HEAD", "/missing", &[]).await;
    assert_eq!((missing.status, missing.body.as_str()), (404, ""));
}

#[tokio::test]
async fn options_and_wrong_methods_get_the_list_of_methods() {
    let served = serve_routes(ServerLimits::default(), Router::new());
    let options = served.request("OPTIONS", "/healthz", &["Origin: http://evil.example"]).await;
    assert_eq!((options.status, options.body.as_str()), (204, ""));
    assert_eq!(options.header("allow"), Some("GET, HEAD, OPTIONS"));
    assert_eq!(options.header("access-control-allow-origin"), None);
    for method in ["POST", "PUT", "DELETE", "PATCH", "BREW"] {
        let answer = served.request(method, "/healthz", &[]).await;
        assert_eq!(answer.status, 405, "{method}");
        assert_eq!(answer.header("allow"), Some("GET, HEAD, OPTIONS"));
        assert!(answer.error().contains(method));
    }
    assert_eq!(served.request("OPTIONS", "/missing", &[]).await.status, 404);
    assert_eq!(served.request("CONNECT", "pi:80", &[]).await.status, 404);
}

#[tokio::test]
async fn other_protocols_are_refused() {
    let served = serve_routes(ServerLimits::default(), Router::new());
    let answer = served.request("GET", "/healthz", &["Connection: upgrade", "Upgrade: websocket"]).await;
    assert_eq!(answer.status, 200);
    let mut stream = served.connect().await;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    assert!(is_closed(&mut stream).await);
    assert_eq!(served.ask("\x16\x03\x01 this is TLS\r\n\r\n").await.status, 400);
}

#[rstest]
#[case::ipv4("192.168.1.2", 200)]
#[case::ipv4_port("192.168.1.2:8080", 200)]
#[case::ipv6("[fd00::2]", 200)]
#[case::ipv6_port("[fd00::2]:80", 200)]
#[case::ipv6_zone("[fe80::1%25eth0]:80", 200)]
#[case::empty_port("pi:", 200)]
#[case::ipv4_in_ipv6("[::ffff:127.0.0.1]", 200)]
#[case::ipv4_in_ipv6_port("[::ffff:7f00:1]:80", 200)]
#[case::single_label("localhost", 200)]
#[case::case("PI", 200)]
#[case::mdns("portscan.local:80", 200)]
#[case::root_dot("portscan.local.", 200)]
#[case::lan("pi.lan", 200)]
#[case::home_arpa("pi.home.arpa", 200)]
#[case::internal("pi.rack.internal", 200)]
#[case::fritz("pi.fritz.box", 200)]
#[case::own_name("Pi.home.example.net", 200)]
#[case::configured("scan.example.org:443", 200)]
#[case::public("evil.example", 421)]
#[case::public_with_port("evil.example:80", 421)]
#[case::only_looks_local("evil.local.example", 421)]
#[case::only_ends_like_it("evillan.com", 421)]
#[case::no_address("1.2.3.4.example", 421)]
#[case::nothing("", 400)]
#[case::bad_port("pi:99999", 400)]
#[case::bad_port_text("pi:80a", 400)]
#[case::bracket("[::1", 400)]
#[case::bracketed_v4("[127.0.0.1]", 400)]
#[case::bare_v6("fd00::2", 400)]
#[case::bare_ipv4_in_ipv6("::ffff:127.0.0.1", 400)]
#[case::user("pi@evil.example", 400)]
#[case::space("pi evil", 400)]
#[case::markup("<script>", 400)]
#[tokio::test]
async fn only_allowed_host_names_are_answered(#[case] host: &str, #[case] status: u16) {
    let served = serve_routes(ServerLimits::default(), Router::new());
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let answer = served.ask(&request).await;
    assert_eq!(answer.status, status, "{answer:?}");
    match status {
        421 => assert!(answer.error().contains("`names` under [http]"), "{answer:?}"),
        400 => assert!(answer.error().contains("Host"), "{answer:?}"),
        _ => {}
    }
}

#[tokio::test]
async fn a_name_that_is_configured_later_is_allowed_from_then_on() {
    let served = serve_routes(ServerLimits::default(), Router::new());
    let request = "GET /healthz HTTP/1.1\r\nHost: new.example.org\r\nConnection: close\r\n\r\n";
    assert_eq!(served.ask(request).await.status, 421);
    served.config.send_modify(|config| Arc::make_mut(config).http_names.push("new.example.org".into()));
    assert_eq!(served.ask(request).await.status, 200);
}

#[rstest]
#[case::none("GET /healthz HTTP/1.1\r\n\r\n", 400)]
#[case::none_in_1_0("GET /healthz HTTP/1.0\r\n\r\n", 400)]
#[case::two("GET /healthz HTTP/1.1\r\nHost: pi\r\nHost: pi\r\n\r\n", 400)]
#[case::absolute_form_counts(
    "GET http://evil.example/healthz HTTP/1.1\r\nHost: pi\r\nConnection: close\r\n\r\n",
    421
)]
#[case::absolute_form_of_ours(
    "GET http://pi.lan/healthz HTTP/1.1\r\nHost: pi\r\nConnection: close\r\n\r\n",
    200
)]
#[case::absolute_form_with_a_bad_host(
    "GET http://evil.example/healthz HTTP/1.1\r\nHost: a@b\r\nConnection: close\r\n\r\n",
    400
)]
#[tokio::test]
async fn a_request_must_name_one_host(#[case] request: &str, #[case] status: u16) {
    let served = serve_routes(ServerLimits::default(), Router::new());
    assert_eq!(served.ask(request).await.status, status);
}
