//! Alerts as lines of syslog, with a real collector: what TCP promises, and what UDP cannot.

use std::collections::BTreeSet;

use super::{
    LONG, NOTHING, begin,
    channels::{all_events, events_of, happen},
    kills::{Arrivals, FaultRounds},
    mail::IDS,
    rounds,
};
use crate::{
    harness::{Portscan, eventually, rsyslog::Rsyslog},
    lab::Lab,
};

/// Kills of the appliance and of the collector.
const ROUNDS: i64 = 4;

fn channel(name: &str, scheme: &str, server: &Rsyslog) -> String {
    format!(
        "[[channel]]\nname = \"{name}\"\ntype = \"syslog\"\nurl = \"{scheme}://{}\"\ngroup = \"1s\"\n\
         burst = 1000\ntitle = \"{name}\"\n{IDS}",
        server.address()
    )
}

/// The lines of a channel in their order, each with its key and events.
fn lines(server: &Rsyslog, channel: &str) -> Vec<(String, Vec<i64>)> {
    let lines = server.lines().into_iter().filter_map(|line| {
        let (key, text) = line.split_once("key=\"")?.1.split_once('"')?;
        let (_, events) = text.split_once(&format!("{channel}: "))?;
        Some((key.to_owned(), events_of(events)))
    });
    lines.collect()
}

#[test]
fn kills_of_the_appliance_and_of_a_collector_lose_no_line_over_tcp() {
    let lab = Lab::enter("near");
    let mut server = Rsyslog::start(&lab);
    let config =
        NOTHING.to_owned() + &channel("stream", "tcp", &server) + &channel("datagram", "udp", &server);
    let mut faults = FaultRounds::new(17);
    let portscan = faults.on(Portscan::new(&lab, &config));
    begin(&portscan, 2);
    faults.run_all(rounds(ROUNDS), &lab, &portscan, 4500, || {
        server.kill();
        server.start_again();
    });
    let all = all_events(&portscan);
    let running = portscan.start();
    eventually(2 * LONG, "every event arrives over TCP", || {
        let arrived: BTreeSet<_> =
            lines(&server, "stream").into_iter().flat_map(|(_, events)| events).collect();
        let is_done = all.iter().all(|id| arrived.contains(id));
        (is_done && running.get("/v1/alerts").json()["pending"] == 0).then_some(())
    });
    running.stop();
    let arrivals = Arrivals::of(lines(&server, "stream"));
    assert_eq!(arrivals.order, all, "all events");
    eprint!("over TCP: ");
    arrivals.report(rounds(ROUNDS));
    // Datagrams may be lost; those that arrive are in order, and have their key.
    let arrivals = Arrivals::of(lines(&server, "datagram"));
    assert!(arrivals.order.iter().all(|id| all.contains(id)), "{:?}", arrivals.order);
    eprint!("over UDP, {} events lost: ", all.len() - arrivals.order.len());
    arrivals.report(rounds(ROUNDS));
}

#[test]
fn a_line_by_udp_waits_while_nothing_listens_there() {
    let lab = Lab::enter("near");
    let mut server = Rsyslog::start(&lab);
    let portscan = Portscan::new(&lab, &(NOTHING.to_owned() + &channel("datagram", "udp", &server)));
    begin(&portscan, 1);
    server.kill();
    happen(&portscan, 0);
    let running = portscan.start();
    eventually(LONG, "an attempt fails", || {
        let alerts = running.get("/v1/alerts").json();
        alerts["channels"][0]["error"]
            .as_str()
            .filter(|error| error.contains("Connection refused"))
            .map(|_| ())
    });
    server.start_again();
    let all = all_events(&portscan);
    eventually(LONG, "the line arrives", || {
        let lines = lines(&server, "datagram");
        (lines.iter().flat_map(|(_, events)| events).eq(&all)).then_some(())
    });
    running.stop();
}
