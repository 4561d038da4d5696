//! The options of `portscan hub serve`; the command itself is in `app`.

use std::fs;

use clap::Args;

use super::{
    HubDirArgs, HubError, broker, directory,
    directory::{AUTHORITY, BROKER_CONFIG, HUB, HUB_KEY, URL},
};
use crate::{
    cli::CliError,
    config::{HubUrl, Overrides},
    net::nats::BrokerAccess,
};

/// How the hub reaches its broker.
#[derive(Args, Debug, Clone, Default, PartialEq)]
#[command(
    after_help = "The copies of the sites' databases are in `sites` in data_dir, which no appliance may use at the same \
                  time: give the hub a data_dir of its own.\nExit: 0 stopped; 1 failed; 2 wrong usage."
)]
pub struct ServeHubArgs {
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub dir: HubDirArgs,
    /// The broker, where it is not on this machine: tls://HOST:PORT
    #[arg(long, value_name = "URL")]
    pub broker: Option<HubUrl>,
}

impl ServeHubArgs {
    /// Returns where the broker is, and the hub's credentials for it.
    ///
    /// # Errors
    /// The directory is not a hub's, or the configuration that would name it cannot be read.
    pub fn access(
        &self,
        overrides: &Overrides,
    ) -> Result<BrokerAccess, impl std::error::Error + Send + Sync + 'static> {
        self.broker_access(overrides)
    }

    pub(in crate::cli) fn broker_access(&self, overrides: &Overrides) -> Result<BrokerAccess, CliError> {
        let dir = directory(&self.dir, overrides)?;
        let missing = || HubError::NoHub { dir: dir.path().to_owned(), file: URL };
        let url: HubUrl = fs::read_to_string(dir.file(URL))
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .ok_or_else(missing)?;
        // Not what hub.url says: that is for the sites, and a router may give the broker another port outside.
        let config = fs::read_to_string(dir.file(BROKER_CONFIG)).unwrap_or_default();
        let (host, port) = match (&self.broker, broker::listening(&config)) {
            (Some(broker), _) => (broker.host().to_owned(), broker.port()),
            // Its certificate has these names, too.
            (None, Some(listen)) if listen.ip().is_unspecified() => ("localhost".to_owned(), listen.port()),
            (None, Some(listen)) => (listen.ip().to_string(), listen.port()),
            (None, None) => ("localhost".to_owned(), url.port()),
        };
        let [authority, certificate, key] = [AUTHORITY, HUB, HUB_KEY].map(|name| dir.file(name));
        Ok(BrokerAccess { host, port, authority, certificate, key })
    }
}
