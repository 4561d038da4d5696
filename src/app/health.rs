//! Sums up the appliance's health from the states of its parts.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::sync::watch;

use crate::{
    config::Config,
    net::mdns::Advertised,
    service::{feeds::Inventory, health::Health, watched::replace_if_new},
    store::StoreHealth,
};

/// Finds the most likely interface for discovery if the owner has named none.
type Suggest = fn() -> Option<String>;

/// Keeps the health up to date until all sources are gone. `file` is where the configuration is read from.
pub(super) async fn watch(
    mut store: watch::Receiver<StoreHealth>,
    mut inventory: watch::Receiver<Inventory>,
    mut advertised: watch::Receiver<Advertised>,
    mut config: watch::Receiver<Arc<Config>>,
    [mut links, mut alerts, mut fleet]: [watch::Receiver<Vec<String>>; 3],
    (file, suggest): (PathBuf, Suggest),
    health: watch::Sender<Health>,
) {
    let mut advised = None;
    loop {
        let advice = {
            let (config, inventory) = (config.borrow_and_update(), inventory.borrow_and_update());
            is_lost(&config, &inventory).then(|| advice(&config, &file, suggest()))
        };
        if advice != advised
            && let Some(advice) = &advice
        {
            tracing::warn!(%advice, "the configuration finds no device");
        }
        advised.clone_from(&advice);
        let more = advice.into_iter().chain(advertised.borrow_and_update().notice.clone());
        let more = more.chain(links.borrow_and_update().clone()).chain(alerts.borrow_and_update().clone());
        let more = more.chain(fleet.borrow_and_update().clone());
        let new = sum_up(&store.borrow_and_update(), &inventory.borrow(), more);
        replace_if_new(&health, new);
        tokio::select! {
            Ok(()) = store.changed() => {}
            Ok(()) = inventory.changed() => {}
            Ok(()) = advertised.changed() => {}
            Ok(()) = config.changed() => {}
            Ok(()) = links.changed() => {}
            Ok(()) = alerts.changed() => {}
            Ok(()) = fleet.changed() => {}
            else => return,
        }
    }
}

/// A feed that is down yields a notice, and so do a feed's remarks; other notices come first.
fn sum_up(store: &StoreHealth, inventory: &Inventory, more: impl Iterator<Item = String>) -> Health {
    let down = inventory.sources.iter().filter(|source| !source.up);
    let down = down.map(|source| format!("feed {}: {}", source.name, source.detail));
    let held_back = inventory
        .sources
        .iter()
        .filter_map(|source| source.held_back.map(|held_back| format!("feed {}: {held_back}", source.name)));
    let remarks = inventory
        .sources
        .iter()
        .flat_map(|source| source.remarks.iter().map(|remark| format!("feed {}: {remark}", source.name)));
    Health::new(store, more.chain(down).chain(held_back).chain(remarks).collect())
}

/// Whether no device is known because no source could report any: every feed was polled, and none of them is our own
/// discovery.
fn is_lost(config: &Config, inventory: &Inventory) -> bool {
    let feed = &config.feed;
    let has_asked = !feed.urls.is_empty() && inventory.is_complete(feed);
    has_asked && feed.discover.is_empty() && inventory.devices.is_empty()
}

/// Returns advice for an owner who has just switched the appliance on.
fn advice(config: &Config, file: &Path, interface: Option<String>) -> String {
    let urls = config.feed.urls.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let (interface, aside) = match interface {
        Some(interface) => (interface, ""),
        None => ("eth0".to_owned(), " (or whatever `ip link` calls the interface of the LAN)"),
    };
    format!(
        "no device is known yet: nothing was learned from {urls}. To have devices found without a lanscan service, \
         write discover = [\"{interface}\"]{aside} under [feed] in {}, then: systemctl reload portscan",
        file.display()
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        config::Discover,
        feed::Feed,
        model::{Device, Moment},
        service::feeds::{FeedState, SourceId, Trouble},
    };

    fn inventory(config: &Config, word: Option<Result<Feed, Trouble>>) -> Inventory {
        let mut state = FeedState::default();
        if let Some(word) = word {
            state.apply(Moment::ZERO, word);
        }
        Inventory::of(&BTreeMap::from([(SourceId::Url(config.feed.urls[0].clone()), state)]))
    }

    #[test]
    fn without_devices_the_notice_names_the_line_to_write() {
        let config = Config::default();
        let unresolved =
            Some(Err(Trouble::Unreachable("Unable to resolve host \"lanscan.local\".".to_owned())));
        assert!(!is_lost(&config, &inventory(&config, None)), "it was not asked yet");
        let lost = inventory(&config, unresolved.clone());
        assert!(is_lost(&config, &lost));
        let text = advice(&config, Path::new("/etc/portscan/portscan.toml"), Some("enp3s0".to_owned()));
        let expected = "no device is known yet: nothing was learned from http://lanscan.local/lanscan/json. To have \
            devices found without a lanscan service, write discover = [\"enp3s0\"] under [feed] in \
            /etc/portscan/portscan.toml, then: systemctl reload portscan";
        assert_eq!(text, expected);
        let health = sum_up(&StoreHealth::Ok, &lost, [text].into_iter());
        assert!(health.is_ok() && health.notices.len() == 2 && health.notices[0] == expected, "{health:?}");

        let device = Device { address: "10.0.0.1".parse().unwrap(), mac: None, name: None };
        let fed = Some(Ok(Feed { devices: vec![device], ..Feed::default() }));
        assert!(!is_lost(&config, &inventory(&config, fed)));
        let mut looking = config.clone();
        looking.feed.discover = vec![Discover { interface: "eth0".to_owned(), net: None }];
        assert!(!is_lost(&looking, &inventory(&looking, unresolved)), "discovery reports its own failure");
    }

    #[test]
    fn a_remark_of_a_source_becomes_a_notice() {
        let config = Config::default();
        let remarks = vec!["one MAC for many".to_owned()];
        let device = Device { address: "10.0.0.1".parse().unwrap(), mac: None, name: None };
        let fed = inventory(&config, Some(Ok(Feed { devices: vec![device], remarks, ..Feed::default() })));
        let notices = sum_up(&StoreHealth::Ok, &fed, std::iter::empty()).notices;
        assert_eq!(notices, ["feed http://lanscan.local/lanscan/json: one MAC for many"]);
    }
}
