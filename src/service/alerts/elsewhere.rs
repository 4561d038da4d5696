//! At a hub: which other sites know a device that is new at one. A laptop that moves between sites is new at each, and
//! its alert says where it is known.

use crate::{
    fleet::SiteName,
    messages::{AlertChange, KnownElsewhere},
    model::{ChangeKind, Mac},
    service::fleet::{Elsewhere, SiteStores},
};

/// At a hub, the site of the alerts, and all sites.
#[derive(Clone)]
pub struct AlertSite {
    /// The site.
    pub name: SiteName,
    /// The copies of all sites.
    pub all: SiteStores,
}

impl AlertSite {
    /// Adds to each new device the other sites that know it now.
    pub(super) async fn add_elsewhere(&self, changes: &mut [AlertChange]) {
        let macs: Vec<Mac> = changes.iter().filter_map(new_mac).collect();
        if macs.is_empty() {
            return;
        }
        let elsewhere = Elsewhere::of(macs, &(self.all)()).await;
        for change in changes {
            let Some(mac) = new_mac(change) else { continue };
            let known = elsewhere.but(mac, &self.name).map(|known| KnownElsewhere {
                site: known.site.to_string(),
                address: known.presence.address.clone(),
                last_seen: known.presence.last_seen,
            });
            change.elsewhere = known.collect();
        }
    }
}

/// The MAC of a device that is new.
fn new_mac(change: &AlertChange) -> Option<Mac> {
    change.event.device.mac().filter(|_| change.event.kind == ChangeKind::New)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        clock::SystemClock,
        model::{AlertKind, AlertSeverity, ChangeEvent, Device, DeviceKey},
        store::{FILE_NAME, Store},
    };

    const MAC: Mac = Mac::new([2, 0, 0, 0, 0, 7]);

    fn change(kind: ChangeKind, device: DeviceKey) -> AlertChange {
        let at = "2026-12-01T08:00:00Z".parse().unwrap();
        let address = "10.0.0.7".parse().unwrap();
        AlertChange {
            event: ChangeEvent { id: 1, at, scan: None, device, address, kind, alert: true },
            about: AlertKind::NewDevice,
            resolves: None,
            severity: AlertSeverity::Normal,
            name: None,
            explanations: Vec::new(),
            elsewhere: Vec::new(),
        }
    }

    #[tokio::test]
    async fn a_new_device_gets_the_other_sites_that_know_it_and_another_change_none() {
        let dirs = [(); 3].map(|()| tempfile::tempdir().unwrap());
        let names = ["house-1", "house-2", "house-3"].map(|name| name.parse::<SiteName>().unwrap());
        let (mut stores, mut threads) = (Vec::new(), Vec::new());
        for (name, dir) in names.iter().zip(&dirs) {
            let clock = Arc::new(SystemClock::start());
            let (store, thread) = Store::open(&dir.path().join(FILE_NAME), clock).unwrap();
            stores.push((name.clone(), store));
            threads.push(thread);
        }
        let device = Device { address: "192.168.1.7".parse().unwrap(), mac: Some(MAC), name: None };
        let last_seen = "2026-11-30T18:02:00Z".parse().unwrap();
        for (_, store) in &stores[..2] {
            store.enter(device.clone(), last_seen).await.unwrap();
        }
        let at = |place: usize| {
            let stores = stores.clone();
            AlertSite { name: names[place].clone(), all: Arc::new(move || stores.clone()) }
        };
        let new = change(ChangeKind::New, DeviceKey::Mac(MAC));
        let others = [
            change(ChangeKind::Back, DeviceKey::Mac(MAC)),
            change(ChangeKind::New, DeviceKey::Mac(Mac::new([2, 0, 0, 0, 0, 8]))),
            change(ChangeKind::New, DeviceKey::Address("10.0.0.7".parse().unwrap())),
        ];
        let mut changes = others.iter().cloned().chain([new]).collect::<Vec<_>>();
        at(1).add_elsewhere(&mut changes).await;
        assert_eq!(changes[..3], others);
        let known =
            KnownElsewhere { site: "house-1".to_owned(), address: "192.168.1.7".parse().unwrap(), last_seen };
        assert_eq!(changes[3].elsewhere, [known]);
        at(2).add_elsewhere(&mut changes).await;
        let sites: Vec<_> = changes[3].elsewhere.iter().map(|known| known.site.as_str()).collect();
        assert_eq!(sites, ["house-1", "house-2"]);
    }
}
