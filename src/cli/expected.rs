//! `portscan expected`: prints and changes the expected state.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use hyper::Method;
use serde::{Deserialize, Serialize};

use super::{
    CliError, CommandEnv, DONE, Terminal,
    appliance::{Appliance, ApplianceArgs, ApplianceError, DatabaseUse, percent_encode},
    found::sanitize_for_terminal,
    ports,
    table::{self, counted},
};
use crate::{
    config::Overrides,
    model::{DeviceKey, PortSet, PortState, Protocol, bytes_without_mark},
};

/// The size of one request, in bytes: an appliance accepts 1 MB.
const AT_ONCE: usize = 900_000;

/// The largest file that is accepted, in bytes: half a million ports.
const LARGEST: u64 = 64 << 20;

/// The operations on the expected state.
#[derive(Subcommand, Debug, Clone, PartialEq)]
pub enum ExpectedCommand {
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
    pub access: ApplianceArgs,
}

/// The ports of a device.
#[derive(Args, Debug, Clone, PartialEq)]
pub struct PortSelection {
    /// A MAC: the device, wherever it is. An address: whichever device is there
    #[arg(value_name = "MAC|ADDRESS")]
    pub host: DeviceKey,
    /// 22,80,8000-8100
    #[arg(value_name = "PORTS", value_parser = ports::parse, allow_negative_numbers = true)]
    pub ports: PortSet,
    /// ip, tcp, udp or sctp
    #[arg(long, default_value = "tcp")]
    pub protocol: Protocol,
}

/// What to expect.
#[derive(Args, Debug, Clone, PartialEq)]
pub struct SetArgs {
    /// A MAC: the device, wherever it is. An address: whichever device is there
    #[arg(value_name = "MAC|ADDRESS", required_unless_present = "file")]
    pub host: Option<DeviceKey>,
    /// 22,80,8000-8100
    #[arg(value_name = "PORTS", value_parser = ports::parse, allow_negative_numbers = true, required_unless_present = "file")]
    pub ports: Option<PortSet>,
    /// ip, tcp, udp or sctp
    #[arg(long, default_value = "tcp")]
    pub protocol: Protocol,
    /// Expect what this file says, as `list --json` prints it; "-" is standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["host", "ports", "protocol", "state", "comment"])]
    pub file: Option<PathBuf>,
    /// open, closed, filtered, unfiltered, open|filtered or closed|filtered
    #[arg(long, default_value = "open")]
    pub state: PortState,
    /// Why
    #[arg(long, default_value = "", hide_default_value = true)]
    pub comment: String,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub access: ApplianceArgs,
}

/// What to expect no more.
#[derive(Args, Debug, Clone, PartialEq)]
pub struct DeleteArgs {
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub which: PortSelection,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub access: ApplianceArgs,
}

/// The devices to accept as they are.
#[derive(Args, Debug, Clone, PartialEq)]
#[group(id = "devices", required = true, args = ["host", "all"])]
pub struct AcceptArgs {
    /// Only this device: its MAC or address
    #[arg(long, value_name = "MAC|ADDRESS")]
    pub host: Option<DeviceKey>,
    /// Every device
    #[arg(long)]
    pub all: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub access: ApplianceArgs,
}

/// One expectation, as portmantool and every appliance write it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ExpectationRow {
    address: String,
    port: u16,
    protocol: String,
    state: String,
    #[serde(default)]
    comment: String,
}

#[derive(Debug, Serialize)]
struct ExpectationKey<'a> {
    address: &'a str,
    port: u16,
    protocol: &'a str,
}

#[derive(Debug, Deserialize)]
struct ActualState {
    address: String,
    port: u16,
    protocol: String,
    actual_state: String,
    comment: String,
}

impl ExpectationRow {
    /// Returns the fault of the row, if it has one.
    fn fault(&self) -> Option<String> {
        let address = self.address.parse::<DeviceKey>().err().map(|error| error.to_string());
        let protocol = || self.protocol.parse::<Protocol>().err().map(|error| error.to_string());
        let state = || self.state.parse::<PortState>().err().map(|error| error.to_string());
        address.or_else(protocol).or_else(state)
    }
}

impl ExpectedCommand {
    fn access(&self) -> &ApplianceArgs {
        match self {
            Self::List(args) => &args.access,
            Self::Set(args) => &args.access,
            Self::Delete(args) => &args.access,
            Self::Accept(args) => &args.access,
        }
    }
}

/// Runs the command and prints its result.
pub(super) async fn expected(
    what: &ExpectedCommand,
    overrides: &Overrides,
    world: &CommandEnv,
    terminal: &mut Terminal<'_>,
) -> Result<u8, CliError> {
    let purpose =
        if matches!(what, ExpectedCommand::List(_)) { DatabaseUse::Reading } else { DatabaseUse::Writing };
    let appliance = Appliance::find(what.access(), overrides, world, purpose)?;
    let done = match what {
        ExpectedCommand::List(args) => list(args, &appliance, terminal).await,
        ExpectedCommand::Set(args) => set(args, &appliance).await,
        ExpectedCommand::Delete(args) => delete(&args.which, &appliance).await,
        ExpectedCommand::Accept(args) => accept(args, &appliance, terminal).await,
    };
    appliance.close().await?;
    done?;
    terminal.out.flush()?;
    Ok(DONE)
}

