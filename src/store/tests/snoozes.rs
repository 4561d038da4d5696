//! Snoozes of alerts, and what they hold.

use super::*;
use crate::model::ChangeKind;

/// Writes an event of a device; returns its id.
fn happen(bench: &Bench, device: u8, kind: &str, ports: Option<&str>, alert: bool) -> i64 {
    let database = bench.outside();
    let sql = "INSERT INTO changes (at, device, address, kind, protocol, ports, alert)
               VALUES (0, ?1, ?2, ?3, ?4, ?5, ?6)";
    let (mac, address) = (format!("02:00:00:00:00:0{device}"), format!("192.0.2.{device}"));
    database.execute(sql, rusqlite::params![mac, address, kind, ports.map(|_| "tcp"), ports, alert]).unwrap();
    database.last_insert_rowid()
}

async fn all(store: &Store) -> Vec<ChangeEvent> {
    store.change_events(ChangeFilter::default()).await.unwrap().rows
}

/// The ids of the events that are held on a channel.
async fn held(store: &Store) -> Vec<i64> {
    let events = all(store).await;
    let context = store.alert_context("phone", &events).await.unwrap();
    events.iter().filter(|event| context.is_snoozed(event)).map(|event| event.id).collect()
}

fn snooze(bench: &Bench, device: Option<u8>, hours: u64) -> Snooze {
    let length = Duration::from_secs(hours * 3600);
    Snooze {
        device: device.map(|number| super::device(number).key()),
        until: bench.clock.wall() + length,
        length,
    }
}

#[tokio::test]
async fn a_snooze_holds_a_devices_events_between_its_begin_and_its_end() {
    let bench = Bench::new(EAGER);
    let (store, threads) = bench.open();
    let device = super::device(1).key();
    happen(&bench, 1, "opened", Some("21"), true);
    store.begin_snooze(snooze(&bench, Some(1), 8)).await.unwrap();
    let opened = happen(&bench, 1, "opened", Some("23"), true);
    happen(&bench, 2, "opened", Some("23"), true);
    // A new end does not change the beginning.
    store.begin_snooze(snooze(&bench, Some(1), 2)).await.unwrap();
    assert_eq!(held(&store).await, [opened]);
    drop(store);
    join(threads).unwrap();

    let (store, _threads) = bench.open();
    assert_eq!(store.snoozes().await.unwrap(), [snooze(&bench, Some(1), 2)], "it survives a restart");
    assert!(store.end_snooze(Some(device.clone())).await.unwrap());
    assert!(!store.end_snooze(Some(device)).await.unwrap(), "it has ended");
    let events = all(&store).await;
    let end = events.last().unwrap();
    assert_eq!((&end.kind, end.alert), (&ChangeKind::SnoozeEnded { after: opened - 1 }, false));
    assert_eq!(held(&store).await, [opened], "a channel that reads late holds the same");
    assert_eq!(*store.latest_event().borrow(), end.id);

    let closed = happen(&bench, 1, "closed", Some("23"), false);
    let context = store.alert_context("phone", &all(&store).await).await.unwrap();
    let undone = UndoneEvent { id: opened, told_by: end.id, is_whole: true, was_alert: true };
    assert_eq!(context.undone_by(closed), Some(undone));
}

#[tokio::test]
async fn the_end_of_a_snooze_of_all_is_an_event_of_each_device_with_something_to_tell() {
    let bench = Bench::new(EAGER);
    let (store, _threads) = bench.open();
    happen(&bench, 1, "opened", Some("23"), true);
    store.begin_snooze(snooze(&bench, None, 8)).await.unwrap();
    happen(&bench, 1, "moved", None, false);
    happen(&bench, 2, "opened", Some("23"), true);
    happen(&bench, 3, "closed", Some("80"), false);
    bench.outside().execute("DELETE FROM changes WHERE kind = 'moved'", []).unwrap();
    assert!(store.end_snooze(None).await.unwrap());
    let ended: Vec<_> =
        all(&store).await.into_iter().filter(|event| event.kind.as_str() == "snooze-ended").collect();
    let devices: Vec<_> = ended.iter().map(|event| event.device.clone()).collect();
    assert_eq!(devices, [super::device(2).key(), super::device(3).key()]);
    assert_eq!(ended[0].address.to_string(), "192.0.2.2");
}

#[tokio::test]
async fn what_the_owner_has_acknowledged_is_known_by_its_events() {
    let bench = Bench::new(EAGER);
    let (store, _threads) = bench.open();
    let opened = happen(&bench, 1, "opened", Some("22-23"), true);
    let closed = happen(&bench, 1, "closed", Some("23"), false);
    let saved = crate::alerts::SavedOutbox::default();
    let ended = EndedMessage {
        events: (opened, opened),
        device: None,
        title: String::new(),
        at: bench.clock.wall(),
        refusal: None,
    };
    store.save_outbox("phone", saved, Some(ended)).await.unwrap();
    let context = async || store.alert_context("phone", &all(&store).await).await.unwrap();
    assert!(!context().await.is_acknowledged(opened));
    let id = store.alert_messages(1).await.unwrap()[0].id;
    store.mark_alert_message(id, MessageState::Acknowledged, None).await.unwrap();
    let known = context().await;
    assert!(known.is_acknowledged(opened) && !known.is_acknowledged(closed));
    let undone = UndoneEvent { id: opened, told_by: opened, is_whole: false, was_alert: true };
    assert_eq!(known.undone_by(closed), Some(undone), "port 22 is still open");
    let other = store.alert_context("mail", &all(&store).await).await.unwrap();
    assert!(!other.is_acknowledged(opened), "each channel has its own messages");
}
