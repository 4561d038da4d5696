//! `portscan alert`: the alert channels, as the running appliance has them.

use std::io::{self, Write};

use clap::{Args, Subcommand};
use hyper::Method;
use serde::{
    Deserialize, Serialize,
    de::{DeserializeOwned, IgnoredAny},
};

use super::{
    CliError, CommandEnv, DONE, FAILED, Terminal,
    appliance::{Appliance, ApplianceArgs, DatabaseUse, percent_encode},
    columns::{self, Column},
    found::sanitize_for_terminal,
};
use crate::{config::Overrides, model::DeviceKey};

/// What to do with the alerts.
#[derive(Subcommand, Debug, Clone, PartialEq)]
pub enum AlertCommand {
    /// Send a test to one channel, or to all, and print what the receivers answer
    Test(AlertTestArgs),
    /// Print the channels, and the messages that a receiver refused
    List(AlertListArgs),
    /// Try a message that the receiver refused once more
    Retry(AlertMessageArgs),
    /// Close a message: its channel sends nothing more about the same changes
    Ack(AlertMessageArgs),
    /// Send nothing about a device, or nothing at all, for a while; at the end, report what still holds
    Snooze(AlertSnoozeArgs),
}

/// Which message.
#[derive(Args, Debug, Clone, PartialEq)]
pub struct AlertMessageArgs {
    /// Its number, as `portscan alert list --json` prints it
    #[arg(value_name = "ID")]
    pub id: i64,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub access: ApplianceArgs,
}

/// What to snooze, and for how long.
#[derive(Args, Debug, Clone, PartialEq)]
pub struct AlertSnoozeArgs {
    /// Only this device: its MAC or address
    #[arg(value_name = "DEVICE")]
    pub device: Option<DeviceKey>,
    /// For how long: from 1m to 30d
    #[arg(long = "for", value_name = "DURATION", default_value = "8h")]
    pub length: String,
    /// End the snooze instead
    #[arg(long, conflicts_with = "length")]
    pub end: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub access: ApplianceArgs,
}

/// Which channel.
#[derive(Args, Debug, Clone, PartialEq)]
pub struct AlertTestArgs {
    /// Only this channel
    #[arg(value_name = "CHANNEL")]
    pub channel: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub access: ApplianceArgs,
}

/// How to print them.
#[derive(Args, Debug, Clone, PartialEq)]
pub struct AlertListArgs {
    /// Print JSON instead of tables
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub access: ApplianceArgs,
}

/// What became of a test.
#[derive(Deserialize)]
struct Attempt {
    channel: String,
    ok: bool,
    answer: String,
}

/// `/v1/alerts`, as far as it is printed.
#[derive(Serialize, Deserialize)]
struct AlertList {
    channels: Vec<Channel>,
    pending: usize,
    snoozes: Vec<Snoozed>,
    parked: Vec<Message>,
    history: Vec<Message>,
}

#[derive(Serialize, Deserialize)]
struct Channel {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    url: String,
    state: String,
    pending: usize,
    error: Option<String>,
    template_error: Option<String>,
    last_delivered: Option<jiff::Timestamp>,
}

#[derive(Serialize, Deserialize)]
struct Snoozed {
    device: Option<String>,
    until: jiff::Timestamp,
}

#[derive(Serialize, Deserialize)]
struct Message {
    id: i64,
    channel: String,
    title: String,
    state: String,
    time: jiff::Timestamp,
    reason: Option<String>,
}

/// Executes the command.
pub(super) async fn alert(
    command: &AlertCommand,
    overrides: &Overrides,
    world: &CommandEnv,
    terminal: &mut Terminal<'_>,
) -> Result<u8, CliError> {
    match command {
        AlertCommand::Test(args) => test(args, overrides, world, terminal).await,
        AlertCommand::List(args) => list(args, overrides, world, terminal).await,
        AlertCommand::Retry(args) => {
            let path = format!("/v1/alerts/{}/retry", args.id);
            let attempt: Attempt = ask(&args.access, overrides, world, (Method::POST, &path), None).await?;
            report(&[attempt], terminal)
        }
        AlertCommand::Ack(args) => {
            let path = format!("/v1/alerts/{}/ack", args.id);
            let _: IgnoredAny = ask(&args.access, overrides, world, (Method::POST, &path), None).await?;
            writeln!(terminal.out, "acknowledged")?;
            terminal.out.flush()?;
            Ok(DONE)
        }
        AlertCommand::Snooze(args) => snooze(args, overrides, world, terminal).await,
    }
}

/// Sends a request to the running appliance, and reads its answer; an empty one is `null`.
async fn ask<T: DeserializeOwned>(
    access: &ApplianceArgs,
    overrides: &Overrides,
    world: &CommandEnv,
    (method, path): (Method, &str),
    body: Option<&serde_json::Value>,
) -> Result<T, CliError> {
    let appliance = Appliance::find_running(access, overrides, world)?;
    let answer = appliance.request(method, path, body).await;
    appliance.close().await?;
    let answer = answer?;
    let text: &[u8] = if answer.is_empty() { b"null" } else { &answer };
    Ok(serde_json::from_slice(text).map_err(io::Error::from)?)
}

