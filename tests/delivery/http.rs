//! Alerts as HTTP requests, ntfy's and a webhook's, to a receiver that is a process of its own.

use std::collections::BTreeSet;

use super::{
    LONG, NOTHING, begin,
    channels::{all_events, events_of},
    kills::{Arrivals, FaultRounds},
    mail::IDS,
    rounds,
};
use crate::{
    harness::{Portscan, eventually, http_server::HttpServer},
    lab::Lab,
};

/// Kills of the appliance and of the receiver.
const ROUNDS: i64 = 4;

const TOKEN: &str = "tk_s3cret";

#[test]
fn kills_of_the_appliance_and_of_an_http_receiver_lose_no_alert() {
    let lab = Lab::enter("near");
    let mut server = HttpServer::start(&lab, Some(TOKEN));
    let home = tempfile::tempdir().unwrap();
    let token = home.path().join("token");
    std::fs::write(&token, TOKEN).unwrap();
    let channel = |name: &str, kind: &str| {
        format!(
            "[[channel]]\nname = \"{name}\"\ntype = \"{kind}\"\nurl = \"http://{}/{name}\"\ngroup = \"1s\"\n\
             burst = 1000\ntoken_file = {token:?}\n{IDS}",
            server.address()
        )
    };
    let config = NOTHING.to_owned() + &channel("phone", "ntfy") + &channel("hook", "webhook");
    let mut faults = FaultRounds::new(13);
    let portscan = faults.on(Portscan::new(&lab, &config));
    begin(&portscan, 2);
    faults.run_all(rounds(ROUNDS), &lab, &portscan, 4500, || {
        server.kill();
        server.start_again();
    });
    let all = all_events(&portscan);
    let running = portscan.start();
    // Each message with its key and events: ntfy's by its topic, the webhook's by its path.
    let messages = |name: &str| {
        let requests = server.requests().into_iter().filter(|request| request.status == 200);
        let ours = requests.filter(|request| match name {
            "phone" => request.body["topic"] == "phone",
            name => request.path.ends_with(name),
        });
        let parse = |request: crate::harness::http_server::WrittenRequest| {
            let text = if name == "phone" { &request.body["message"] } else { &request.body["text"] };
            let key = request.headers["idempotency-key"].as_str().unwrap().to_owned();
            (key, events_of(text.as_str().unwrap()))
        };
        ours.map(parse).collect::<Vec<_>>()
    };
    for name in ["phone", "hook"] {
        eventually(2 * LONG, &format!("every event arrives at {name}"), || {
            let arrived: BTreeSet<_> = messages(name).into_iter().flat_map(|(_, events)| events).collect();
            let is_done = all.iter().all(|id| arrived.contains(id));
            (is_done && running.get("/v1/alerts").json()["pending"] == 0).then_some(())
        });
        let arrivals = Arrivals::of(messages(name));
        assert_eq!(arrivals.order, all, "all events");
        eprint!("{name}: ");
        arrivals.report(rounds(ROUNDS));
    }
    running.stop();
}
