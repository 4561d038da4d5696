//! The copies of all sites, each with its routes. A site that reports for the first time gets one.

use std::{
    collections::BTreeMap,
    fs, io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use axum::Router;
use futures_util::future::BoxFuture;
use tokio::{
    sync::watch,
    task::{JoinHandle, JoinSet, spawn_blocking},
};

use super::{
    alerting::{Alerting, trouble_of_site},
    forwarding::Forwarding,
};
use crate::{
    clock::Clock,
    fleet::{HubAnswer, MessageError, SiteMessage, SiteName, SiteState},
    http::{self, ApplianceParts, ForgetError, ForgetSite, HubSite, StoredParts, Token},
    net::nats::{HubConnection, Received},
    resolve::{Resolve, ResolveError, Resolving},
    service::{
        fleet::{CopyError, SiteCopy, SiteStores},
        runner,
    },
    store::{StoreHealth, WriterThread, copy_remedy},
};

/// The most sites of a hub: each has a database that is open.
const SITES: usize = 1000;

/// What the copies need.
pub(super) struct CopiesEnv {
    /// The directory of the copies.
    pub(super) directory: PathBuf,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) connection: HubConnection,
    pub(super) alerting: Alerting,
}

/// The copies of all sites.
#[derive(Clone)]
pub(super) struct Copies(Arc<CopiesState>);

struct CopiesState {
    env: CopiesEnv,
    open: Mutex<OpenCopies>,
    /// Held while a copy is opened, so that none is opened twice, and while one is removed.
    opening: tokio::sync::Mutex<()>,
    sites: watch::Sender<Arc<BTreeMap<SiteName, HubSite>>>,
}

#[derive(Default)]
struct OpenCopies {
    copies: BTreeMap<SiteName, Arc<SiteCopy>>,
    threads: BTreeMap<SiteName, WriterThread>,
    /// What sends the alerts of each site.
    alerting: BTreeMap<SiteName, JoinHandle<()>>,
    /// The sites whose copies cannot be opened, and why.
    unopened: BTreeMap<SiteName, String>,
    /// The messages that are being handled: at most one for each site, since a copy refuses a second one.
    handling: JoinSet<()>,
}

impl Copies {
    /// Opens the copies that are there.
    pub(super) async fn open(env: CopiesEnv) -> anyhow::Result<Self> {
        let directory = env.directory.clone();
        let sites = watch::Sender::new(Arc::default());
        let copies = Self(Arc::new(CopiesState {
            env,
            open: Mutex::default(),
            opening: tokio::sync::Mutex::default(),
            sites,
        }));
        let names = match fs::read_dir(&directory) {
            Ok(entries) => entries.collect::<io::Result<Vec<_>>>()?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        for entry in names {
            // Other files there are not ours to judge.
            if let Some(name) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
                // One that is damaged must not keep the others from being served.
                let _ = copies.add(name).await;
            }
        }
        Ok(copies)
    }

    /// Returns the sites, and every change of the set.
    pub(super) fn sites(&self) -> watch::Receiver<Arc<BTreeMap<SiteName, HubSite>>> {
        self.0.sites.subscribe()
    }

    /// Returns what reads the copies of all sites from this set.
    fn stores(&self) -> SiteStores {
        let sites = self.sites();
        Arc::new(move || {
            let sites = sites.borrow();
            sites.iter().map(|(name, site)| (name.clone(), site.store.clone())).collect()
        })
    }

    /// Handles a message in a task of its own, so that one site's disk work delays no other site.
    pub(super) fn handle(&self, received: Received) {
        let copies = self.clone();
        let handling = async move {
            let Received { site, connection, message, answering } = received;
            let answer = copies.answer(&site, &connection, message).await;
            answering.answer(&answer).await;
        };
        let mut open = self.lock();
        while open.handling.try_join_next().is_some() {}
        open.handling.spawn(handling);
    }

