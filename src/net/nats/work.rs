//! The connections of a scan that workers share: the command's, and a worker's.
//!
//! Shards are in queues that the broker keeps (JetStream), so that one whose worker has died goes to another. Nothing
//! depends on their being kept: the command puts those in again that are lost. All else are requests, as between a site
//! and its hub.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use async_nats::{
    Client, Subscriber,
    connection::State,
    jetstream::{
        self, AckKind, Context,
        consumer::{AckPolicy, PullConsumer, pull},
        message::PublishMessage,
        stream::{DiscardPolicy, RetentionPolicy, StorageType},
    },
};
use futures_util::StreamExt;
use tokio::{sync::watch, time::timeout};

use super::{Answering, BrokerAccess, BrokerError, CONNECTING, LastReport, Missing, connect, request};
use crate::{
    clock::Clock,
    fleet::{
        MessageError, WorkerName, decode, encode, subjects,
        work::{
            JobAnswer, JobName, LEASE, NETWORKS, Pool, SHARD_HOSTS, Shard, WorkerAnnouncement, WorkerReport,
        },
    },
    model::one_line,
};

/// How long the broker may take to do something with a queue.
const QUEUE_ANSWER: Duration = Duration::from_secs(5);

/// How long another scan may take to say that it is in progress.
const TO_SAY_BUSY: Duration = Duration::from_secs(1);

/// How long the command may take to answer a report.
const REPORT_ANSWER: Duration = Duration::from_secs(10);

/// How long a worker waits for a shard before it asks again.
const WAIT_FOR_SHARD: Duration = Duration::from_secs(20);

/// The bytes of all queues: some hundred thousand hosts.
const QUEUES_BYTES: i64 = 256 << 20;

/// What a command that died has left is of no use after this time; the queue of a network that is no longer scanned
/// goes then, too.
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// Why the broker's queues cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// There is no connection.
    #[error("the broker cannot be reached: {0}; start nats-server, and see what its log says")]
    NoBroker(String),
    /// It has no JetStream.
    #[error(
        "the broker keeps no queues: its configuration, nats-server.conf in the hub's directory, has no section jetstream; \
         add it, as docs/fleet.md says, and restart the broker"
    )]
    NoQueues,
    /// The broker's users were written by an earlier version.
    #[error(
        "the broker does not let this command use its queues; have its users written anew, by portscan hub enrol --worker"
    )]
    NotAllowed,
    /// Another scan uses the queues.
    #[error("the workers do another scan, {0}; wait for its end")]
    Busy(String),
    /// Something else.
    #[error("the broker's queues fail: {0}")]
    Failed(String),
}

/// The connection of the command that has workers scan. It has the hub's credentials.
pub struct JobConnection {
    client: Client,
    queues: Context,
    report: LastReport,
}

/// A report as it arrives.
pub struct ReceivedReport {
    /// The worker, as the broker has proven it.
    pub worker: WorkerName,
    /// The report, or why it cannot be read.
    pub report: Result<WorkerReport, MessageError>,
    /// Where the answer goes.
    pub answering: Answering,
}

/// What a scan receives.
pub struct FromWorkers {
    client: Client,
    job: JobName,
    reports: Subscriber,
    announcements: Subscriber,
    busy: Subscriber,
}

/// One message of it.
pub enum FromWorker {
    /// A worker's report.
    Report(ReceivedReport),
    /// A worker says that it is there.
    Announcement(WorkerName, WorkerAnnouncement),
}

impl JobConnection {
    /// Connects.
    ///
    /// # Errors
    /// The credentials cannot be used.
    pub async fn open(access: &BrokerAccess, clock: Arc<dyn Clock>) -> Result<Self, BrokerError> {
        let (client, report) = connect(access, subjects::INBOX_OF_HUB.to_owned(), clock).await?;
        let mut seen = report.said.subscribe();
        let _ = timeout(CONNECTING, seen.wait_for(Option::is_none)).await;
        Ok(Self { queues: context(&client), client, report })
    }

