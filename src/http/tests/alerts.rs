//! /v1/alerts.

use serde_json::json;

use super::{portscan::appliance, *};
use crate::{alerts::SavedOutbox, store::EndedMessage};

#[tokio::test]
async fn channels_are_listed_without_their_secrets_and_messages_with_their_state() {
    let appliance = appliance();
    let served = &appliance.served;
    let token = format!("Authorization: Bearer {}", appliance.token.reveal());
    let token = [token.as_str()];
    let empty = json!({ "channels": [], "pending": 0, "snoozes": [], "parked": [], "history": [] });
    assert_eq!(served.get("/v1/alerts").await.json(), empty);
    let none = served.request("POST", "/v1/alerts/test", &token).await;
    assert_eq!(none.status, 404, "{none:?}");
    assert!(none.error().contains("no channel is configured"), "{none:?}");

    served.config.send_modify(|config| {
        let text = "[[channel]]\nname = \"chat\"\ntype = \"webhook\"\nurl = \"http://127.0.0.1:1/s3cret\"\n";
        let file = std::path::Path::new("file.toml");
        let read = Config::load(&crate::config::Overrides::default(), &|_| None, Some((file, text))).unwrap();
        *config = std::sync::Arc::new(Config { channels: read.channels, ..Config::clone(config) });
    });
    for (first, refusal) in [(3, None), (5, Some("the answer is 400 Bad Request".to_owned()))] {
        let ended = EndedMessage {
            events: (first, first + 1),
            device: None,
            title: format!("message {first}"),
            at: jiff::Timestamp::UNIX_EPOCH,
            refusal,
        };
        appliance.store.save_outbox("chat", SavedOutbox::default(), Some(ended)).await.unwrap();
    }
    let listed = served.get("/v1/alerts").await.json();
    let channel = &listed["channels"][0];
    assert_eq!((&channel["name"], &channel["url"]), (&json!("chat"), &json!("http://127.0.0.1:1/...")));
    assert_eq!(listed["history"][0]["title"], "message 3");
    let parked = &listed["parked"][0];
    assert_eq!(
        (&parked["changes"], &parked["reason"]),
        (&json!([5, 6]), &json!("the answer is 400 Bad Request"))
    );

    let id = parked["id"].as_i64().unwrap();
    let gone = served.request("POST", &format!("/v1/alerts/{id}/retry"), &token).await;
    assert_eq!(gone.status, 400, "its changes are not stored: {gone:?}");
    assert_eq!(served.request("POST", &format!("/v1/alerts/{id}/ack"), &token).await.status, 204);
    let listed = served.get("/v1/alerts").await.json();
    assert_eq!(
        (listed["parked"].clone(), &listed["history"][0]["state"]),
        (json!([]), &json!("acknowledged"))
    );
    for (path, status) in [("99/ack", 404), ("99/retry", 404), ("x/ack", 400), ("test/phone", 404)] {
        assert_eq!(
            served.request("POST", &format!("/v1/alerts/{path}"), &token).await.status,
            status,
            "{path}"
        );
    }
    let ask = async |body: &str| {
        let head = format!(
            "POST /v1/alerts/snooze HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            token[0],
            body.len()
        );
        served.ask(&(head + body)).await
    };
    assert_eq!(ask("{\"for\": \"8h\"}").await.status, 200);
    for (body, status) in [
        ("{\"for\": \"0h\"}", 400),
        ("{\"for\": \"31d\"}", 400),
        ("{\"for\": \"8\"}", 400),
        ("{\"device\": \"x\", \"for\": \"8h\"}", 400),
        ("{\"device\": \"02:00:00:00:00:99\", \"for\": \"8h\"}", 404),
    ] {
        assert_eq!(ask(body).await.status, status, "{body}");
    }
    let snoozed = served.get("/v1/alerts").await.json()["snoozes"].clone();
    assert_eq!((snoozed.as_array().unwrap().len(), &snoozed[0]["device"]), (1, &json!(null)), "{snoozed}");
    for status in [204, 404] {
        assert_eq!(served.request("DELETE", "/v1/alerts/snooze", &token).await.status, status);
    }
    assert_eq!(served.request("DELETE", "/v1/alerts/snooze", &[]).await.status, 401);
    let tested = served.request("POST", "/v1/alerts/test/chat", &token).await.json();
    assert_eq!((&tested[0]["channel"], &tested[0]["ok"]), (&json!("chat"), &json!(false)), "{tested}");
    assert!(tested[0]["answer"].as_str().unwrap().starts_with("no connection: "), "{tested}");
}