async fn snooze(
    args: &AlertSnoozeArgs,
    overrides: &Overrides,
    world: &CommandEnv,
    terminal: &mut Terminal<'_>,
) -> Result<u8, CliError> {
    if args.end {
        let device =
            args.device.as_ref().map(|device| format!("?device={}", percent_encode(&device.to_string())));
        let path = format!("/v1/alerts/snooze{}", device.unwrap_or_default());
        let _: IgnoredAny = ask(&args.access, overrides, world, (Method::DELETE, &path), None).await?;
        writeln!(terminal.out, "alerts are on again")?;
    } else {
        let device = args.device.as_ref().map(ToString::to_string);
        let body = serde_json::json!({ "device": device, "for": args.length });
        let asked = (Method::POST, "/v1/alerts/snooze");
        let snoozed: Snoozed = ask(&args.access, overrides, world, asked, Some(&body)).await?;
        writeln!(terminal.out, "snoozed until {}", local(snoozed.until))?;
    }
    terminal.out.flush()?;
    Ok(DONE)
}

fn local(time: jiff::Timestamp) -> String {
    time.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

async fn test(
    args: &AlertTestArgs,
    overrides: &Overrides,
    world: &CommandEnv,
    terminal: &mut Terminal<'_>,
) -> Result<u8, CliError> {
    // The running one, with the configuration that it has loaded, as its user: then a test proves something.
    let channel = args.channel.as_ref().map(|channel| format!("/{}", percent_encode(channel)));
    let path = format!("/v1/alerts/test{}", channel.unwrap_or_default());
    let attempts: Vec<Attempt> = ask(&args.access, overrides, world, (Method::POST, &path), None).await?;
    report(&attempts, terminal)
}

/// Prints what became of attempts.
fn report(attempts: &[Attempt], terminal: &mut Terminal<'_>) -> Result<u8, CliError> {
    for Attempt { channel, ok, answer } in attempts {
        let (channel, answer) = (sanitize_for_terminal(channel), sanitize_for_terminal(answer));
        let (word, separator) =
            (if *ok { "delivered" } else { "failed" }, if answer.is_empty() { "" } else { ": " });
        writeln!(terminal.out, "{channel}: {word}{separator}{answer}")?;
    }
    terminal.out.flush()?;
    Ok(if attempts.iter().all(|attempt| attempt.ok) { DONE } else { FAILED })
}

async fn list(
    args: &AlertListArgs,
    overrides: &Overrides,
    world: &CommandEnv,
    terminal: &mut Terminal<'_>,
) -> Result<u8, CliError> {
    let appliance = Appliance::find(&args.access, overrides, world, DatabaseUse::Reading)?;
    let found = appliance.get::<AlertList>("/v1/alerts").await;
    appliance.close().await?;
    let found = found?;
    if args.json {
        serde_json::to_writer(&mut *terminal.out, &found).map_err(io::Error::from)?;
        writeln!(terminal.out)?;
    } else if found.channels.is_empty() {
        writeln!(
            terminal.out,
            "no channels: write a [[channel]] into the configuration, then: systemctl reload portscan"
        )?;
    } else {
        print(&found, terminal.out, terminal.width)?;
    }
    terminal.out.flush()?;
    Ok(DONE)
}

fn print(found: &AlertList, out: &mut dyn Write, width: Option<u16>) -> io::Result<()> {
    let shown = |text: &Option<String>| sanitize_for_terminal(text.as_deref().unwrap_or_default());
    let channels = || found.channels.iter();
    let delivered = |channel: &Channel| channel.last_delivered.map(local).unwrap_or_default();
    let error = |channel: &Channel| {
        shown(if channel.error.is_some() { &channel.error } else { &channel.template_error })
    };
    let table = vec![
        Column::fixed("CHANNEL", channels().map(|channel| sanitize_for_terminal(&channel.name))),
        Column::fixed("TYPE", channels().map(|channel| sanitize_for_terminal(&channel.kind))),
        Column::fixed("STATE", channels().map(|channel| sanitize_for_terminal(&channel.state))),
        Column::fixed("PENDING", channels().map(|channel| channel.pending.to_string())),
        Column::fixed("DELIVERED", channels().map(delivered)),
        Column::folding("ERROR", channels().map(error)),
    ];
    columns::write(out, table, &["DELIVERED", "TYPE"], width)?;
    for Snoozed { device, until } in &found.snoozes {
        let what = device.as_deref().map_or("all alerts".into(), sanitize_for_terminal);
        writeln!(out, "Snoozed until {}: {what}", local(*until))?;
    }
    if found.parked.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nRefused by the receiver:")?;
    let parked = || found.parked.iter();
    let table = vec![
        Column::fixed("ID", parked().map(|message| message.id.to_string())),
        Column::fixed("CHANNEL", parked().map(|message| sanitize_for_terminal(&message.channel))),
        Column::fixed("TIME", parked().map(|message| local(message.time))),
        Column::folding("TITLE", parked().map(|message| sanitize_for_terminal(&message.title))),
        Column::folding("REASON", parked().map(|message| shown(&message.reason))),
    ];
    columns::write(out, table, &["TIME"], width)
}
