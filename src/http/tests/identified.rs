//! What ports and devices were identified as, and what their owner says of their kind.

use serde_json::{Value, json};

use super::portscan::{appliance, remember};
use crate::{
    model::{
        Certificate, DeviceIdentification, DeviceType, Evidence, IdentifyMethod, PortIdentification, Protocol,
    },
    store::IdentifiedPort,
};

const MAC: &str = "B8:27:EB:AC:14:3E";
const PATH: &str = "/v1/hosts/B8:27:EB:AC:14:3E";
const TIME: &str = "2026-03-01T10:00:00Z";

fn found(service: &str, method: IdentifyMethod, text: &str) -> PortIdentification {
    let evidence = Evidence { method, text: text.to_owned(), time: TIME.parse().unwrap() };
    PortIdentification { service: Some(service.to_owned()), ..PortIdentification::unnamed(evidence) }
}

fn at(port: u16, found: PortIdentification) -> IdentifiedPort {
    let (device, address) = (MAC.parse().unwrap(), "192.168.1.7".parse().unwrap());
    IdentifiedPort { device, address, protocol: Protocol::Tcp, port, found }
}

fn ssh() -> PortIdentification {
    PortIdentification {
        product: Some("OpenSSH".to_owned()),
        version: Some("9.2p1".to_owned()),
        ..found("ssh", IdentifyMethod::Greeting, "SSH-2.0-OpenSSH_9.2p1")
    }
}

fn tls() -> PortIdentification {
    let certificate = Certificate {
        subject: "CN=nas".to_owned(),
        sans: vec!["nas.lan".to_owned()],
        issuer: "CN=nas".to_owned(),
        not_after: "2020-01-01T00:00:00Z".parse().unwrap(),
        self_signed: true,
        key: "RSA 2048".to_owned(),
        signature: String::new(),
        fingerprint: "ab".repeat(32),
    };
    PortIdentification {
        tls: true,
        certificate: Some(certificate),
        ..found("http", IdentifyMethod::Tls, "CN=nas")
    }
}

#[tokio::test]
async fn an_open_port_shows_what_it_was_identified_as() {
    let appliance = appliance();
    remember(&appliance.store, MAC, &[22, 80, 443]).await;
    let key = PortIdentification {
        host_key: Some("SHA256:abc".to_owned()),
        ..found("ssh", IdentifyMethod::SshKey, "SHA256:abc")
    };
    let all = [
        at(22, ssh()),
        at(22, key),
        at(443, tls()),
        at(80, found("telnet", IdentifyMethod::Greeting, "login:")),
    ];
    appliance.store.record_identifications(all.to_vec()).await.unwrap();
    let host = appliance.served.get(PATH).await.json();
    let [ssh, telnet, page] = [&host["ports"][0], &host["ports"][1], &host["ports"][2]];
    assert_eq!((&ssh["product"], &ssh["version"]), (&json!("OpenSSH"), &json!("9.2p1")));
    assert_eq!((&ssh["service"], &ssh["host_key"]), (&json!("ssh"), &json!("SHA256:abc")));
    assert_eq!(ssh["evidence"], json!({"method": "greeting", "text": "SSH-2.0-OpenSSH_9.2p1", "time": TIME}));
    assert_eq!(
        (&ssh["advice"]["what"], &ssh["advice"]["level"]),
        (&json!("is OpenSSH 9.2p1"), &json!("fine"))
    );
    assert!(!ssh.as_object().unwrap().contains_key("title"), "unknown keys are left out: {ssh}");
    assert_eq!((&telnet["service"], &telnet["advice"]["level"]), (&json!("telnet"), &json!("act")));
    assert_eq!(page["tls"], true);
    assert_eq!(
        page["certificate"],
        json!({"subject": "CN=nas", "sans": ["nas.lan"], "issuer": "CN=nas", "not_after": "2020-01-01T00:00:00Z",
            "self_signed": true, "key": "RSA 2048", "signature": "", "fingerprint": "ab".repeat(32)})
    );
    assert_eq!(page["advice"]["level"], "act", "its certificate has expired");
    let metrics = appliance.served.get("/metrics").await.body;
    assert!(metrics.contains("portscan_port_advice{level=\"act\"} 2"), "{metrics}");
    let listed = appliance.served.get("/v1/hosts").await.body;
    assert!(listed.contains("SSH-2.0-OpenSSH_9.2p1"), "{listed}");
}

