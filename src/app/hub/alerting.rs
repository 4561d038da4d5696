//! The hub's alerts: what changes at the sites, told from their copies, and what troubles the hub and the sites, told from a
//! database of the hub's own.
//!
//! Each copy has the positions of the hub's channels, beside the tables that the site sends. So nothing is lost or told
//! twice when the hub is killed, and a channel paces and groups the alerts of each site by itself.

use std::{path::Path, sync::Arc};

use anyhow::Context;
use tokio::{sync::watch, task::spawn_blocking};

use crate::{
    clock::Clock,
    config::Config,
    fleet::{SiteName, SiteState, SiteStatus},
    resolve::Resolve,
    service::{
        alerts::{AlertParts, AlertSite, Alerts},
        fleet::{SiteCopy, SiteStores},
        health::Health,
        runner,
        watched::replace_if_new,
    },
    store::{DiskPace, Store, WriterThread},
};

/// The file, in the hub's directory, of what was told of the hub and of its sites.
const FILE_NAME: &str = "hub.db";

/// What the alerts of all sites share.
#[derive(Clone)]
pub(super) struct Alerting {
    /// The hub's own configuration, with the channels.
    pub(super) config: watch::Receiver<Arc<Config>>,
    /// Finds the receivers.
    pub(super) resolver: Arc<dyn Resolve>,
    pub(super) clock: Arc<dyn Clock>,
    /// This machine's name.
    pub(super) hostname: Option<String>,
}

impl Alerting {
    /// Sends the alerts of a site, for ever: while its copy is whole, because the numbers of the events in it and of those
    /// that were sent are of the same database only then.
    pub(super) async fn of_site(self, copy: Arc<SiteCopy>, all: SiteStores) {
        let mut whole = copy.whole();
        let (mut hubs, mut sites) = (self.config.clone(), copy.config());
        let combined = watch::Sender::new(combine(&mut sites, &mut hubs));
        let combining = async {
            loop {
                let changed = tokio::select! {
                    changed = hubs.changed() => changed,
                    changed = sites.changed() => changed,
                };
                if changed.is_err() {
                    return;
                }
                combined.send_replace(combine(&mut sites, &mut hubs));
            }
        };
        let sending = async {
            loop {
                let epoch = *whole.borrow_and_update();
                let site = AlertSite { name: copy.name().clone(), all: Arc::clone(&all) };
                let alerts = self.alerts(copy.store(), combined.subscribe(), Some(site));
                let telling = async move {
                    match epoch {
                        Some(_) => alerts.run_for_copy().await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    () = telling => return,
                    changed = whole.changed() => if changed.is_err() { return },
                }
            }
        };
        tokio::select! {
            () = combining => {}
            () = sending => {}
        }
    }

    /// Opens the hub's own database.
    pub(super) async fn open(&self, directory: &Path) -> anyhow::Result<(Store, WriterThread)> {
        let (path, clock) = (directory.join(FILE_NAME), Arc::clone(&self.clock));
        let opened = spawn_blocking(move || Store::open_to_serve(&path, clock, DiskPace::DEFAULT)).await;
        opened.context("the hub is stopping")?.context("cannot open the hub's own database")
    }

    /// Tells the trouble of the hub and of its sites, for ever.
    pub(super) async fn of_hub(self, store: Store, trouble: watch::Receiver<Health>) {
        self.alerts(&store, self.config.clone(), None).run(trouble).await;
    }

    fn alerts(&self, store: &Store, config: watch::Receiver<Arc<Config>>, site: Option<AlertSite>) -> Alerts {
        let Self { resolver, clock, hostname, .. } = self.clone();
        // No channel asks for a run: a hub has none of type mqtt.
        let (runs, _) = runner::runs();
        Alerts::new(AlertParts { store: store.clone(), config, resolver, clock, hostname, runs, site })
    }
}

/// The site's configuration with the hub's channels and rules.
fn combine(sites: &mut watch::Receiver<Arc<Config>>, hubs: &mut watch::Receiver<Arc<Config>>) -> Arc<Config> {
    Arc::new(sites.borrow_and_update().with_alerts_of(&hubs.borrow_and_update()))
}

/// What is wrong with a site, as sentences: that it is silent or refused, or what troubles the appliance.
pub(super) fn trouble_of_site(name: &SiteName, status: &SiteStatus) -> Vec<String> {
    match (status.state, &status.refusal) {
        (SiteState::Silent, _) => vec![format!(
            "site {name} is silent: check that its appliance has power and reaches the hub; its devices are shown as they \
             were last"
        )],
        (_, Some(refusal)) => vec![format!("site {name}: {refusal}")],
        _ => status.problems.iter().map(|problem| format!("site {name}: {problem}")).collect(),
    }
}

/// What is told of the hub: its own problems, and those of its sites. Without the broker all sites are silent, which is no
/// fact of theirs.
pub(super) fn tell(
    told: &watch::Sender<Health>,
    (broker, mut problems): (Option<&str>, Vec<String>),
    sites: impl Iterator<Item = String>,
) {
    match broker {
        Some(trouble) => problems.push(trouble.to_owned()),
        None => problems.extend(sites),
    }
    replace_if_new(told, Health { problems, notices: Vec::new() });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> SiteName {
        "house-3".parse().unwrap()
    }

    #[test]
    fn a_silent_site_is_one_trouble_and_what_it_said_last_is_none() {
        let mut status = SiteStatus {
            state: SiteState::Silent,
            problems: vec!["the disk is full".to_owned()],
            ..SiteStatus::default()
        };
        let silent = trouble_of_site(&name(), &status);
        assert_eq!(silent.len(), 1);
        assert!(silent[0].starts_with("site house-3 is silent: "), "{silent:?}");
        status.state = SiteState::Current;
        assert_eq!(trouble_of_site(&name(), &status), ["site house-3: the disk is full"]);
        status.refusal = Some("it has another database".to_owned());
        assert_eq!(trouble_of_site(&name(), &status), ["site house-3: it has another database"]);
    }

    #[test]
    fn without_a_broker_no_site_is_in_trouble() {
        let told = watch::Sender::new(Health::default());
        let sites = || ["site house-3 is silent".to_owned()].into_iter();
        tell(&told, (Some("no broker"), vec!["a copy is damaged".to_owned()]), sites());
        assert_eq!(told.borrow().problems, ["a copy is damaged", "no broker"]);
        tell(&told, (None, Vec::new()), sites());
        assert_eq!(told.borrow().problems, ["site house-3 is silent"]);
    }
}
