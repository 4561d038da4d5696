//! The connections of a fleet, through its broker (NATS): a site's and the hub's.
//!
//! Messages are requests with an answer; the broker stores none of them. A connection that is lost is made again by the
//! client; until then every request fails at once rather than wait in a queue that a restart would lose.

mod work;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_nats::{Client, ConnectOptions, Event, RequestErrorKind, Subscriber, connection::State};
use bytes::Bytes;
use futures_util::StreamExt;
use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;
use tokio::{sync::watch, task::spawn_blocking, time::timeout};

pub use self::work::{
    FromWorker, FromWorkers, JobConnection, QueueError, ReceivedReport, ReportFailure, ShardDelivery,
    WorkerConnection,
};
use crate::{
    clock::Clock,
    fleet::{
        Asking, ForwardedAnswer, ForwardedRequest, HubAnswer, HubLink, LinkError, SiteMessage, SiteName,
        decode, encode, subjects,
    },
    model::one_line,
    tls::{CredentialsError, client_credentials},
};

/// How long connecting may take, TLS included.
const CONNECTING: Duration = Duration::from_secs(10);

/// How long the hub may take to commit a batch, on a slow disk.
const ANSWER: Duration = Duration::from_secs(30);

/// How long a site may take to answer a forwarded request: less than the HTTP server allows a request of its own.
const FORWARDED: Duration = Duration::from_secs(10);

/// The longest pause between two attempts to connect.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Between two questions whether the broker is still there. Home routers forget a connection after some minutes.
const PING: Duration = Duration::from_secs(30);

/// Messages that wait to be taken; the client drops more, and their senders repeat them. A site sends one at a time.
const QUEUE: usize = 256;

/// Where the broker is, and how this process proves who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerAccess {
    /// The host, by the name in the broker's certificate.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The certificate of the fleet's authority (PEM).
    pub authority: PathBuf,
    /// This process's certificate (PEM).
    pub certificate: PathBuf,
    /// Its key (PEM).
    pub key: PathBuf,
}

/// Why a connection cannot be made at all. One that only fails for now is tried again by the client.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// A file of the credentials cannot be read, or is no certificate or key.
    #[error("cannot use the fleet's credentials: {0}")]
    Credentials(#[from] CredentialsError),
    /// The client takes neither them nor the address.
    #[error("cannot connect to the broker: {0}")]
    Unusable(String),
    /// The connection was closed for good.
    #[error("the connection to the broker is closed")]
    Closed,
}

/// Why the client cannot do what it should, as it last reported; `None`: it is connected, and nothing was refused since.
#[derive(Clone)]
struct LastReport {
    said: watch::Sender<Option<String>>,
    /// What to say instead of what the client says, from that moment on: it does not pass on why TLS fails.
    from: (Timestamp, String),
    clock: Arc<dyn Clock>,
}

impl LastReport {
    fn new(certificate: &Path, not_after: Timestamp, clock: Arc<dyn Clock>) -> Self {
        let ended = format!(
            "the certificate {} has ended on {}; make another at the hub, as docs/fleet.md says (Replace a certificate)",
            certificate.display(),
            not_after.to_zoned(TimeZone::UTC).date()
        );
        let said = watch::Sender::new(Some("there is no connection yet".to_owned()));
        Self { said, from: (not_after, ended), clock }
    }

    fn note(&self, event: &Event) {
        let trouble = match event {
            Event::Connected => None,
            Event::Disconnected => Some("the connection was lost".to_owned()),
            Event::ClientError(_) if self.clock.wall() > self.from.0 => Some(self.from.1.clone()),
            Event::ServerError(error) => Some(one_line(&error.to_string(), 200)),
            Event::ClientError(error) => Some(one_line(&error.to_string(), 200)),
            _ => return,
        };
        match event {
            Event::Connected => tracing::info!("connected to the broker"),
            Event::Disconnected => tracing::info!("the connection to the broker was lost; connecting again"),
            _ => tracing::debug!(%event, "the broker or the connection to it reports an error"),
        }
        self.said.send_replace(trouble);
    }

    fn text(&self) -> String {
        self.said.borrow().clone().unwrap_or_else(|| "the connection was lost".to_owned())
    }
}

