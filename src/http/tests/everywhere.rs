//! `?site=*` of /v1/expected at a hub.

use serde_json::{Value, json};

use super::{hub::hub, *};
use crate::{
    http::SiteBehind,
    model::{PortState, Protocol},
    store::ExpectationUpdate,
};

const FOR_ALL: &str = "/v1/expected?site=*";

fn row(port: u16, comment: &str) -> Value {
    json!({ "address": "B8:27:EB:AC:14:3E", "port": port, "protocol": "tcp", "state": "open", "comment": comment })
}

#[tokio::test]
async fn what_is_expected_at_all_sites_is_listed_changed_and_removed() {
    let hub = hub().await;
    let changed = hub.everywhere.store.has_baseline().await.unwrap();
    assert!(!changed);
    let rows = json!([row(22, "ssh"), row(80, "")]).to_string();
    assert_eq!(hub.send("PATCH", FOR_ALL, &rows).await.status, 204);
    let listed = hub.served.get("/v1/expected?site=%2A").await.json();
    let with_site = |row: Value| {
        let mut row = row;
        row["site"] = "*".into();
        row
    };
    assert_eq!(listed, json!([with_site(row(22, "ssh")), with_site(row(80, ""))]));
    // The lists of the sites are as before, and nothing was forwarded by the request itself.
    let of_sites = hub.rows("/v1/expected").await;
    assert!(of_sites.iter().all(|row| row["site"] == "shop-2"), "{of_sites:?}");

    let gone = json!([{ "address": "B8:27:EB:AC:14:3E", "port": 22, "protocol": "tcp" }]).to_string();
    assert_eq!(hub.send("DELETE", FOR_ALL, &gone).await.status, 204);
    assert_eq!(hub.served.get(FOR_ALL).await.json(), json!([with_site(row(80, ""))]));
}

#[tokio::test]
async fn what_cannot_be_expected_at_all_sites_is_refused_and_changes_nothing() {
    let hub = hub().await;
    let at_address =
        json!([row(1, ""), { "address": "192.168.1.7", "port": 2, "protocol": "tcp", "state": "open" }]);
    let group = json!([{ "address": "FF:FF:FF:FF:FF:FF", "port": 2, "protocol": "tcp", "state": "open" }]);
    for (rows, told) in [
        (group, "row 1: FF:FF:FF:FF:FF:FF is not the MAC of one device"),
        (at_address, "row 2: 192.168.1.7 is an address"),
        (json!([row(1, &"x".repeat(990))]), "longer than 989 characters"),
        (json!([row(1, &"x".repeat(1001))]), "longer than 1000 characters"),
        (json!({}), "the body is not what it should be"),
    ] {
        let refused = hub.send("PATCH", FOR_ALL, &rows.to_string()).await;
        assert!(refused.status == 400 && refused.body.contains(told), "{told}: {refused:?}");
    }
    assert_eq!(hub.send("PATCH", FOR_ALL, &json!([row(1, &"x".repeat(989))]).to_string()).await.status, 204);
    let without_token = hub
        .served
        .ask(&format!(
            "DELETE {FOR_ALL} HTTP/1.1\r\nHost: pi\r\nConnection: close\r\nContent-Length: 2\r\n\
             Content-Type: application/json\r\n\r\n[]"
        ))
        .await;
    assert_eq!(without_token.status, 401, "{without_token:?}");
    assert_eq!(hub.served.get(FOR_ALL).await.json().as_array().unwrap().len(), 1);
    let of_port = |port| ExpectationUpdate {
        device: "B8:27:EB:AC:14:3E".parse().unwrap(),
        protocol: Protocol::Tcp,
        port,
        state: Some((PortState::Open, String::new())),
    };
    hub.everywhere.store.expect((1..10_000).map(of_port).collect()).await.unwrap();
    let many = json!([row(20_000, ""), row(20_001, "")]).to_string();
    let refused = hub.send("PATCH", FOR_ALL, &many).await;
    assert!(refused.status == 400 && refused.body.contains("at most 10000"), "{refused:?}");
    assert_eq!(hub.rows(FOR_ALL).await.len(), 9_999);
    let elsewhere = hub.served.get("/v1/hosts?site=*").await;
    assert!(elsewhere.status == 404 && elsewhere.body.contains("only /v1/expected"), "{elsewhere:?}");
    let put = hub.send("PUT", FOR_ALL, "[]").await;
    assert!(put.status == 405 && put.body.contains("GET, HEAD, PATCH"), "{put:?}");
}

#[tokio::test]
async fn the_list_of_sites_says_how_far_each_is_behind() {
    let hub = hub().await;
    let reason = Some("the site is silent".to_owned());
    let behind = SiteBehind { rows: 3, reason };
    hub.behind.send_replace(Arc::new([("house".parse().unwrap(), behind)].into()));
    let sites = hub.served.get("/v1/sites").await.json();
    let told = |at: usize| (sites[at]["expected_behind"].clone(), sites[at]["expected_behind_why"].clone());
    assert_eq!(told(0), (json!(3), json!("the site is silent")));
    assert_eq!(told(1), (json!(0), Value::Null));
}
