//! `portscan hub serve`: copies of the sites' databases, and all of them over HTTP.

mod alerting;
mod copies;
mod everywhere;
mod forwarding;

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context;
use tokio::{
    sync::{Notify, watch},
    task::spawn_blocking,
};
use tokio_util::sync::CancellationToken;

use self::{
    alerting::{Alerting, tell},
    copies::{Copies, CopiesEnv},
    everywhere::Aligning,
};
use super::{
    log, manager,
    serve::{Signals, Tasks, hostname, take, until_stopped, wait_for_stop},
};
use crate::{
    cli::ServeHubArgs,
    clock::{Clock, SystemClock},
    config::{Config, Overrides, unfit_for_hub},
    fleet::HUB_COPIES,
    http::{self, Everywhere, Gate, HostAllowlist, HubParts, Token},
    net::{
        SystemResolver,
        nats::{HubConnection, SiteMessages},
    },
    service::{health::Health, watched::replace_if_new},
};

/// Between two looks at which sites are silent, and whether the broker is there.
const LOOKS: Duration = Duration::from_secs(5);

/// Runs the hub until a signal stops it.
pub(super) async fn serve(args: &ServeHubArgs, flags: &Overrides, verbose: u8) -> anyhow::Result<()> {
    let signals = Signals::catch()?;
    let config = Config::read(flags)?;
    if let Some(reason) = unfit_for_hub(&config) {
        anyhow::bail!(reason);
    }
    log::start(config.log, verbose);
    let access = args.access(flags)?;
    let (listeners, _lock) = take(&config)?;
    let token = Token::load(&config.data_dir, config.auth_token_file.as_deref())?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let connection = HubConnection::open(&access, Arc::clone(&clock)).await?;
    let messages = connection.messages().await?;
    let stop = CancellationToken::new();
    let own: PathBuf = config.data_dir.clone();
    let (current, seen) = watch::channel(Arc::new(config));
    let alerting = Alerting {
        config: seen.clone(),
        resolver: Arc::new(SystemResolver::default()),
        clock: Arc::clone(&clock),
        hostname: hostname(),
    };
    let (store, writer) = alerting.open(&own).await?;
    let copies = Copies::open(CopiesEnv {
        directory: own.join(HUB_COPIES),
        clock: Arc::clone(&clock),
        connection: connection.clone(),
        alerting: alerting.clone(),
    })
    .await
    .context("cannot open the copies of the sites")?;

    let mut tasks = Tasks::new();
    let (health, seen_health) = watch::channel(Health::default());
    let allowlist = HostAllowlist::new(hostname().as_deref(), seen.clone());
    let gate = Gate::new(token, allowlist.clone(), seen.clone(), Arc::clone(&clock));
    let limits = http::ServerLimits::default();
    let (behind, seen_behind) = watch::channel(Arc::default());
    let changed = Arc::new(Notify::new());
    let aligning =
        Aligning { store: store.clone(), changed: Arc::clone(&changed), sites: copies.sites(), behind };
    tasks.spawn(until_stopped(stop.clone(), aligning.run()));
    let parts = HubParts {
        sites: copies.sites(),
        forget: Arc::new(copies.clone()),
        everywhere: Everywhere { store: store.clone(), changed, behind: seen_behind },
        allowlist,
        gate: gate.clone(),
        health: seen_health,
        clock: Arc::clone(&clock),
        limits,
    };
    for listener in &listeners {
        tracing::info!("listening on http://{}/", listener.local_addr()?);
    }
    let server = http::Server { router: http::hub_router(parts), gate, clock, limits };
    let serving = http::serve(listeners, server, stop.clone());
    tasks.spawn(async move { serving.await.context("the HTTP server failed") });
    tasks.spawn(until_stopped(stop.clone(), manager::alive()));
    let (told, seen_trouble) = watch::channel(Health::default());
    tasks.spawn(until_stopped(stop.clone(), alerting.of_hub(store, seen_trouble)));
    let receiving = receive(copies.clone(), messages, connection, (health, told));
    let stopped = stop.clone();
    tasks.spawn(async move { stopped.run_until_cancelled(receiving).await.unwrap_or(Ok(())) });
    manager::ready();

    let ended = wait_for_stop(signals, flags, &current, &mut tasks).await;
    manager::stopping();
    stop.cancel();
    while tasks.join_next().await.is_some() {}
    copies.close().await;
    let closed = spawn_blocking(move || writer.join()).await;
    if let Ok(Err(error)) = closed {
        tracing::error!(%error, "failed to write to the hub's own database while stopping");
    }
    ended
}

/// Has the copies handle the sites' messages, and keeps the hub's health, and what is told of hub and sites.
async fn receive(
    copies: Copies,
    mut messages: SiteMessages,
    connection: HubConnection,
    (health, told): (watch::Sender<Health>, watch::Sender<Health>),
) -> anyhow::Result<()> {
    let mut looks = tokio::time::interval(LOOKS);
    let mut reports = connection.reports();
    loop {
        tokio::select! {
            Ok(()) = reports.changed() => looks.reset_immediately(),
            received = messages.next() => copies.handle(received.context("the connection to the broker is closed")?),
            _ = looks.tick() => {
                copies.notice_silence();
                let trouble = connection.trouble().map(|reason| {
                    format!("no site can report, because the broker cannot be reached: {reason}; start nats-server")
                });
                let problems = copies.problems();
                tell(&told, (trouble.as_deref(), problems.clone()), copies.troubles().into_iter());
                let problems = trouble.into_iter().chain(problems).collect();
                replace_if_new(&health, Health { problems, notices: Vec::new() });
            }
        }
    }
}