/// Makes a client, which connects in the background, for as long as it takes.
async fn connect(
    access: &BrokerAccess,
    inbox: String,
    clock: Arc<dyn Clock>,
) -> Result<(Client, LastReport), BrokerError> {
    // Checked here, because the client's errors name no file. Its settings are not taken from there: given whole, it would
    // trust this machine's authorities, too.
    let [authority, certificate, key] =
        [&access.authority, &access.certificate, &access.key].map(Clone::clone);
    let checked = spawn_blocking(move || client_credentials(&authority, &certificate, &key)).await;
    let checked = checked.map_err(|error| BrokerError::Unusable(error.to_string()))??;
    let report = LastReport::new(&access.certificate, checked.not_after, clock);
    let reported = report.clone();
    let options = ConnectOptions::new()
        .name("portscan")
        .require_tls(true)
        .add_root_certificates(access.authority.clone())
        .add_client_certificate(access.certificate.clone(), access.key.clone())
        .custom_inbox_prefix(inbox)
        .ignore_discovered_servers()
        .retry_on_initial_connect()
        .max_reconnects(None)
        .connection_timeout(CONNECTING)
        .ping_interval(PING)
        .subscription_capacity(QUEUE)
        .reconnect_delay_callback(pause)
        .event_callback(move |event| {
            reported.note(&event);
            async {}
        });
    // An address in brackets, where it is one of IPv6.
    let host = if access.host.contains(':') { format!("[{}]", access.host) } else { access.host.clone() };
    let client = options.connect(format!("tls://{host}:{}", access.port)).await;
    let client = client.map_err(|error| BrokerError::Unusable(one_line(&error.to_string(), 200)))?;
    Ok((client, report))
}

/// The pause before an attempt, of which the first has the number 1: none, then 1, 2, 4, ... 60 s.
fn pause(attempt: usize) -> Duration {
    let Some(doublings) = attempt.checked_sub(2) else { return Duration::ZERO };
    let doublings = u32::try_from(doublings).unwrap_or(u32::MAX).min(6);
    Duration::from_secs(1 << doublings).min(LONGEST_PAUSE)
}

/// Sends a request and returns the bytes of the answer.
async fn request(
    client: &Client,
    subject: String,
    bytes: Vec<u8>,
    limit: Duration,
) -> Result<Bytes, Missing> {
    if client.connection_state() != State::Connected {
        return Err(Missing::Connection);
    }
    let request = async_nats::Request::new().payload(bytes.into()).timeout(Some(limit));
    match client.send_request(subject, request).await {
        Ok(answer) => Ok(answer.payload),
        Err(error) => Err(match error.kind() {
            RequestErrorKind::NoResponders => Missing::Responder,
            RequestErrorKind::TimedOut => Missing::Answer,
            _ => Missing::Connection,
        }),
    }
}

/// What a request lacked.
enum Missing {
    Connection,
    Responder,
    Answer,
}

/// A site's connection.
#[derive(Clone)]
pub struct SiteConnection {
    client: Client,
    site: SiteName,
    report: LastReport,
}

impl SiteConnection {
    /// Makes a connection, in the background.
    ///
    /// # Errors
    /// The credentials cannot be used.
    pub async fn open(
        access: &BrokerAccess,
        site: SiteName,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, BrokerError> {
        let (client, report) = connect(access, subjects::inbox_of_site(&site), clock).await?;
        Ok(Self { client, site, report })
    }

    /// What the broker has said of a request that has no answer (nats-server, "errors.go"): it drops what a client may not
    /// publish, and says so apart from it.
    fn explain(&self, missing: &Missing) -> LinkError {
        let said = self.report.text();
        let says = |words: &str| said.to_ascii_lowercase().contains(words);
        match missing {
            _ if says("permissions violation for publish") => LinkError::OtherSite(self.site.clone()),
            Missing::Connection if says("authorization violation") => LinkError::NotEnrolled,
            Missing::Answer => LinkError::TimedOut(ANSWER),
            Missing::Connection | Missing::Responder => LinkError::NoBroker(said),
        }
    }

    /// Waits until the broker is connected, or for as long as that usually takes at most.
    pub async fn wait_until_connected(&self) {
        let mut report = self.report.said.subscribe();
        let _ = timeout(CONNECTING, report.wait_for(Option::is_none)).await;
    }

    /// Returns the requests of the hub's clients.
    ///
    /// # Errors
    /// The connection is closed.
    pub async fn requests(&self) -> Result<ForwardedRequests, BrokerError> {
        let subject = async_nats::Subject::from(subjects::to_site(&self.site));
        let subscriber = self.client.subscribe(subject.clone()).await;
        let subscriber = subscriber.map_err(|_| BrokerError::Closed)?;
        Ok(ForwardedRequests { client: self.client.clone(), subject, subscriber })
    }
}

impl HubLink for SiteConnection {
    fn ask<'a>(&'a self, message: &'a SiteMessage) -> Asking<'a> {
        Box::pin(async move {
            let subject = subjects::to_hub(&self.site);
            match request(&self.client, subject, encode(message), ANSWER).await {
                Ok(bytes) => Ok(decode::<HubAnswer>(&bytes)?),
                Err(Missing::Responder) => Err(LinkError::NoHub),
                Err(missing) => Err(self.explain(&missing)),
            }
        })
    }
}

/// The requests of the hub's clients, at their site.
pub struct ForwardedRequests {
    client: Client,
    subject: async_nats::Subject,
    subscriber: Subscriber,
}

impl ForwardedRequests {
    /// Waits for a request that can be read; returns it with the place for its answer. `None`: the connection is closed.
    pub async fn next(&mut self) -> Option<(ForwardedRequest, Answering)> {
        loop {
            let message = self.subscriber.next().await?;
            let Some(reply) = message.reply else { continue };
            // A queue of the broker's delivers to any subject that a worker names.
            if message.subject != self.subject {
                continue;
            }
            let answering = Answering { client: self.client.clone(), subject: reply.to_string() };
            match decode(&message.payload) {
                Ok(request) => return Some((request, answering)),
                Err(error) => tracing::warn!(%error, "a request of the hub cannot be read"),
            }
        }
    }
}

/// Where an answer goes.
pub struct Answering {
    client: Client,
    subject: String,
}

impl Answering {
    /// Sends the answer.
    pub async fn answer<T: Serialize>(self, answer: &T) {
        // The one that asked repeats it if the answer is lost.
        if let Err(error) = self.client.publish(self.subject, encode(answer).into()).await {
            tracing::debug!(%error, "an answer is lost");
        }
    }
}

/// A message of a site as it arrives at the hub.
pub struct Received {
    /// The site, as the broker has proven it.
    pub site: SiteName,
    /// What all messages of one connection have in common: two appliances may have one certificate.
    pub connection: String,
    /// The message, or why it cannot be read.
    pub message: Result<SiteMessage, crate::fleet::MessageError>,
    /// Where the answer goes.
    pub answering: Answering,
}

/// The hub's connection.
#[derive(Clone)]
pub struct HubConnection {
    client: Client,
    report: LastReport,
}

impl HubConnection {
    /// Makes a connection, in the background.
    ///
    /// # Errors
    /// The credentials cannot be used.
    pub async fn open(access: &BrokerAccess, clock: Arc<dyn Clock>) -> Result<Self, BrokerError> {
        let (client, report) = connect(access, subjects::INBOX_OF_HUB.to_owned(), clock).await?;
        Ok(Self { client, report })
    }

