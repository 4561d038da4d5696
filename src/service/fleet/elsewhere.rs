//! Which sites know the same device: by its MAC, whatever its addresses.
//!
//! A MAC that software has made up is a device as any other: one that moves between sites may use the same at both.
//! Nothing is asked of the sites: all is read from the hub's copies. A copy that cannot be read is left out, with a
//! warning, because what the other sites know is worth more than nothing.

use std::{cmp::Reverse, collections::HashMap, sync::Arc};

use futures_util::{StreamExt, stream};

use crate::{
    fleet::SiteName,
    model::Mac,
    store::{DevicePresence, Result, Store},
};

/// The most other sites of a device that are told: the routers of a maker may share a MAC at every site.
pub const ELSEWHERE_MAX: usize = 10;

/// The most devices of a site that are compared, far more than an appliance scans.
const DEVICES_MAX: u32 = 65_536;

/// The most devices of all sites that are compared: a few MB while they are.
const ALL_DEVICES_MAX: usize = 500_000;

/// The most devices that are at several sites: with [`ELSEWHERE_MAX`] sites each, they have some 20 MB.
const SHARED_MAX: usize = 16_384;

/// Copies that are read at a time.
const AT_ONCE: usize = 4;

/// Returns the copies of all sites at this moment.
pub type SiteStores = Arc<dyn Fn() -> Vec<(SiteName, Store)> + Send + Sync>;

/// A device at a site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SitePresence {
    /// The site.
    pub site: SiteName,
    /// Where it is there.
    pub presence: DevicePresence,
}

/// The sites of each device, by its MAC.
#[derive(Debug, Default)]
pub struct Elsewhere(HashMap<Mac, Vec<SitePresence>>);

impl Elsewhere {
    /// Reads those of all devices that several of these sites know.
    pub async fn of_shared(sites: &[(SiteName, Store)]) -> Self {
        let macs = each(sites, |store| async move { store.known_macs(DEVICES_MAX).await }).await;
        let mut all: Vec<(Mac, usize)> = Vec::new();
        for (place, (_, macs)) in macs.into_iter().enumerate() {
            let room = ALL_DEVICES_MAX.saturating_sub(all.len());
            all.extend(macs.into_iter().take(room).map(|mac| (mac, place)));
        }
        if all.len() >= ALL_DEVICES_MAX {
            tracing::warn!(most = ALL_DEVICES_MAX, "the sites have too many devices; not all are compared");
        }
        all.sort_unstable();
        let mut shared: Vec<Mac> = all
            .chunk_by(|(mac, _), (other, _)| mac == other)
            .filter_map(|same| same.first().map(|(mac, _)| *mac).filter(|_| same.len() > 1))
            .collect();
        shared.truncate(SHARED_MAX);
        Self::of(shared, sites).await
    }

    /// Reads those of these devices.
    pub async fn of(macs: Vec<Mac>, sites: &[(SiteName, Store)]) -> Self {
        let mut elsewhere = Self::default();
        if macs.is_empty() {
            return elsewhere;
        }
        let macs: Arc<[Mac]> = macs.into();
        let read = |store: Store| {
            let macs = Arc::clone(&macs);
            async move { store.device_presences(macs).await }
        };
        for (site, found) in each(sites, read).await {
            for (mac, presence) in found {
                elsewhere.add(mac, SitePresence { site: site.clone(), presence });
            }
        }
        elsewhere
    }

    /// Keeps the latest, among them one for the site that asks.
    fn add(&mut self, mac: Mac, known: SitePresence) {
        let all = self.0.entry(mac).or_default();
        all.push(known);
        all.sort_by(|one, other| {
            let latest = |known: &SitePresence| Reverse(known.presence.last_seen);
            latest(one).cmp(&latest(other)).then_with(|| one.site.cmp(&other.site))
        });
        all.truncate(ELSEWHERE_MAX + 1);
    }

    /// The sites that know the device, the one where it was seen last first.
    pub fn sites_of(&self, mac: Mac) -> impl Iterator<Item = &SitePresence> {
        self.0.get(&mac).into_iter().flatten()
    }

    /// The same without this site; at most ten.
    pub fn but(&self, mac: Mac, site: &SiteName) -> impl Iterator<Item = &SitePresence> {
        self.sites_of(mac).filter(move |known| known.site != *site).take(ELSEWHERE_MAX)
    }
}

/// Reads from each copy, and returns what was read, with the site.
async fn each<T, F>(sites: &[(SiteName, Store)], read: impl Fn(Store) -> F) -> Vec<(SiteName, T)>
where
    F: Future<Output = Result<T>>,
{
    let mut reading = Vec::new();
    for (site, store) in sites {
        let (site, read) = (site.clone(), read(store.clone()));
        reading.push(async move { (site, read.await) });
    }
    let mut reading = stream::iter(reading).buffered(AT_ONCE);
    let mut all = Vec::new();
    while let Some((site, read)) = reading.next().await {
        match read {
            Ok(found) => all.push((site, found)),
            Err(error) => {
                tracing::warn!(%site, %error, "failed to read which devices a site knows; the other sites are compared");
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Presence;

    const MAC: Mac = Mac::new([2, 0, 0, 0, 0, 7]);

    fn known(site: usize, day: usize) -> SitePresence {
        let at = format!("2026-11-{day:02}T10:00:00Z").parse().unwrap();
        let presence = DevicePresence {
            address: "192.168.1.7".parse().unwrap(),
            presence: Presence::Online,
            first_seen: at,
            last_seen: at,
        };
        SitePresence { site: format!("house-{site}").parse().unwrap(), presence }
    }

    fn names<'a>(sites: impl Iterator<Item = &'a SitePresence>) -> Vec<&'a str> {
        sites.map(|known| known.site.as_str()).collect()
    }

    #[test]
    fn the_site_where_a_device_was_seen_last_is_the_first_and_the_own_one_is_left_out() {
        let mut elsewhere = Elsewhere::default();
        for (site, day) in [(3, 5), (1, 4), (2, 9), (4, 5)] {
            elsewhere.add(MAC, known(site, day));
        }
        assert_eq!(names(elsewhere.sites_of(MAC)), ["house-2", "house-3", "house-4", "house-1"]);
        let own = "house-3".parse().unwrap();
        assert_eq!(names(elsewhere.but(MAC, &own)), ["house-2", "house-4", "house-1"]);
        assert_eq!(elsewhere.sites_of(Mac::new([2, 0, 0, 0, 0, 8])).count(), 0);
    }

    #[test]
    fn a_mac_that_all_sites_know_is_told_of_the_latest_few() {
        let mut elsewhere = Elsewhere::default();
        for site in 1..=28 {
            elsewhere.add(MAC, known(site, site));
        }
        for own in ["house-28", "house-1", "elsewhere"] {
            let told = names(elsewhere.but(MAC, &own.parse().unwrap())).len();
            assert_eq!(told, ELSEWHERE_MAX, "{own}");
        }
        assert_eq!(names(elsewhere.but(MAC, &"house-28".parse().unwrap())).first(), Some(&"house-27"));
    }
}
