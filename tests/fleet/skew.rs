//! Hub and sites of two releases: this one, and one as the next could be, with a column more in the database
//! (tests/setup/next-release).

use super::*;

/// The variable that names the other program.
const NEXT: &str = "PORTSCAN_NEXT_BINARY";

#[test]
#[ignore = "make fleet-skew builds the other release"]
fn hub_and_sites_are_upgraded_in_any_order() {
    let next = PathBuf::from(std::env::var_os(NEXT).expect("the next release's program"));
    let lab = Lab::describe(DEVICES);
    let mut fleet = Fleet::start(&lab, 2);
    fleet.wait_until_equal();
    let upgrade = |fleet: &mut Fleet<'_>, place: usize| {
        let site = &mut fleet.sites[place];
        site.running.take().unwrap().stop();
        site.appliance.set_binary(&next);
        site.running = Some(site.appliance.start());
    };
    // What the hub's page says of each site: version, refusal, and what is there to know.
    let told = |fleet: &Fleet<'_>| {
        let sites = fleet.at_hub("/v1/sites");
        [0, 1].map(|place| {
            let site = &sites[place];
            assert_eq!(site["refusal"], Value::Null, "{site}");
            (
                site["version"].as_str().unwrap().to_owned(),
                site["notices"].to_string().contains("upgrade the older one"),
            )
        })
    };
    let (older, newer) = (env!("CARGO_PKG_VERSION").to_owned(), "1000.0.0".to_owned());
    let is_current = |fleet: &Fleet<'_>| {
        eventually(LONG, "both sites are current", || {
            let sites = fleet.at_hub("/v1/sites");
            let states = [&sites[0]["state"], &sites[1]["state"]];
            states.iter().all(|&state| state == "current").then_some(())
        });
    };

    // A newer site, and an older hub.
    upgrade(&mut fleet, 0);
    fleet.scan(0);
    fleet.scan(1);
    fleet.wait_until_equal();
    is_current(&fleet);
    assert_eq!(told(&fleet), [(newer.clone(), true), (older.clone(), false)]);

    // A newer hub, and one site of each release; the newer one sends all of its data again.
    fleet.running.take().unwrap().stop();
    fleet.hub.set_binary(&next);
    fleet.start_hub();
    fleet.scan(0);
    fleet.scan(1);
    fleet.wait_until_equal();
    is_current(&fleet);
    assert_eq!(told(&fleet), [(newer.clone(), false), (older, true)]);
    let rows = json!([{ "address": "10.77.0.10", "port": 22, "protocol": "tcp", "state": "open" }]);
    for site in ["house-1", "house-2"] {
        let path = format!("/v1/expected?site={site}");
        assert_eq!(fleet.running.as_ref().unwrap().patch(&path, &rows).status, 204, "{site}");
    }
    fleet.wait_until_equal();

    upgrade(&mut fleet, 1);
    fleet.scan(1);
    fleet.wait_until_equal();
    is_current(&fleet);
    assert_eq!(told(&fleet), [(newer.clone(), false), (newer, false)]);
}
