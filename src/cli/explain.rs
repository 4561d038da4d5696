//! `portscan explain`: what an open port is, whether that is all right, and what to do.

mod device;
mod port;
mod topic;

use clap::Args;

use self::topic::Topic;
use super::{
    CliError, CommandEnv, DONE, Terminal,
    appliance::{ApplianceArgs, ApplianceError},
};
use crate::config::Overrides;

const HELP: &str = "\
A port is explained by what usually listens on its number, which proves nothing: the text says
\"usually\". Of a device the appliance knows more, and says \"probably\" where the port fits the
maker or the name of the device. The levels:
  fine   all right on a device of the usual kind
  look   its owner should look at it: is it wanted, does it ask for a password?
  act    close or secure it
No vulnerability is guessed and no password is tried.

Examples:
  portscan explain 7000                  what is this port?
  portscan explain 161/udp               the same over UDP
  portscan explain nas.local             every open port of a device, those that matter most first
  portscan explain B8:27:EB:AC:14:3E --json

Exit: 0 done, 1 failed or no such device, 2 wrong usage.";

/// The subject to explain.
#[derive(Args, Debug, Clone, PartialEq)]
#[command(after_help = HELP)]
pub struct ExplainArgs {
    /// A port, as 7000 or 161/udp; or a device that the appliance knows: its MAC, address or name
    #[arg(value_name = "PORT|DEVICE")]
    topic: Topic,
    /// Print JSON instead of text
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub access: ApplianceArgs,
}

/// Why the subject cannot be explained.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExplainError {
    #[error(transparent)]
    Appliance(#[from] ApplianceError),
    #[error("no device is called \"{name}\"{hint}; `portscan hosts` lists all devices")]
    UnknownName { name: String, hint: String },
    #[error("\"{name}\" is the name of several devices: {devices}; name one of these")]
    Ambiguous { name: String, devices: String },
}

/// Explains a port from what is known here, and a device from what its appliance says.
pub(super) async fn explain(
    args: &ExplainArgs,
    overrides: &Overrides,
    world: &CommandEnv,
    terminal: &mut Terminal<'_>,
) -> Result<u8, CliError> {
    match &args.topic {
        Topic::Port(port, protocol) => port::explain(*port, *protocol, args.json, terminal)?,
        Topic::Device(device) => device::explain(device, args, overrides, world, terminal).await?,
    }
    terminal.out.flush()?;
    Ok(DONE)
}
