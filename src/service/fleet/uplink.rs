//! Sends what a site's database has gained to the hub.

use std::{sync::Arc, time::Duration};

use tokio::{
    select,
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use crate::{
    config::Config,
    fleet::{Batch, HubAnswer, HubLink, LinkError, Pass, SiteContext, SiteGreeting, SiteMessage},
    service::{health::Health, watched::replace_if_new},
    store::{OutgoingState, Store, StoreError},
};

/// Between two readings of the database. Each that finds something costs a commit, so not after every commit.
const ROUNDS: Duration = Duration::from_secs(30);

/// The same after a change event, which a person at the hub waits for. Ports of one device come in one commit, those of
/// others up to ten seconds later.
const HURRIED: Duration = Duration::from_secs(3);

/// After so long without another message the site says that it is alive.
const ALIVE: Duration = Duration::from_secs(20);

/// The first pause after a failure; it doubles up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The pause after a refusal, which lasts until a person mends its cause.
const REFUSED_PAUSE: Duration = Duration::from_secs(300);

/// What an uplink is made of.
pub struct UplinkParts {
    /// The site's database.
    pub store: Store,
    /// The connection.
    pub link: Arc<dyn HubLink>,
    /// The configuration, of which the hub gets a part.
    pub config: watch::Receiver<Arc<Config>>,
    /// The appliance's health, which the hub shows.
    pub health: watch::Receiver<Health>,
    /// The host name of this machine.
    pub host: String,
    /// What a person should know of the uplink, one sentence each.
    pub notices: watch::Sender<Vec<String>>,
}

/// Sends what a site's database has gained to the hub, until it is dropped.
pub struct Uplink(UplinkParts);

/// How a conversation with the hub ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum UplinkEnd {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the hub takes nothing now: {0}")]
    Later(String),
    #[error("the hub refuses this appliance: {0}")]
    Refused(String),
    #[error("the hub has no copy of this appliance's data any more")]
    CopyGone,
    #[error("the hub's answer does not belong to what was sent")]
    Confused,
    #[error("cannot make a random number: {0}")]
    Random(#[from] getrandom::Error),
}

/// Where the site stands in the succession of batches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Position {
    epoch: Pass,
    pass: Option<Pass>,
    replaces_all: bool,
}

impl Uplink {
    /// Makes an uplink.
    pub fn new(parts: UplinkParts) -> Self {
        Self(parts)
    }

    /// Runs for ever; a failure is told as a notice, and tried again.
    pub async fn run(mut self) {
        let mut pause = PAUSE;
        loop {
            let Err(ended) = self.converse(&mut pause).await;
            tracing::warn!(reason = %ended, "the hub does not get this appliance's data; trying again");
            self.notify(vec![format!("fleet: {ended}; trying again, and nothing is lost meanwhile")]);
            let is_refused = matches!(ended, UplinkEnd::Refused(_));
            sleep(if is_refused { REFUSED_PAUSE } else { pause }).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn notify(&self, notices: Vec<String>) {
        replace_if_new(&self.0.notices, notices);
    }

    async fn converse(&mut self, pause: &mut Duration) -> Result<std::convert::Infallible, UplinkEnd> {
        let mut position = self.begin().await?;
        self.send_context().await?;
        tracing::info!(copies_all = position.replaces_all, "the hub takes this appliance's data");
        let mut events = self.0.store.latest_event();
        events.mark_unchanged();
        let (mut round, mut last) = (Instant::now(), Instant::now());
        loop {
            select! {
                () = sleep_until(round) => {
                    if position.replaces_all || self.0.store.has_outgoing().await? {
                        self.send_round(&mut position).await?;
                        last = Instant::now();
                    }
                    round = Instant::now() + ROUNDS;
                    // Only now: a hub that greets and then fails must not be asked every two seconds.
                    *pause = PAUSE;
                    self.notify(Vec::new());
                }
                Ok(()) = events.changed() => round = round.min(Instant::now() + HURRIED),
                Ok(()) = self.0.config.changed() => self.send_context().await?,
                Ok(()) = self.0.health.changed() => self.send_context().await?,
                () = sleep_until(last + ALIVE) => {
                    if self.ask(SiteMessage::Alive).await? != HubAnswer::Accepted {
                        return Err(UplinkEnd::CopyGone);
                    }
                    last = Instant::now();
                }
            }
        }
    }

    /// Greets the hub, and finds out where to continue.
    pub(super) async fn begin(&self) -> Result<Position, UplinkEnd> {
        let mut epoch = Pass::default();
        getrandom::fill(&mut epoch)?;
        let OutgoingState { epoch, pass, replaces_all, schema, tables } =
            self.0.store.begin_outgoing(epoch).await?;
        let greeting = SiteGreeting {
            epoch,
            schema,
            understood_since: u32::try_from(Store::EXCHANGED_SINCE).unwrap_or(u32::MAX),
            tables,
            pass,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            host: self.0.host.clone(),
        };
        match self.ask(SiteMessage::Greeting(greeting)).await? {
            HubAnswer::Continue(known) => {
                if pass != Some(known) {
                    // The answer to the last batch was lost, and so may that to the next one be.
                    self.0.store.acknowledge(known, None).await?;
                }
                Ok(Position { epoch, pass: Some(known), replaces_all })
            }
            HubAnswer::SendAll => {
                self.0.store.note_all_outgoing().await?;
                Ok(Position { epoch, pass: None, replaces_all: true })
            }
            _ => Err(UplinkEnd::Confused),
        }
    }

    /// Sends all that is noted.
    pub(super) async fn send_round(&self, position: &mut Position) -> Result<(), UplinkEnd> {
        let mut parts = self.0.store.read_outgoing()?;
        while let Some(part) = parts.recv().await {
            let part = part?;
            let Position { epoch, pass, replaces_all } = *position;
            let batch = Batch { epoch, pass, replaces_all, is_last: part.through.is_some(), rows: part.rows };
            let pass = match self.ask(SiteMessage::Batch(batch)).await? {
                HubAnswer::Committed(pass) => pass,
                HubAnswer::SendAll => return Err(UplinkEnd::CopyGone),
                _ => return Err(UplinkEnd::Confused),
            };
            self.0.store.acknowledge(pass, part.through).await?;
            *position = Position { epoch, pass: Some(pass), replaces_all: false };
        }
        Ok(())
    }

    async fn send_context(&mut self) -> Result<(), UplinkEnd> {
        let config = self.0.config.borrow_and_update().for_hub().to_string();
        let Health { problems, notices } = self.0.health.borrow_and_update().clone();
        self.ask(SiteMessage::Context(SiteContext { config, problems, notices })).await.map(|_| ())
    }

    async fn ask(&self, message: SiteMessage) -> Result<HubAnswer, UplinkEnd> {
        match self.0.link.ask(&message).await? {
            HubAnswer::Later(reason) => Err(UplinkEnd::Later(reason)),
            HubAnswer::Refused(reason) => Err(UplinkEnd::Refused(reason)),
            answer => Ok(answer),
        }
    }
}
