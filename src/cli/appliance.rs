//! Gives a command access to an appliance: over HTTP if one runs, else its database is opened here and served
//! through the same router. So a command is written once, and the database has one writer.
//!
//! A command that only reads creates nothing where no appliance runs: neither a database nor a lock, a token or a
//! directory.

mod local;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use clap::Args;
use hyper::{Method, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use self::local::LocalAppliance;
use super::{CommandEnv, found::sanitize_for_terminal};
use crate::{
    client::{ClientError, HttpClient, HttpRequest, JSON, RequestBody, ResponseLimits, whole},
    config::{Config, ConfigError, Overrides},
    data_dir::Obstacle,
    http::Token,
    store::{self, DirLock, StoreError},
};

/// The longest answer that is read into memory, in bytes: a thousand devices with all their data are 3 MB.
const ANSWER_MAX: usize = 64 << 20;

/// The time-out of one answer; the appliance itself gives up after half of it.
const PATIENCE: Duration = Duration::from_secs(60);

/// The time-out for a whole database: 1 GB over Wi-Fi.
const LONG_PATIENCE: Duration = Duration::from_secs(3600);

/// The options that select an appliance.
#[derive(Args, Debug, Clone, Default, PartialEq)]
pub struct ApplianceArgs {
    /// Where it is [default: this machine, at the configured address]
    #[arg(long, value_name = "http://HOST[:PORT]")]
    pub url: Option<String>,
    /// What `portscan token` prints there [default: the one here]
    #[arg(long, value_name = "TOKEN")]
    pub token: Option<String>,
}

/// Why an appliance is unreachable, or refuses a request.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApplianceError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot open the database behind its API: {0}")]
    Prober(io::Error),
    #[error("{url}: {error}. Is `portscan serve` running there? Name another appliance with --url")]
    Unreachable { url: String, error: ClientError },
    #[error(
        "{url}: {error}. Is `portscan serve` running there? Its database cannot be read in its place: {obstacle}"
    )]
    Neither { url: String, error: ClientError, obstacle: String },
    #[error("{0}")]
    Refused(String),
    #[error("the answer is not an appliance's ({0}); is it another program's port?")]
    Foreign(#[from] serde_json::Error),
    #[error("the answer is cut short: {0}")]
    Broken(String),
    #[error("no appliance runs here; start it with `portscan serve`, or name another with --url")]
    NotRunning,
}

/// `/v1/info`, as much of it as explains an empty answer.
#[derive(Debug, Deserialize)]
pub(super) struct ApplianceInfo {
    /// Whether anything was ever accepted as expected; older appliances do not say.
    #[serde(default)]
    pub(super) baseline: Option<bool>,
    /// The end of the last scan or import; `None` before the first.
    #[serde(default)]
    pub(super) last_scan: Option<jiff::Timestamp>,
}

/// How a command uses the database if no appliance runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DatabaseUse {
    /// Creates nothing.
    Reading,
    /// Creates what is missing, except the directory.
    Writing,
}

/// The selected appliance.
pub(super) enum Located {
    /// The appliance runs.
    Running(Appliance),
    /// The appliance does not run: its database, which may not exist, and the lock on it, if the lock file exists.
    AtRest { database: PathBuf, lock: Option<DirLock> },
}

impl Located {
    /// Finds the appliance, and creates nothing.
    pub(super) fn find(
        access: &ApplianceArgs,
        overrides: &Overrides,
        world: &CommandEnv,
    ) -> Result<Self, ApplianceError> {
        let config = configuration(access, overrides)?;
        Ok(match locate(access, &config, world, store::lock_existing)? {
            Ok(running) => Self::Running(running),
            Err(lock) => Self::AtRest { database: config.data_dir.join(store::FILE_NAME), lock },
        })
    }
}

fn configuration(access: &ApplianceArgs, overrides: &Overrides) -> Result<Config, ConfigError> {
    match (&access.url, Config::read(overrides)) {
        // An appliance on another machine is reachable even if the configuration here is faulty.
        (Some(_), Err(_)) => Ok(Config::default()),
        (_, read) => read,
    }
}