    async fn answer(
        &self,
        site: &SiteName,
        connection: &str,
        message: Result<SiteMessage, MessageError>,
    ) -> HubAnswer {
        let known = self.lock().copies.get(site).cloned();
        let copy = match known {
            Some(copy) => copy,
            None => match self.add(site.clone()).await {
                Ok(copy) => copy,
                Err(error) => return HubAnswer::Later(error.to_string()),
            },
        };
        let answer = match message {
            Ok(message) => copy.receive_from(connection, message).await,
            Err(error) => copy.refuse(&error).await,
        };
        if let HubAnswer::Refused(reason) = &answer {
            tracing::warn!(%site, %reason, "a site's data are refused");
        }
        answer
    }

    /// Marks the sites that were not heard for a while.
    pub(super) fn notice_silence(&self) {
        self.lock().copies.values().for_each(|copy| copy.notice_silence());
    }

    /// Closes all copies: on return all that is acknowledged is on the disk.
    pub(super) async fn close(self) {
        let OpenCopies { copies, threads, alerting, mut handling, .. } = std::mem::take(&mut *self.lock());
        handling.shutdown().await;
        for telling in alerting.into_values() {
            end(telling).await;
        }
        self.0.sites.send_replace(Arc::default());
        drop(copies);
        let joining = spawn_blocking(move || {
            for thread in threads.into_values() {
                if let Err(error) = thread.join() {
                    tracing::error!(%error, "failed to write to a copy while stopping");
                }
            }
        });
        let _ = joining.await;
    }

    /// Returns what a person has to mend, one sentence for each site.
    pub(super) fn problems(&self) -> Vec<String> {
        let open = self.lock();
        let unopened = open.unopened.iter().map(|(site, error)| {
            let remedy = copy_remedy(&self.0.env.directory.join(site.as_str()));
            format!("site {site}: its copy cannot be opened: {error}. {remedy}")
        });
        let unwell = open.copies.iter().filter_map(|(site, copy)| match &*copy.store().health().borrow() {
            StoreHealth::Ok => None,
            unwell => {
                let directory = self.0.env.directory.join(site.as_str());
                Some(format!("site {site}: {}", unwell.of_copy(&directory)))
            }
        });
        unopened.chain(unwell).collect()
    }

    /// Returns what is wrong with the sites themselves, as sentences.
    pub(super) fn troubles(&self) -> Vec<String> {
        let open = self.lock();
        let of_site =
            |(name, copy): (&SiteName, &Arc<SiteCopy>)| trouble_of_site(name, &copy.status().borrow());
        open.copies.iter().flat_map(of_site).collect()
    }

