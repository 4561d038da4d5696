//! Reports links that are down while devices wait for them.

use std::{collections::BTreeMap, time::Duration};

use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};

use crate::net::LinkWatch;

/// The interval between checks; a shorter outage delays nothing worth a log line.
const EVERY: Duration = Duration::from_secs(1);

/// The notice about an interface, and how long it has been true.
type Outage = (String, Duration);

/// Keeps the notices up to date, with one line in the log for each change.
pub(super) async fn watch(links: LinkWatch, notices: watch::Sender<Vec<String>>) {
    let mut known: BTreeMap<String, Outage> = BTreeMap::new();
    let mut tick = interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let closed = links.closed().into_iter().map(|(closed, age)| {
            let notice = format!(
                "{} {}; devices behind it are not scanned until it is back, then the scan goes on",
                closed.interface, closed.why
            );
            (closed.interface, (notice, age))
        });
        let now: BTreeMap<String, Outage> = closed.collect();
        for change in changes(&known, &now) {
            match change {
                LinkChange::Notice(notice) => tracing::warn!(%notice, "a link is down"),
                LinkChange::Back { interface, duration } => {
                    tracing::warn!(%interface, ?duration, "a link is back; the scan behind it goes on");
                }
            }
        }
        known = now;
        let current: Vec<String> = known.values().map(|(notice, _)| notice.clone()).collect();
        notices.send_if_modified(|notices| {
            *notices != current && {
                *notices = current;
                true
            }
        });
    }
}

/// A change that is logged.
#[derive(Debug, PartialEq, Eq)]
enum LinkChange {
    /// An interface is down, or is down for another reason than before.
    Notice(String),
    /// An interface is back.
    Back { interface: String, duration: Duration },
}

/// Returns one change for each interface with a changed notice.
fn changes(before: &BTreeMap<String, Outage>, now: &BTreeMap<String, Outage>) -> Vec<LinkChange> {
    let is_new = |(interface, (notice, _)): &(&String, &Outage)| {
        before.get(*interface).is_none_or(|(before, _)| before != notice)
    };
    let begun = now.iter().filter(is_new).map(|(_, (notice, _))| LinkChange::Notice(notice.clone()));
    let ended = before.iter().filter(|(interface, _)| !now.contains_key(*interface));
    let ended = ended.map(|(interface, (_, age))| {
        let duration = Duration::from_secs((*age + EVERY).as_secs());
        LinkChange::Back { interface: interface.clone(), duration }
    });
    begun.chain(ended).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_for_each_change() {
        let known = |notices: &[(&str, &str, u64)]| {
            let notices = notices.iter().map(|(interface, notice, age)| {
                ((*interface).to_owned(), ((*notice).to_owned(), Duration::from_secs(*age)))
            });
            notices.collect::<BTreeMap<_, _>>()
        };
        let (none, down) = (known(&[]), known(&[("eth0", "eth0 has no link", 2)]));
        let notice = |text: &str| LinkChange::Notice(text.to_owned());
        assert_eq!(changes(&none, &down), [notice("eth0 has no link")]);
        assert!(changes(&down, &known(&[("eth0", "eth0 has no link", 3)])).is_empty());
        assert_eq!(changes(&down, &known(&[("eth0", "eth0 is gone", 3)])), [notice("eth0 is gone")]);
        let back = LinkChange::Back { interface: "eth0".to_owned(), duration: Duration::from_secs(3) };
        assert_eq!(changes(&down, &none), [back]);
    }
}
