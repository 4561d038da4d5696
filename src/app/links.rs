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
type Trouble = (String, Duration);

/// Keeps the notices up to date, with one line in the log for each change.
pub(super) async fn watch(links: LinkWatch, notices: watch::Sender<Vec<String>>) {
    let mut known: BTreeMap<String, Trouble> = BTreeMap::new();
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
        let now: BTreeMap<String, Trouble> = closed.collect();
        for line in changes(&known, &now) {
            tracing::warn!("{line}");
        }
        known = now;
        let said: Vec<String> = known.values().map(|(notice, _)| notice.clone()).collect();
        notices.send_if_modified(|notices| {
            *notices != said && {
                *notices = said;
                true
            }
        });
    }
}

/// Returns one line for each interface with a changed notice.
fn changes(before: &BTreeMap<String, Trouble>, now: &BTreeMap<String, Trouble>) -> Vec<String> {
    let is_new = |(interface, (notice, _)): &(&String, &Trouble)| {
        before.get(*interface).is_none_or(|(before, _)| before != notice)
    };
    let begun = now.iter().filter(is_new).map(|(_, (notice, _))| notice.clone());
    let ended = before.iter().filter(|(interface, _)| !now.contains_key(*interface));
    let ended = ended.map(|(interface, (_, age))| {
        format!("{interface} is back after {} s: the scan behind it goes on", (*age + EVERY).as_secs())
    });
    begun.chain(ended).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_for_each_change() {
        let known = |said: &[(&str, &str, u64)]| {
            let said = said.iter().map(|(interface, notice, age)| {
                ((*interface).to_owned(), ((*notice).to_owned(), Duration::from_secs(*age)))
            });
            said.collect::<BTreeMap<_, _>>()
        };
        let (none, down) = (known(&[]), known(&[("eth0", "eth0 has no link", 2)]));
        assert_eq!(changes(&none, &down), ["eth0 has no link"]);
        assert!(changes(&down, &known(&[("eth0", "eth0 has no link", 3)])).is_empty());
        assert_eq!(changes(&down, &known(&[("eth0", "eth0 is gone", 3)])), ["eth0 is gone"]);
        assert_eq!(changes(&down, &none), ["eth0 is back after 3 s: the scan behind it goes on"]);
    }
}
