//! `portscan hub init`: makes a hub's keys and its broker's configuration.

use std::net::{IpAddr, SocketAddr};

use clap::Args;
use jiff::civil::Date;

use super::{
    HubDirArgs, HubError,
    authority::FleetAuthority,
    broker, directory,
    directory::{AUTHORITY, AUTHORITY_KEY, BROKER, BROKER_CONFIG, BROKER_KEY, HUB, HUB_KEY, URL, USERS},
    for_shell,
    identity::{Holder, Identity},
    users::Users,
};
use crate::{
    cli::{CliError, DONE, Terminal},
    config::{HubUrl, Overrides},
    model::{TargetSpec, ascii_name},
};

/// By which names the hub itself may reach its broker on the same machine.
const LOCAL: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// How the broker is reached.
#[derive(Args, Debug, Clone, PartialEq)]
#[command(
    after_help = "Whoever can read the directory can enrol sites: keep it, and a copy of it, safe. Sites know the broker by \
                  these names alone, so name one that will stay.\nExit: 0 made; 1 not; 2 wrong usage."
)]
pub struct InitArgs {
    /// A name or an address by which sites reach the broker; repeatable, the first is what sites are told
    #[arg(long = "name", value_name = "HOST", required = true)]
    pub names: Vec<String>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub dir: HubDirArgs,
    /// Where the broker listens
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:4222")]
    pub bind: SocketAddr,
}

pub(super) fn init(
    args: &InitArgs,
    overrides: &Overrides,
    today: Date,
    terminal: &mut Terminal<'_>,
) -> Result<u8, CliError> {
    if let Some(listen) = overrides.listen.first() {
        return Err(HubError::Listen(listen.clone()).into());
    }
    let mut names = args.names.iter().map(|name| host(name)).collect::<Result<Vec<_>, _>>()?;
    let url = url(&names[0], args.bind.port())?;
    names.extend(LOCAL.map(str::to_owned));
    // The hub reaches a broker that listens on one address there.
    let listen = args.bind.ip().to_string();
    if !args.bind.ip().is_unspecified() && !names.contains(&listen) {
        names.push(listen);
    }
    let dir = directory(&args.dir, overrides)?;
    let broker_config = broker::config(&dir, args.bind)?;
    dir.make()?;
    let _lock = dir.lock()?;
    let found = dir.found();
    if !found.is_empty() {
        return Err(HubError::Exists { dir: dir.path().to_owned(), found }.into());
    }
    let (authority, own) = FleetAuthority::generate(today)?;
    let broker = authority.issue_broker(&names, today)?;
    let identity = Identity::generate(Holder::Hub).map_err(HubError::from)?;
    let hub = authority.issue_client(&identity, today)?;
    let mut users = Users::default();
    users.add(identity);
    for (name, text) in [
        (AUTHORITY_KEY, &own.key),
        (AUTHORITY, &own.certificate),
        (BROKER_KEY, &broker.key),
        (BROKER, &broker.certificate),
        (HUB_KEY, &hub.key),
        (HUB, &hub.certificate),
        (USERS, &users.text()),
        (URL, &format!("{url}\n")),
        (BROKER_CONFIG, &broker_config),
    ] {
        dir.write(name, text)?;
    }
    let shown = for_shell(dir.path());
    writeln!(
        terminal.out,
        "made {}, with the fleet's authority and the broker's configuration",
        dir.path().display()
    )?;
    writeln!(terminal.out, "next:\n  nats-server -c {}", for_shell(&dir.file(BROKER_CONFIG)))?;
    writeln!(terminal.out, "  portscan hub enrol SITE --dir {shown}")?;
    terminal.out.flush()?;
    Ok(DONE)
}

/// A name in the form in which it is looked up, or an address.
fn host(text: &str) -> Result<String, HubError> {
    let malformed = || HubError::Name(text.to_owned());
    if let Ok(address) = text.parse::<IpAddr>() {
        return if address.is_unspecified() { Err(malformed()) } else { Ok(address.to_string()) };
    }
    match text.parse() {
        Ok(TargetSpec::Name(name)) => {
            let name = ascii_name(&name).ok_or_else(malformed)?;
            Ok(name.trim_end_matches('.').to_ascii_lowercase())
        }
        _ => Err(malformed()),
    }
}

fn url(host: &str, port: u16) -> Result<HubUrl, HubError> {
    let host_and_port =
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    format!("tls://{host_and_port}").parse().map_err(|_| HubError::Name(host.to_owned()))
}
