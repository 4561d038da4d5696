//! What the machine allows the appliance to do, and what it lacks.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use hyper::StatusCode;
use serde::Serialize;
use tokio::{sync::Mutex, task::spawn_blocking};
use utoipa::ToSchema;

use super::Api;
use crate::{
    http::{
        answer::json,
        routes::{Routes, route},
    },
    model::{Diagnosis, DiagnosisState, Moment},
};

/// How long an answer holds: it reads the descriptors of every process, and any client may ask for it.
const FRESH: Duration = Duration::from_secs(10);

pub(super) fn routes() -> Routes<Api> {
    Routes::new().with(route!(doctor))
}

/// Reads and judges the machine; it blocks.
pub type Diagnose = Arc<dyn Fn() -> Vec<Diagnosis> + Send + Sync>;

/// Judges the machine, once for all clients that ask at the same time.
pub(in crate::http) struct Diagnoses {
    diagnose: Diagnose,
    latest: Mutex<Option<(Moment, Arc<DiagnosisBody>)>>,
}

impl Diagnoses {
    pub(in crate::http) fn new(diagnose: Diagnose) -> Self {
        Self { diagnose, latest: Mutex::default() }
    }

    /// The latest answer, or a new one; `None` if that failed.
    async fn get(&self, now: Moment) -> Option<Arc<DiagnosisBody>> {
        // Held meanwhile: further clients wait for the same answer.
        let mut latest = self.latest.lock().await;
        if let Some((at, body)) = &*latest
            && now < *at + FRESH
        {
            return Some(Arc::clone(body));
        }
        let diagnose = Arc::clone(&self.diagnose);
        let body = Arc::new(DiagnosisBody::of(spawn_blocking(move || diagnose()).await.ok()?));
        *latest = Some((now, Arc::clone(&body)));
        Some(body)
    }
}

/// What the machine allows and lacks.
#[derive(Serialize, ToSchema)]
pub struct DiagnosisBody {
    /// The running version.
    version: &'static str,
    /// Whether nothing essential is lacking.
    works: bool,
    /// In the order of their importance to an appliance that does not start.
    findings: Vec<FindingBody>,
}

/// What was found about one thing that the appliance uses.
#[derive(Serialize, ToSchema)]
struct FindingBody {
    /// What it is about.
    subject: &'static str,
    #[schema(value_type = String, example = "lacking")]
    state: DiagnosisState,
    /// Whether the appliance cannot do its work without it.
    essential: bool,
    /// What was found, in one sentence without a full stop.
    detail: String,
    /// The command or line that corrects it.
    mend: Option<String>,
}

impl DiagnosisBody {
    /// The document of these findings.
    pub fn of(findings: Vec<Diagnosis>) -> Self {
        let works = !findings.iter().any(Diagnosis::is_fatal);
        let findings = findings.into_iter().map(FindingBody::of).collect();
        Self { version: env!("CARGO_PKG_VERSION"), works, findings }
    }
}

impl FindingBody {
    fn of(finding: Diagnosis) -> Self {
        let Diagnosis { subject, state, essential, detail, mend } = finding;
        Self { subject, state, essential, detail, mend }
    }
}

/// Returns what this machine allows the appliance to do and what it lacks, as `portscan doctor --json` does. An answer
/// is up to 10 s old.
#[utoipa::path(get, path = "/v1/doctor", tag = "appliance", responses((status = 200, body = DiagnosisBody)))]
async fn doctor(State(api): State<Api>) -> Response {
    match api.diagnoses.get(api.clock.now()).await {
        Some(body) => json(StatusCode::OK, &*body),
        None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn an_answer_is_given_to_all_clients_for_ten_seconds() {
        let made = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&made);
        let diagnoses = Diagnoses::new(Arc::new(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            vec![Diagnosis::ok("clock", "it is right"), Diagnosis::essential("port", "it is held", None)]
        }));
        let at = |seconds| Moment::from_start(Duration::from_secs(seconds));
        for (seconds, expected) in [(5, 1), (14, 1), (15, 2), (24, 2), (25, 3)] {
            let body = diagnoses.get(at(seconds)).await.unwrap();
            assert_eq!(made.load(Ordering::Relaxed), expected, "{seconds} s");
            assert_eq!((body.works, body.findings.len()), (false, 2));
        }
        let both = tokio::join!(diagnoses.get(at(50)), diagnoses.get(at(50)));
        assert!(both.0.is_some() && both.1.is_some());
        assert_eq!(made.load(Ordering::Relaxed), 4, "clients at once get the same answer");
    }
}