/// Finds the running appliance, or the lock of one that does not run.
fn locate<L>(
    access: &ApplianceArgs,
    config: &Config,
    world: &CommandEnv,
    lock: impl FnOnce(&Path) -> Result<L, StoreError>,
) -> Result<Result<Appliance, L>, ApplianceError> {
    let mut obstacle = None;
    if access.url.is_none() {
        match lock(&config.data_dir) {
            Ok(lock) => return Ok(Err(lock)),
            Err(StoreError::Locked { .. }) => {}
            // A request needs no permission to read the appliance's files.
            Err(StoreError::Inaccessible(found)) if found.is_of_permission() => obstacle = Some(found),
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
    let client = HttpClient::new(Arc::clone(&world.resolver));
    let running = RemoteAppliance { client, url, token, data_dir: config.data_dir.clone(), obstacle };
    Ok(Ok(Appliance(Backend::Http(Box::new(running)))))
}

/// See the module's documentation.
pub(super) struct Appliance(Backend);

enum Backend {
    Http(Box<RemoteAppliance>),
    Local(Box<LocalAppliance>),
}

/// A running appliance, reached over HTTP.
struct RemoteAppliance {
    client: HttpClient,
    url: String,
    token: Option<String>,
    data_dir: PathBuf,
    /// Why this user cannot check whether the appliance runs at all.
    obstacle: Option<Obstacle>,
}

impl Appliance {
    /// Finds the selected appliance, running or not.
    pub(super) fn find(
        access: &ApplianceArgs,
        overrides: &Overrides,
        world: &CommandEnv,
        purpose: DatabaseUse,
    ) -> Result<Self, ApplianceError> {
        let config = configuration(access, overrides)?;
        let lock = |dir: &Path| match purpose {
            DatabaseUse::Reading => store::lock_existing(dir),
            DatabaseUse::Writing => store::lock(dir).map(Some),
        };
        match locate(access, &config, world, lock)? {
            Ok(running) => Ok(running),
            Err(lock) => {
                Ok(Self(Backend::Local(Box::new(LocalAppliance::open(config, lock, world, purpose)?))))
            }
        }
    }

    /// Finds the appliance only if it runs: the request takes time.
    pub(super) fn find_running(
        access: &ApplianceArgs,
        overrides: &Overrides,
        world: &CommandEnv,
    ) -> Result<Self, ApplianceError> {
        match Located::find(access, overrides, world)? {
            Located::Running(running) => Ok(running),
            Located::AtRest { .. } => Err(ApplianceError::NotRunning),
        }
    }

    /// Returns the appliance's data directory, if it is on this machine.
    pub(super) fn data_dir(&self) -> &Path {
        match &self.0 {
            Backend::Http(running) => &running.data_dir,
            Backend::Local(local) => local.data_dir(),
        }
    }

    /// Reads an answer in JSON.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApplianceError> {
        let text = self.request(Method::GET, path, None::<&()>).await?;
        serde_json::from_slice(&text).map_err(|error| {
            let rows: Vec<serde_json::Value> = serde_json::from_slice(&text).unwrap_or_default();
            not_rows(&rows)(error)
        })
    }

    /// Sends a command; the answer may be empty.
    pub(super) async fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Bytes, ApplianceError> {
        let body =
            body.map(serde_json::to_vec).transpose()?.map(|body| ("application/json", whole(body.into())));
        let limits = ResponseLimits { timeout: PATIENCE, max_bytes: ANSWER_MAX };
        self.fetch_whole(method, path, body, limits).await
    }

    /// Uploads a document of any length; the answer may be empty.
    pub(super) async fn hand_in(
        &self,
        path: &str,
        kind: &'static str,
        document: RequestBody,
    ) -> Result<Bytes, ApplianceError> {
        let limits = ResponseLimits { timeout: LONG_PATIENCE, max_bytes: ANSWER_MAX };
        self.fetch_whole(Method::POST, path, Some((kind, document)), limits).await
    }

    /// Reads an answer of any length, piece by piece.
    pub(super) async fn read_long(
        &self,
        path: &str,
        take: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), ApplianceError> {
        let limits = ResponseLimits { timeout: LONG_PATIENCE, max_bytes: usize::MAX };
        self.fetch(Method::GET, path, None, limits, take).await
    }

    async fn fetch_whole(
        &self,
        method: Method,
        path: &str,
        body: Option<(&'static str, RequestBody)>,
        limits: ResponseLimits,
    ) -> Result<Bytes, ApplianceError> {
        let mut answer = Vec::new();
        let take = |piece: &[u8]| {
            answer.extend_from_slice(piece);
            Ok(())
        };
        self.fetch(method, path, body, limits, take).await?;
        Ok(answer.into())
    }

    async fn fetch(
        &self,
        method: Method,
        path: &str,
        body: Option<(&'static str, RequestBody)>,
        limits: ResponseLimits,
        take: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), ApplianceError> {
        match &self.0 {
            Backend::Http(running) => {
                let url = format!("{}{path}", running.url);
                let token = running.token.as_deref();
                let request = HttpRequest { method, url: &url, token, headers: &[], body, accept: JSON };
                running.client.send(request, limits, take).await.map_err(|error| running.refused(error))
            }
            Backend::Local(local) => local.answer(method, path, body, take).await,
        }
    }

    /// Closes the database, if it was opened here: on return all writes are on the disk.
    pub(super) async fn close(self) -> Result<(), ApplianceError> {
        let Backend::Local(local) = self.0 else { return Ok(()) };
        Ok(local.close().await?)
    }
}

impl RemoteAppliance {
    /// Builds the error from an appliance's refusal.
    fn refused(&self, error: ClientError) -> ApplianceError {
        let url = sanitize_for_terminal(&self.url);
        match (error, &self.obstacle) {
            (ClientError::Status { status, body }, _) => refused_with(status, &body),
            (ClientError::Broken(why) | ClientError::Unwritten(why), _) => ApplianceError::Broken(why),
            (error, None) => ApplianceError::Unreachable { url, error },
            (error, Some(obstacle)) => ApplianceError::Neither { url, error, obstacle: obstacle.to_string() },
        }
    }
}

fn refused_with(status: StatusCode, body: &[u8]) -> ApplianceError {
    let body: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let error = body.as_ref().and_then(|body| body.get("error")?.as_str());
    ApplianceError::Refused(error.map_or_else(|| format!("the answer is {status}"), sanitize_for_terminal))
}

/// Why rows are not those of an appliance: an element of a hub's list may say that a site's copy cannot be read.
pub(super) fn not_rows(
    rows: &[serde_json::Value],
) -> impl FnOnce(serde_json::Error) -> ApplianceError + use<> {
    let told = rows.iter().find_map(|row| row.get("error")?.as_str()).map(sanitize_for_terminal);
    |error| told.map_or(ApplianceError::Foreign(error), ApplianceError::Refused)
}

/// The characters that are escaped in a segment of a path or a value of a query: all except the unreserved ones of RFC
/// 3986, 2.3, and `:` and `,`, which MACs and lists of ports contain.
const RESERVED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':').remove(b',');

/// Escapes a text as one segment of a path, or one value of a query.
pub(super) fn percent_encode(text: &str) -> PercentEncode<'_> {
    utf8_percent_encode(text, RESERVED)
}

/// Returns the address at which an appliance that listens on these is reachable from its own machine.
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
    fn a_row_in_place_of_a_sites_says_why_there_are_none() {
        let foreign = || serde_json::from_str::<u8>("{}").unwrap_err();
        let rows = [serde_json::json!({ "site": "attic", "error": "the copy of attic cannot be read" })];
        assert_eq!(not_rows(&rows)(foreign()).to_string(), "the copy of attic cannot be read");
        assert!(matches!(not_rows(&[])(foreign()), ApplianceError::Foreign(_)));
    }

    #[test]
    fn the_request_goes_to_the_address_on_which_the_appliance_listens() {
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
