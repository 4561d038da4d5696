//! Expectations for all sites.

use super::*;

const FOR_ALL: &str = "/v1/expected?site=*";

/// What a site expects: state and comment of each row.
fn expected(fleet: &Fleet<'_>, place: usize) -> Vec<(String, String)> {
    let rows = fleet.site(place).get("/v1/expected").json();
    let text = |row: &Value, key: &str| row[key].as_str().unwrap().to_owned();
    rows.as_array().unwrap().iter().map(|row| (text(row, "state"), text(row, "comment"))).collect()
}

fn wait_for(fleet: &Fleet<'_>, place: usize, rows: &[(&str, &str)]) {
    let what = format!("site {place} expects {rows:?}");
    eventually(LONG, &what, || {
        let expected = expected(fleet, place);
        let is_so = |((state, comment), row): (&(String, String), &(&str, &str))| {
            (state.as_str(), comment.as_str()) == *row
        };
        (expected.len() == rows.len() && expected.iter().zip(rows).all(is_so)).then_some(())
    });
}

/// Waits until the hub says why a site lacks what is expected at all sites.
fn wait_for_reason(fleet: &Fleet<'_>, place: usize, words: &str) {
    eventually(LONG, &format!("the hub says of site {place}: {words}"), || {
        let site = fleet.at_hub("/v1/sites")[place].clone();
        let is_told = site["expected_behind_why"].as_str().is_some_and(|why| why.contains(words));
        (site["expected_behind"] == 1 && is_told).then_some(())
    });
}

#[test]
fn what_is_expected_at_all_sites_comes_to_each_of_them_and_goes_again() {
    let lab = Lab::describe(DEVICES);
    let mut fleet = Fleet::start(&lab, 2);
    for place in 0..2 {
        fleet.site(place).wait_for_complete(6, LONG);
    }
    fleet.wait_until_equal();
    let accept = |fleet: &Fleet<'_>, place: usize| {
        assert_eq!(fleet.site(place).patch("/v1/expected", &json!([])).status, 204);
    };
    let stop = |fleet: &mut Fleet<'_>, place: usize| fleet.sites[place].running.take().unwrap().stop();
    let start = |fleet: &mut Fleet<'_>, place: usize| {
        fleet.sites[place].running = Some(fleet.sites[place].appliance.start());
    };
    accept(&fleet, 0);
    stop(&mut fleet, 1);
    let row = |state: &str, comment: &str| json!([{ "address": "02:00:00:00:00:10", "port": 22, "protocol": "tcp", "state": state, "comment": comment }]);
    let hub = |fleet: &Fleet<'_>, rows: &Value| fleet.running.as_ref().unwrap().patch(FOR_ALL, rows).status;
    assert_eq!(hub(&fleet, &row("open", "ssh")), 204);
    wait_for(&fleet, 0, &[("open", "all sites: ssh")]);

    // The hub and one site were down; that site has accepted nothing yet, and must not get a baseline by this.
    fleet.running.take().unwrap().kill();
    start(&mut fleet, 1);
    fleet.start_hub();
    wait_for_reason(&fleet, 1, "nothing has been accepted");
    assert_eq!(expected(&fleet, 1), []);
    accept(&fleet, 1);
    wait_for(&fleet, 1, &[("open", "all sites: ssh")]);

    // The hub's word holds.
    assert_eq!(fleet.site(0).patch("/v1/expected", &row("closed", "mine")).status, 204);
    wait_for(&fleet, 0, &[("open", "all sites: ssh")]);

    stop(&mut fleet, 1);
    let gone = json!([{ "address": "02:00:00:00:00:10", "port": 22, "protocol": "tcp" }]);
    assert_eq!(fleet.running.as_ref().unwrap().delete_among(FOR_ALL, &gone).status, 204);
    assert_eq!(fleet.at_hub(FOR_ALL), json!([]));
    wait_for(&fleet, 0, &[]);
    start(&mut fleet, 1);
    wait_for(&fleet, 1, &[]);
    fleet.wait_until_equal();
    eventually(LONG, "no site is behind", || {
        let sites = fleet.at_hub("/v1/sites");
        [0, 1].iter().all(|&place| sites[place]["expected_behind"] == 0).then_some(())
    });
}
