//! A site and the hub's copy of it, on real files, over a link that loses messages: in the end both have the same rows.

mod skew;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use rusqlite::Connection;
use tempfile::TempDir;
use tokio::sync::watch;

use super::{Uplink, UplinkParts, copied_context::CopiedContext, site_copy::SiteCopy, uplink::UplinkEnd};
use crate::{
    clock::{Clock, SystemClock},
    config::Config,
    fleet::{Asking, HubAnswer, HubLink, LinkError, SiteMessage, SiteState, decode, encode},
    model::{Device, DeviceKey, Mac, PortSet, PortState, Protocol, ScanKind, ScanStatus},
    service::health::Health,
    store::{
        self, AnnotationPatch, DiskPace, ExpectationUpdate, Store, WriterThread,
        tests::{SetClock, up},
    },
};

/// What becomes of the next messages, last one first; delivered when it is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Delivered,
    RequestLost,
    AnswerLost,
    DeliveredTwice,
}

/// Delivers messages to a copy, as bytes.
#[derive(Clone)]
struct LossyLink {
    copy: Arc<SiteCopy>,
    fates: Arc<Mutex<Vec<Fate>>>,
    sent: Arc<Mutex<Vec<usize>>>,
}

impl HubLink for LossyLink {
    fn ask<'a>(&'a self, message: &'a SiteMessage) -> Asking<'a> {
        Box::pin(async move {
            let bytes = encode(message);
            self.sent.lock().unwrap().push(bytes.len());
            let lost = || LinkError::TimedOut(Duration::from_secs(1));
            let fate = self.fates.lock().unwrap().pop().unwrap_or(Fate::Delivered);
            let deliver = async || {
                let received = decode(&bytes).unwrap();
                decode::<HubAnswer>(&encode(&self.copy.receive(received).await)).unwrap()
            };
            match fate {
                Fate::RequestLost => Err(lost()),
                Fate::AnswerLost => {
                    deliver().await;
                    Err(lost())
                }
                Fate::Delivered => Ok(deliver().await),
                Fate::DeliveredTwice => {
                    let first = deliver().await;
                    deliver().await;
                    Ok(first)
                }
            }
        })
    }
}

impl SiteCopy {
    /// Handles a message of the one appliance that there is.
    async fn receive(&self, message: SiteMessage) -> HubAnswer {
        self.receive_from("_INBOX.site.house-3.one", message).await
    }
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::start())
}

/// Opens the database in this directory; commits at once, so that a test need not wait.
fn open(dir: &Path) -> (Store, WriterThread) {
    let pace = DiskPace { commit: Duration::ZERO, ..DiskPace::DEFAULT };
    Store::open_at_pace(&dir.join(store::FILE_NAME), clock(), pace).unwrap()
}

/// A site, the hub's copy, and what keeps both open.
struct Pair {
    dir: TempDir,
    store: Store,
    uplink: Uplink,
    link: LossyLink,
    _threads: [WriterThread; 2],
}

impl Pair {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (copy, copying) =
            SiteCopy::open("house-3".parse().unwrap(), &dir.path().join("hub"), clock()).unwrap();
        let link = LossyLink { copy: Arc::new(copy), fates: Arc::default(), sent: Arc::default() };
        std::fs::create_dir(dir.path().join("site")).unwrap();
        let (store, writing) = open(&dir.path().join("site"));
        let uplink = uplink(&store, &link);
        Self { dir, store, uplink, link, _threads: [copying, writing] }
    }

    fn fate(&self, fates: &[Fate]) {
        *self.link.fates.lock().unwrap() = fates.iter().rev().copied().collect();
    }

    /// Greets and sends all that is noted, as after each connection.
    async fn sync(&self) -> Result<(), UplinkEnd> {
        let mut position = self.uplink.begin().await?;
        self.uplink.send_round(&mut position).await
    }

    async fn assert_equal(&self) {
        self.store.flush().await.unwrap();
        let [site, copy] = [self.dir.path().join("site"), self.dir.path().join("hub/house-3")]
            .map(|dir| rows(&dir.join(store::FILE_NAME)));
        for (table, expected) in &site {
            assert_eq!(&copy[table], expected, "{table}");
        }
    }
}

fn uplink(store: &Store, link: &LossyLink) -> Uplink {
    Uplink::new(UplinkParts {
        store: store.clone(),
        link: Arc::new(link.clone()),
        config: watch::Sender::new(Arc::new(Config::default())).subscribe(),
        health: watch::Sender::new(Health::default()).subscribe(),
        host: "pi".to_owned(),
        notices: watch::Sender::new(Vec::new()),
    })
}

