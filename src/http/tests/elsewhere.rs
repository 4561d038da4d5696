//! A device that several sites of a hub know.

use rusqlite::Connection;
use serde_json::{Value, json};

use super::{
    hub::{AT_HOME, TRAVELLER, TestHub, TestSite, dechunked, hub, name},
    *,
};

/// Sets when all devices of a site were seen last.
fn seen(site: &TestSite, at: &str) {
    let at: jiff::Timestamp = at.parse().unwrap();
    let database = Connection::open(site.dir.path().join("portscan.db")).unwrap();
    database.busy_timeout(AT_MOST).unwrap();
    let rows = database.execute("UPDATE endpoints SET last_seen = ?1", [at.as_millisecond()]).unwrap();
    assert!(rows > 0);
}

/// A hub whose second site has seen the device that both know last.
async fn hub_of_traveller() -> TestHub {
    let hub = hub().await;
    seen(&hub.house, "2026-11-29T10:00:00Z");
    seen(&hub.shop, "2026-11-30T18:02:00Z");
    hub
}

async fn device(hub: &TestHub, path: &str) -> Value {
    let answer = hub.served.get(path).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")), "{answer:?}");
    serde_json::from_str(&dechunked(&answer.body)).unwrap()
}

/// What the element of a site has for another one, from that one's own answer.
async fn row_of(hub: &TestHub, site: &str, mac: &str) -> Value {
    let host = device(hub, &format!("/sites/{site}/v1/hosts/{mac}")).await;
    json!({
        "site": site, "address": host["address"], "presence": host["presence"], "first_seen": host["first_seen"],
        "last_seen": host["last_seen"],
    })
}

#[tokio::test]
async fn a_device_of_the_list_has_the_other_sites_that_know_its_mac() {
    let hub = hub_of_traveller().await;
    let hosts = hub.rows("/v1/hosts").await;
    let (house, shop) = (row_of(&hub, "house", TRAVELLER).await, row_of(&hub, "shop-2", TRAVELLER).await);
    assert_eq!(shop["last_seen"], "2026-11-30T18:02:00Z");
    assert_eq!((&hosts[0]["site"], &hosts[0]["mac"]), (&json!("house"), &json!(TRAVELLER)));
    assert_eq!(hosts[0]["elsewhere"], json!([shop]));
    assert_eq!((&hosts[1]["mac"], hosts[1].get("elsewhere")), (&json!(AT_HOME), None));
    assert_eq!(hosts[2]["elsewhere"], json!([house]));
    // All else is as the site says it.
    for (host, site) in hosts.iter().zip(["house", "house", "shop-2"]) {
        let mut host = host.clone();
        let members = host.as_object_mut().unwrap();
        members.remove("site");
        members.remove("elsewhere");
        let path = format!("/sites/{site}/v1/hosts/{}", host["mac"].as_str().unwrap());
        assert_eq!(host, device(&hub, &path).await);
    }
    assert_eq!(hub.rows("/v1/hosts?site=shop-2").await, hosts[2..]);
    assert!(hub.rows("/sites/shop-2/v1/hosts").await[0].get("elsewhere").is_none());
    // Once the other site is gone, it is not told any more.
    hub.sites.send_modify(|sites| drop(Arc::make_mut(sites).remove(&name("house"))));
    let hosts = hub.rows("/v1/hosts").await;
    assert_eq!((hosts.len(), hosts[0].get("elsewhere")), (1, None));
}

