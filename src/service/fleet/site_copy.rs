//! The hub's copy of a site: a database like the site's own, and what the hub knows of the connection.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use tokio::{
    sync::{Mutex, watch},
    task::spawn_blocking,
};

use super::{
    copied_context::{self, CopiedContext},
    skew,
};
use crate::{
    clock::Clock,
    config::Config,
    data_dir,
    fleet::{
        Batch, HubAnswer, MessageError, Pass, Reporters, SiteContext, SiteGreeting, SiteMessage, SiteName,
        SiteState, SiteStatus, SuccessionVerdict,
    },
    model::one_line,
    service::watched::replace_if_new,
    store::{self, Applied, CopyForm, Store, StoreError, WriterThread},
};

/// After so long without a message a site counts as silent: three of its signs of life.
const SILENT_AFTER: Duration = Duration::from_secs(60);

/// The longest word that a site says of itself and the hub shows.
const LONGEST_WORD: usize = 64;

/// The longest configuration of a site that is read, in bytes: hundreds of rules. Checking one takes a time that grows
/// with the square of its length.
const LONGEST_CONFIG: usize = 64 << 10;

/// Most sentences of a site's health that are kept, and the longest of them.
const SENTENCES: usize = 64;
const LONGEST_SENTENCE: usize = 1024;

/// The hub's copy of a site.
pub struct SiteCopy {
    name: SiteName,
    dir: PathBuf,
    store: Store,
    clock: Arc<dyn Clock>,
    status: watch::Sender<SiteStatus>,
    config: watch::Sender<Arc<Config>>,
    /// The epoch of its database, while it has all that was sent.
    whole: watch::Sender<Option<Pass>>,
    /// Held while a message is handled.
    known: Mutex<Known>,
}

/// What is known of the site beside its database.
struct Known {
    context: CopiedContext,
    reporters: Reporters,
    /// Whether the present refusal is that of a greeting, or of a second appliance: only a greeting ends it.
    is_greeting_refused: bool,
    /// In which form batches arrive; `None`: the site has to greet first.
    form: Option<CopyForm>,
}