/// All rows of the tables that a hub gets, in the order of their keys, as text.
fn rows(path: &Path) -> BTreeMap<String, Vec<String>> {
    let connection = Connection::open(path).unwrap();
    let own = "'outgoing', 'succession', 'schedules', 'appliance', 'alert_channels', 'alert_messages', 'told_findings'";
    let sql = format!(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name NOT IN ({own})"
    );
    let mut names = connection.prepare(&sql).unwrap();
    let names = names.query_map([], |row| row.get::<_, String>(0)).unwrap();
    let all = |name: rusqlite::Result<String>| {
        let name = name.unwrap();
        let mut statement = connection.prepare(&format!("SELECT * FROM {name}")).unwrap();
        let columns = statement.column_count();
        let line = |row: &rusqlite::Row<'_>| {
            Ok((0..columns).map(|column| format!("{:?} ", row.get_ref(column).unwrap())).collect::<String>())
        };
        let mut found: Vec<String> =
            statement.query_map([], line).unwrap().collect::<rusqlite::Result<_>>().unwrap();
        found.sort_unstable();
        (name, found)
    };
    names.map(all).collect()
}

fn device(last: u8, has_mac: bool) -> Device {
    let mac = has_mac.then(|| Mac::new([2, 0, 0, 0, 0, last]));
    Device { address: format!("192.0.2.{last}").parse().unwrap(), mac, name: None }
}