#[tokio::test]
async fn a_device_is_answered_as_the_site_has_it_where_it_was_seen_last() {
    let hub = hub_of_traveller().await;
    let latest = device(&hub, &format!("/v1/hosts/{TRAVELLER}")).await;
    assert_eq!((&latest["site"], &latest["ports"][0]["port"]), (&json!("shop-2"), &json!(8080)));
    assert_eq!(latest["elsewhere"], json!([row_of(&hub, "house", TRAVELLER).await]));
    let whole = hub.served.get(&format!("/v1/hosts/{TRAVELLER}")).await;
    let head = hub.served.request("HEAD", &format!("/v1/hosts/{TRAVELLER}"), &[]).await;
    assert_eq!((whole.status, head.status, head.body.as_str()), (200, 200, ""));
    for written in ["b8-27-eb-ac-14-3e", "b8%3A27%3Aeb%3Aac%3A14%3A3e"] {
        assert_eq!(device(&hub, &format!("/v1/hosts/{written}")).await, latest, "{written}");
    }
    assert_eq!(device(&hub, &format!("/v1/hosts/{TRAVELLER}?site=shop-2&site=house")).await, latest);
    let house = device(&hub, &format!("/v1/hosts/{TRAVELLER}?site=house")).await;
    assert_eq!((&house["site"], &house["elsewhere"][0]["site"]), (&json!("house"), &json!("shop-2")));
    let at_home = device(&hub, &format!("/v1/hosts/{AT_HOME}")).await;
    assert_eq!((&at_home["site"], at_home.get("elsewhere")), (&json!("house"), None));
    seen(&hub.house, "2026-12-01T08:00:00Z");
    assert_eq!(device(&hub, &format!("/v1/hosts/{TRAVELLER}")).await["site"], "house");

    // An address is another device at each site, and what changes a device names the site.
    let both = hub.served.get("/v1/hosts/192.168.1.7").await;
    assert_eq!((both.status, both.error().contains("house and shop-2")), (400, true), "{both:?}");
    let patched = hub.send("PATCH", &format!("/v1/hosts/{TRAVELLER}"), "{}").await;
    assert_eq!((patched.status, patched.error().contains("house and shop-2")), (400, true), "{patched:?}");
    for (path, status) in [
        ("/v1/hosts/02:00:00:00:00:99", 404),
        ("/v1/hosts/02:00:00:00:00:99?site=house", 404),
        ("/v1/hosts/nonsense", 400),
        ("/v1/hosts/nonsense?site=house", 400),
    ] {
        assert_eq!(hub.served.get(path).await.status, status, "{path}");
    }
}

#[tokio::test]
async fn a_copy_that_cannot_be_read_hides_no_device_of_another_one() {
    let hub = hub_of_traveller().await;
    let fails =
        Router::new().fallback(async || (StatusCode::SERVICE_UNAVAILABLE, "{\"error\":\"the disk fails\"}"));
    hub.add("attic", fails);
    // Damage that the answers of all sites must survive.
    let database = Connection::open(hub.shop.dir.path().join("portscan.db")).unwrap();
    database.busy_timeout(AT_MOST).unwrap();
    database.execute("UPDATE devices SET first_seen = 9223372036854775807", []).unwrap();
    let hosts = hub.rows("/v1/hosts").await;
    let with = |site: &str| hosts.iter().find(|host| host["site"] == site).unwrap();
    assert!(with("attic")["error"].is_string() && with("shop-2")["error"].is_string(), "{hosts:?}");
    let told: Vec<_> = with("house")["elsewhere"].as_array().unwrap().iter().map(|at| &at["site"]).collect();
    assert_eq!(told, ["attic"], "the store of the attic is that of the house");
    assert_eq!(device(&hub, &format!("/v1/hosts/{AT_HOME}")).await["site"], "house");
    let unknown = hub.served.get("/v1/hosts/02:00:00:00:00:99").await;
    assert_eq!((unknown.status, unknown.error().contains("attic")), (503, true), "{unknown:?}");
}

#[tokio::test]
async fn a_hub_describes_its_paths() {
    let hub = hub().await;
    let at_hub = hub.served.get("/v1/openapi.json").await;
    let mut at_hub: Value = serde_json::from_str(&dechunked(&at_hub.body)).unwrap();
    for path in ["/v1/openapi.json?site=house", "/sites/house/v1/openapi.json"] {
        let own: Value = serde_json::from_str(&dechunked(&hub.served.get(path).await.body)).unwrap();
        let said = at_hub["info"]["description"].as_str().unwrap().to_owned();
        let own_words = own["info"]["description"].as_str().unwrap();
        assert!(said.starts_with("This is a hub") && said.ends_with(own_words), "{said}");
        let mut same = at_hub.clone();
        same["info"]["description"] = own["info"]["description"].clone();
        assert_eq!(same, own);
    }
    assert_eq!(at_hub["openapi"].take(), "3.1.0");
    assert_eq!(hub.served.get("/v1/openapi.json?site=barn").await.status, 404);
    assert_eq!(hub.send("POST", "/v1/openapi.json?site=house", "").await.status, 403);
}