async fn list(args: &ListArgs, appliance: &Appliance, terminal: &mut Terminal<'_>) -> Result<(), CliError> {
    let rows: Vec<ExpectationRow> = appliance.get("/v1/expected").await?;
    if args.json {
        serde_json::to_writer(&mut *terminal.out, &rows).map_err(io::Error::from)?;
        writeln!(terminal.out)?;
    } else if rows.is_empty() {
        writeln!(
            terminal.out,
            "nothing is expected yet; accept the present state: portscan expected accept --all"
        )?;
    } else {
        let rows = rows.iter().map(|row| {
            let port = format!("{}/{}", row.port, sanitize_for_terminal(&row.protocol));
            vec![
                sanitize_for_terminal(&row.address),
                port,
                sanitize_for_terminal(&row.state),
                sanitize_for_terminal(&row.comment),
            ]
        });
        table::write(terminal.out, &["DEVICE", "PORT", "STATE", "COMMENT"], rows, 3, terminal.width)?;
    }
    Ok(())
}

async fn set(args: &SetArgs, appliance: &Appliance) -> Result<(), CliError> {
    let SetArgs { host, ports, protocol, file, state, comment, .. } = args;
    if let Some(file) = file {
        return write(appliance, &rows(&text(file)?)?).await;
    }
    let address = host.as_ref().map(ToString::to_string).unwrap_or_default();
    let row = |port| ExpectationRow {
        address: address.clone(),
        port,
        protocol: protocol.to_string(),
        state: state.to_string(),
        comment: comment.clone(),
    };
    write(appliance, &ports.iter().flat_map(PortSet::iter).map(row).collect::<Vec<_>>()).await
}

/// Reads a whole file, or standard input to its end.
fn text(file: &Path) -> Result<Vec<u8>, CliError> {
    let mut text = Vec::new();
    let source: &mut dyn Read = match file.as_os_str() == "-" {
        true => &mut io::stdin().lock(),
        false => &mut File::open(file).map_err(CliError::Unreadable)?,
    };
    source.take(LARGEST + 1).read_to_end(&mut text).map_err(CliError::Unreadable)?;
    match text.len() as u64 > LARGEST {
        true => Err(CliError::Unreadable(io::ErrorKind::FileTooLarge.into())),
        false => Ok(text),
    }
}

/// Parses a document of expectations: returns all rows, or the first fault. All rows are checked before any is sent,
/// which may take several requests.
pub(super) fn rows(document: &[u8]) -> Result<Vec<ExpectationRow>, CliError> {
    let foreign = |error: serde_json::Error| CliError::NotExpected(sanitize_for_terminal(&error.to_string()));
    let rows: Vec<ExpectationRow> = serde_json::from_slice(bytes_without_mark(document)).map_err(foreign)?;
    for (index, row) in rows.iter().enumerate() {
        let fault = row.fault().map(|fault| format!("row {}: {}", index + 1, sanitize_for_terminal(&fault)));
        fault.map_or(Ok(()), |fault| Err(CliError::NotExpected(fault)))?;
    }
    Ok(rows)
}

/// Sets the expected state of these ports.
pub(super) async fn write(appliance: &Appliance, rows: &[ExpectationRow]) -> Result<(), CliError> {
    send(appliance, Method::PATCH, rows).await
}

/// `12 ports of 3 devices`
pub(super) fn summary(rows: &[ExpectationRow]) -> String {
    let devices: BTreeSet<&str> = rows.iter().map(|row| row.address.as_str()).collect();
    format!("{} of {}", counted(rows.len(), "port"), counted(devices.len(), "device"))
}

async fn delete(which: &PortSelection, appliance: &Appliance) -> Result<(), CliError> {
    let address = which.host.to_string();
    let target = |port| ExpectationKey { address: &address, port, protocol: which.protocol.as_str() };
    send(appliance, Method::DELETE, &which.ports.iter().map(target).collect::<Vec<_>>()).await
}

/// Accepts the current state: expects the actual state of each difference.
async fn accept(
    args: &AcceptArgs,
    appliance: &Appliance,
    terminal: &mut Terminal<'_>,
) -> Result<(), CliError> {
    let host = args.host.as_ref().map(|host| format!("&host={}", percent_encode(&host.to_string())));
    let path = format!("/v1/diff?by=device{}", host.unwrap_or_default());
    let found: Vec<ActualState> = appliance.get(&path).await?;
    let (known, unknown): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|difference| !difference.actual_state.is_empty());
    let rows: Vec<ExpectationRow> = known
        .into_iter()
        .map(|ActualState { address, port, protocol, actual_state: state, comment }| ExpectationRow {
            address,
            port,
            protocol,
            state,
            comment,
        })
        .collect();
    // Also without any difference: the request creates the baseline.
    write(appliance, &rows).await?;
    writeln!(terminal.out, "accepted {}", summary(&rows))?;
    if !unknown.is_empty() {
        let ports = counted(unknown.len(), "expected port");
        terminal.warn(&format!("{ports} never scanned: left as expected"));
    }
    Ok(())
}

/// Sends rows in as many requests as needed, at least one.
async fn send<T: Serialize>(appliance: &Appliance, method: Method, rows: &[T]) -> Result<(), CliError> {
    let mut piece = Vec::new();
    let mut bytes = 0;
    for row in rows {
        let row = serde_json::value::to_raw_value(row).map_err(ApplianceError::Foreign)?;
        bytes += row.get().len() + 1;
        if bytes > AT_ONCE {
            appliance.request(method.clone(), "/v1/expected", Some(&piece)).await?;
            piece.clear();
            bytes = row.get().len() + 1;
        }
        piece.push(row);
    }
    appliance.request(method, "/v1/expected", Some(&piece)).await?;
    Ok(())
}
