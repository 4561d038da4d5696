//! `portscan hub forget`: removes what the hub has of a site that does not report any more.

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
    after_help = "For a site that is silent and will not come back: revoke its certificates first (portscan hub revoke). \
                  The hub must run. All that it has of the site is deleted, what an adopt has kept as well; nothing \
                  changes at the site.\nExit: 0 done; 1 not; 2 wrong usage."
)]
pub struct ForgetSiteArgs {
    /// Which site
    #[arg(value_name = "SITE")]
    pub site: SiteName,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub access: ApplianceArgs,
}

pub(super) async fn forget(
    args: &ForgetSiteArgs,
    overrides: &Overrides,
    world: &CommandEnv,
    terminal: &mut Terminal<'_>,
) -> Result<u8, CliError> {
    let hub = Appliance::find_running(&args.access, overrides, world)?;
    let site = &args.site;
    hub.request(Method::DELETE, &format!("/v1/sites/{site}"), None::<&()>).await?;
    writeln!(terminal.out, "the hub has forgotten {site}, and its copy is deleted")?;
    terminal.out.flush()?;
    Ok(DONE)
}
