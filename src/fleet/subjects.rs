//! The subjects on which messages are published (NATS, "Subject-Based Messaging"). A site's credentials allow its own
//! alone.

use super::{
    SiteName, WorkerName,
    work::{JobName, Pool},
};

/// All that sites send to the hub.
pub const FROM_SITES: &str = "ps.up.*";

/// What a site sends to the hub: a [`SiteMessage`](super::SiteMessage), answered by a [`HubAnswer`](super::HubAnswer).
pub fn to_hub(site: &SiteName) -> String {
    format!("ps.up.{site}")
}

/// All that the hub sends to sites.
pub const TO_SITES: &str = "ps.down.*";

/// What the hub sends to a site: a [`ForwardedRequest`](super::ForwardedRequest), answered by a
/// [`ForwardedAnswer`](super::ForwardedAnswer).
pub fn to_site(site: &SiteName) -> String {
    format!("ps.down.{site}")
}

/// The prefix of the subjects on which a site gets answers.
pub fn inbox_of_site(site: &SiteName) -> String {
    format!("_INBOX.site.{site}")
}

/// All subjects on which sites get answers.
pub const INBOXES_OF_SITES: &str = "_INBOX.site.*.>";

/// Whether the hub may answer a message of a site's on this subject. The broker checks on which subject a site publishes,
/// but not where it wants the answer: a site could name another one's, and have the hub send what that one takes for the
/// hub's own message.
pub fn is_inbox_of_site(subject: &str, site: &SiteName) -> bool {
    is_below(subject, &inbox_of_site(site))
}

/// Whether a subject, which is no pattern, begins with these parts and has more.
fn is_below(subject: &str, parts: &str) -> bool {
    let token = subject.strip_prefix(parts).and_then(|rest| rest.strip_prefix('.'));
    token.is_some_and(|token| token.split('.').all(|part| !part.is_empty() && !matches!(part, "*" | ">")))
}

/// The prefix of the subjects on which the hub gets answers.
pub const INBOX_OF_HUB: &str = "_INBOX.hub";

/// The site that has sent a message on this subject.
pub fn sender(subject: &str) -> Option<SiteName> {
    subject.strip_prefix("ps.up.")?.parse().ok()
}

/// The stream of JetStream that has all queues of shards.
pub const QUEUES: &str = "PS_WORK";

/// All shards.
pub const ALL_SHARDS: &str = "ps.work.>";

/// Where a shard is published: a [`Shard`](super::work::Shard).
pub fn shard(pool: &Pool, job: &JobName) -> String {
    format!("ps.work.{}.{job}", pool.token())
}

/// The shards of a scan, in whatever queue.
pub fn shards_of_job(job: &JobName) -> String {
    format!("ps.work.*.{job}")
}

/// The shards in a pool's queue.
pub fn shards_of(pool: &Pool) -> String {
    format!("ps.work.{}.*", pool.token())
}

/// Where a scan asks which workers are there.
pub const CALL: &str = "ps.call";

/// Where a worker says that it is there: an [`WorkerAnnouncement`](super::work::WorkerAnnouncement).
pub fn announcement(worker: &WorkerName) -> String {
    format!("ps.worker.{worker}")
}

/// What all workers announce.
pub const ANNOUNCEMENTS: &str = "ps.worker.*";

/// The worker that has sent an announcement on this subject.
pub fn announcer(subject: &str) -> Option<WorkerName> {
    subject.strip_prefix("ps.worker.")?.parse().ok()
}

/// Where a worker reports: a [`WorkerReport`](super::work::WorkerReport), answered by a
/// [`JobAnswer`](super::work::JobAnswer).
pub fn report(job: &JobName, worker: &WorkerName) -> String {
    format!("ps.job.{job}.{worker}")
}

/// What a worker may report to any scan.
pub fn reports_by(worker: &WorkerName) -> String {
    format!("ps.job.*.{worker}")
}

/// What all workers report.
pub const REPORTS: &str = "ps.job.*.*";

/// The scan that a report on this subject is for, and the worker that has sent it.
pub fn reporter(subject: &str) -> Option<(JobName, WorkerName)> {
    let (job, worker) = subject.strip_prefix("ps.job.")?.split_once('.')?;
    Some((job.parse().ok()?, worker.parse().ok()?))
}

/// Where a scan that is to begin asks whether another one is in progress: its [`JobName`].
pub const BUSY: &str = "ps.busy";

/// The prefix of the subjects on which a worker gets shards and answers.
pub fn inbox_of_worker(worker: &WorkerName) -> String {
    format!("_INBOX.worker.{worker}")
}

/// All subjects on which workers get answers.
pub const INBOXES_OF_WORKERS: &str = "_INBOX.worker.*.>";

/// Whether a scan may answer a worker's report on this subject; see [`is_inbox_of_site`].
pub fn is_inbox_of_worker(subject: &str, worker: &WorkerName) -> bool {
    is_below(subject, &inbox_of_worker(worker))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sender_is_the_one_that_the_broker_lets_publish() {
        let site: SiteName = "house-3".parse().unwrap();
        assert_eq!(sender(&to_hub(&site)), Some(site));
        assert_eq!(sender("ps.up.house-3.more"), None);
        assert_eq!(sender("ps.down.house-3"), None);
    }

    #[test]
    fn a_worker_is_the_one_that_the_broker_lets_publish() {
        let (job, worker) = (JobName::generate().unwrap(), "w-1".parse::<WorkerName>().unwrap());
        assert_eq!(reporter(&report(&job, &worker)), Some((job, worker.clone())));
        assert_eq!(reporter("ps.job.0123456789abcdef.w-1.more"), None);
        assert_eq!(announcer(&announcement(&worker)), Some(worker.clone()));
        assert!(is_inbox_of_worker("_INBOX.worker.w-1.x.7", &worker));
        assert!(!is_inbox_of_worker("_INBOX.worker.w-12.x", &worker));
    }

    #[test]
    fn a_site_is_answered_in_its_own_inbox_alone() {
        let site: SiteName = "house-3".parse().unwrap();
        for subject in ["_INBOX.site.house-3.a", "_INBOX.site.house-3.a.7"] {
            assert!(is_inbox_of_site(subject, &site), "{subject}");
        }
        for subject in [
            "_INBOX.site.house-3",
            "_INBOX.site.house-3.",
            "_INBOX.site.house-3..a",
            "_INBOX.site.house-3.>",
            "_INBOX.site.house-33.a",
            "_INBOX.site.house-4.a",
            "_INBOX.hub.a",
            "ps.down.house-3",
            "",
        ] {
            assert!(!is_inbox_of_site(subject, &site), "{subject}");
        }
    }
}
