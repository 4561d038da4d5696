//! The runner's interface: list the runs in progress, start one, stop one.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::{
    Running,
    live::{Live, LookView, RunCounts},
};
use crate::{
    model::ScanId,
    service::agenda::{Order, OrderError, RunId, RunProgress},
};

/// The limit of requests that wait for the runner.
const QUEUE: usize = 16;

/// The handle to the runner; all clones refer to the same one.
#[derive(Clone, Debug)]
pub struct Runs {
    requests: mpsc::Sender<RunRequest>,
    live: Live,
}

/// The runner's end: the queue from which it takes requests, and where it publishes what is in progress.
#[derive(Debug)]
pub struct Requests {
    queue: mpsc::Receiver<RunRequest>,
    pub(super) live: Live,
}

type Answer<T> = oneshot::Sender<Result<T, RunError>>;

#[derive(Debug)]
pub(super) enum RunRequest {
    Start(Order, Answer<Vec<Started>>),
    Stop(ScanId, Answer<bool>),
    UnderWay(Answer<Vec<RunView>>),
}

/// A run that was started, or was in progress already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// The id of its scan.
    pub id: ScanId,
    /// Its scanner's name.
    pub scanner: String,
}

/// A run in progress, or one of which the store does not have all results yet.
#[derive(Clone, Debug, PartialEq)]
pub struct RunView {
    /// Its progress.
    pub counts: RunCounts,
    /// Ports per second since it was begun or resumed; 0 before the first verdict.
    pub rate: f64,
    /// The time since it was begun, or resumed.
    pub elapsed: Duration,
    /// The time that it will still take at this rate; `None` before the first verdict.
    pub left: Option<Duration>,
    /// The devices that it scans now, and those with results that the store does not have yet.
    pub looks: Vec<LookView>,
}

/// Why the runner refuses a request.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The agenda refuses the order.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// The wall clock would date its scan wrongly.
    #[error("the clock has not been set yet; scanning waits for it, 5 minutes at most: try again later")]
    NoClock,
    /// The store refused it.
    #[error("the scan could not be opened in the database; the log says why")]
    Unopened,
    /// The runner has ended.
    #[error("the appliance is stopping; try again when it is back")]
    Stopping,
}

/// Creates the two ends of the queue: one for clients, one for [`Runner`](super::Runner).
pub fn runs() -> (Runs, Requests) {
    let (requests, queue) = mpsc::channel(QUEUE);
    let live = Live::default();
    (Runs { requests, live: live.clone() }, Requests { queue, live })
}

impl Runs {
    /// Starts what is ordered, and returns the ids once the store has opened the scans.
    ///
    /// # Errors
    /// Fails if nothing was started.
    pub async fn start(&self, order: Order) -> Result<Vec<Started>, RunError> {
        self.ask(|answer| RunRequest::Start(order, answer)).await
    }

    /// Ends a run early, and returns whether it was in progress.
    ///
    /// # Errors
    /// Fails if the runner has ended.
    pub async fn stop(&self, scan: ScanId) -> Result<bool, RunError> {
        self.ask(|answer| RunRequest::Stop(scan, answer)).await
    }

    /// Returns the state of the runs in progress that is not in the store yet. Returns at once, whatever the runner
    /// does.
    pub fn live(&self) -> &Live {
        &self.live
    }

    /// Returns the runs in progress that have an id, oldest first.
    ///
    /// # Errors
    /// Fails if the runner has ended.
    pub async fn under_way(&self) -> Result<Vec<RunView>, RunError> {
        self.ask(RunRequest::UnderWay).await
    }

    async fn ask<T>(&self, request: impl FnOnce(Answer<T>) -> RunRequest) -> Result<T, RunError> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(request(answer)).await.map_err(|_| RunError::Stopping)?;
        answered.await.map_err(|_| RunError::Stopping)?
    }
}

impl Requests {
    pub(super) async fn next(&mut self) -> Option<RunRequest> {
        self.queue.recv().await
    }

    /// Answers all requests as a runner that has not begun, until no handle is left: for a database that is only read,
    /// where no run is ever in progress.
    pub async fn refuse_all(mut self) {
        while let Some(request) = self.next().await {
            request.refuse();
        }
    }
}