/// Why a copy cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The directory cannot be made.
    #[error("cannot make {}: {source}", path.display())]
    Dir {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The database cannot be used.
    #[error("{}", .0.of_copy())]
    Store(#[from] StoreError),
}

impl SiteCopy {
    /// Opens the copy below this directory, creating it as needed. Blocks on the disk.
    ///
    /// # Errors
    /// The directory or the database cannot be used.
    pub fn open(
        name: SiteName,
        copies: &Path,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, WriterThread), CopyError> {
        let dir = copies.join(name.as_str());
        data_dir::create_dir(&dir).map_err(|source| CopyError::Dir { path: dir.clone(), source })?;
        let (store, thread) = Store::open_copy(&dir.join(store::FILE_NAME), &name, Arc::clone(&clock))?;
        let known = copied_context::read(&dir);
        let heard = is_known(&known).then(|| modified(&dir)).flatten();
        let state = if heard.is_some() { SiteState::Silent } else { SiteState::Never };
        let status = SiteStatus { state, heard, ..shown(&known) };
        let copy = Self {
            name,
            dir,
            store,
            clock,
            status: watch::Sender::new(status),
            config: watch::Sender::new(Arc::new(Config::from_site(&known.context.config))),
            whole: watch::Sender::new(None),
            known: Mutex::new(Known {
                context: known,
                reporters: Reporters::default(),
                is_greeting_refused: false,
                form: None,
            }),
        };
        Ok((copy, thread))
    }

    /// Returns the site's name.
    pub fn name(&self) -> &SiteName {
        &self.name
    }

    /// Returns the database.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Returns what is known of the connection, and every change of it.
    pub fn status(&self) -> watch::Receiver<SiteStatus> {
        self.status.subscribe()
    }

    /// Returns the site's configuration, as far as the hub gets it, and every change of it.
    pub fn config(&self) -> watch::Receiver<Arc<Config>> {
        self.config.subscribe()
    }

    /// Returns the epoch of the database of which the copy has all that was sent, and every change of it; `None`: more
    /// batches follow, or there was none.
    pub fn whole(&self) -> watch::Receiver<Option<Pass>> {
        self.whole.subscribe()
    }

    /// Reads of which database the copy is, and how it has arrived, after it was opened: a site that was connected before
    /// goes on without a greeting.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn read_standing(&self) -> Result<(), StoreError> {
        self.known.lock().await.form = self.store.copy_form().await?.map(CopyForm::by_this_hub);
        let standing = self.store.succession(None).await?.standing.filter(|standing| !standing.is_partial);
        replace_if_new(&self.whole, standing.map(|standing| standing.epoch));
        Ok(())
    }

    /// Handles a message of the site that came by this connection. A second one meanwhile is put off: a site sends one at a
    /// time, so it has given the first one up, or is hostile.
    pub async fn receive_from(&self, connection: &str, message: SiteMessage) -> HubAnswer {
        let Ok(mut known) = self.known.try_lock() else { return busy() };
        let is_second = known.reporters.is_second(connection, self.clock.now());
        let is_greeting = is_second || matches!(message, SiteMessage::Greeting(_));
        let answer = match message {
            SiteMessage::Greeting(greeting) => self.greet(&greeting, &mut known, is_second).await,
            // The last to greet.
            _ if is_second => self.refuse_second(known.context.host.as_deref().unwrap_or("an appliance")),
            SiteMessage::Batch(batch) => match known.form.clone() {
                Some(form) => self.apply(batch, form).await,
                None => HubAnswer::SendAll,
            },
            SiteMessage::Context(context) => self.keep(context, &mut known.context).await,
            SiteMessage::Alive => self.answer_alive(known.form.clone()).await,
        };
        if matches!(answer, HubAnswer::Committed(_)) {
            known.reporters.note_commit(connection, self.clock.now());
        }
        self.note(&answer, is_greeting, &mut known);
        answer
    }

    /// Refuses a message of the site that cannot be read, and shows why.
    pub async fn refuse(&self, error: &MessageError) -> HubAnswer {
        let Ok(mut known) = self.known.try_lock() else { return busy() };
        let answer = HubAnswer::Refused(format!("a message of {} cannot be read: {error}", self.name));
        self.note(&answer, false, &mut known);
        answer
    }

    /// Notes in the status what an answer means for the site.
    fn note(&self, answer: &HubAnswer, is_greeting: bool, known: &mut Known) {
        let heard = self.clock.wall();
        self.status.send_modify(|status| {
            match answer {
                HubAnswer::Refused(reason) => {
                    status.refusal = Some(reason.clone());
                    known.is_greeting_refused = is_greeting;
                    // A second appliance that is refused does not make the first one's data less current.
                    if !is_greeting || !is_fresh(status, heard) {
                        status.state = SiteState::Refused;
                    }
                    return;
                }
                HubAnswer::Later(reason) => {
                    status.refusal = Some(format!("the hub cannot take its data now: {reason}"));
                    status.state = SiteState::CatchingUp;
                }
                HubAnswer::SendAll => {
                    status.refusal = None;
                    status.state = SiteState::CatchingUp;
                }
                HubAnswer::Continue(_) => status.refusal = None,
                HubAnswer::Committed(_) if !known.is_greeting_refused => status.refusal = None,
                // A refusal ends with the next greeting, and a site may have nothing to send for days.
                HubAnswer::Accepted
                    if status.refusal.is_none()
                        && matches!(status.state, SiteState::Silent | SiteState::Refused) =>
                {
                    status.state = SiteState::Current;
                }
                _ => {}
            }
            status.heard = Some(heard);
        });
    }

    /// Marks the site as silent if it was not heard for a minute; called from time to time.
    pub fn notice_silence(&self) {
        let now = self.clock.wall();
        self.status.send_if_modified(|status| {
            let is_connected = matches!(status.state, SiteState::Current | SiteState::CatchingUp);
            let is_silent = is_connected && !is_fresh(status, now);
            if is_silent {
                status.state = SiteState::Silent;
            }
            is_silent
        });
    }

    /// A site that has nothing to send would not notice that its copy was removed, or that the hub was upgraded.
    async fn answer_alive(&self, form: Option<CopyForm>) -> HubAnswer {
        match self.store.succession(form).await {
            Ok(succession) if succession.standing.is_none_or(|standing| standing.is_outdated) => {
                HubAnswer::SendAll
            }
            Ok(_) => HubAnswer::Accepted,
            Err(error) => HubAnswer::Later(error.to_string()),
        }
    }

    async fn greet(&self, greeting: &SiteGreeting, known: &mut Known, is_second: bool) -> HubAnswer {
        let host = one_line(&greeting.host, LONGEST_WORD);
        let form = match skew::judge(greeting, &host) {
            Ok(form) => form,
            Err(reason) => return HubAnswer::Refused(reason),
        };
        let succession = self.store.succession(Some(form.clone())).await;
        let answer = match succession.map(|succession| succession.greet(greeting)) {
            Err(error) => return HubAnswer::Later(error.to_string()),
            // Another database, or an older state of this one, is more to know than that there are two.
            Ok(verdict) => match self.answer(verdict, &host) {
                HubAnswer::Continue(_) | HubAnswer::SendAll if is_second => self.refuse_second(&host),
                answer => answer,
            },
        };
        if !matches!(answer, HubAnswer::Refused(_)) {
            known.form = Some(form);
            known.context.version = Some(one_line(&greeting.version, LONGEST_WORD));
            known.context.host = Some(host);
            self.save(&known.context).await;
        }
        answer
    }

    fn refuse_second(&self, host: &str) -> HubAnswer {
        let site = &self.name;
        HubAnswer::Refused(format!(
            "{host} reports as {site} while another appliance does, with the same database: one of the two has a copy of \
             the other's card. Remove the database of the second one and give it credentials of its own: portscan hub \
             enrol NAME"
        ))
    }

    fn answer(&self, verdict: SuccessionVerdict, host: &str) -> HubAnswer {
        let site = &self.name;
        match verdict {
            SuccessionVerdict::Continues(pass) => HubAnswer::Continue(pass),
            SuccessionVerdict::StartsAnew | SuccessionVerdict::NothingHere => HubAnswer::SendAll,
            SuccessionVerdict::OtherDatabase => HubAnswer::Refused(format!(
                "{host} reports as {site} with another database than the one whose data the hub has. If it replaces the \
                 appliance of before, run at the hub: portscan hub adopt {site}. If it is another site, give it \
                 credentials of its own: portscan hub enrol NAME"
            )),
            SuccessionVerdict::Forked => HubAnswer::Refused(format!(
                "{host} reports as {site} with an older state of its database than the hub has: it is a copy of another \
                 appliance's card, or an older backup was restored. If it is a second appliance, remove its database \
                 and give it credentials of its own: portscan hub enrol NAME. If it is the only one, run at the hub: \
                 portscan hub adopt {site}"
            )),
        }
    }

    async fn apply(&self, batch: Batch, form: CopyForm) -> HubAnswer {
        let mut pass = Pass::default();
        if let Err(error) = getrandom::fill(&mut pass) {
            return HubAnswer::Later(format!("no random numbers: {error}"));
        }
        let (is_last, epoch) = (batch.is_last, batch.epoch);
        match self.store.apply_batch(batch, pass, form).await {
            Ok(Applied::Committed) => {
                let state = if is_last { SiteState::Current } else { SiteState::CatchingUp };
                self.status.send_modify(|status| status.state = state);
                replace_if_new(&self.whole, is_last.then_some(epoch));
                HubAnswer::Committed(pass)
            }
            Ok(Applied::NotNext(verdict)) => self.answer(verdict, "an appliance"),
            Ok(Applied::Malformed(reason)) => HubAnswer::Refused(format!(
                "a batch of {} is none of this version's schema ({reason}); upgrade portscan at both ends",
                self.name
            )),
            Ok(Applied::Unreadable(reason)) => HubAnswer::Refused(format!(
                "a value in a batch of {0} cannot be read ({reason}), so nothing of the batch is stored. If portscan is \
                 the same at both ends, the database of {0} is damaged: restore a backup there, then run at the hub: \
                 portscan hub adopt {0}",
                self.name
            )),
            Ok(Applied::TooLarge) => {
                HubAnswer::Later("the copy has reached its largest size, 2 GiB".to_owned())
            }
            Err(error) => HubAnswer::Later(error.to_string()),
        }
    }

    async fn keep(&self, context: SiteContext, known: &mut CopiedContext) -> HubAnswer {
        if context.config.len() > LONGEST_CONFIG {
            return HubAnswer::Refused(format!(
                "the site's configuration is longer than {LONGEST_CONFIG} bytes; shorten it there"
            ));
        }
        let bounded = |sentences: Vec<String>| {
            sentences.iter().take(SENTENCES).map(|text| one_line(text, LONGEST_SENTENCE)).collect()
        };
        let SiteContext { config, problems, notices } = context;
        known.context = SiteContext { config, problems: bounded(problems), notices: bounded(notices) };
        self.save(known).await;
        let text = known.context.config.clone();
        // On a thread of its own: the sites' other messages are handled on this one.
        if let Ok(config) = spawn_blocking(move || Config::from_site(&text)).await {
            self.config.send_replace(Arc::new(config));
        }
        let problems = shown(known).problems;
        self.status.send_modify(|status| status.problems = problems);
        HubAnswer::Accepted
    }

    async fn save(&self, known: &CopiedContext) {
        let (dir, saved) = (self.dir.clone(), known.clone());
        let written = spawn_blocking(move || copied_context::write(&dir, &saved)).await;
        if let Err(error) = written.unwrap_or_else(|_| Err(io::Error::other("the hub is stopping"))) {
            tracing::warn!(site = %self.name, %error, "what a site says of itself is lost when the hub restarts");
        }
        let SiteStatus { version, host, notices, .. } = shown(known);
        self.status.send_modify(|status| {
            (status.version, status.host, status.notices) = (version, host, notices);
        });
    }
}

