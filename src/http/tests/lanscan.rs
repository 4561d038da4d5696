//! lanscan's two paths over the real routes.

use super::{portscan::appliance, *};
use crate::{
    config::Discover,
    model::Device,
    service::feeds::{Found, Inventory},
};

#[tokio::test]
async fn lanscan_paths_report_discovery_off_begun_and_finished() {
    let appliance = appliance();
    for path in ["/lanscan/json", "/lanscan/status"] {
        let answer = appliance.served.get(path).await;
        assert_eq!(answer.status, 404);
        assert!(answer.error().contains("write discover = "), "{answer:?}");
    }
    appliance.served.config.send_modify(|config| {
        let discover = Discover { interface: "eth0".to_owned(), net: None };
        Arc::make_mut(config).feed.discover = vec![discover];
    });
    assert_eq!(appliance.served.get("/lanscan/json").await.body, "{}\n");
    let status = appliance.served.get("/lanscan/status").await.body;
    let before = r#"{"status":{"last_utc":"(just starting up)","last_time_sec":0.0,"last_count":0}}"#;
    assert_eq!(status.trim_end(), before);

    let device = Device {
        address: "10.0.0.7".parse().unwrap(),
        mac: "B8:27:EB:AC:14:3E".parse().ok(),
        name: Some("nas".to_owned()),
    };
    let found = Found {
        devices: [device].into(),
        ended: "2022-12-11T21:18:02Z".parse().unwrap(),
        preparation: Duration::from_millis(250),
        sweeping: Duration::from_millis(5500),
    };
    appliance.inventory.send_replace(Inventory { found: Some(found), ..Inventory::default() });
    let document = appliance.served.get("/lanscan/json").await.body;
    let expected = r#"{"time":{"utc":"2022-12-11 21:18:02","prep_sec":0.25,"scan_sec":5.5,"total_sec":5.75},"scan":[{"ipv4":"10.0.0.7","mac":"b8:27:eb:ac:14:3e"}],"count":1}"#;
    assert_eq!(document.trim_end(), expected);
    let status = appliance.served.get("/lanscan/status").await.body;
    let expected = r#"{"status":{"last_utc":"2022-12-11 21:18:02","last_time_sec":5.75,"last_count":1}}"#;
    assert_eq!(status.trim_end(), expected);
}