    /// Takes the queues for this scan, empties them, and has workers say that they are there. Takes a second.
    ///
    /// # Errors
    /// There is no broker, it has no queues, or another scan has them.
    pub async fn begin(&self, job: JobName) -> Result<FromWorkers, QueueError> {
        if self.client.connection_state() != State::Connected {
            return Err(QueueError::NoBroker(self.report.text()));
        }
        let mut received = FromWorkers {
            client: self.client.clone(),
            job,
            busy: self.subscribe(subjects::BUSY).await?,
            reports: self.subscribe(subjects::REPORTS).await?,
            announcements: self.subscribe(subjects::ANNOUNCEMENTS).await?,
        };
        self.ask_whether_busy(&mut received).await?;
        self.make_stream().await?;
        self.purge(subjects::ALL_SHARDS.to_owned()).await?;
        let called = self.client.publish(subjects::CALL, Vec::new().into()).await;
        called.map_err(|error| self.explain(&error.to_string()))?;
        Ok(received)
    }

    /// Of two scans that ask at once, the one with the smaller name has the queues.
    async fn ask_whether_busy(&self, received: &mut FromWorkers) -> Result<(), QueueError> {
        let inbox = self.client.new_inbox();
        let mut answers = self.subscribe(&inbox).await?;
        let asked = self.client.publish_with_reply(subjects::BUSY, inbox, encode(&received.job).into()).await;
        asked.map_err(|error| self.explain(&error.to_string()))?;
        let asking = async {
            loop {
                tokio::select! {
                    answer = answers.next() => return answer.and_then(|answer| decode::<JobName>(&answer.payload).ok()),
                    question = received.busy.next() => {
                        let question = question?;
                        let other = decode::<JobName>(&question.payload).ok();
                        if other.is_some_and(|other| received.job < other) {
                            received.say_busy(question).await;
                        }
                    }
                }
            }
        };
        match timeout(TO_SAY_BUSY, asking).await {
            Ok(other) => Err(QueueError::Busy(other.map_or_else(String::new, |job| job.to_string()))),
            Err(_) => Ok(()),
        }
    }

    async fn subscribe(&self, subject: &str) -> Result<Subscriber, QueueError> {
        let subscriber = self.client.subscribe(subject.to_owned()).await;
        subscriber.map_err(|error| self.explain(&error.to_string()))
    }

    async fn make_stream(&self) -> Result<(), QueueError> {
        let config = jetstream::stream::Config {
            name: subjects::QUEUES.to_owned(),
            subjects: vec![subjects::ALL_SHARDS.to_owned()],
            retention: RetentionPolicy::WorkQueue,
            storage: StorageType::File,
            discard: DiscardPolicy::New,
            max_bytes: QUEUES_BYTES,
            max_age: KEPT,
            ..jetstream::stream::Config::default()
        };
        let made = self.queues.get_or_create_stream(config).await;
        made.map(drop).map_err(|error| self.explain(&error.to_string()))
    }

    /// Makes the queues of these pools, unless they are there: a broker that has lost its disk has none.
    ///
    /// # Errors
    /// The broker does not.
    pub async fn make_queues(&self, pools: &BTreeSet<Pool>) -> Result<(), QueueError> {
        self.make_stream().await?;
        for pool in pools {
            let config = pull::Config {
                durable_name: Some(pool.token()),
                filter_subject: subjects::shards_of(pool),
                ack_policy: AckPolicy::Explicit,
                ack_wait: LEASE,
                inactive_threshold: KEPT,
                ..pull::Config::default()
            };
            let made = self.queues.create_consumer_on_stream(config, subjects::QUEUES).await;
            made.map_err(|error| self.explain(&error.to_string()))?;
        }
        Ok(())
    }

    /// Puts a shard into its queue. The same shard and attempt is put there once.
    ///
    /// # Errors
    /// The broker has not confirmed that it has it.
    pub async fn put(&self, pool: &Pool, shard: &Shard) -> Result<(), QueueError> {
        let id = format!("{}/{}/{}", shard.job, shard.id.number, shard.id.attempt);
        let message = PublishMessage::build().payload(encode(shard).into()).message_id(id);
        let failed = |error: jetstream::context::PublishError| self.explain(&error.to_string());
        let sent = self.queues.send_publish(subjects::shard(pool, &shard.job), message).await;
        sent.map_err(failed)?.await.map(drop).map_err(failed)
    }

    /// How many shards a pool's queue has, those that workers have taken included.
    ///
    /// # Errors
    /// The broker does not say.
    pub async fn queued(&self, pool: &Pool) -> Result<u64, QueueError> {
        let queue: Result<PullConsumer, _> =
            self.queues.get_consumer_from_stream(pool.token(), subjects::QUEUES).await;
        let queue = queue.map_err(|error| self.explain(&error.to_string()))?;
        let known = queue.cached_info();
        Ok(known.num_pending.saturating_add(known.num_ack_pending as u64))
    }

