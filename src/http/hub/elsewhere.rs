//! `elsewhere` of a device: the other sites that know its MAC.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use serde::Serialize;

use super::Sites;
use crate::{
    clock::Clock,
    fleet::SiteName,
    model::{Address, Mac, Moment},
    service::fleet::{Elsewhere, SitePresence},
    store::Store,
};

/// How long the sites of all devices hold: the MACs of all copies are read for them.
const FRESH: Duration = Duration::from_secs(10);

/// How an element of /v1/hosts begins that has a MAC.
const MAC_KEY: &[u8] = b"\"mac\":\"";

/// The length of a MAC, with colons.
const MAC_LENGTH: usize = 17;

/// How many bytes of an element say which device it is.
pub(super) const HEAD: usize = MAC_KEY.len() + MAC_LENGTH;

/// Another site that knows a device, with the members of /v1/hosts.
#[derive(Serialize)]
struct ElsewhereRow<'a> {
    site: &'a SiteName,
    address: &'a Address,
    presence: &'static str,
    first_seen: Timestamp,
    last_seen: Timestamp,
}

/// The sites of all devices that several sites know, as they were read last.
pub(super) struct ElsewhereCache {
    clock: Arc<dyn Clock>,
    /// Locked while they are read: further clients wait for the same.
    latest: tokio::sync::Mutex<Option<Latest>>,
}

struct Latest {
    at: Moment,
    /// Of which sites; not their stores, which would keep a copy open.
    of: Vec<SiteName>,
    elsewhere: Arc<Elsewhere>,
}

impl ElsewhereCache {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, latest: tokio::sync::Mutex::default() }
    }

    pub(super) async fn get(&self, sites: &Sites) -> Arc<Elsewhere> {
        let mut latest = self.latest.lock().await;
        let now = self.clock.now();
        if let Some(Latest { at, of, elsewhere }) = &*latest
            && now < *at + FRESH
            && of.iter().eq(sites.keys())
        {
            return Arc::clone(elsewhere);
        }
        let elsewhere = Arc::new(Elsewhere::of_shared(&stores(sites)).await);
        let of = sites.keys().cloned().collect();
        *latest = Some(Latest { at: now, of, elsewhere: Arc::clone(&elsewhere) });
        elsewhere
    }
}

/// The copies of these sites.
pub(super) fn stores(sites: &Sites) -> Vec<(SiteName, Store)> {
    sites.iter().map(|(name, site)| (name.clone(), site.store.clone())).collect()
}

/// Writes the member `elsewhere` of the element of this site that begins so, after a comma; nothing if no other site
/// knows the device.
pub(super) fn write(elsewhere: &Elsewhere, site: &SiteName, head: &[u8], text: &mut Vec<u8>) {
    let mac = head.strip_prefix(MAC_KEY).and_then(|mac| std::str::from_utf8(mac).ok()?.parse::<Mac>().ok());
    let Some(mac) = mac else { return };
    let rows: Vec<_> = elsewhere.but(mac, site).map(ElsewhereRow::of).collect();
    if rows.is_empty() {
        return;
    }
    // Numbers and texts only: they can always be written.
    if let Ok(rows) = serde_json::to_vec(&rows) {
        text.extend_from_slice(b",\"elsewhere\":");
        text.extend_from_slice(&rows);
    }
}

impl<'a> ElsewhereRow<'a> {
    fn of(known: &'a SitePresence) -> Self {
        let SitePresence { site, presence } = known;
        Self {
            site,
            address: &presence.address,
            presence: presence.presence.as_str(),
            first_seen: presence.first_seen,
            last_seen: presence.last_seen,
        }
    }
}
