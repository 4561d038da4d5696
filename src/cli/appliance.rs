//! The appliance that a command is about: asked over HTTP where one runs, else its database is opened here and
//! asked the same questions through the same router. So a command is written once, and there is one writer.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::{Router, body::Body};
use bytes::Bytes;
use clap::Args;
use http_body_util::BodyExt;
use hyper::{Method, Request, StatusCode, header};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::watch;
use tower::ServiceExt;

use super::{Probing, World, found::harmless};
use crate::{
    client::{Ask, Client, ClientError, Limits, Sent, whole},
    config::{Config, ConfigError, Overrides},
    http::{self, Gate, Names, Site, Token, TokenError},
    net::mdns::Advertised,
    service::{feeds::Inventory, health::Health, import::Importer, queries::Queries, runner},
    store::{self, DirLock, Store, StoreError, WriterThread},
};

/// The longest answer that is taken into memory, in bytes: a thousand devices with all they have are 2 MB.
const ANSWER_MAX: usize = 64 << 20;

/// For one answer; the appliance itself gives up after half of it.
const PATIENCE: Duration = Duration::from_secs(60);

/// For a whole database: 1 GB by Wi-Fi.
const LONG_PATIENCE: Duration = Duration::from_secs(3600);

/// Which appliance.
#[derive(Args, Debug, Clone, Default, PartialEq)]
pub struct Access {
    /// Where it is [default: this machine, at the configured address]
    #[arg(long, value_name = "http://HOST[:PORT]")]
    pub url: Option<String>,
    /// What `portscan token` prints there [default: the one here]
    #[arg(long, value_name = "TOKEN")]
    pub token: Option<String>,
}

/// Why an appliance cannot be asked, or does not do what it is asked to.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApplianceError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("cannot start what the database is asked with: {0}")]
    Prober(io::Error),
    #[error("{url}: {error}. Is `portscan serve` running there? Name another appliance with --url")]
    Unreachable { url: String, error: ClientError },
    #[error("{0}")]
    Refused(String),
    #[error("the answer is not what an appliance says ({0}); is it another program's port?")]
    Foreign(#[from] serde_json::Error),
    #[error("the answer is cut short: {0}")]
    Broken(String),
    #[error("no appliance runs here; start it with `portscan serve`, or name another with --url")]
    Resting,
}

/// See the module's documentation.
pub(super) struct Appliance(Way);

enum Way {
    Running { client: Client, url: String, token: Option<String> },
    Resting(Box<Resting>),
}

/// A data directory that no appliance is at work in, and what answers from it.
struct Resting {
    router: Router,
    token: Token,
    writer: WriterThread,
    probing: Probing,
    _lock: DirLock,
}

impl Appliance {
    /// Finds the one that is meant, at work or not.
    pub(super) fn find(
        access: &Access,
        overrides: &Overrides,
        world: &World,
    ) -> Result<Self, ApplianceError> {
        let config = match (&access.url, Config::read(overrides)) {
            (_, Ok(config)) => config,
            // Another machine's can be asked whatever is wrong with the configuration here.
            (Some(_), Err(_)) => Config::default(),
            (None, Err(error)) => return Err(error.into()),
        };
        if access.url.is_none() {
            match store::lock(&config.data_dir) {
                Ok(lock) => return Ok(Self(Way::Resting(Box::new(Resting::open(config, lock, world)?)))),
                Err(StoreError::Locked { .. }) => {}
                // Nobody needs to see the service's files to ask it.
                Err(StoreError::File { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => {}
                Err(error) => return Err(error.into()),
            }
        }
        let url = match &access.url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => url_of(&config.listen),
        };
        // Another machine's token is not in this machine's files.
        let own = || Token::find(&config.data_dir, config.auth_token_file.as_deref());
        let token = access
            .token
            .clone()
            .or_else(|| access.url.is_none().then(own).flatten().map(|token| token.reveal().to_owned()));
        Ok(Self(Way::Running { client: Client::new(Arc::clone(&world.resolver)), url, token }))
    }

    /// Only if it is at work: what it is asked for takes time.
    pub(super) fn running(self) -> Result<Self, ApplianceError> {
        match self.0 {
            Way::Running { .. } => Ok(self),
            Way::Resting(_) => Err(ApplianceError::Resting),
        }
    }

    /// Reads an answer in JSON.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApplianceError> {
        Ok(serde_json::from_slice(&self.ask(Method::GET, path, None::<&()>).await?)?)
    }

