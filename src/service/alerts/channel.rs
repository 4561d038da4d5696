//! One channel's task: carries out the steps of its outbox.

use std::{sync::Arc, time::Duration};

use jiff::civil::DateTime;
use tokio::sync::watch;

use super::{REST, Shared, delivery::DeliveryError, summary};
use crate::{
    alerts::{ChannelOutbox, OutboxStep, Pace, TroubleStep, TroubleWatch},
    config::{ChannelConfig, Config},
    messages::{AlertMessage, Origin},
    model::AlertKind,
    service::health::Health,
    store::{EndedMessage, StoreError},
};

/// Sends the channel's messages, and never returns.
pub(super) async fn run(shared: &Shared, channel: &ChannelConfig, health: watch::Receiver<Health>) {
    loop {
        // It only returns with an error.
        match serve(shared, channel, health.clone()).await {
            Ok(never) => match never {},
            Err(StoreError::Closed) => return,
            Err(error) => {
                tracing::warn!(channel = channel.name, %error, "failed to read or write alerts; will retry");
            }
        }
        tokio::time::sleep(REST).await;
    }
}

async fn serve(
    shared: &Shared,
    channel: &ChannelConfig,
    mut health: watch::Receiver<Health>,
) -> Result<std::convert::Infallible, StoreError> {
    let Shared { store, clock, .. } = shared;
    let name = &channel.name;
    let mut latest = store.latest_event();
    let mut is_all_snoozed = shared.is_all_snoozed.subscribe();
    let mut outbox = ChannelOutbox::new(&store.outbox(name).await?, clock.now());
    let mut trouble = TroubleWatch::new(store.told_trouble(name).await?, clock.now());
    let mut summary = summary::begin(shared, channel).await?;
    let pace = Pace { group: channel.group, burst: channel.burst, quiet: channel.quiet };
    loop {
        let newest = *latest.borrow_and_update();
        outbox.note_newest(newest);
        // Only where it is needed, because it takes system calls.
        let time = channel.quiet.and_then(|_| shared.local_time()).map(DateTime::time);
        let step = outbox.step(&pace, clock.now(), time);
        let now = clock.now();
        shared.statuses().note(name, &outbox, outbox.next_message(&pace, now, time), now);
        if let Some(failing) = summary.as_ref().and_then(|summary| summary.waiting(now)) {
            shared.statuses().note_summary(name, failing);
        }
        let config = Arc::clone(&shared.config.borrow());
        match step {
            OutboxStep::Read { after } => {
                let (chosen, read) = shared.selection.after(after, newest, name, &config).await?;
                outbox.offer(chosen, read, clock.now());
            }
            OutboxStep::Save(state) => {
                store.save_outbox(name, state.clone(), None).await?;
                outbox.saved(&state);
            }
            OutboxStep::Send { first, last } => {
                send(shared, channel, &config, &mut outbox, (first, last)).await?
            }
            OutboxStep::Wait(until) => {
                let sentences = health.borrow_and_update().sentences();
                trouble.note(sentences, clock.now());
                let is_snoozed = *is_all_snoozed.borrow_and_update();
                let step = match is_snoozed {
                    true => TroubleStep::Wait(None),
                    false => trouble.step(&pace, clock.now(), time),
                };
                let mut until = match step {
                    TroubleStep::Send { number, sentences } => {
                        report_trouble(shared, channel, &mut trouble, number, &sentences).await?;
                        continue;
                    }
                    TroubleStep::Wait(None) => until,
                    TroubleStep::Wait(Some(other)) => Some(until.map_or(other, |until| until.min(other))),
                };
                // One after the other: a receiver that refuses a message would refuse a summary, too.
                if let Some(summary) = summary.as_mut().filter(|_| !outbox.is_delivering() && !is_snoozed) {
                    match summary::step(shared, channel, summary, &pace, newest).await? {
                        None => continue,
                        Some(other) => until = Some(until.map_or(other, |until| until.min(other))),
                    }
                }
                // Without a time to wait for, the pause is longer than any: an event ends it.
                let pause = until.map_or(Duration::from_secs(86_400), |until| clock.now().until(until));
                tokio::select! {
                    changed = latest.changed() => changed.map_err(|_| StoreError::Closed)?,
                    Ok(()) = health.changed() => {}
                    Ok(()) = is_all_snoozed.changed() => {}
                    () = tokio::time::sleep(pause) => {}
                }
            }
        }
    }
}

/// Sends the appliance's own trouble, or its end, to the channel.
async fn report_trouble(
    shared: &Shared,
    channel: &ChannelConfig,
    trouble: &mut TroubleWatch,
    number: i64,
    sentences: &[String],
) -> Result<(), StoreError> {
    let name = &channel.name;
    let config = Arc::clone(&shared.config.borrow());
    if let Some(severity) = config.alert_severity(name, AlertKind::Appliance, None) {
        let message = shared.origin(&config).await?.trouble(number, sentences, severity);
        match shared.deliver(channel, &message).await {
            Ok(_) => shared.statuses().note_delivered(name, shared.clock.wall()),
            Err(DeliveryError::Refused(reason)) => {
                tracing::warn!(channel = name, %reason, "the receiver refused a message about the appliance's trouble");
                shared.statuses().note_failed(name, reason);
            }
            Err(DeliveryError::Failed(reason)) => {
                shared.statuses().note_failed(name, reason);
                trouble.failed(shared.clock.now());
                return Ok(());
            }
        }
    }
    shared.store.save_told_trouble(name, trouble.delivered(sentences)).await
}

async fn send(
    shared: &Shared,
    channel: &ChannelConfig,
    config: &Config,
    outbox: &mut ChannelOutbox,
    events: (i64, i64),
) -> Result<(), StoreError> {
    let Shared { store, clock, .. } = shared;
    let name = &channel.name;
    let origin: Origin = shared.origin(config).await?;
    let (state, ended) = match shared.selection.message(events, name, config, &origin).await? {
        // The rules have changed since it was chosen.
        None => (outbox.dropped(clock.now()), None),
        Some(message) => match shared.deliver(channel, &message).await {
            Ok(_) => {
                shared.statuses().note_delivered(name, clock.wall());
                (outbox.delivered(clock.now()), Some(ended(shared, &message, events, None)))
            }
            Err(DeliveryError::Refused(reason)) => {
                tracing::warn!(channel = name, %reason, "the receiver refused an alert; it is parked");
                shared.statuses().note_failed(name, reason.clone());
                (outbox.delivered(clock.now()), Some(ended(shared, &message, events, Some(reason))))
            }
            Err(DeliveryError::Failed(reason)) => {
                if outbox.attempts() == 0 {
                    tracing::warn!(channel = name, %reason, "failed to deliver an alert; will retry");
                }
                shared.statuses().note_failed(name, reason);
                (outbox.failed(clock.now()), None)
            }
        },
    };
    store.save_outbox(name, state.clone(), ended).await?;
    outbox.saved(&state);
    Ok(())
}

fn ended(
    shared: &Shared,
    message: &AlertMessage,
    events: (i64, i64),
    refusal: Option<String>,
) -> EndedMessage {
    let device = message.device().map(ToString::to_string);
    EndedMessage { events, device, title: message.title.clone(), at: shared.clock.wall(), refusal }
}