    /// Returns why there is no connection; `None`: there is one.
    pub fn trouble(&self) -> Option<String> {
        let is_connected = self.client.connection_state() == State::Connected;
        // The client reports that it is connected a moment before its state says so.
        self.report.said.borrow().clone().filter(|_| !is_connected)
    }

    /// Returns a watch that wakes up whenever the broker or the connection has reported something, and so whenever
    /// [`HubConnection::trouble`] may differ.
    pub fn reports(&self) -> watch::Receiver<Option<String>> {
        self.report.said.subscribe()
    }

    /// Returns the messages of all sites.
    ///
    /// # Errors
    /// The connection is closed.
    pub async fn messages(&self) -> Result<SiteMessages, BrokerError> {
        let subscriber = self.client.subscribe(subjects::FROM_SITES).await;
        let subscriber = subscriber.map_err(|_| BrokerError::Closed)?;
        Ok(SiteMessages { client: self.client.clone(), subscriber })
    }

    /// Sends a request to a site.
    ///
    /// # Errors
    /// There is no connection to the site, or no answer in time, or it cannot be read.
    pub async fn forward(
        &self,
        site: &SiteName,
        request: &ForwardedRequest,
    ) -> Result<ForwardedAnswer, LinkError> {
        match self::request(&self.client, subjects::to_site(site), encode(request), FORWARDED).await {
            Ok(bytes) => Ok(decode(&bytes)?),
            Err(Missing::Connection | Missing::Responder) => Err(LinkError::NoBroker(self.report.text())),
            Err(Missing::Answer) => Err(LinkError::TimedOut(FORWARDED)),
        }
    }
}

/// The messages of all sites.
pub struct SiteMessages {
    client: Client,
    subscriber: Subscriber,
}

impl SiteMessages {
    /// Waits for a message. `None`: the connection is closed.
    pub async fn next(&mut self) -> Option<Received> {
        loop {
            let message = self.subscriber.next().await?;
            let (Some(reply), Some(site)) = (message.reply, subjects::sender(&message.subject)) else {
                continue;
            };
            // The broker does not check it: a site could have the hub speak to another one.
            if !subjects::is_inbox_of_site(&reply, &site) {
                let subject = one_line(&reply, 200);
                tracing::warn!(%site, %subject, "a site wants its answer on a subject of another; ignored");
                continue;
            }
            // A client has one inbox for all answers; the last part is the message's own.
            let connection = reply.rsplit_once('.').map_or("", |(inbox, _)| inbox).to_owned();
            let answering = Answering { client: self.client.clone(), subject: reply.to_string() };
            return Some(Received { site, connection, message: decode(&message.payload), answering });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    #[test]
    fn the_pauses_double_up_to_a_minute() {
        assert_eq!(
            [1, 2, 3, 4, 8, 9, usize::MAX].map(|attempt| pause(attempt).as_secs()),
            [0, 1, 2, 4, 60, 60, 60]
        );
    }

    #[tokio::test]
    async fn missing_credentials_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let [authority, certificate, key] =
            ["ca.crt", "site.crt", "site.key"].map(|name| dir.path().join(name));
        let access = BrokerAccess { host: "localhost".to_owned(), port: 4222, authority, certificate, key };
        let error = SiteConnection::open(&access, "a".parse().unwrap(), Arc::new(SystemClock::start()))
            .await
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains("ca.crt"), "{error}");
    }
}
