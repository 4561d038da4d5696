//! `portscan hub`: the keys of a fleet, the configuration of its broker, and the hub's options.
//!
//! | file | content |
//! |---|---|
//! | `init` | makes a hub's directory: the authority, the broker's and the hub's certificates, the broker's files |
//! | `enrol`, `revoke` | add and remove a site's certificates |
//! | `adopt` | lets another database take the place of a site's |
//! | `forget` | removes what the hub has of a site that does not report any more |
//! | `authority` | signs certificates |
//! | `identity` | the name by which the broker knows a certificate |
//! | `serve` | the options of the hub itself |
//! | `users` | the broker's users, one for each certificate that may connect, and what they may do |
//! | `broker` | the broker's configuration, and its reload |
//! | `directory` | the files of a hub's directory, and how they are written |

mod adopt;
mod authority;
mod broker;
mod directory;
mod enrol;
mod forget;
mod identity;
mod init;
mod revoke;
mod serve;
#[cfg(test)]
mod tests;
mod users;

use std::{
    io,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};

pub use self::{
    adopt::AdoptArgs, enrol::EnrolArgs, forget::ForgetSiteArgs, init::InitArgs, revoke::RevokeArgs,
    serve::ServeHubArgs,
};
use self::{directory::HubDir, identity::Holder};
use super::{CliError, CommandEnv, Terminal};
use crate::{
    clock::{Clock, EARLIEST_SANE},
    config::{Config, Overrides},
    fleet::SiteName,
};

/// The commands of a fleet.
#[derive(Subcommand, Debug, Clone, PartialEq)]
pub enum HubCommand {
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    Keys(KeyCommand),
    /// Run the hub: copy the sites' databases, and serve them all over HTTP
    Serve(ServeHubArgs),
    /// Let another database take the place of a site's
    Adopt(AdoptArgs),
    /// Delete what the hub has of a site that does not report any more
    Forget(ForgetSiteArgs),
}

/// The commands for the keys of a fleet.
#[derive(Subcommand, Debug, Clone, PartialEq)]
pub enum KeyCommand {
    /// Make a hub's keys and its broker's configuration, once
    Init(InitArgs),
    /// Make a certificate for a site or a worker: the first, or one that is to replace the present one
    Enrol(EnrolArgs),
    /// Take the certificates of a site or a worker away; if it is connected, it is cut off
    Revoke(RevokeArgs),
}

/// Which member of the fleet.
#[derive(Args, Debug, Clone, PartialEq)]
pub struct MemberArgs {
    /// What the site is called: 1 to 32 of a-z, 0-9 and hyphen
    #[arg(value_name = "SITE")]
    pub name: SiteName,
    /// SITE is the name of a worker, which takes part in scans of the whole fleet
    #[arg(long)]
    pub worker: bool,
}

impl MemberArgs {
    fn holder(&self) -> Holder {
        // Both kinds of names are of the same form.
        match self.name.as_str().parse() {
            Ok(worker) if self.worker => Holder::Worker(worker),
            _ => Holder::Site(self.name.clone()),
        }
    }
}

/// Where the hub's keys are.
#[derive(Args, Debug, Clone, Default, PartialEq)]
pub struct HubDirArgs {
    /// The hub's directory [default: hub in the appliance's data_dir]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// Why a command for keys failed. Nothing of what failed is in use then.
#[derive(Debug, thiserror::Error)]
pub(super) enum HubError {
    #[error(
        "{} has {} already, and a new authority would lock out every site of the old one; choose another --dir, or, if \
         this hub is to begin anew or an earlier attempt was interrupted, move the directory away",
        .dir.display(), .found.join(", ")
    )]
    Exists { dir: PathBuf, found: Vec<&'static str> },
    #[error(
        "{} is not a hub's directory, for it has no {file}; make one by `portscan hub init`, or name it by --dir",
        .dir.display()
    )]
    NoHub { dir: PathBuf, file: &'static str },
    #[error("cannot read {}: {source}", .path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("cannot write {}: {source}; run this as the user that owns the directory, or with sudo", .path.display())]
    Unwritable { path: PathBuf, source: io::Error },
    #[error("{}: {why}", .path.display())]
    Malformed { path: PathBuf, why: String },
    #[error("\"{0}\" is not a name or an address by which sites reach the hub; write --name hub.example")]
    Name(String),
    #[error("--listen is where an appliance serves HTTP; where the broker listens is --bind {0}")]
    Listen(String),
    #[error("\"{}\" cannot stand in the broker's configuration; choose a --dir of plain characters", .0.display())]
    Path(PathBuf),
    #[error(
        "this machine's clock says {0}, and the certificates' end is counted from today; set the clock (timedatectl \
         set-ntp true), then repeat this"
    )]
    Clock(jiff::civil::Date),
    #[error("{} has other files than those of one certificate; name another --out", .0.display())]
    OtherFiles(PathBuf),
    #[error("no certificate of {name} may connect; {}", known(.kind, .there))]
    NotEnrolled { name: String, kind: &'static str, there: Vec<String> },
    #[error("cannot make a key or a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error("this machine gives no random numbers: {0}")]
    Random(#[from] getrandom::Error),
}

fn known(kind: &str, names: &[String]) -> String {
    if names.is_empty() {
        format!("there is no {kind} yet")
    } else {
        format!("{kind}s are {}", names.join(", "))
    }
}

/// Runs one of the commands and prints what it has done and what is next.
pub(super) async fn hub(
    command: &HubCommand,
    overrides: &Overrides,
    world: &CommandEnv,
    terminal: &mut Terminal<'_>,
) -> Result<u8, CliError> {
    match command {
        HubCommand::Keys(command) => change_keys(command, overrides, world.clock.as_ref(), terminal),
        HubCommand::Adopt(args) => adopt::adopt(args, overrides, world, terminal).await,
        HubCommand::Forget(args) => forget::forget(args, overrides, world, terminal).await,
        // It runs for ever, with a log in place of a terminal, and is started by `app`.
        HubCommand::Serve(_) => Ok(super::FAILED),
    }
}

fn change_keys(
    command: &KeyCommand,
    overrides: &Overrides,
    clock: &dyn Clock,
    terminal: &mut Terminal<'_>,
) -> Result<u8, CliError> {
    match command {
        KeyCommand::Init(args) => init::init(args, overrides, today(clock)?, terminal),
        KeyCommand::Enrol(args) => enrol::enrol(args, overrides, today(clock)?, terminal),
        KeyCommand::Revoke(args) => revoke::revoke(args, overrides, terminal),
    }
}

/// The date from which the certificates' validity is counted. A clock that was never set would make certificates that have
/// ended as soon as it is.
fn today(clock: &dyn Clock) -> Result<jiff::civil::Date, HubError> {
    let now = clock.wall();
    let date = now.to_zoned(jiff::tz::TimeZone::UTC).date();
    if now < EARLIEST_SANE { Err(HubError::Clock(date)) } else { Ok(date) }
}

/// The directory that the options name. The configuration is read only where it decides.
fn directory(args: &HubDirArgs, overrides: &Overrides) -> Result<HubDir, CliError> {
    let dir = match &args.dir {
        Some(dir) => dir.clone(),
        None => Config::read(overrides)?.data_dir.join("hub"),
    };
    let absolute = std::path::absolute(&dir).map_err(|source| HubError::Unreadable { path: dir, source })?;
    Ok(HubDir::new(absolute))
}

/// Quotes a path for a shell, if that is needed.
fn for_shell(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%".contains(c);
    if text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}