/// Writes something to the site, of any kind that an appliance writes.
async fn write_anything(store: &Store, random: &mut fastrand::Rng) {
    let device = device(random.u8(1..9), random.u8(0..3) > 0);
    match random.u8(0..7) {
        0 => store.record_sightings(vec![device], Vec::new()).await.unwrap(),
        1..=3 => {
            let scan = store.begin_scan("lan", ScanKind::Run, &PortSet::all()).await.unwrap();
            for _ in 0..random.u8(1..6) {
                let open: Vec<u16> =
                    (0..random.u16(0..4)).map(|place| 20 + place * random.u16(1..50)).collect();
                let target = Device {
                    address: format!("192.0.2.{}", random.u8(1..9)).parse().unwrap(),
                    ..device.clone()
                };
                store.record(up(scan, target, &open)).await.unwrap();
            }
            store.end_scan(scan, ScanStatus::Complete).await.unwrap();
        }
        4 => {
            let state = random.bool().then(|| (PortState::Open, "as it should".to_owned()));
            let port = random.u16(20..24);
            let update = ExpectationUpdate { device: device.key(), protocol: Protocol::Tcp, port, state };
            store.expect(vec![update]).await.unwrap();
        }
        5 => {
            if let Some(row) = store.host_row(&device.key()).await.unwrap() {
                let name = Some(random.bool().then(|| "nas".to_owned()));
                let _ = store
                    .annotate(row, AnnotationPatch { name, ..AnnotationPatch::default() })
                    .await
                    .unwrap();
            }
        }
        _ => {
            let keep = store.open_scans().await.unwrap().first().map(|scan| scan.id);
            store.prune(keep).await.unwrap();
            if let Some(row) = store.host_row(&DeviceKey::Address(device.address)).await.unwrap() {
                let _ = store.forget(row).await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn a_copy_equals_its_site_after_any_history_over_a_link_that_loses_messages() {
    let histories = std::env::var("PORTSCAN_TEST_HISTORIES").ok().and_then(|count| count.parse().ok());
    for seed in 0..histories.unwrap_or(12) {
        let mut random = fastrand::Rng::with_seed(seed);
        let pair = Pair::new();
        for _ in 0..random.u8(3..12) {
            for _ in 0..random.u8(0..6) {
                write_anything(&pair.store, &mut random).await;
            }
            let fates = [Fate::Delivered, Fate::RequestLost, Fate::AnswerLost, Fate::DeliveredTwice];
            let fates: Vec<Fate> = (0..4).map(|_| fates[random.usize(0..4)]).collect();
            pair.fate(&fates);
            match pair.sync().await {
                Ok(()) | Err(UplinkEnd::Link(_)) => {}
                Err(error) => panic!("seed {seed}: {error}"),
            }
        }
        pair.fate(&[]);
        pair.sync().await.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        pair.assert_equal().await;
    }
}

#[tokio::test]
async fn a_first_copy_arrives_in_several_batches_and_then_only_what_changed() {
    let pair = Pair::new();
    let scan = pair.store.begin_scan("lan", ScanKind::Run, &PortSet::all()).await.unwrap();
    for last in 1..=250 {
        let open: Vec<u16> = (0..400).map(|place| 10 + place * u16::from(last % 7 + 2)).collect();
        pair.store.record(up(scan, device(last, true), &open)).await.unwrap();
    }
    pair.store.end_scan(scan, ScanStatus::Complete).await.unwrap();
    pair.sync().await.unwrap();
    pair.assert_equal().await;
    let first: Vec<usize> = std::mem::take(&mut *pair.link.sent.lock().unwrap());
    assert!(first.iter().all(|&bytes| bytes < 300_000), "{first:?}");

    pair.sync().await.unwrap();
    pair.link.sent.lock().unwrap().clear();
    let scan = pair.store.begin_scan("lan", ScanKind::Run, &PortSet::all()).await.unwrap();
    for last in 1..=250 {
        let open: Vec<u16> = (0..400).map(|place| 10 + place * u16::from(last % 7 + 2)).collect();
        pair.store.record(up(scan, device(last, true), &open)).await.unwrap();
    }
    pair.sync().await.unwrap();
    pair.assert_equal().await;
    let unchanged: usize = pair.link.sent.lock().unwrap().iter().sum();
    assert!(unchanged / 250 <= 200, "{} bytes for a host without a change", unchanged / 250);
}

#[tokio::test]
async fn a_copied_card_is_refused_by_name_and_the_other_goes_on() {
    let pair = Pair::new();
    write_anything(&pair.store, &mut fastrand::Rng::with_seed(1)).await;
    pair.sync().await.unwrap();
    pair.store.flush().await.unwrap();
    let second = pair.dir.path().join("second");
    std::fs::create_dir(&second).unwrap();
    let path = second.join(store::FILE_NAME);
    Connection::open(pair.dir.path().join("site").join(store::FILE_NAME))
        .unwrap()
        .execute("VACUUM INTO ?1", [path.to_str().unwrap()])
        .unwrap();
    let (copied, _threads) = open(&second);

    for _ in 0..2 {
        pair.store.record_sightings(vec![device(9, true)], Vec::new()).await.unwrap();
        pair.store.begin_scan("lan", ScanKind::Run, &PortSet::all()).await.unwrap();
        pair.sync().await.unwrap();
    }
    let refused = uplink(&copied, &pair.link).begin().await.unwrap_err().to_string();
    assert!(refused.contains("house-3") && refused.contains("portscan hub enrol"), "{refused}");
    let status = pair.link.copy.status().borrow().clone();
    assert_eq!(status.state, SiteState::Current, "the first appliance's data are as current as before");
    assert!(status.refusal.is_some());
    pair.sync().await.unwrap();
    pair.assert_equal().await;
    assert_eq!(pair.link.copy.status().borrow().refusal, None);
}

/// Neither has sent anything since the card was copied, so both have the newest pass.
#[tokio::test]
async fn a_copied_card_is_refused_by_its_signs_of_life() {
    let clock = SetClock::at("2026-03-01T10:00:00Z");
    let dir = tempfile::tempdir().unwrap();
    let (copy, _thread) = SiteCopy::open("house-3".parse().unwrap(), dir.path(), clock.clone()).unwrap();
    let greet = async |connection: &str, pass| {
        let greeting = crate::fleet::SiteGreeting {
            epoch: [1; 16],
            schema: u32::try_from(Store::SCHEMA).unwrap(),
            understood_since: 0,
            tables: Vec::new(),
            pass,
            version: "1".to_owned(),
            host: format!("pi-{connection}"),
        };
        copy.receive_from(connection, SiteMessage::Greeting(greeting)).await
    };
    assert_eq!(greet("one", None).await, HubAnswer::SendAll);
    let rows = Vec::new();
    let batch = crate::fleet::Batch { epoch: [1; 16], pass: None, replaces_all: true, is_last: true, rows };
    let HubAnswer::Committed(pass) = copy.receive_from("one", SiteMessage::Batch(batch)).await else {
        panic!("refused")
    };
    // As after a restart.
    assert_eq!(greet("two", Some(pass)).await, HubAnswer::Continue(pass));
    clock.pass(Duration::from_secs(20));
    assert_eq!(copy.receive_from("one", SiteMessage::Alive).await, HubAnswer::Accepted);
    for _ in 0..2 {
        let HubAnswer::Refused(reason) = copy.receive_from("two", SiteMessage::Alive).await else {
            panic!("taken")
        };
        assert!(reason.starts_with("pi-two reports as house-3"), "{reason}");
        assert_eq!(greet("two", Some(pass)).await, HubAnswer::Refused(reason.clone()));
        assert_eq!(copy.receive_from("one", SiteMessage::Alive).await, HubAnswer::Accepted);
        let status = copy.status().borrow().clone();
        assert_eq!((status.refusal, status.state), (Some(reason), SiteState::Current));
    }
    clock.pass(Duration::from_secs(61));
    assert_eq!(greet("two", Some(pass)).await, HubAnswer::Continue(pass), "the other one is gone");
    assert_eq!(copy.status().borrow().refusal, None);
}

#[tokio::test]
async fn another_database_is_taken_only_after_it_was_adopted() {
    let pair = Pair::new();
    write_anything(&pair.store, &mut fastrand::Rng::with_seed(1)).await;
    pair.sync().await.unwrap();
    let other = pair.dir.path().join("other");
    std::fs::create_dir(&other).unwrap();
    let (store, _threads) = open(&other);
    store.record_sightings(vec![device(77, true)], Vec::new()).await.unwrap();
    let fresh = uplink(&store, &pair.link);
    let refused = fresh.begin().await.unwrap_err().to_string();
    assert!(refused.contains("portscan hub adopt house-3"), "{refused}");
    pair.assert_equal().await;

    let before = rows(&pair.dir.path().join("hub/house-3").join(store::FILE_NAME));
    // A second time, before the other database has arrived.
    for _ in 0..2 {
        pair.link.copy.store().forget_succession().await.unwrap();
    }
    let mut position = fresh.begin().await.unwrap();
    fresh.send_round(&mut position).await.unwrap();
    let copy = rows(&pair.dir.path().join("hub/house-3").join(store::FILE_NAME));
    assert_eq!(copy["devices"], rows(&other.join(store::FILE_NAME))["devices"]);
    assert_ne!(copy["devices"], before["devices"]);
    // What the hub had is kept, once.
    assert_eq!(rows(&pair.dir.path().join("hub/house-3/portscan.db.before-adopt")), before);
    pair.link.copy.store().forget_succession().await.unwrap();
    assert_eq!(rows(&pair.dir.path().join("hub/house-3/portscan.db.before-adopt")), copy);
}

#[tokio::test]
async fn a_site_that_left_the_fleet_and_comes_back_also_tells_what_it_has_dropped() {
    let pair = Pair::new();
    for last in 1..4 {
        pair.store.record_sightings(vec![device(last, true)], Vec::new()).await.unwrap();
    }
    pair.sync().await.unwrap();
    pair.store.end_outgoing().await.unwrap();
    let row = pair.store.host_row(&device(2, true).key()).await.unwrap().unwrap();
    assert!(pair.store.forget(row).await.unwrap());
    pair.fate(&[Fate::Delivered, Fate::AnswerLost]);
    pair.sync().await.unwrap_err();
    pair.sync().await.unwrap();
    pair.assert_equal().await;
}

#[tokio::test]
async fn a_site_sends_all_again_once_its_copy_is_gone() {
    let pair = Pair::new();
    write_anything(&pair.store, &mut fastrand::Rng::with_seed(1)).await;
    let mut position = pair.uplink.begin().await.unwrap();
    pair.uplink.send_round(&mut position).await.unwrap();
    assert_eq!(pair.link.copy.receive(SiteMessage::Alive).await, HubAnswer::Accepted);

    pair.link.copy.store().forget_succession().await.unwrap();
    assert_eq!(pair.link.copy.receive(SiteMessage::Alive).await, HubAnswer::SendAll);
    pair.store.record_sightings(vec![device(8, true)], Vec::new()).await.unwrap();
    let ended = pair.uplink.send_round(&mut position).await.unwrap_err();
    assert!(matches!(ended, UplinkEnd::CopyGone), "{ended}");
    // Of all that is sent again, the answer to the first batch is lost.
    pair.fate(&[Fate::Delivered, Fate::AnswerLost]);
    assert!(matches!(pair.sync().await, Err(UplinkEnd::Link(_))));
    pair.sync().await.unwrap();
    pair.assert_equal().await;
}

#[tokio::test]
async fn a_batch_that_is_refused_is_told_until_one_is_committed() {
    let pair = Pair::new();
    let mut position = pair.uplink.begin().await.unwrap();
    pair.uplink.send_round(&mut position).await.unwrap();
    let standing = pair.link.copy.store().succession(None).await.unwrap().standing.unwrap();
    let rows = vec![crate::fleet::ChangedRow { table: 99, key: Vec::new(), rest: None }];
    let (epoch, pass) = (standing.epoch, Some(standing.pass));
    let malformed = crate::fleet::Batch { epoch, pass, replaces_all: false, is_last: true, rows };
    let answer = pair.link.copy.receive(SiteMessage::Batch(malformed)).await;
    assert!(matches!(answer, HubAnswer::Refused(_)), "{answer:?}");
    let status = pair.link.copy.status();
    assert_eq!(status.borrow().state, SiteState::Refused);

    pair.store.record_sightings(vec![device(1, true)], Vec::new()).await.unwrap();
    pair.uplink.send_round(&mut position).await.unwrap();
    assert_eq!((status.borrow().state, status.borrow().refusal.clone()), (SiteState::Current, None));
}

/// An appliance stores no such texts; whoever has its key may send them.
#[tokio::test]
async fn what_would_deceive_a_reader_is_replaced_in_all_texts_of_a_site() {
    let pair = Pair::new();
    let lookup = |name: &str| store::NameLookup {
        device: device(1, true).key(),
        source: crate::model::NameSource::Mdns,
        name: Some(name.to_owned()),
    };
    let scan = pair.store.begin_scan("lan", ScanKind::Run, &PortSet::all()).await.unwrap();
    pair.store.record(up(scan, device(1, true), &[22])).await.unwrap();
    pair.store.record_names(vec![lookup("nas\u{202e}gpj")]).await.unwrap();
    let row = pair.store.host_row(&device(1, true).key()).await.unwrap().unwrap();
    let patch = AnnotationPatch {
        name: Some(Some("a\u{200d}b\u{202e}".to_owned())),
        note: Some(Some("one\ntwo\u{1b}".to_owned())),
        ..AnnotationPatch::default()
    };
    pair.store.annotate(row, patch).await.unwrap();
    pair.store.flush().await.unwrap();
    let site = Connection::open(pair.dir.path().join("site").join(store::FILE_NAME)).unwrap();
    let body = "{\"product\":\"a\\u202eb\",\"title\":\"\\u202e\"}";
    let sql = "INSERT INTO identifications (id, digest, body) VALUES (1, x'00', ?1)";
    pair.sync().await.unwrap();
    site.execute(sql, [body]).unwrap();
    pair.sync().await.unwrap();
    let copy = pair.link.copy.store().host(&device(1, true).key()).await.unwrap().unwrap();
    assert_eq!(copy.words.name.as_deref(), Some("a\u{200d}b\u{fffd}"));
    assert_eq!(copy.words.note.as_deref(), Some("one\ntwo\u{fffd}"));
    let copied = Connection::open(pair.dir.path().join("hub/house-3").join(store::FILE_NAME)).unwrap();
    let text = |sql| copied.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap();
    assert_eq!(text("SELECT name FROM names"), "nas\u{fffd}gpj");
    let body: serde_json::Value = serde_json::from_str(&text("SELECT body FROM identifications")).unwrap();
    assert_eq!(body, serde_json::json!({ "product": "a\u{fffd}b", "title": "\u{fffd}" }));
}

#[tokio::test]
async fn a_configuration_that_is_too_long_is_refused() {
    let pair = Pair::new();
    let context = crate::fleet::SiteContext { config: "#".repeat(70_000), ..Default::default() };
    let answer = pair.link.copy.receive(SiteMessage::Context(context)).await;
    assert!(matches!(answer, HubAnswer::Refused(_)), "{answer:?}");
}

#[tokio::test]
async fn what_a_hub_knows_of_a_site_outlives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let name = || "a".parse().unwrap();
    let (copy, thread) = SiteCopy::open(name(), dir.path(), clock()).unwrap();
    assert_eq!(copy.status().borrow().state, SiteState::Never);
    let context = crate::fleet::SiteContext {
        config: "[[ignore]]\ndevice = \"*\"\nports = \"5353\"\n".to_owned(),
        problems: vec!["the disk\nis full".to_owned()],
        notices: Vec::new(),
    };
    let greeting = crate::fleet::SiteGreeting {
        epoch: [1; 16],
        schema: u32::try_from(Store::SCHEMA).unwrap(),
        understood_since: u32::try_from(Store::SCHEMA + 1).unwrap(),
        tables: Vec::new(),
        pass: None,
        version: "1.2.3".to_owned(),
        host: "pi\u{1b}[31m".to_owned(),
    };
    assert_eq!(copy.receive(SiteMessage::Greeting(greeting.clone())).await, HubAnswer::SendAll);
    assert_eq!(copy.receive(SiteMessage::Context(context)).await, HubAnswer::Accepted);
    let newer = crate::fleet::SiteGreeting { schema: greeting.schema + 1, ..greeting };
    let HubAnswer::Refused(reason) = copy.receive(SiteMessage::Greeting(newer)).await else {
        panic!("taken")
    };
    assert!(reason.contains("upgrade portscan at the hub"), "{reason}");
    drop(copy);
    std::thread::spawn(move || thread.join()).join().unwrap().unwrap();

    let (copy, _thread) = SiteCopy::open(name(), dir.path(), clock()).unwrap();
    let status = copy.status().borrow().clone();
    assert_eq!((status.state, status.version.as_deref()), (SiteState::Silent, Some("1.2.3")));
    assert!(status.host.is_some_and(|host| !host.contains('\u{1b}')));
    assert!(!status.problems[0].contains('\n'));
    assert_eq!(copy.config().borrow().ignore.len(), 1);
    assert_ne!(super::copied_context::read(&dir.path().join("a")), CopiedContext::default());
}

#[tokio::test]
async fn a_batch_with_a_value_that_cannot_be_read_is_refused_and_changes_nothing() {
    let pair = Pair::new();
    pair.store.record_sightings(vec![device(1, true)], Vec::new()).await.unwrap();
    pair.sync().await.unwrap();
    let path = pair.dir.path().join("site").join(store::FILE_NAME);
    let spoil = |at: i64| {
        Connection::open(&path).unwrap().execute("UPDATE devices SET first_seen = ?1", [at]).unwrap()
    };
    spoil(i64::MAX);
    let refused = pair.sync().await.unwrap_err().to_string();
    assert!(refused.contains("devices.first_seen") && refused.contains("hub adopt house-3"), "{refused}");
    let status = pair.link.copy.status();
    assert_eq!(status.borrow().state, SiteState::Refused);
    assert!(status.borrow().refusal.as_ref().is_some_and(|why| why.contains("devices.first_seen")));
    assert_eq!(pair.link.copy.store().hosts(0, 10).await.unwrap().rows.len(), 1, "it is as it was");

    spoil(1_700_000_000_000);
    pair.sync().await.unwrap();
    pair.assert_equal().await;
    assert_eq!((status.borrow().state, status.borrow().refusal.clone()), (SiteState::Current, None));
}

#[tokio::test]
async fn a_damaged_copy_is_told_by_its_site_and_with_the_remedy_for_a_copy() {
    let pair = Pair::new();
    pair.store.record_sightings(vec![device(1, true)], Vec::new()).await.unwrap();
    pair.sync().await.unwrap();
    let directory = pair.dir.path().join("hub/house-3");
    let spoil = "UPDATE devices SET first_seen = 9223372036854775807";
    Connection::open(directory.join(store::FILE_NAME)).unwrap().execute(spoil, []).unwrap();
    let copy = pair.link.copy.store();
    let error = copy.hosts(0, 10).await.unwrap_err().to_string();
    assert!(error.contains("site house-3") && !error.contains("backup"), "{error}");
    let health = copy.health().borrow().of_copy(&directory);
    for told in [error, health] {
        assert!(told.contains(&format!("remove {}", directory.display())), "{told}");
    }
}

#[tokio::test]
async fn a_message_that_cannot_be_read_is_shown_with_its_site_until_one_can() {
    let pair = Pair::new();
    pair.sync().await.unwrap();
    let copy = &pair.link.copy;
    let later = decode::<SiteMessage>(&[9]).unwrap_err();
    let HubAnswer::Refused(reason) = copy.refuse(&later).await else { panic!("taken") };
    assert!(reason.contains("house-3") && reason.contains("upgrade portscan"), "{reason}");
    let status = copy.status();
    assert_eq!((status.borrow().state, status.borrow().refusal.clone()), (SiteState::Refused, Some(reason)));

    // It has been upgraded, and has nothing to send.
    pair.uplink.begin().await.unwrap();
    assert_eq!(
        copy.receive(SiteMessage::Context(crate::fleet::SiteContext::default())).await,
        HubAnswer::Accepted
    );
    assert_eq!((status.borrow().state, status.borrow().refusal.clone()), (SiteState::Current, None));
}