    /// Has something done; the answer may be empty.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Bytes, ApplianceError> {
        let body =
            body.map(serde_json::to_vec).transpose()?.map(|body| ("application/json", whole(body.into())));
        let limits = Limits { timeout: PATIENCE, max_bytes: ANSWER_MAX };
        let mut answer = Vec::new();
        let take = |piece: &[u8]| {
            answer.extend_from_slice(piece);
            Ok(())
        };
        self.fetch(method, path, body, limits, take).await?;
        Ok(answer.into())
    }

    /// Hands a document in, of any length; nothing is answered.
    pub(super) async fn hand_in(
        &self,
        path: &str,
        kind: &'static str,
        document: Sent,
    ) -> Result<(), ApplianceError> {
        let limits = Limits { timeout: LONG_PATIENCE, max_bytes: ANSWER_MAX };
        self.fetch(Method::POST, path, Some((kind, document)), limits, |_| Ok(())).await
    }

    /// Reads an answer of any length, piece by piece.
    pub(super) async fn read_long(
        &self,
        path: &str,
        take: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), ApplianceError> {
        let limits = Limits { timeout: LONG_PATIENCE, max_bytes: usize::MAX };
        self.fetch(Method::GET, path, None, limits, take).await
    }

    async fn fetch(
        &self,
        method: Method,
        path: &str,
        body: Option<(&'static str, Sent)>,
        limits: Limits,
        take: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), ApplianceError> {
        match &self.0 {
            Way::Running { client, url, token } => {
                let url_of_it = format!("{url}{path}");
                let ask = Ask { method, url: &url_of_it, token: token.as_deref(), body };
                client.ask(ask, limits, take).await.map_err(|error| refused(url, error))
            }
            Way::Resting(resting) => resting.answer(method, path, body, take).await,
        }
    }

    /// Ends it, if it was opened here: what was written is on the disk then.
    pub(super) async fn close(self) -> Result<(), ApplianceError> {
        let Way::Resting(resting) = self.0 else { return Ok(()) };
        let Resting { router, writer, probing, .. } = *resting;
        drop(router);
        probing.thread.join();
        // Waits for the disk: not on the thread that others' tasks run on.
        let joined = tokio::task::spawn_blocking(|| writer.join()).await;
        Ok(joined.unwrap_or(Err(StoreError::Closed))?)
    }
}

impl Resting {
    fn open(config: Config, lock: DirLock, world: &World) -> Result<Self, ApplianceError> {
        let token = Token::load(&config.data_dir, config.auth_token_file.as_deref())?;
        let database = config.data_dir.join(store::FILE_NAME);
        let (store, writer) = Store::open(&database, Arc::clone(&world.clock))?;
        let probing = (world.prober)().map_err(ApplianceError::Prober)?;
        // Nobody who could change any of it: they stay as they are at their senders' end.
        let (_, config) = watch::channel(Arc::new(config));
        let (_, inventory) = watch::channel(Inventory::default());
        let (_, health) = watch::channel(Health::default());
        let importer = Importer::new(store.clone(), Arc::clone(&world.clock), &config.borrow().data_dir);
        let queries = Queries::new(
            store,
            probing.scanner.clone(),
            Arc::clone(&world.resolver),
            config.clone(),
            inventory,
            health,
            importer,
        );
        let names = Names::new(None, config.clone());
        let (runs, _) = runner::runs();
        let (_, advertised) = watch::channel(Advertised::default());
        let site = Site {
            gate: Gate::new(token.clone(), names.clone(), config.clone()),
            names,
            config,
            advertised,
            queries: Arc::new(queries),
            runs,
            clock: Arc::clone(&world.clock),
            limits: http::Limits::default(),
        };
        Ok(Self { router: http::router(site), token, writer, probing, _lock: lock })
    }

    async fn answer(
        &self,
        method: Method,
        path: &str,
        body: Option<(&'static str, Sent)>,
        mut take: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), ApplianceError> {
        let (kind, body) = body.unwrap_or_else(|| ("application/json", whole(Bytes::new())));
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, kind)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token.reveal()))
            .body(Body::new(body))
            .map_err(|error| ApplianceError::Broken(error.to_string()))?;
        let answer = self.router.clone().oneshot(request).await.unwrap_or_else(|never| match never {});
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
        if status.is_success() { Ok(()) } else { Err(said(status, &excerpt)) }
    }
}

/// An appliance's "no" in its own words.
fn refused(url: &str, error: ClientError) -> ApplianceError {
    match error {
        ClientError::Status { status, body } => said(status, &body),
        ClientError::Broken(why) | ClientError::Unwritten(why) => ApplianceError::Broken(why),
        error => ApplianceError::Unreachable { url: harmless(url), error },
    }
}

fn said(status: StatusCode, body: &[u8]) -> ApplianceError {
    let body: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let error = body.as_ref().and_then(|body| body.get("error")?.as_str());
    ApplianceError::Refused(error.map_or_else(|| format!("the answer is {status}"), harmless))
}

/// A text as one segment of a path, or one value of a query (RFC 3986, 2.1): what means something there is
/// escaped.
pub(super) fn in_path(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:,".contains(&byte);
    let escape = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(escape).collect()
}

/// Where an appliance that listens on these addresses is reached from its own machine.
pub(super) fn url_of(listen: &[SocketAddr]) -> String {
    let own = |address: &SocketAddr| {
        let ip = match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        match address.port() {
            80 if ip.is_ipv4() => format!("http://{ip}"),
            port => format!("http://{}", SocketAddr::new(ip, port)),
        }
    };
    listen.first().map_or_else(|| "http://localhost".to_owned(), own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_appliance_is_asked_where_it_listens() {
        for (listen, url) in [
            ("0.0.0.0:80", "http://127.0.0.1"),
            ("0.0.0.0:8080", "http://127.0.0.1:8080"),
            ("[::]:8080", "http://[::1]:8080"),
            ("192.168.1.2:80", "http://192.168.1.2"),
        ] {
            assert_eq!(url_of(&[listen.parse().unwrap()]), url);
        }
    }
}
