//! Writes a channel's summaries and sends them, as its [`SummaryWatch`] says.

use std::{pin::pin, sync::Arc};

use futures_util::TryStreamExt;
use jiff::civil::Date;

use super::{Shared, delivery::DeliveryError, known_device::DeviceFacts, selection::Selection};
use crate::{
    alerts::{Pace, SummaryStep, SummaryWatch, WaitingSummary},
    config::{ChannelConfig, Config, SummaryTime},
    messages::{DeviatingPorts, MOST_LINES, NetworkSummary},
    model::{ChangeFilter, ChangeKind, Deviation, DeviceKey, Moment, Protocol},
    service::differences::HostDifference,
    store::StoreError,
};

/// The most pages of events that are searched for new devices: some ten thousand events, which is a busy month.
const MOST_PAGES: usize = 160;

/// Reads the state of a channel's summaries; if none are configured any more, deletes it.
pub(super) async fn begin(
    shared: &Shared,
    channel: &ChannelConfig,
) -> Result<Option<SummaryWatch>, StoreError> {
    let saved = shared.store.summary_state(&channel.name).await?;
    match channel.summary {
        Some(time) => Ok(Some(SummaryWatch::new(time, saved, shared.clock.now()))),
        None if saved.done.is_none() => Ok(None),
        None => shared.store.save_summary_state(&channel.name, None).await.map(|()| None),
    }
}

/// Carries out the step that is due; returns until when to wait, or `None` if a step was carried out.
pub(super) async fn step(
    shared: &Shared,
    channel: &ChannelConfig,
    watch: &mut SummaryWatch,
    pace: &Pace,
    newest: i64,
) -> Result<Option<Moment>, StoreError> {
    let (store, now) = (&shared.store, shared.clock.now());
    match watch.step(pace, now, shared.local_time(), newest) {
        SummaryStep::Wait(until) => return Ok(Some(until)),
        SummaryStep::Save(saved) => save(shared, channel, watch, saved).await?,
        SummaryStep::Write { day, after } => {
            // Without a baseline nothing can be as expected.
            let saved = match (store.has_baseline().await?, channel.summary) {
                (true, Some(time)) => {
                    let config = Arc::clone(&shared.config.borrow());
                    let summary = read(&shared.selection, &config, (after, newest)).await?;
                    watch.write(written(&summary, time, day, newest))
                }
                _ => watch.skip(day),
            };
            save(shared, channel, watch, saved).await?;
        }
        SummaryStep::Send(summary) => send(shared, channel, watch, &summary).await?,
    }
    Ok(None)
}

async fn save(
    shared: &Shared,
    channel: &ChannelConfig,
    watch: &mut SummaryWatch,
    saved: crate::alerts::SavedSummary,
) -> Result<(), StoreError> {
    shared.store.save_summary_state(&channel.name, Some(saved.clone())).await?;
    watch.saved(saved);
    Ok(())
}

fn written(summary: &NetworkSummary, time: SummaryTime, day: Date, newest: i64) -> WaitingSummary {
    WaitingSummary {
        day,
        number: day.to_datetime(time.at).strftime("%Y-%m-%dT%H:%M").to_string(),
        newest,
        title: summary.title(),
        text: summary.text(),
        is_as_expected: summary.is_as_expected(),
    }
}

async fn send(
    shared: &Shared,
    channel: &ChannelConfig,
    watch: &mut SummaryWatch,
    summary: &WaitingSummary,
) -> Result<(), StoreError> {
    let name = &channel.name;
    let config = Arc::clone(&shared.config.borrow());
    let WaitingSummary { number, title, text, is_as_expected, .. } = summary;
    let message = shared.origin(&config).await?.summary(number, title, text, *is_as_expected);
    match shared.deliver(channel, &message).await {
        Ok(_) => shared.statuses().note_delivered(name, shared.clock.wall()),
        Err(DeliveryError::Refused(reason)) => {
            tracing::warn!(channel = name, %reason, "the receiver refused a summary; the next one is sent as usual");
            shared.statuses().note_failed(name, reason);
        }
        Err(DeliveryError::Failed(reason)) => {
            if watch.attempts() == 0 {
                tracing::warn!(channel = name, %reason, "failed to deliver a summary; will retry");
            }
            shared.statuses().note_failed(name, reason);
            watch.failed(shared.clock.now());
            return Ok(());
        }
    }
    let saved = watch.delivered();
    save(shared, channel, watch, saved).await
}

/// Reads the state of the network; a device is new if its event is between these two.
async fn read(
    selection: &Selection,
    config: &Config,
    events: (i64, i64),
) -> Result<NetworkSummary, StoreError> {
    let Selection { store, differences, clock, .. } = selection;
    let totals = store.totals().await?;
    let snoozed: Vec<DeviceKey> =
        store.snoozes().await?.into_iter().filter_map(|snooze| snooze.device).collect();
    let mut summary = NetworkSummary {
        devices: totals.devices,
        open: differences.tally().await?.open,
        snoozed: snoozed.len(),
        ..NetworkSummary::default()
    };
    let mut known = DeviceFacts::default();
    let mut collected = Vec::new();
    let mut pages = pin!(differences.differences());
    while let Some(page) = pages.try_next().await? {
        for found in page.iter().filter(|found| !snoozed.iter().any(|device| found.is_of(device))) {
            count(&mut summary, &mut collected, found);
        }
    }
    for Collected { host, protocol, is_missing, ports } in collected {
        let name = known.read(store, config, &host, clock.wall()).await?.name.clone();
        let ports = ports.into_iter().collect();
        summary.deviating.push(DeviatingPorts { host, name, protocol, ports, is_missing });
    }
    let (after, newest) = events;
    let mut next = Some(after);
    for _ in 0..MOST_PAGES {
        let Some(after) = next else { break };
        let page = store.change_events(ChangeFilter { after, ..ChangeFilter::default() }).await?;
        next = page.next.filter(|next| *next < newest);
        for event in page.rows {
            // Devices that were seen before the first accept are not new.
            let is_new = event.kind == ChangeKind::New && event.alert;
            if !is_new || event.id > newest || snoozed.contains(&event.device) {
                continue;
            }
            summary.new_devices += 1;
            if summary.newcomers.len() < MOST_LINES {
                let name = known.read(store, config, &event.device, clock.wall()).await?.name.clone();
                summary.newcomers.push((name, event.address));
            }
        }
    }
    Ok(summary)
}

/// Ports of a device that differ in the same way, while they are read.
struct Collected {
    host: DeviceKey,
    protocol: Protocol,
    is_missing: bool,
    ports: Vec<u16>,
}

fn count(summary: &mut NetworkSummary, collected: &mut Vec<Collected>, found: &HostDifference) {
    let is_missing = match found.difference.deviation() {
        Deviation::Rogue => false,
        Deviation::Missing => true,
        Deviation::Other => return,
    };
    match is_missing {
        false => summary.unexpected += 1,
        true => summary.missing += 1,
    }
    let (protocol, port) = (found.difference.protocol, found.difference.port);
    let same =
        |it: &&mut Collected| it.host == found.host && it.protocol == protocol && it.is_missing == is_missing;
    // The ports of one device come one after the other.
    if let Some(known) = collected.iter_mut().rev().take(4).find(same) {
        known.ports.push(port);
    } else if collected.len() < MOST_LINES {
        collected.push(Collected { host: found.host.clone(), protocol, is_missing, ports: vec![port] });
    }
}
