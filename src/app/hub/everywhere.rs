//! Brings the sites into line with the expectations for all sites, by the way that any change at a site takes.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, timeout},
};

use crate::{
    fleet::{ForwardedAnswer, ForwardedRequest, SiteLack, SiteName, SiteState, lack_of_site},
    http::{HubSite, SiteBehind, additions_body, removals_body},
    model::{Expectation, Mac, one_line},
    service::expectations::all_expectations,
    store::{Store, StoreError},
};

/// Between two comparisons.
const LOOKS: Duration = Duration::from_secs(20);

/// What was sent is not sent again for so long: the copy follows within half a minute.
const FOLLOWS: Duration = Duration::from_secs(90);

/// Sites that are asked at a time.
const AT_ONCE: usize = 4;

/// The most rows of a request: with the longest comments a third of what a site takes.
const ROWS: usize = 40;

/// What keeps the sites in line.
pub(super) struct Aligning {
    /// The hub's own database.
    pub(super) store: Store,
    /// Told when the expectations for all sites have changed.
    pub(super) changed: Arc<Notify>,
    pub(super) sites: watch::Receiver<Arc<BTreeMap<SiteName, HubSite>>>,
    /// How far each site is behind.
    pub(super) behind: watch::Sender<Arc<BTreeMap<SiteName, SiteBehind>>>,
}

/// What a site has taken, and when.
type Taken = Option<(SiteLack, Instant)>;

impl Aligning {
    /// Runs for ever.
    pub(super) async fn run(self) {
        let mut taken: BTreeMap<SiteName, Taken> = BTreeMap::new();
        loop {
            match read_all(&self.store).await {
                Ok(for_all) => self.align(&for_all, &mut taken).await,
                Err(error) => tracing::warn!(%error, "failed to read the expectations for all sites"),
            }
            // Either ends the wait.
            let _ = timeout(LOOKS, self.changed.notified()).await;
        }
    }

    async fn align(&self, for_all: &[Expectation], taken: &mut BTreeMap<SiteName, Taken>) {
        let sites: BTreeMap<SiteName, HubSite> = (**self.sites.borrow()).clone();
        let asked = sites.into_iter().map(|(name, site)| {
            let before = taken.remove(&name).flatten();
            (name, site, before)
        });
        let asked: Vec<_> = asked.collect();
        let aligned = stream::iter(asked).map(async |(name, site, before): (SiteName, HubSite, Taken)| {
            let aligned = align_site(for_all, &site, before).await;
            (name, aligned)
        });
        let aligned: Vec<_> = aligned.buffer_unordered(AT_ONCE).collect().await;
        taken.clear();
        let mut behind = BTreeMap::new();
        for (name, (now, after)) in aligned {
            let was = self.behind.borrow().get(&name).cloned().unwrap_or_default();
            if let Some(reason) = now.reason.as_ref().filter(|reason| was.reason.as_ref() != Some(*reason)) {
                tracing::info!(site = %name, rows = now.rows, %reason, "a site lacks expectations that are for all sites");
            }
            behind.insert(name.clone(), now);
            taken.insert(name, after);
        }
        self.behind.send_replace(Arc::new(behind));
    }
}

/// Brings a site into line. Returns how far it is behind, and what it has taken.
async fn align_site(for_all: &[Expectation], site: &HubSite, before: Taken) -> (SiteBehind, Taken) {
    let (lack, has_baseline) = match read_site(for_all, &site.store).await {
        Ok(read) => read,
        Err(error) => return (SiteBehind { rows: 0, reason: Some(error.to_string()) }, None),
    };
    let rows = lack.len();
    let waits = |reason: String| SiteBehind { rows, reason: Some(reason) };
    if lack.is_empty() {
        return (SiteBehind::default(), None);
    }
    let state = site.status.borrow().state;
    if state != SiteState::Current {
        return (waits(state_in_words(state).to_owned()), None);
    }
    // The first expectation sets the baseline: from then on every other open port would raise an alert.
    if !has_baseline {
        let reason = "nothing has been accepted at the site yet; accept what is there first, on its page";
        return (waits(reason.to_owned()), None);
    }
    if let Some((sent, at)) = before
        && sent == lack
        && at.elapsed() < FOLLOWS
    {
        return (waits("the site has taken them, and the copy follows".to_owned()), Some((sent, at)));
    }
    match send(site, &lack).await {
        Ok(()) => {
            (waits("the site has taken them, and the copy follows".to_owned()), Some((lack, Instant::now())))
        }
        Err(reason) => (waits(reason), None),
    }
}

