//! `portscan hub serve`: copies of the sites' databases, and all of them over HTTP.

mod copies;
mod forwarding;

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::copies::{Copies, CopiesEnv};
use super::{
    log, manager,
    serve::{Signals, Tasks, hostname, take, until_stopped, wait_for_stop},
};
use crate::{
    cli::ServeHubArgs,
    clock::{Clock, SystemClock},
    config::{Config, HUB_AS_SITE, Overrides},
    fleet::HUB_COPIES,
    http::{self, Gate, HostAllowlist, HubParts, Token},
    net::nats::{HubConnection, SiteMessages},
    service::{health::Health, watched::replace_if_new},
};

/// Between two looks at which sites are silent, and whether the broker is there.
const LOOKS: Duration = Duration::from_secs(5);

/// Runs the hub until a signal stops it.
pub(super) async fn serve(args: &ServeHubArgs, flags: &Overrides, verbose: u8) -> anyhow::Result<()> {
    let signals = Signals::catch()?;
    let config = Config::read(flags)?;
    anyhow::ensure!(config.fleet.is_none(), HUB_AS_SITE);
    log::start(config.log, verbose);
    let access = args.access(flags)?;
    let (listeners, _lock) = take(&config)?;
    let token = Token::load(&config.data_dir, config.auth_token_file.as_deref())?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let connection = HubConnection::open(&access, Arc::clone(&clock)).await?;
    let messages = connection.messages().await?;
    let stop = CancellationToken::new();
    let directory: PathBuf = config.data_dir.join(HUB_COPIES);
    let (current, seen) = watch::channel(Arc::new(config));
    let copies =
        Copies::open(CopiesEnv { directory, clock: Arc::clone(&clock), connection: connection.clone() })
            .await
            .context("cannot open the copies of the sites")?;

    let mut tasks = Tasks::new();
    let (health, seen_health) = watch::channel(Health::default());
    let allowlist = HostAllowlist::new(hostname().as_deref(), seen.clone());
    let gate = Gate::new(token, allowlist.clone(), seen.clone(), Arc::clone(&clock));
    let limits = http::ServerLimits::default();
    let parts = HubParts {
        sites: copies.sites(),
        forget: Arc::new(copies.clone()),
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
    let receiving = receive(copies.clone(), messages, connection, health);
    let stopped = stop.clone();
    tasks.spawn(async move { stopped.run_until_cancelled(receiving).await.unwrap_or(Ok(())) });
    manager::ready();

    let ended = wait_for_stop(signals, flags, &current, &mut tasks).await;
    manager::stopping();
    stop.cancel();
    while tasks.join_next().await.is_some() {}
    copies.close().await;
    ended
}

/// Has the copies handle the sites' messages, and keeps the hub's health.
async fn receive(
    copies: Copies,
    mut messages: SiteMessages,
    connection: HubConnection,
    health: watch::Sender<Health>,
) -> anyhow::Result<()> {
    let mut looks = tokio::time::interval(LOOKS);
    loop {
        tokio::select! {
            received = messages.next() => copies.handle(received.context("the connection to the broker is closed")?),
            _ = looks.tick() => {
                copies.notice_silence();
                let trouble = connection.trouble().map(|reason| {
                    format!("no site can report, because the broker cannot be reached: {reason}; start nats-server")
                });
                let problems = trouble.into_iter().chain(copies.problems()).collect();
                replace_if_new(&health, Health { problems, notices: Vec::new() });
            }
        }
    }
}