    /// Takes all shards of a scan out of the queues.
    ///
    /// # Errors
    /// The broker does not.
    pub async fn empty(&self, job: &JobName) -> Result<(), QueueError> {
        self.purge(subjects::shards_of_job(job)).await
    }

    async fn purge(&self, subject: String) -> Result<(), QueueError> {
        let stream = self.queues.get_stream_no_info(subjects::QUEUES).await;
        let stream = stream.map_err(|error| self.explain(&error.to_string()))?;
        stream.purge().filter(subject).await.map(drop).map_err(|error| self.explain(&error.to_string()))
    }

    /// What a failure means, by what the broker has said of it (nats-server, "errors.go").
    fn explain(&self, error: &str) -> QueueError {
        let said = self.report.said.borrow().clone().unwrap_or_default();
        if said.to_ascii_lowercase().contains("permissions violation") {
            QueueError::NotAllowed
        } else if self.client.connection_state() != State::Connected {
            QueueError::NoBroker(self.report.text())
        } else if ["no responders", "not enabled", "unavailable"].iter().any(|words| error.contains(words)) {
            QueueError::NoQueues
        } else {
            QueueError::Failed(one_line(error, 200))
        }
    }
}

impl FromWorkers {
    /// Waits for the next message that can be read. `None`: the connection is closed. Cancel-safe.
    pub async fn next(&mut self) -> Option<FromWorker> {
        loop {
            tokio::select! {
                message = self.announcements.next() => {
                    let message = message?;
                    let Some(worker) = subjects::announcer(&message.subject) else { continue };
                    match decode::<WorkerAnnouncement>(&message.payload) {
                        Ok(announcement) if announcement.networks.len() > NETWORKS => {
                            tracing::warn!(%worker, most = NETWORKS, "a worker announces too many networks; ignored");
                        }
                        Ok(announcement) => return Some(FromWorker::Announcement(worker, announcement)),
                        Err(error) => tracing::warn!(%worker, %error, "the announcement of a worker cannot be read"),
                    }
                }
                question = self.busy.next() => {
                    let question = question?;
                    self.say_busy(question).await;
                }
                message = self.reports.next() => {
                    if let Some(report) = self.read(message?).await {
                        return Some(FromWorker::Report(report));
                    }
                }
            }
        }
    }

    async fn read(&self, message: async_nats::Message) -> Option<ReceivedReport> {
        let reply = message.reply?;
        let (job, worker) = subjects::reporter(&message.subject)?;
        // The broker does not check it: a worker could have this command speak to another one.
        if !subjects::is_inbox_of_worker(&reply, &worker) {
            let subject = one_line(&reply, 200);
            tracing::warn!(%worker, %subject, "a worker wants its answer on a subject of another; ignored");
            return None;
        }
        let answering = Answering { client: self.client.clone(), subject: reply.to_string() };
        if job != self.job {
            // Its command was killed, and this one has the workers now.
            answering.answer(&JobAnswer::Drop).await;
            return None;
        }
        Some(ReceivedReport { worker, report: decode(&message.payload), answering })
    }

    /// Tells another command, or this one's own question, that the workers have a scan to do.
    async fn say_busy(&self, question: async_nats::Message) {
        let Some(reply) = question.reply else { return };
        if decode::<JobName>(&question.payload).is_ok_and(|job| job != self.job) {
            let answering = Answering { client: self.client.clone(), subject: reply.to_string() };
            answering.answer(&self.job).await;
        }
    }
}

/// A worker's connection.
#[derive(Clone)]
pub struct WorkerConnection {
    client: Client,
    queues: Context,
    worker: WorkerName,
    report: LastReport,
}

/// A shard that a worker has taken.
pub struct ShardDelivery {
    /// The shard, or why it cannot be read.
    pub shard: Result<Shard, MessageError>,
    /// How often the queue has handed it out.
    pub delivery: u32,
    message: jetstream::Message,
}

/// Why a report has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportFailure {
    /// The command that asked has ended, or is cut off.
    NoCommand,
    /// The broker or the answer is missing: the same again may succeed.
    Again,
}