/// Why a site in this state gets nothing.
const fn state_in_words(state: SiteState) -> &'static str {
    match state {
        SiteState::Never => "the site has never reported",
        SiteState::Current => "the site reports",
        SiteState::CatchingUp => "the hub does not have all data of the site yet",
        SiteState::Silent => "the site is silent",
        SiteState::Refused => "the site's reports are refused",
    }
}

async fn read_site(for_all: &[Expectation], store: &Store) -> Result<(SiteLack, bool), StoreError> {
    let at_site = read_all(store).await?;
    let known: HashSet<Mac> = match for_all {
        [] => HashSet::new(),
        _ => store.known_macs(u32::MAX).await?.into_iter().collect(),
    };
    Ok((lack_of_site(for_all, &at_site, &known), store.has_baseline().await?))
}

async fn read_all(store: &Store) -> Result<Vec<Expectation>, StoreError> {
    let pages: Vec<Vec<Expectation>> = all_expectations(store).try_collect().await?;
    Ok(pages.into_iter().flatten().collect())
}

async fn send(site: &HubSite, lack: &SiteLack) -> Result<(), String> {
    let removals = lack.remove.chunks(ROWS).map(|rows| ("DELETE", removals_body(rows)));
    let additions = lack.set.chunks(ROWS).map(|rows| ("PATCH", additions_body(rows)));
    for (method, body) in removals.chain(additions) {
        let request = ForwardedRequest {
            method: method.to_owned(),
            path: "/v1/expected".to_owned(),
            content_type: Some("application/json".to_owned()),
            body,
        };
        let ForwardedAnswer { status, body, .. } =
            site.forward.forward(request).await.map_err(|error| error.to_string())?;
        if !(200..300).contains(&status) {
            let said = one_line(&String::from_utf8_lossy(&body), 200);
            return Err(format!("the site has refused them: {said}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use axum::Router;
    use futures_util::future::BoxFuture;

    use super::*;
    use crate::{
        clock::SystemClock,
        fleet::SiteStatus,
        http::{ForwardError, ForwardRequest},
        model::{Device, DeviceKey, Mac, PortState, Protocol},
        store::{DiskPace, ExpectationUpdate, WriterThread},
    };

    /// A site that does what it is asked, or not.
    struct Doer {
        store: Store,
        asked: Mutex<Vec<String>>,
        answers: Mutex<Result<u16, ForwardError>>,
    }

    impl ForwardRequest for Doer {
        fn forward(&self, request: ForwardedRequest) -> BoxFuture<'_, Result<ForwardedAnswer, ForwardError>> {
            Box::pin(async move {
                self.asked.lock().unwrap().push(request.method.clone());
                let status = (*self.answers.lock().unwrap())?;
                let rows: Vec<serde_json::Value> = serde_json::from_slice(&request.body).unwrap();
                let text = |row: &serde_json::Value, key: &str| row[key].as_str().unwrap().to_owned();
                let updates = rows.iter().filter(|_| status == 204).map(|row| ExpectationUpdate {
                    device: text(row, "address").parse().unwrap(),
                    protocol: text(row, "protocol").parse().unwrap(),
                    port: row["port"].as_u64().unwrap().try_into().unwrap(),
                    state: (request.method == "PATCH")
                        .then(|| (text(row, "state").parse().unwrap(), text(row, "comment"))),
                });
                self.store.expect(updates.collect()).await.unwrap();
                Ok(ForwardedAnswer { status, content_type: None, body: b"no".to_vec() })
            })
        }
    }

    struct TestSite {
        site: HubSite,
        doer: Arc<Doer>,
        status: watch::Sender<SiteStatus>,
        _dir: tempfile::TempDir,
        _thread: WriterThread,
    }

    const KNOWN: Mac = Mac::new([0xb8, 0x27, 0xeb, 0, 0, 1]);
    const UNKNOWN: Mac = Mac::new([0xb8, 0x27, 0xeb, 0, 0, 2]);

    async fn site() -> TestSite {
        let dir = tempfile::tempdir().unwrap();
        let pace = DiskPace { commit: Duration::ZERO, ..DiskPace::DEFAULT };
        let clock = Arc::new(SystemClock::start());
        let (store, thread) = Store::open_at_pace(&dir.path().join("portscan.db"), clock, pace).unwrap();
        let device = Device { address: "192.0.2.7".parse().unwrap(), mac: Some(KNOWN), name: None };
        store.record_sightings(vec![device], Vec::new()).await.unwrap();
        store.expect(Vec::new()).await.unwrap();
        let doer =
            Arc::new(Doer { store: store.clone(), asked: Mutex::default(), answers: Mutex::new(Ok(204)) });
        let (status, seen) =
            watch::channel(SiteStatus { state: SiteState::Current, ..SiteStatus::default() });
        let site = HubSite { status: seen, router: Router::new(), store, forward: doer.clone() };
        TestSite { site, doer, status, _dir: dir, _thread: thread }
    }

    fn open(mac: Mac, port: u16) -> Expectation {
        let (device, comment) = (DeviceKey::Mac(mac), "as it should".to_owned());
        let (protocol, state) = (Protocol::Tcp, PortState::Open);
        Expectation { device, protocol, port, state, comment, written: 0 }
    }

    #[tokio::test]
    async fn a_site_is_brought_into_line_and_told_nothing_twice() {
        let there = site().await;
        let for_all: Vec<Expectation> =
            (1..=100).map(|port| open(KNOWN, port)).chain([open(UNKNOWN, 22)]).collect();
        let (behind, taken) = align_site(&for_all, &there.site, None).await;
        assert_eq!(behind.rows, 100);
        assert_eq!(*there.doer.asked.lock().unwrap(), ["PATCH", "PATCH", "PATCH"], "of {ROWS} rows at most");
        assert!(taken.is_some());
        assert_eq!(align_site(&for_all, &there.site, taken).await, (SiteBehind::default(), None));
        let at_site = read_all(&there.site.store).await.unwrap();
        assert!(at_site.iter().all(|row| row.comment == "all sites: as it should"));

        let (behind, _) = align_site(&[], &there.site, None).await;
        assert_eq!((behind.rows, read_all(&there.site.store).await.unwrap().len()), (100, 0));
        assert_eq!(there.doer.asked.lock().unwrap()[3..], ["DELETE", "DELETE", "DELETE"]);
    }

    #[tokio::test]
    async fn what_the_copy_does_not_show_yet_is_not_sent_again_at_once() {
        let there = site().await;
        let for_all = [open(KNOWN, 22)];
        // It says that it has done it, and the copy lags.
        *there.doer.answers.lock().unwrap() = Ok(200);
        let (behind, taken) = align_site(&for_all, &there.site, None).await;
        let (again, taken) = align_site(&for_all, &there.site, taken).await;
        assert_eq!(again, behind);
        assert_eq!(there.doer.asked.lock().unwrap().len(), 1);
        let more = [open(KNOWN, 22), open(KNOWN, 23)];
        align_site(&more, &there.site, taken).await;
        assert_eq!(there.doer.asked.lock().unwrap().len(), 2);
    }

    #[tokio::test]
    async fn a_site_that_cannot_take_them_is_not_asked_and_the_reason_is_told() {
        let there = site().await;
        let for_all = [open(KNOWN, 22)];
        let why = async || align_site(&for_all, &there.site, None).await.0.reason.unwrap();
        *there.doer.answers.lock().unwrap() = Err(ForwardError::Unreachable);
        assert!(why().await.contains("not connected"));
        *there.doer.answers.lock().unwrap() = Ok(503);
        assert!(why().await.contains("the site has refused them: no"));
        assert_eq!(there.doer.asked.lock().unwrap().len(), 2);
        there.status.send_replace(SiteStatus::default());
        assert_eq!(why().await, "the site has never reported");

        let fresh = tempfile::tempdir().unwrap();
        let clock = Arc::new(SystemClock::start());
        let path = fresh.path().join("portscan.db");
        let (store, _thread) = Store::open_at_pace(&path, clock, DiskPace::DEFAULT).unwrap();
        let device = Device { address: "192.0.2.7".parse().unwrap(), mac: Some(KNOWN), name: None };
        store.record_sightings(vec![device], Vec::new()).await.unwrap();
        store.flush().await.unwrap();
        there.status.send_replace(SiteStatus { state: SiteState::Current, ..SiteStatus::default() });
        let without_baseline = HubSite { store, ..there.site.clone() };
        let told = align_site(&for_all, &without_baseline, None).await.0;
        assert_eq!(told.rows, 1);
        assert!(told.reason.unwrap().contains("nothing has been accepted"));
        assert_eq!(there.doer.asked.lock().unwrap().len(), 2);
    }
}
