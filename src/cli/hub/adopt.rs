//! `portscan hub adopt`: lets another database take a site's place.

use clap::Args;
use hyper::Method;

use crate::{
    cli::{
        CliError, CommandEnv, DONE, Terminal,
        appliance::{Appliance, ApplianceArgs},
    },
    config::Overrides,
    fleet::SiteName,
};

/// Which site.
#[derive(Args, Debug, Clone, PartialEq)]
#[command(
    after_help = "For a site with a new card, or one whose older backup was restored. The hub must run. What it has of the \
                  former database is replaced by what the appliance sends that reports next as this site, and kept beside \
                  the copy in portscan.db.before-adopt, one for each site.\n\
                  Exit: 0 done; 1 not; 2 wrong usage."
)]
pub struct AdoptArgs {
    /// Which site
    #[arg(value_name = "SITE")]
    pub site: SiteName,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub access: ApplianceArgs,
}

pub(super) async fn adopt(
    args: &AdoptArgs,
    overrides: &Overrides,
    world: &CommandEnv,
    terminal: &mut Terminal<'_>,
) -> Result<u8, CliError> {
    let hub = Appliance::find_running(&args.access, overrides, world)?;
    let site = &args.site;
    hub.request(Method::POST, &format!("/v1/sites/{site}/adopt"), None::<&()>).await?;
    writeln!(
        terminal.out,
        "the appliance that reports next as {site} replaces what the hub has of it; one that was refused tries again \
         within five minutes"
    )?;
    terminal.out.flush()?;
    Ok(DONE)
}