impl WorkerConnection {
    /// Connects, in the background.
    ///
    /// # Errors
    /// The credentials cannot be used.
    pub async fn open(
        access: &BrokerAccess,
        worker: WorkerName,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, BrokerError> {
        let (client, report) = connect(access, subjects::inbox_of_worker(&worker), clock).await?;
        Ok(Self { queues: context(&client), client, worker, report })
    }

    /// Waits until there is another reason why the broker cannot be used, and returns it; `None`: it can be.
    pub async fn next_trouble(&self, seen: &mut watch::Receiver<Option<String>>) -> Option<String> {
        // The sender is this connection's own.
        let _ = seen.changed().await;
        let said = seen.borrow_and_update().clone()?;
        let says = |words: &str| said.to_ascii_lowercase().contains(words);
        Some(match said {
            _ if says("authorization violation") => {
                "it does not accept this worker's certificate, which was revoked or is of another hub; enrol the worker \
                 again at the hub, by portscan hub enrol --worker, and copy its new certificate here"
                    .to_owned()
            }
            _ if says("permissions violation") => format!(
                "it does not let this worker work as {0}: its certificate is another one's; write that one's name, or copy \
                 the certificate of {0} here",
                self.worker
            ),
            said => said,
        })
    }

    /// What the broker has said so far, for [`next_trouble`](Self::next_trouble).
    pub fn trouble(&self) -> watch::Receiver<Option<String>> {
        self.report.said.subscribe()
    }

    /// Returns the calls of commands that look for workers.
    ///
    /// # Errors
    /// The connection is closed.
    pub async fn calls(&self) -> Result<Subscriber, BrokerError> {
        self.client.subscribe(subjects::CALL).await.map_err(|_| BrokerError::Closed)
    }

    /// Waits until the broker has all that was sent.
    pub async fn flush(&self) {
        // A broker that is away has no requests of this worker either.
        let _ = timeout(QUEUE_ANSWER, self.client.flush()).await;
    }

    /// Says that it is there.
    pub async fn announce(&self, announcement: &WorkerAnnouncement) {
        if self.client.connection_state() == State::Connected {
            let subject = subjects::announcement(&self.worker);
            // If it is lost, the next one follows soon.
            let _ = self.client.publish(subject, encode(announcement).into()).await;
        }
    }

    /// Waits for a shard from a pool's queue. `None`: there was none within 20 s, or there is no such queue.
    pub async fn next_shard(&self, pool: &Pool) -> Option<ShardDelivery> {
        if self.client.connection_state() != State::Connected {
            return None;
        }
        let queue: PullConsumer =
            self.queues.get_consumer_from_stream(pool.token(), subjects::QUEUES).await.ok()?;
        let mut batch = queue.batch().max_messages(1).expires(WAIT_FOR_SHARD).messages().await.ok()?;
        let message = batch.next().await?.ok()?;
        let delivery = message.info().ok().and_then(|info| u32::try_from(info.delivered).ok())?;
        let shard = decode::<Shard>(&message.payload).and_then(|shard| {
            let fits = shard.hosts.len() <= SHARD_HOSTS;
            let too_many = || MessageError::Damaged(format!("it has more than {SHARD_HOSTS} hosts"));
            if fits { Ok(shard) } else { Err(too_many()) }
        });
        Some(ShardDelivery { shard, delivery, message })
    }

    /// Reports, and returns the answer.
    ///
    /// # Errors
    /// There is none.
    pub async fn report(&self, job: &JobName, report: &WorkerReport) -> Result<JobAnswer, ReportFailure> {
        let subject = subjects::report(job, &self.worker);
        match request(&self.client, subject, encode(report), REPORT_ANSWER).await {
            Ok(bytes) => decode(&bytes).map_err(|_| ReportFailure::Again),
            Err(Missing::Responder) => Err(ReportFailure::NoCommand),
            Err(Missing::Connection | Missing::Answer) => Err(ReportFailure::Again),
        }
    }
}

impl ShardDelivery {
    /// Renews the lease. Returns whether the queue has confirmed it.
    pub async fn renew(&self) -> bool {
        self.message.double_ack_with(AckKind::Progress).await.is_ok()
    }

    /// Takes the shard out of the queue.
    pub async fn finish(&self) {
        // If it is lost, the shard comes again, and the command says that it is finished.
        let _ = self.message.double_ack().await;
    }

    /// Puts the shard back, for another worker, at once or after a while.
    pub async fn give_back(&self, after: Option<Duration>) {
        // If it is lost, the lease ends.
        let _ = self.message.double_ack_with(AckKind::Nak(after)).await;
    }
}

fn context(client: &Client) -> Context {
    let mut context = jetstream::new(client.clone());
    context.set_timeout(QUEUE_ANSWER);
    context
}