fn busy() -> HubAnswer {
    HubAnswer::Later("the hub still works on the message before".to_owned())
}

/// Whether the site was heard lately. A clock that was set back makes it fresh for as long, which the next message ends.
fn is_fresh(status: &SiteStatus, now: Timestamp) -> bool {
    let limit = SignedDuration::try_from(SILENT_AFTER).unwrap_or(SignedDuration::MAX);
    status.heard.is_some_and(|heard| now.duration_since(heard).abs() <= limit)
}

fn is_known(known: &CopiedContext) -> bool {
    known.host.is_some()
}

fn shown(known: &CopiedContext) -> SiteStatus {
    SiteStatus {
        version: known.version.clone(),
        host: known.host.clone(),
        problems: known.context.problems.clone(),
        notices: skew::notice(known.version.as_deref())
            .into_iter()
            .chain(known.context.notices.clone())
            .collect(),
        ..SiteStatus::default()
    }
}

/// When the copy was last written.
fn modified(dir: &Path) -> Option<Timestamp> {
    let name = store::FILE_NAME;
    let times = [name.to_owned(), format!("{name}-wal")].map(|name| {
        let modified = dir.join(name).metadata().and_then(|data| data.modified()).ok();
        modified.and_then(|time| Timestamp::try_from(time).ok())
    });
    times.into_iter().flatten().max()
}