    /// Closes the copy of a site that does not report, and removes its directory.
    async fn remove(&self, site: SiteName) -> Result<(), ForgetError> {
        let _opening = self.0.opening.lock().await;
        let (telling, thread) = {
            let mut open = self.lock();
            let is_connected = |copy: &Arc<SiteCopy>| {
                matches!(copy.status().borrow().state, SiteState::Current | SiteState::CatchingUp)
            };
            if open.copies.get(&site).is_some_and(is_connected) {
                return Err(ForgetError::Connected);
            }
            // One that cannot be opened may be forgotten, too.
            if open.copies.remove(&site).is_none() && open.unopened.remove(&site).is_none() {
                return Err(ForgetError::Unknown);
            }
            (open.alerting.remove(&site), open.threads.remove(&site))
        };
        // It has the store.
        if let Some(telling) = telling {
            end(telling).await;
        }
        self.0.sites.send_modify(|sites| drop(Arc::make_mut(sites).remove(&site)));
        let directory = self.0.env.directory.join(site.as_str());
        let removing = spawn_blocking(move || {
            // Nothing of what it has not written is missed.
            let _ = thread.map(WriterThread::join);
            fs::remove_dir_all(&directory)
        });
        match removing.await.unwrap_or_else(|_| Err(io::Error::other("the hub is stopping"))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                // What is left of it is a problem until it is removed.
                self.lock().unopened.insert(site, error.to_string());
                Err(ForgetError::Failed(error.to_string()))
            }
            _ => Ok(()),
        }
    }

    /// Opens a site's copy, and remembers why it cannot be opened.
    async fn add(&self, site: SiteName) -> Result<Arc<SiteCopy>, AddError> {
        let added = self.open_copy(site.clone()).await;
        let mut open = self.lock();
        match &added {
            Ok(_) => drop(open.unopened.remove(&site)),
            Err(error) => {
                if open.unopened.insert(site.clone(), error.to_string()).is_none() {
                    tracing::error!(%site, %error, "failed to open the copy of a site");
                }
            }
        }
        added
    }

    async fn open_copy(&self, site: SiteName) -> Result<Arc<SiteCopy>, AddError> {
        let _opening = self.0.opening.lock().await;
        if let Some(copy) = self.lock().copies.get(&site) {
            return Ok(Arc::clone(copy));
        }
        if self.lock().copies.len() >= SITES {
            return Err(AddError::TooMany);
        }
        let (directory, clock) = (self.0.env.directory.clone(), Arc::clone(&self.0.env.clock));
        let name = site.clone();
        let opened = spawn_blocking(move || SiteCopy::open(name, &directory, clock)).await;
        let (copy, thread) = opened.map_err(|_| AddError::Stopping)??;
        let copy = Arc::new(copy);
        copy.read_standing().await.map_err(CopyError::from)?;
        let telling = tokio::spawn(self.0.env.alerting.clone().of_site(Arc::clone(&copy), self.stores()));
        let connection = self.0.env.connection.clone();
        let served = HubSite {
            status: copy.status(),
            router: routes(&copy, &self.0.env)?,
            store: copy.store().clone(),
            forward: Arc::new(Forwarding { site: site.clone(), connection }),
        };
        {
            let mut open = self.lock();
            open.copies.insert(site.clone(), Arc::clone(&copy));
            open.threads.insert(site.clone(), thread);
            open.alerting.insert(site.clone(), telling);
        }
        self.0.sites.send_modify(|sites| {
            Arc::make_mut(sites).insert(site, served);
        });
        Ok(copy)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, OpenCopies> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ForgetSite for Copies {
    fn forget(&self, site: SiteName) -> BoxFuture<'_, Result<(), ForgetError>> {
        // A task of its own, which ends even if the client has gone.
        let copies = self.clone();
        let removing = tokio::spawn(async move { copies.remove(site).await });
        Box::pin(async move {
            removing.await.unwrap_or_else(|_| Err(ForgetError::Failed("the hub is stopping".to_owned())))
        })
    }
}

#[derive(Debug, thiserror::Error)]
enum AddError {
    #[error("the hub has {SITES} sites already")]
    TooMany,
    #[error("the hub is stopping")]
    Stopping,
    #[error(transparent)]
    Copy(#[from] CopyError),
    #[error("this machine gives no random numbers: {0}")]
    Random(#[from] io::Error),
}

/// Ends a task, and waits until it has dropped what it has.
async fn end(task: JoinHandle<()>) {
    task.abort();
    // Ended, one way or the other.
    let _ = task.await;
}

/// The routes of an appliance over a copy. Nothing is probed, and no token authorises a change.
fn routes(copy: &SiteCopy, env: &CopiesEnv) -> Result<Router, AddError> {
    let (runs, requests) = runner::runs();
    // Which runs there are is read from the database; what starts or stops one goes to the site.
    tokio::spawn(requests.refuse_all());
    let parts = StoredParts {
        store: copy.store().clone(),
        config: copy.config(),
        token: Token::ephemeral()?,
        resolver: Arc::new(NoNames),
        runs,
        clock: Arc::clone(&env.clock),
    };
    Ok(http::router(ApplianceParts::of_store(parts, &env.directory)))
}

/// Resolves nothing: a hub asks no name server for its clients.
struct NoNames;

impl Resolve for NoNames {
    fn resolve<'a>(&'a self, name: &'a str) -> Resolving<'a> {
        Box::pin(async move { Err(ResolveError::Unknown(name.to_owned())) })
    }
}
