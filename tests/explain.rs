//! `portscan explain` and the advice of a real appliance.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    harness::{Portscan, eventually, scanner, static_feed},
    lab::Lab,
};

const LONG: Duration = Duration::from_secs(180);

#[test]
fn explains_a_port_without_an_appliance() {
    let lab = Lab::enter("near");
    let portscan = Portscan::new(&lab, "");
    let told = portscan.run(&["explain", "23"], LONG);
    assert!(told.status.success(), "{told:?}");
    for words in ["23/tcp: usually Telnet", "act", "RFC 854", "port numbers (IANA's) calls it \"telnet\""] {
        assert!(told.stdout.contains(words), "{words}: {}", told.stdout);
    }
    let told = portscan.run(&["explain", "9/udp", "--json"], LONG);
    let port: Value = serde_json::from_str(&told.stdout).unwrap();
    assert_eq!((&port[0]["protocol"], &port[0]["uses"][0]["level"]), (&json!("udp"), &json!("look")));
    let told = portscan.run(&["explain", "4"], LONG);
    assert!(told.status.success() && told.stdout.contains("How to find out what it is:"), "{told:?}");
    let wrong = portscan.run(&["explain", "70000"], LONG);
    assert!(wrong.status.code() == Some(2) && wrong.stderr.contains("from 1 to 65535"), "{wrong:?}");
}

#[test]
fn explains_a_device_of_a_running_appliance() {
    let lab = Lab::enter("near");
    let portscan = Portscan::new(&lab, &(static_feed(&lab) + &scanner("lan", "1d", "1-100")));
    let host = lab.host("10.77.0.5");
    [23, 4].into_iter().for_each(|port| host.open(port));
    let running = portscan.start();
    let open = json!([[4, false], [22, false], [23, false], [80, false]]);
    eventually(LONG, "all open ports are confirmed", || {
        let device = running.get("/v1/hosts/10.77.0.5");
        let ports = device.body.contains("ports").then(|| device.json()["ports"].clone())?;
        let ports = ports.as_array()?.iter().map(|port| json!([port["port"], port["unconfirmed"]]));
        (Value::from_iter(ports) == open).then_some(())
    });
    let ask = |words: &[&str]| portscan.run(&[words, &["--url", running.base()]].concat(), LONG);

    let told = ask(&["explain", "10.77.0.5"]);
    assert!(told.status.success(), "{told:?}");
    let places = ["act   23/tcp", "fine  22/tcp", "Nothing is known about 1 open port: 4\n"]
        .map(|words| told.stdout.find(words).unwrap_or_else(|| panic!("{words}: {}", told.stdout)));
    assert!(places.is_sorted(), "{}", told.stdout);
    let told = ask(&["explain", "10.77.0.5", "--json"]);
    let host: Value = serde_json::from_str(&told.stdout).unwrap();
    assert_eq!(
        (&host["ports"][0]["port"], &host["ports"][0]["advice"]["level"]),
        (&json!(23), &json!("act"))
    );

    let listed = ask(&["hosts", "-v", "10.77.0.5"]);
    assert!(listed.stdout.contains("23/tcp  act    usually Telnet\n"), "{}", listed.stdout);
    let listed = ask(&["hosts", "10.77.0.5"]);
    assert!(!listed.stdout.contains("usually"), "{}", listed.stdout);

    let unknown = ask(&["explain", "ssh"]);
    assert!(
        unknown.status.code() == Some(1) && unknown.stderr.contains("`portscan explain 22`"),
        "{unknown:?}"
    );
    let unknown = ask(&["explain", "10.77.0.99"]);
    assert!(unknown.status.code() == Some(1) && unknown.stderr.contains("is not known"), "{unknown:?}");

    let metrics = running.get("/metrics").body;
    assert!(metrics.contains("\nportscan_port_advice{level=\"act\"} 1\n"), "{metrics}");
    running.stop();
}
