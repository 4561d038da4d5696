//! `portscan hub revoke`: takes a site's or a worker's certificates away.

use clap::Args;

use super::{HubDirArgs, HubError, MemberArgs, broker, directory, directory::USERS, users::Users};
use crate::{
    cli::{CliError, DONE, Terminal},
    config::Overrides,
};

/// Which certificates.
#[derive(Args, Debug, Clone, PartialEq)]
#[command(
    after_help = "What the hub has of the site stays.\nExit: 0 revoked; 1 not, or the site has no such certificate; 2 wrong \
                  usage."
)]
pub struct RevokeArgs {
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub member: MemberArgs,
    /// Keep the newest certificate
    #[arg(long)]
    pub older: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub dir: HubDirArgs,
}

pub(super) fn revoke(
    args: &RevokeArgs,
    overrides: &Overrides,
    terminal: &mut Terminal<'_>,
) -> Result<u8, CliError> {
    let holder = args.member.holder();
    let name = holder.name();
    let dir = directory(&args.dir, overrides)?;
    let _lock = dir.lock()?;
    let malformed = |why| HubError::Malformed { path: dir.file(USERS), why };
    let mut users = Users::parse(&dir.read(USERS)?).map_err(malformed)?;
    let there = users.like(&holder);
    if !there.iter().any(|other| other == name) {
        let kind = if args.member.worker { "worker" } else { "site" };
        return Err(HubError::NotEnrolled { name: name.to_owned(), kind, there }.into());
    }
    let removed = users.remove(&holder, args.older);
    if removed.is_empty() {
        // A rotation that is repeated, or a script's second run.
        writeln!(terminal.out, "{name} has one certificate, which stays")?;
    } else {
        dir.write(USERS, &users.text())?;
        let serials: Vec<String> = removed.iter().map(|identity| identity.serial_text()).collect();
        writeln!(terminal.out, "revoked of {name}: certificate {}", serials.join(", "))?;
    }
    // Also where nothing was removed: an earlier request may have been refused.
    writeln!(terminal.out, "{}", broker::reload(&dir).told())?;
    terminal.out.flush()?;
    Ok(DONE)
}
