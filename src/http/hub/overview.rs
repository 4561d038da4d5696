//! /v1/sites: every site, what the hub knows of its connection, and how much is there.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    extract::{Request, State},
    response::Response,
};
use futures_util::{StreamExt, stream};
use hyper::StatusCode;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::{Hub, HubSite, SiteBehind, read::Read, selection::SiteSelection};
use crate::{
    clock::Clock,
    fleet::{SiteName, SiteState, SiteStatus},
    http::answer::{Refusal, json},
    model::{AdviceLevel, Moment},
};

/// How long counts hold: for each, all ports of all devices of the site are read, and every open page asks for them.
const FRESH: Duration = Duration::from_secs(10);

/// Sites that are counted at a time.
const AT_ONCE: usize = 4;

/// A site.
#[derive(Serialize)]
struct SiteRow {
    name: SiteName,
    /// `never`, `current`, `catching-up`, `silent` or `refused`.
    state: &'static str,
    /// When the hub last heard from it.
    heard: Option<Timestamp>,
    /// The version of its program.
    version: Option<String>,
    /// The host name of its machine.
    host: Option<String>,
    /// Why its reports are refused, and what mends it.
    refusal: Option<String>,
    problems: Vec<String>,
    notices: Vec<String>,
    /// How many expectations for all sites are not there yet.
    expected_behind: usize,
    /// Why not.
    expected_behind_why: Option<String>,
    #[serde(flatten)]
    counts: SiteCounts,
}

/// What the hub's copy of a site has; `null` each, if it cannot be read.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct SiteCounts {
    /// Devices that have a complete result.
    devices: Option<u64>,
    /// Open ports.
    open: Option<u64>,
    /// Open ports that are not expected.
    rogue: Option<u64>,
    /// Ports that are expected to be open and are not.
    missing: Option<u64>,
    /// Whether the site has a baseline.
    baseline: Option<bool>,
    /// When its latest complete scan ended.
    last_scan: Option<String>,
    /// The gravest level of the advice on its open ports; `null`, too, if there is no advice.
    worst_advice: Option<&'static str>,
    /// Why the counts are missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// The latest counts of each site.
pub(super) struct CountCache {
    clock: Arc<dyn Clock>,
    latest: Mutex<BTreeMap<SiteName, Slot>>,
}

/// The counts of one site, and when they were read. Locked while they are: further clients wait for the same.
type Slot = Arc<tokio::sync::Mutex<Option<(Moment, SiteCounts)>>>;

impl CountCache {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, latest: Mutex::default() }
    }

    async fn get(&self, name: &SiteName, site: &HubSite, read: Read<'_>) -> SiteCounts {
        let slot = {
            let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(latest.entry(name.clone()).or_default())
        };
        let mut slot = slot.lock().await;
        let now = self.clock.now();
        if let Some((at, counts)) = &*slot
            && now < *at + FRESH
        {
            return counts.clone();
        }
        let counts = count(site, read).await;
        *slot = Some((now, counts.clone()));
        counts
    }

    /// Drops those of sites that are no more.
    fn keep(&self, is_there: impl Fn(&SiteName) -> bool) {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).retain(|name, _| is_there(name));
    }
}

/// Lists the sites, all or those that the query names.
pub(super) async fn sites(State(hub): State<Hub>, request: Request) -> Result<Response, Refusal> {
    let all = hub.sites();
    let selection = SiteSelection::of(request.uri().query(), &all)?;
    hub.counts.keep(|name| all.contains_key(name));
    let parts = request.into_parts().0;
    let read = Read { headers: &parts.headers, extensions: &parts.extensions };
    let rows = stream::iter(selection.sites).map(async |(name, site): (SiteName, HubSite)| {
        let counts = hub.counts.get(&name, &site, read).await;
        let status = site.status.borrow().clone();
        let behind = hub.everywhere.behind.borrow().get(&name).cloned().unwrap_or_default();
        SiteRow::of(name, status, behind, counts)
    });
    let rows: Vec<SiteRow> = rows.buffered(AT_ONCE).collect().await;
    Ok(json(StatusCode::OK, &rows))
}

impl SiteRow {
    fn of(name: SiteName, status: SiteStatus, behind: SiteBehind, counts: SiteCounts) -> Self {
        let SiteStatus { state, refusal, heard, version, host, problems, notices } = status;
        let state: SiteState = state;
        let SiteBehind { rows: expected_behind, reason: expected_behind_why } = behind;
        Self {
            name,
            state: state.as_str(),
            heard,
            version,
            host,
            refusal,
            problems,
            notices,
            expected_behind,
            expected_behind_why,
            counts,
        }
    }
}

/// Counts what a site's copy has.
async fn count(site: &HubSite, read: Read<'_>) -> SiteCounts {
    let Some(info) = read.document(&site.router, "/v1/info").await else {
        let error = "the hub's copy of the site cannot be read; the hub's log says why".to_owned();
        return SiteCounts { error: Some(error), ..SiteCounts::default() };
    };
    let number = |key: &str| info.get(key).and_then(Value::as_u64);
    SiteCounts {
        devices: number("devices"),
        open: number("open"),
        rogue: number("rogue"),
        missing: number("missing"),
        baseline: info.get("baseline").and_then(Value::as_bool),
        last_scan: info.get("last_scan").and_then(Value::as_str).map(str::to_owned),
        worst_advice: worst_advice(site, read).await,
        error: None,
    }
}

/// The gravest level of advice, by the site's metrics: they are counted once after each change.
async fn worst_advice(site: &HubSite, read: Read<'_>) -> Option<&'static str> {
    let page = super::metrics::page(site, read).await?;
    let has = |level: AdviceLevel| {
        let start = format!("portscan_port_advice{{level=\"{}\"}} ", level.as_str());
        page.iter().any(|part| {
            let mut lines = part.split(|&byte| byte == b'\n');
            lines.any(|line| line.strip_prefix(start.as_bytes()).is_some_and(|count| count != b"0"))
        })
    };
    [AdviceLevel::Act, AdviceLevel::Look, AdviceLevel::Fine]
        .into_iter()
        .find(|&level| has(level))
        .map(AdviceLevel::as_str)
}
