//! A site may send any value in any row: a hub refuses it, or serves it.

use std::collections::BTreeSet;

use rusqlite::Connection;

use super::hub::hub;
use crate::{
    fleet::{Batch, ChangedRow, RowValue, SiteGreeting},
    store::{Applied, CopyForm, OutgoingState, Store, StoreHealth},
};

/// What reads a site's rows.
const PATHS: [&str; 12] = [
    "/v1/hosts",
    "/v1/diff?site=house",
    "/v1/changes?site=house",
    "/v1/scans?site=house",
    "/v1/expected?site=house",
    "/v1/runs?last=100&site=house",
    "/v1/info?site=house",
    "/metrics?site=house",
    "/sites/house/portscan/B8:27:EB:AC:14:3E/json",
    "/sites/house/v1/hosts/B8:27:EB:AC:14:3E",
    "/sites/house/v1/scan/1700000000",
    "/sites/house/v1/scan/1700000000?format=xml",
];

/// A row of each table that `hub` leaves empty, as an appliance could have written it.
const FILL: &str = "
    DELETE FROM changes;
    INSERT INTO scans (id, scanner, kind, ports, status, started, finished)
        VALUES (1700000000, 'lan', 'run', '22,80', 'complete', 1700000000000, 1700000009000);
    INSERT INTO observations (scan, seq, endpoint, address, protocol, status, result, reason, probes, started, finished,
                              preparation, scanning, detail)
        SELECT 1700000000, 90, endpoint, address, protocol, status, result, reason, probes, started, finished, 1, 2, NULL
        FROM observations WHERE endpoint = 1 LIMIT 1;
    INSERT INTO earlier (endpoint, seq, scan) VALUES (1, 90, 1700000000);
    INSERT INTO unanswered (scan, address) VALUES (1700000000, '192.168.1.200');
    INSERT INTO unconfirmed (endpoint, protocol, opening, since, ports) VALUES (1, 'tcp', 1, 1700000000000, '81');
    INSERT INTO expectations (written, device, protocol, port, state, comment)
        VALUES (1, 'B8:27:EB:AC:14:3E', 'tcp', 22, 'open', 'as it should');
    INSERT INTO marks (name, at) VALUES ('baseline', 1700000000000);
    INSERT INTO names (device, source, name, heard) VALUES ('B8:27:EB:AC:14:3E', 'dns', 'nas', 1700000000000);
    INSERT INTO identifications (id, digest, body) VALUES (1, x'01', '{\"service\":\"ssh\",\"evidence\":\"SSH-2.0\"}');
    INSERT INTO identified_ports (endpoint, protocol, port, method, identification, time)
        VALUES (1, 'tcp', 22, 'greeting', 1, 1700000000000);
    INSERT INTO identified_devices (device, method, identification, time) VALUES (1, 'dns-sd', 1, 1700000000000);
    INSERT INTO alert_snoozes (device, after, until, length) VALUES ('', 0, 1700000000000, 60000);
    INSERT INTO changes (id, at, scan, device, address, kind, protocol, ports, was, alert, becomes)
        VALUES (1, 1700000000000, 1700000000, 'B8:27:EB:AC:14:3E', '192.168.1.7', 'opened', 'tcp', '22', NULL, 1, NULL);
    UPDATE devices SET name = 'nas', name_at = 1700000000000, own_name = 'my nas', own_type = 'nas', tags = 'attic',
        silenced = 1700000000000 WHERE id = 1;";

fn values() -> Vec<RowValue> {
    // The ends of the dates that can be shown are among them.
    let (first, last) = (jiff::Timestamp::MIN.as_millisecond(), jiff::Timestamp::MAX.as_millisecond());
    let numbers = [i64::MIN, first - 1, first, 70_000, last, last + 1, i64::MAX];
    let texts = ["", "moved", "host-key", "9223372036854775807", "</script>\"]"];
    let mut values =
        vec![RowValue::Null, RowValue::Blob(Vec::new()), RowValue::Blob(vec![1, 0, 0xff, 0xff, 3])];
    values.extend(numbers.map(RowValue::Integer));
    values.extend(texts.map(|text| RowValue::Text(text.to_owned())));
    values
}

/// All rows, and the form in which a site sends them.
async fn rows(store: &Store) -> (Vec<ChangedRow>, CopyForm) {
    let OutgoingState { epoch, schema, tables, .. } = store.begin_outgoing([1; 16]).await.unwrap();
    let (version, host) = (env!("CARGO_PKG_VERSION").to_owned(), "pi".to_owned());
    let greeting =
        SiteGreeting { epoch, schema, understood_since: schema, tables, pass: None, version, host };
    let mut parts = store.read_outgoing().unwrap();
    let mut rows = Vec::new();
    while let Some(part) = parts.recv().await {
        rows.extend(part.unwrap().rows);
    }
    store.end_outgoing().await.unwrap();
    (rows, CopyForm::of(&greeting).unwrap())
}

/// Sends a whole copy, which is not complete, so that the next one may begin again.
async fn send(store: &Store, rows: Vec<ChangedRow>, form: &CopyForm) -> Applied {
    let batch = Batch { epoch: [1; 16], pass: None, replaces_all: true, is_last: false, rows };
    store.apply_batch(batch, [2; 16], form.clone()).await.unwrap()
}

#[tokio::test]
async fn any_value_of_a_site_is_refused_or_can_be_served() {
    let hub = hub().await;
    let house = &hub.house;
    Connection::open(house.dir.path().join("portscan.db")).unwrap().execute_batch(FILL).unwrap();
    let (all, form) = rows(&house.store).await;
    assert_eq!(all.iter().map(|row| row.table).collect::<BTreeSet<_>>().len(), 16, "a row of each table");
    assert_eq!(send(&house.store, all.clone(), &form).await, Applied::Committed);
    for path in PATHS {
        assert_eq!(hub.served.get(path).await.status, 200, "{path}");
    }
    let (mut refused, mut served, mut tables, mut faults) = (0, 0, BTreeSet::new(), Vec::new());
    for (place, row) in all.iter().enumerate().filter(|(_, row)| tables.insert(row.table)) {
        for column in 0..row.key.len() + row.rest.as_ref().map_or(0, Vec::len) {
            for value in values() {
                let told = format!("table {}, column {column}: {value:?}", row.table);
                let mut changed = all.clone();
                let ChangedRow { key, rest, .. } = &mut changed[place];
                *key.iter_mut().chain(rest.iter_mut().flatten()).nth(column).unwrap() = value;
                match send(&house.store, changed, &form).await {
                    Applied::Unreadable(_) | Applied::Malformed(_) => refused += 1,
                    Applied::Committed => {
                        served += 1;
                        for path in PATHS {
                            let answer = hub.served.get(path).await;
                            // What the row was about may be gone, or the device have lost its addresses.
                            let is_gone = answer.status == 404 || answer.body.contains("just been forgotten");
                            let is_fine = answer.status == 200 || is_gone && path.contains("/house/");
                            let is_whole = path != "/v1/hosts" || !answer.body.contains("\"error\":");
                            if !(is_fine && is_whole) {
                                faults.push(format!("{told}: {path}: {} {}", answer.status, answer.body));
                            }
                        }
                        let health = house.store.health().borrow().clone();
                        if health != StoreHealth::Ok {
                            faults.push(format!("{told}: {health}"));
                        }
                    }
                    other => panic!("{told}: {other:?}"),
                }
            }
        }
    }
    assert_eq!(faults, Vec::<String>::new());
    assert!(refused > 300 && served > 200, "{refused} refused, {served} served");
}
