//! The positions of alert channels, and their messages.

use super::*;
use crate::alerts::{SavedOutbox, SavedSummary, SavedTrouble, WaitingSummary};

fn ended(bench: &Bench, first: i64, refusal: Option<&str>) -> EndedMessage {
    EndedMessage {
        events: (first, first + 1),
        device: Some("02:00:00:00:00:01".to_owned()),
        title: format!("message {first}"),
        at: bench.clock.wall(),
        refusal: refusal.map(str::to_owned),
    }
}

#[tokio::test]
async fn an_outbox_survives_a_restart_with_its_messages() {
    let bench = Bench::new(EAGER);
    let (store, threads) = bench.open();
    assert_eq!(store.outbox("phone").await.unwrap(), SavedOutbox::default());
    let saved = SavedOutbox {
        cursor: 7,
        message: Some((8, 12)),
        attempts: 3,
        retry_in: Duration::from_secs(40),
        failing: Duration::from_secs(70),
    };
    store.save_outbox("phone", saved.clone(), Some(ended(&bench, 3, Some("no")))).await.unwrap();
    let trouble = SavedTrouble { told: "feed down".to_owned(), number: 2 };
    store.save_told_trouble("phone", trouble.clone()).await.unwrap();
    assert_eq!(store.summary_state("phone").await.unwrap(), SavedSummary::default());
    let day = jiff::civil::date(2026, 3, 1);
    let waiting = WaitingSummary {
        day,
        number: "2026-03-01T08:00".to_owned(),
        newest: 12,
        title: "all as expected".to_owned(),
        text: "41 devices".to_owned(),
        is_as_expected: true,
    };
    let summary =
        SavedSummary { schedule: "08:00:00".to_owned(), done: Some(day), after: 7, waiting: Some(waiting) };
    store.save_summary_state("phone", Some(summary.clone())).await.unwrap();
    let name = store.appliance_id().await.unwrap();
    assert_eq!(name.len(), 16);
    drop(store);
    join(threads).unwrap();

    let (store, _threads) = bench.open();
    assert_eq!(store.outbox("phone").await.unwrap(), saved);
    assert_eq!(store.told_trouble("phone").await.unwrap(), trouble);
    assert_eq!(store.summary_state("phone").await.unwrap(), summary);
    store.save_outbox("phone", saved.clone(), None).await.unwrap();
    assert_eq!(store.summary_state("phone").await.unwrap(), summary, "each is saved by itself");
    store.save_summary_state("phone", None).await.unwrap();
    assert_eq!(store.summary_state("phone").await.unwrap(), SavedSummary::default());
    assert_eq!(store.appliance_id().await.unwrap(), name);
    let [message] = &store.alert_messages(10).await.unwrap()[..] else { panic!("one message") };
    assert_eq!((message.events, message.state), ((3, 4), MessageState::Parked));
    assert_eq!(message.reason.as_deref(), Some("no"));
    assert!(store.mark_alert_message(message.id, MessageState::Acknowledged, None).await.unwrap());
    assert_eq!(store.alert_message(message.id).await.unwrap().unwrap().state, MessageState::Acknowledged);
    let device = || "02:00:00:00:00:01".to_owned();
    assert_eq!(store.message_with("phone", device(), 4).await.unwrap(), Some(3));
    assert_eq!(store.message_with("phone", device(), 5).await.unwrap(), None);

    store.keep_outboxes(vec!["other".to_owned()]).await.unwrap();
    assert_eq!(store.alert_messages(10).await.unwrap(), []);
    assert_eq!(store.outbox("phone").await.unwrap(), SavedOutbox::default(), "it begins anew");
}

#[tokio::test]
async fn the_history_is_bounded_and_keeps_parked_messages_longer() {
    let bench = Bench::new(EAGER);
    let (store, _threads) = bench.open();
    for first in 0..500 {
        let refusal = (first == 150 || first == 5).then_some("no");
        store
            .save_outbox("phone", SavedOutbox::default(), Some(ended(&bench, first, refusal)))
            .await
            .unwrap();
    }
    let messages = store.alert_messages(1000).await.unwrap();
    let parked: Vec<_> = messages
        .iter()
        .filter(|message| message.state == MessageState::Parked)
        .map(|message| message.events.0)
        .collect();
    assert_eq!((messages.len(), parked), (202, vec![150, 5]));
}

#[tokio::test]
async fn what_a_channel_has_not_sent_is_not_pruned() {
    let bench = Bench::new(EAGER);
    let (store, _threads) = bench.open();
    store.outbox("phone").await.unwrap();
    let outside = bench.outside();
    let insert = |count: i64| {
        let sql = "WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
                   INSERT INTO changes (at, device, address, kind, alert)
                   SELECT 0, '02:00:00:00:00:01', '192.0.2.1', 'gone', 1 FROM n";
        outside.execute(sql, [count]).unwrap();
    };
    insert(50_600);
    assert_eq!(store.drop_old_changes().await.unwrap(), 0, "the channel has sent nothing yet");
    let sent = SavedOutbox { cursor: 400, ..SavedOutbox::default() };
    store.save_outbox("phone", sent, None).await.unwrap();
    assert_eq!(store.drop_old_changes().await.unwrap(), 400);
    insert(50_000);
    assert_eq!(
        store.drop_old_changes().await.unwrap(),
        200,
        "a channel that never sends must not fill the disk"
    );
    store.keep_outboxes(Vec::new()).await.unwrap();
    assert_eq!(store.drop_old_changes().await.unwrap(), 50_000);
}