#[tokio::test]
async fn another_product_is_told_as_a_change() {
    let appliance = appliance();
    remember(&appliance.store, MAC, &[22]).await;
    for product in ["OpenSSH", "Dropbear"] {
        let found = PortIdentification { product: Some(product.to_owned()), ..ssh() };
        appliance.store.record_identifications(vec![at(22, found)]).await.unwrap();
    }
    let changes = appliance.served.get("/v1/changes").await.json();
    let change = changes.as_array().unwrap().last().unwrap().clone();
    assert_eq!((&change["kind"], &change["port"]), (&json!("product"), &json!(22)), "{changes}");
    assert_eq!((&change["from"], &change["to"]), (&json!("OpenSSH"), &json!("Dropbear")));
    assert_eq!((&change["alert"], &change["scan_id"]), (&json!(false), &Value::Null));
}

#[tokio::test]
async fn a_device_has_a_type_with_its_evidence_until_its_owner_knows_better() {
    let appliance = appliance();
    remember(&appliance.store, MAC, &[22]).await;
    let host = appliance.served.get(PATH).await.json();
    for key in ["type", "type_evidence", "maker", "model", "tags", "own_type", "own_tags", "silenced"] {
        assert!(!host.as_object().unwrap().contains_key(key), "{key}: {host}");
    }
    let printer = DeviceIdentification {
        device_type: Some(DeviceType::Printer),
        maker: Some("Brother".to_owned()),
        model: Some("MFC-L2710DW".to_owned()),
    };
    let evidence = found("", IdentifyMethod::DnsSd, "_ipp._tcp").evidence;
    let key = MAC.parse().unwrap();
    appliance.store.record_device_identifications(vec![(key, printer, evidence)]).await.unwrap();
    let host = appliance.served.get(PATH).await.json();
    assert_eq!((&host["type"], &host["type_evidence"]), (&json!("printer"), &json!("announces _ipp._tcp")));
    assert_eq!((&host["maker"], &host["model"]), (&json!("Brother"), &json!("MFC-L2710DW")));

    let words = r#"{"type": "camera", "tags": ["door", "critical", "door"]}"#;
    assert_eq!(appliance.describe(PATH, words).await.status, 204);
    let host = appliance.served.get(PATH).await.json();
    assert_eq!((&host["type"], &host["type_evidence"]), (&json!("camera"), &json!("you say so")));
    assert_eq!((&host["own_type"], &host["tags"]), (&json!("camera"), &json!(["door", "critical"])));
    assert_eq!(appliance.describe(PATH, r#"{"type": null}"#).await.status, 204);
    let host = appliance.served.get(PATH).await.json();
    assert_eq!((&host["type"], &host["own_tags"]), (&json!("printer"), &json!(["door", "critical"])));
    let seventeen =
        json!({"tags": (0..17).map(|number| format!("t{number}")).collect::<Vec<_>>()}).to_string();
    for (body, why) in [
        (r#"{"type": "toaster"}"#, "`type`: \"toaster\" is not one of router, access-point"),
        (r#"{"tags": ["Two Words"]}"#, "`tags`: \"Two Words\" is no tag; write 1 to 32 of a-z, 0-9, - and _"),
        (seventeen.as_str(), "more than 16"),
        (r#"{"silenced": "2026-03-01T10:00:00Z"}"#, "invalid type"),
    ] {
        let refused = appliance.describe(PATH, body).await;
        assert_eq!(refused.status, 400, "{body}");
        assert!(refused.error().contains(why), "{refused:?}");
    }
    assert_eq!(appliance.describe(PATH, r#"{"tags": null}"#).await.status, 204);
    assert!(!appliance.served.get(PATH).await.json().as_object().unwrap().contains_key("tags"));
}

#[tokio::test]
async fn a_device_that_fell_silent_is_left_alone_until_its_owner_says_otherwise() {
    let appliance = appliance();
    remember(&appliance.store, MAC, &[22]).await;
    let key = MAC.parse().unwrap();
    appliance.store.record_silence(&key, TIME.parse().unwrap()).await.unwrap();
    assert_eq!(appliance.served.get(PATH).await.json()["silenced"], TIME);
    assert_eq!(appliance.describe(PATH, r#"{"note": "old"}"#).await.status, 204);
    assert!(appliance.store.silenced(&key).await.unwrap().is_some());
    assert_eq!(appliance.describe(PATH, r#"{"silenced": null}"#).await.status, 204);
    assert_eq!(appliance.store.silenced(&key).await.unwrap(), None);
}
