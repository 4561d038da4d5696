//! `portscan expected`: what should be.

use std::{collections::BTreeSet, io};

use clap::{Args, Subcommand};
use hyper::Method;
use serde::{Deserialize, Serialize};

use super::{
    CliError, DONE, Terminal, World,
    appliance::{Access, Appliance, ApplianceError, in_path},
    found::harmless,
    ports,
    table::{self, counted},
};
use crate::{
    config::Overrides,
    model::{DeviceKey, PortSet, PortState, Protocol},
};

/// How much is sent at a time, in bytes: an appliance takes 1 MB.
const AT_ONCE: usize = 900_000;

/// What is to be done with what is expected.
#[derive(Subcommand, Debug, Clone, PartialEq)]
pub enum Expected {
    /// Print what is expected
    List(ListArgs),
    /// Expect these ports of a device to be in a state
    Set(SetArgs),
    /// Expect nothing of these ports of a device any more
    Delete(DeleteArgs),
    /// Take what is there now as what should be
    Accept(AcceptArgs),
}

/// How to print it.
#[derive(Args, Debug, Clone, PartialEq)]
pub struct ListArgs {
    /// Print the JSON that PATCH /v1/expected takes
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub access: Access,
}

/// Which ports.
#[derive(Args, Debug, Clone, PartialEq)]
pub struct Which {
    /// A MAC: the device, wherever it is. An address: whoever is there
    #[arg(value_name = "MAC|ADDRESS")]
    pub host: DeviceKey,
    /// 22,80,8000-8100
    #[arg(value_name = "PORTS", value_parser = ports::parse)]
    pub ports: PortSet,
    /// ip, tcp, udp or sctp
    #[arg(long, default_value = "tcp")]
    pub protocol: Protocol,
}

/// What to expect.
#[derive(Args, Debug, Clone, PartialEq)]
pub struct SetArgs {
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub which: Which,
    /// open, closed, filtered, unfiltered, open|filtered or closed|filtered
    #[arg(long, default_value = "open")]
    pub state: PortState,
    /// Why
    #[arg(long, default_value = "", hide_default_value = true)]
    pub comment: String,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub access: Access,
}

/// What to expect no more.
#[derive(Args, Debug, Clone, PartialEq)]
pub struct DeleteArgs {
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub which: Which,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub access: Access,
}

/// Of whom.
#[derive(Args, Debug, Clone, PartialEq)]
#[group(id = "whom", required = true, args = ["host", "all"])]
pub struct AcceptArgs {
    /// Of this device: its MAC or address
    #[arg(long, value_name = "MAC|ADDRESS")]
    pub host: Option<DeviceKey>,
    /// Of every device
    #[arg(long)]
    pub all: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub access: Access,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Row {
    address: String,
    port: u16,
    protocol: String,
    state: String,
    comment: String,
}

#[derive(Debug, Serialize)]
struct Target<'a> {
    address: &'a str,
    port: u16,
    protocol: &'a str,
}

#[derive(Debug, Deserialize)]
struct Difference {
    address: String,
    port: u16,
    protocol: String,
    actual_state: String,
    comment: String,
}

impl Expected {
    fn access(&self) -> &Access {
        match self {
            Self::List(args) => &args.access,
            Self::Set(args) => &args.access,
            Self::Delete(args) => &args.access,
            Self::Accept(args) => &args.access,
        }
    }
}

/// Does it, and says what was done.
pub(super) async fn expected(
    what: &Expected,
    overrides: &Overrides,
    world: &World,
    terminal: &mut Terminal<'_>,
) -> Result<u8, CliError> {
    let appliance = Appliance::find(what.access(), overrides, world)?;
    let done = match what {
        Expected::List(args) => list(args, &appliance, terminal).await,
        Expected::Set(args) => set(args, &appliance).await,
        Expected::Delete(args) => delete(&args.which, &appliance).await,
        Expected::Accept(args) => accept(args, &appliance, terminal).await,
    };
    appliance.close().await?;
    done?;
    terminal.out.flush()?;
    Ok(DONE)
}

async fn list(args: &ListArgs, appliance: &Appliance, terminal: &mut Terminal<'_>) -> Result<(), CliError> {
    let rows: Vec<Row> = appliance.get("/v1/expected").await?;
    if args.json {
        serde_json::to_writer(&mut *terminal.out, &rows).map_err(io::Error::from)?;
        writeln!(terminal.out)?;
    } else if !rows.is_empty() {
        let rows = rows.iter().map(|row| {
            let port = format!("{}/{}", row.port, harmless(&row.protocol));
            vec![harmless(&row.address), port, harmless(&row.state), harmless(&row.comment)]
        });
        table::write(terminal.out, &["DEVICE", "PORT", "STATE", "COMMENT"], rows, 3, terminal.width)?;
    }
    Ok(())
}

async fn set(args: &SetArgs, appliance: &Appliance) -> Result<(), CliError> {
    let SetArgs { which: Which { host, ports, protocol }, state, comment, .. } = args;
    let row = |port| Row {
        address: host.to_string(),
        port,
        protocol: protocol.to_string(),
        state: state.to_string(),
        comment: comment.clone(),
    };
    send(appliance, Method::PATCH, &ports.iter().map(row).collect::<Vec<_>>()).await
}

async fn delete(which: &Which, appliance: &Appliance) -> Result<(), CliError> {
    let address = which.host.to_string();
    let target = |port| Target { address: &address, port, protocol: which.protocol.as_str() };
    send(appliance, Method::DELETE, &which.ports.iter().map(target).collect::<Vec<_>>()).await
}

/// What is there now is what should be: each difference, as it is.
async fn accept(
    args: &AcceptArgs,
    appliance: &Appliance,
    terminal: &mut Terminal<'_>,
) -> Result<(), CliError> {
    let host = args.host.as_ref().map(|host| format!("&host={}", in_path(&host.to_string())));
    let path = format!("/v1/diff?by=device{}", host.unwrap_or_default());
    let found: Vec<Difference> = appliance.get(&path).await?;
    let (known, unknown): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|difference| !difference.actual_state.is_empty());
    let rows: Vec<Row> = known
        .into_iter()
        .map(|Difference { address, port, protocol, actual_state: state, comment }| Row {
            address,
            port,
            protocol,
            state,
            comment,
        })
        .collect();
    // Also where there is nothing to accept: from now on there is a baseline.
    send(appliance, Method::PATCH, &rows).await?;
    let devices: BTreeSet<&str> = rows.iter().map(|row| row.address.as_str()).collect();
    writeln!(
        terminal.out,
        "accepted {} of {}",
        counted(rows.len(), "port"),
        counted(devices.len(), "device")
    )?;
    if !unknown.is_empty() {
        let ports = counted(unknown.len(), "expected port");
        terminal.warn(&format!("{ports} nobody has ever looked at: left as expected"));
    }
    Ok(())
}

/// Sends rows in as many pieces as it takes, at least one.
async fn send<T: Serialize>(appliance: &Appliance, method: Method, rows: &[T]) -> Result<(), CliError> {
    let mut piece = Vec::new();
    let mut bytes = 0;
    for row in rows {
        let row = serde_json::value::to_raw_value(row).map_err(ApplianceError::Foreign)?;
        bytes += row.get().len() + 1;
        if bytes > AT_ONCE {
            appliance.ask(method.clone(), "/v1/expected", Some(&piece)).await?;
            piece.clear();
            bytes = row.get().len() + 1;
        }
        piece.push(row);
    }
    appliance.ask(method, "/v1/expected", Some(&piece)).await?;
    Ok(())
}
