//! The page that Prometheus scrapes.

use super::portscan::appliance;

#[tokio::test]
async fn metrics_have_their_own_content_type_and_are_read_only() {
    let appliance = appliance();
    let get = appliance.served.get("/metrics").await;
    assert_eq!(get.status, 200);
    assert_eq!(get.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert_eq!(get.header("cache-control"), Some("no-cache, no-store, must-revalidate"));
    assert!(get.body.starts_with("# HELP portscan_build_info "), "{}", get.body);
    assert!(get.body.contains("\nportscan_store_up 1\n"), "{}", get.body);
    assert!(get.body.contains("\nportscan_devices_scanned 0\n"), "{}", get.body);
    let head = appliance.served.request("HEAD", "/metrics", &[]).await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    let post = appliance.served.request("POST", "/metrics", &[]).await;
    assert_eq!((post.status, post.header("allow")), (405, Some("GET, HEAD, OPTIONS")));
    assert_eq!(appliance.served.get("/metrics/").await.status, 404);
}
