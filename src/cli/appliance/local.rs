//! Opens the database of an appliance that does not run, behind the appliance's own router.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use axum::{Router, body::Body};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::Method;
use tokio::sync::watch;
use tower::ServiceExt;

use super::{super::CommandEnv, ApplianceError, DatabaseUse, refused_with};
use crate::{
    client::{RequestBody, whole},
    config::Config,
    http::{self, ApplianceParts, StoredParts, Token, owners_request},
    service::runner,
    store::{self, DirLock, ReaderThread, Store, StoreError, StoreHealth, WriterThread},
};

/// A data directory that no appliance uses, and the router that answers from it.
pub(super) struct LocalAppliance {
    router: Router,
    token: Token,
    threads: Threads,
    /// Whether writes reach the disk.
    stored: watch::Receiver<StoreHealth>,
    data_dir: PathBuf,
    _lock: Option<DirLock>,
}

/// The threads that work on the database.
enum Threads {
    Reading(ReaderThread),
    Writing(WriterThread),
}

impl Threads {
    fn join(self) -> Result<(), StoreError> {
        match self {
            Self::Reading(reader) => {
                reader.join();
                Ok(())
            }
            Self::Writing(writer) => writer.join(),
        }
    }
}

impl LocalAppliance {
    /// Opens the database for this purpose; `lock` keeps an appliance from starting in the meantime.
    pub(super) fn open(
        config: Config,
        lock: Option<DirLock>,
        world: &CommandEnv,
        purpose: DatabaseUse,
    ) -> Result<Self, ApplianceError> {
        // Only this process sends requests: the appliance's own token may even be missing.
        let token = Token::ephemeral().map_err(ApplianceError::Prober)?;
        let data_dir = config.data_dir.clone();
        let database = data_dir.join(store::FILE_NAME);
        let (store, threads) = match purpose {
            DatabaseUse::Reading => {
                let (store, reader) = Store::open_at_rest(&database)?;
                (store, Threads::Reading(reader))
            }
            DatabaseUse::Writing => {
                let (store, writer) = Store::open(&database, Arc::clone(&world.clock))?;
                (store, Threads::Writing(writer))
            }
        };
        let stored = store.health();
        let parts = StoredParts {
            store,
            // It never changes: the sender ends here.
            config: watch::channel(Arc::new(config)).1,
            token: token.clone(),
            resolver: Arc::clone(&world.resolver),
            runs: runner::runs().0,
            clock: Arc::clone(&world.clock),
        };
        // No command asks for what this leaves out: `doctor` judges the machine itself.
        let router = http::router(ApplianceParts::of_store(parts, &data_dir));
        Ok(Self { router, token, threads, stored, data_dir, _lock: lock })
    }

    pub(super) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Closes the database: on return all writes are on the disk.
    pub(super) async fn close(self) -> Result<(), StoreError> {
        let Self { router, threads, _lock: lock, .. } = self;
        drop(router);
        // Waits for the disk, so not on the thread that runs other tasks.
        let joined = tokio::task::spawn_blocking(|| threads.join()).await;
        drop(lock);
        joined.unwrap_or(Err(StoreError::Closed))
    }

    /// Answers as the appliance would over HTTP.
    pub(super) async fn answer(
        &self,
        method: Method,
        path: &str,
        body: Option<(&'static str, RequestBody)>,
        mut take: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), ApplianceError> {
        let (kind, body) = body.unwrap_or_else(|| ("application/json", whole(Bytes::new())));
        let request = owners_request(&self.token, (method.as_str(), path), kind, Body::new(body))
            .map_err(|error| ApplianceError::Broken(error.to_string()))?;
        let mut stored = self.stored.clone();
        let answer = tokio::select! {
            biased;
            answer = self.router.clone().oneshot(request) => answer.unwrap_or_else(|never| match never {}),
            // A running appliance waits until the disk has room; the user of a command has to make room.
            Ok(unwell) = stored.wait_for(|health| *health != StoreHealth::Ok) => {
                return Err(StoreError::Unwell(unwell.to_string()).into());
            }
        };
        let status = answer.status();
        let mut body = answer.into_body();
        let mut excerpt = Vec::new();
        while let Some(frame) = body.frame().await {
            let data = frame.map_err(|error| ApplianceError::Broken(error.to_string()))?;
            let data = data.into_data().unwrap_or_default();
            match status.is_success() {
                true => take(&data).map_err(|error| ApplianceError::Broken(error.to_string()))?,
                false => excerpt.extend_from_slice(&data),
            }
        }
        if status.is_success() { Ok(()) } else { Err(refused_with(status, &excerpt)) }
    }
}