impl RunRequest {
    /// Answers a request before the runner has begun.
    pub(super) fn refuse(self) {
        // The receiver may be gone, here and below.
        match self {
            Self::Start(_, answer) => drop(answer.send(Err(RunError::NoClock))),
            Self::Stop(_, answer) => drop(answer.send(Ok(false))),
            Self::UnderWay(answer) => drop(answer.send(Ok(Vec::new()))),
        }
    }
}

/// A request that waits for the ids of its runs.
#[derive(Debug)]
pub(super) struct PendingStart {
    runs: Vec<RunId>,
    answer: Answer<Vec<Started>>,
}

impl Running {
    pub(super) fn serve(&mut self, request: RunRequest) {
        match request {
            RunRequest::Start(_, answer) if answer.is_closed() => {}
            RunRequest::Start(order, answer) => match self.agenda.order(&order, &self.parts.times()) {
                Ok((runs, actions)) => {
                    tracing::info!(?order, "run requested");
                    actions.into_iter().for_each(|action| self.act(action));
                    self.waiting.push(PendingStart { runs, answer });
                    self.answer_started();
                }
                Err(error) => drop(answer.send(Err(error.into()))),
            },
            RunRequest::Stop(scan, answer) => {
                let stopped = self.agenda.stop(scan, self.parts.clock.now());
                if stopped {
                    tracing::info!(scan = scan.0, "scan stopped on request");
                }
                drop(answer.send(Ok(stopped)));
            }
            RunRequest::UnderWay(answer) => {
                drop(answer.send(Ok(self.views())));
            }
        }
    }

    /// Returns the runs that have an id, oldest first.
    fn views(&self) -> Vec<RunView> {
        let looks = self.live().looks();
        let runs = self.agenda.runs_under_way(self.parts.clock.now());
        let views = runs.into_iter().filter_map(|run| {
            let id = run.scan?;
            Some(view(&run, id, looks.iter().filter(|look| look.scan == id).cloned().collect()))
        });
        views.collect()
    }

    /// Publishes the progress of the runs.
    pub(super) fn publish_runs(&self) {
        self.live().publish(self.views().into_iter().map(|run| run.counts).collect());
    }

    pub(super) fn live(&self) -> &Live {
        &self.parts.requests.live
    }

    /// Answers the requests for which every run has its id, or has ended without one.
    pub(super) fn answer_started(&mut self) {
        let under_way = self.agenda.runs_under_way(self.parts.clock.now());
        for PendingStart { runs, answer } in std::mem::take(&mut self.waiting) {
            let mut started = Vec::with_capacity(runs.len());
            for run in &runs {
                match under_way.iter().find(|progress| progress.run == *run) {
                    Some(RunProgress { scan: Some(id), scanner, .. }) => {
                        started.push(Ok(Some(Started { id: *id, scanner: scanner.clone() })));
                    }
                    Some(_) => started.push(Ok(None)),
                    None => started.push(Err(RunError::Unopened)),
                }
            }
            match started.into_iter().collect::<Result<Option<Vec<Started>>, RunError>>() {
                Ok(Some(all)) => drop(answer.send(Ok(all))),
                Ok(None) => self.waiting.push(PendingStart { runs, answer }),
                Err(error) => drop(answer.send(Err(error))),
            }
        }
    }
}

/// Returns a run with what is known of its looks.
fn view(run: &RunProgress, id: ScanId, looks: Vec<LookView>) -> RunView {
    let (ended, in_progress): (Vec<_>, Vec<_>) = looks.iter().partition(|look| look.has_ended);
    let ports_done = run.ports_done + in_progress.iter().map(|look| u64::from(look.settled)).sum::<u64>();
    let counts = RunCounts {
        id,
        hosts_done: run.hosts_done.saturating_sub(ended.len()),
        hosts: run.hosts,
        ports_done,
        ports: run.ports,
    };
    let seconds = run.elapsed.as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a rate is told to three digits")]
    let (done, all) = (ports_done as f64, run.ports as f64);
    let rate = if seconds > 0.0 { done / seconds } else { 0.0 };
    let left = (rate > 0.0).then(|| Duration::try_from_secs_f64((all - done).max(0.0) / rate).ok()).flatten();
    RunView { counts, rate, elapsed: run.elapsed, left, looks }
}
