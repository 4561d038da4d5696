//! Findings about open ports are reported once.

use super::*;
use crate::model::PortFindingKind;

fn finding(port: u16, reason: &str) -> OpenPortFinding {
    OpenPortFinding {
        device: device(1),
        protocol: Protocol::Tcp,
        port,
        kind: PortFindingKind::Advice,
        reason: reason.to_owned(),
        text: format!("because of {reason}"),
    }
}

async fn told(store: &Store) -> Vec<String> {
    let events = store.change_events(ChangeFilter::default()).await.unwrap().rows;
    let text = |event: &ChangeEvent| {
        assert!(event.alert, "{event:?}");
        let (_, ports) = event.kind.ports().unwrap();
        format!("{} {ports}: {}", event.kind.as_str(), event.kind.found().unwrap())
    };
    events.iter().map(text).collect()
}

#[tokio::test]
async fn what_calls_for_action_is_told_once_for_each_port_and_reason_after_the_baseline() {
    let bench = Bench::new(EAGER);
    let (store, threads) = bench.open();
    store.record_findings(vec![finding(21, "old")]).await.unwrap();
    store.record_findings(vec![finding(21, "old"), finding(22, "before")]).await.unwrap();
    store.expect(Vec::new()).await.unwrap();
    store.record_findings(vec![finding(21, "old"), finding(22, "before")]).await.unwrap();
    assert_eq!(told(&store).await, [""; 0], "how things were before the baseline is no news");
    let now = vec![finding(21, "old"), finding(22, "new"), finding(23, "new")];
    store.record_findings(now.clone()).await.unwrap();
    let both = ["advice 22: because of new", "advice 23: because of new"];
    assert_eq!(told(&store).await, both);
    drop(store);
    join(threads).unwrap();

    let (store, _threads) = bench.open();
    store.record_findings(now).await.unwrap();
    store.record_findings(Vec::new()).await.unwrap();
    store.record_findings(vec![finding(23, "new")]).await.unwrap();
    assert_eq!(told(&store).await, both);
}

#[tokio::test]
async fn what_the_first_look_finds_after_an_upgrade_is_no_news() {
    let bench = Bench::new(EAGER);
    let (store, _threads) = bench.open();
    store.expect(Vec::new()).await.unwrap();
    store.record_findings(vec![finding(23, "old")]).await.unwrap();
    assert_eq!(told(&store).await, [""; 0]);
    store.record_findings(vec![finding(23, "old"), finding(80, "new")]).await.unwrap();
    assert_eq!(told(&store).await, ["advice 80: because of new"]);
}
