//! The alert channels and their messages.

use std::time::Duration;

use axum::{extract::State, response::Response};
use bytes::Bytes;
use hyper::{StatusCode, header::HeaderMap};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Api, gated, shapes::DeviceText};
use crate::{
    config::ChannelConfig,
    http::{
        answer::{ErrorBody, Refusal, json},
        auth::Gate,
        body,
        extract::{Path, Query},
        routes::{Routes, route},
    },
    model::{DeviceKey, parse_duration},
    service::alerts::{AlertRequestError, ChannelStatus, ChannelTest, DeliveryError},
    store::{MessageRecord, MessageState, Snooze},
};

/// The most messages that are listed.
const MOST: u32 = 500;

/// The longest snooze: a forgotten one must not keep the appliance silent for good.
const LONGEST_SNOOZE: Duration = Duration::from_secs(30 * 86_400);

pub(super) fn routes(gate: &Gate) -> Routes<Api> {
    Routes::new()
        .with(route!(alerts))
        .with(gated(gate, route!(test_all)))
        .with(gated(gate, route!(test)))
        .with(gated(gate, route!(retry)))
        .with(gated(gate, route!(acknowledge)))
        .with(gated(gate, route!(snooze)))
        .with(gated(gate, route!(end_snooze)))
}

/// The alerts.
#[derive(Serialize, ToSchema)]
struct AlertsBody {
    channels: Vec<ChannelBody>,
    /// Events that wait, over all channels.
    pending: usize,
    /// The snoozes.
    snoozes: Vec<SnoozeBody>,
    /// Messages that a receiver refused, the newest first.
    parked: Vec<MessageBody>,
    /// The other messages, the newest first.
    history: Vec<MessageBody>,
}

/// A configured channel. Counts are since the start of the appliance.
#[derive(Serialize, ToSchema)]
struct ChannelBody {
    name: String,
    /// `ntfy`, `webhook`, `syslog`, `email`, `mqtt`
    #[serde(rename = "type")]
    kind: &'static str,
    /// Its scheme and host: the rest may be a secret.
    #[schema(example = "https://ntfy.sh/...")]
    url: String,
    /// `idle`: everything is delivered; `delivering`; `waiting`: for further events; `paused`: after a flood of
    /// messages; `quiet`: held in the quiet hours; `failing`: the last attempt failed, and another follows.
    #[schema(value_type = String, example = "idle")]
    state: &'static str,
    /// Events that wait; those of a message that is being delivered count as one.
    pending: usize,
    /// How long the oldest waiting alert has waited.
    oldest_seconds: Option<u64>,
    /// How long the next message or attempt waits.
    next_seconds: Option<u64>,
    /// For how long no attempt has succeeded.
    failing_seconds: Option<u64>,
    /// Why the last attempt failed.
    error: Option<String>,
    /// Why the last message has the built-in text, if the channel's template failed.
    template_error: Option<String>,
    /// When the last message was delivered, among the latest 200 messages of each channel, which are kept.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_delivered: Option<Timestamp>,
    delivered: u64,
    failed: u64,
}

/// A message.
#[derive(Serialize, ToSchema)]
struct MessageBody {
    /// For `retry` and `ack`.
    id: i64,
    channel: String,
    title: String,
    /// The device, if the message is about only one: its MAC, or its address.
    device: Option<String>,
    /// The first and the last change of the message, by their ids in /v1/changes.
    changes: [i64; 2],
    /// `delivered`, `parked`, `acknowledged`
    #[schema(value_type = String, example = "delivered")]
    state: &'static str,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    time: Timestamp,
    /// Why the receiver refused it.
    reason: Option<String>,
}

/// A snooze: until it ends, no channel sends alerts about the device.
#[derive(Serialize, ToSchema)]
struct SnoozeBody {
    /// Its MAC, or its address; `null`: all alerts, also those about the appliance itself.
    device: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    until: Timestamp,
    seconds_left: u64,
}

/// What to snooze, and for how long.
#[derive(Deserialize, ToSchema)]
struct SnoozeRequest {
    /// `null` or absent: all alerts.
    #[schema(value_type = Option<DeviceText>, example = "B8:27:EB:AC:14:3E")]
    device: Option<String>,
    /// From 1 minute to 30 days.
    #[serde(rename = "for")]
    #[schema(pattern = "^([1-9]|[12][0-9]|30)[mhd]$", example = "8h")]
    length: String,
}

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct SnoozeQuery {
    /// The device; absent: the snooze of all alerts.
    #[param(value_type = Option<DeviceText>, inline, example = "B8:27:EB:AC:14:3E")]
    device: Option<String>,
}

/// The result of an attempt.
#[derive(Serialize, ToSchema)]
struct AttemptBody {
    channel: String,
    /// Whether the message was delivered.
    ok: bool,
    /// What the receiver answered, or why it was not reached.
    answer: String,
}

impl ChannelBody {
    fn of((channel, status): (ChannelConfig, ChannelStatus)) -> Self {
        Self {
            kind: channel.kind.as_str(),
            url: channel.url.to_string(),
            name: channel.name,
            state: status.state.as_str(),
            pending: status.pending,
            oldest_seconds: status.oldest.map(|oldest| oldest.as_secs()),
            next_seconds: status.next.map(|next| next.as_secs()),
            failing_seconds: status.failing.map(|failing| failing.as_secs()),
            error: status.error,
            template_error: status.template_error,
            last_delivered: status.delivered_at,
            delivered: status.delivered,
            failed: status.failed,
        }
    }
}

impl MessageBody {
    fn of(record: MessageRecord) -> Self {
        let MessageRecord { id, channel, events: (first, last), device, title, state, at, reason } = record;
        Self { id, channel, title, device, changes: [first, last], state: state.as_str(), time: at, reason }
    }
}

impl SnoozeBody {
    fn of((snooze, rest): (Snooze, Duration)) -> Self {
        let Snooze { device, until, .. } = snooze;
        Self { device: device.map(|device| device.to_string()), until, seconds_left: rest.as_secs() }
    }
}

impl AttemptBody {
    fn of(test: ChannelTest) -> Self {
        let ok = test.outcome.is_ok();
        let answer = test.outcome.unwrap_or_else(|error: DeliveryError| error.to_string());
        Self { channel: test.channel, ok, answer }
    }
}

impl From<AlertRequestError> for Refusal {
    fn from(error: AlertRequestError) -> Self {
        let status = match error {
            AlertRequestError::Store(error) => return error.into(),
            AlertRequestError::UnknownChannel(_)
            | AlertRequestError::NoChannel
            | AlertRequestError::UnknownMessage(_)
            | AlertRequestError::UnknownDevice(_)
            | AlertRequestError::NotSnoozed => StatusCode::NOT_FOUND,
            AlertRequestError::NotParked(_) | AlertRequestError::Empty(_) => StatusCode::BAD_REQUEST,
        };
        Self::new(status, error.to_string())
    }
}

/// Lists the channels, the messages that were refused, and the latest others.
#[utoipa::path(get, path = "/v1/alerts", tag = "alerts", responses((status = 200, body = AlertsBody)))]
async fn alerts(State(api): State<Api>) -> Result<Response, Refusal> {
    let mut channels: Vec<_> = api.alerts.channels().into_iter().map(ChannelBody::of).collect();
    let messages = api.alerts.messages(MOST).await?;
    // Deliveries before the start are known only from the messages.
    for channel in channels.iter_mut().filter(|channel| channel.last_delivered.is_none()) {
        let is_delivered = |message: &&MessageRecord| {
            message.channel == channel.name && message.state == MessageState::Delivered
        };
        channel.last_delivered = messages.iter().find(is_delivered).map(|message| message.at);
    }
    let (parked, history) =
        messages.into_iter().partition::<Vec<_>, _>(|message| message.state == MessageState::Parked);
    let bodies = |messages: Vec<MessageRecord>| messages.into_iter().map(MessageBody::of).collect();
    let pending = channels.iter().map(|channel| channel.pending).sum();
    let snoozes = api.alerts.snoozes().await?.into_iter().map(SnoozeBody::of).collect();
    let body = AlertsBody { channels, pending, snoozes, parked: bodies(parked), history: bodies(history) };
    Ok(json(StatusCode::OK, &body))
}

/// Sends a test to every channel, and returns what the receivers answered.
#[utoipa::path(
    post, path = "/v1/alerts/test", tag = "alerts",
    responses((status = 200, body = Vec<AttemptBody>), (status = 404, body = ErrorBody)),
)]
async fn test_all(State(api): State<Api>) -> Result<Response, Refusal> {
    tested(api.alerts.test(None).await?)
}

/// Sends a test to one channel, and returns what the receiver answered.
#[utoipa::path(
    post, path = "/v1/alerts/test/{channel}", tag = "alerts", params(("channel" = String, Path)),
    responses((status = 200, body = Vec<AttemptBody>), (status = 404, body = ErrorBody)),
)]
async fn test(State(api): State<Api>, Path(channel): Path<String>) -> Result<Response, Refusal> {
    tested(api.alerts.test(Some(&channel)).await?)
}

fn tested(tests: Vec<ChannelTest>) -> Result<Response, Refusal> {
    Ok(json(StatusCode::OK, &tests.into_iter().map(AttemptBody::of).collect::<Vec<_>>()))
}

/// Tries a parked message once more, and returns what the receiver answered.
#[utoipa::path(
    post, path = "/v1/alerts/{id}/retry", tag = "alerts", params(("id" = i64, Path)),
    responses(
        (status = 200, body = AttemptBody), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody),
    ),
)]
async fn retry(State(api): State<Api>, Path(id): Path<String>) -> Result<Response, Refusal> {
    let attempt = api.alerts.retry(message_id(&id)?).await?;
    Ok(json(StatusCode::OK, &AttemptBody::of(attempt)))
}

/// Acknowledges a message: it is no longer parked, and its channel sends no further message about the same changes.
#[utoipa::path(
    post, path = "/v1/alerts/{id}/ack", tag = "alerts", params(("id" = i64, Path)),
    responses((status = 204), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)),
)]
async fn acknowledge(State(api): State<Api>, Path(id): Path<String>) -> Result<StatusCode, Refusal> {
    api.alerts.acknowledge(message_id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Snoozes the alerts about a device, or all alerts: none is sent for this time. At the end one message reports what
/// still holds.
///
/// Changes are stored as usual. Alerts about earlier changes are still sent. Another request changes the end of the
/// snooze.
#[utoipa::path(
    post, path = "/v1/alerts/snooze", tag = "alerts", request_body = SnoozeRequest,
    responses((status = 200, body = SnoozeBody), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody),
              (status = 413, body = ErrorBody), (status = 415, body = ErrorBody)),
)]
async fn snooze(State(api): State<Api>, headers: HeaderMap, body: Bytes) -> Result<Response, Refusal> {
    let SnoozeRequest { device, length } = body::document(&headers, &body)?;
    let malformed = "`for` is malformed; write from 1m to 30d, such as 8h";
    let length = parse_duration(&length, &["m", "h", "d"]).ok();
    let length = length.filter(|length| !length.is_zero() && *length <= LONGEST_SNOOZE);
    let length = length.ok_or_else(|| Refusal::bad_request(malformed))?;
    let device = device_key(device)?;
    let until = api.alerts.snooze(device.clone(), length).await?;
    Ok(json(StatusCode::OK, &SnoozeBody::of((Snooze { device, until, length }, length))))
}

/// Ends a snooze early.
#[utoipa::path(
    delete, path = "/v1/alerts/snooze", tag = "alerts", params(SnoozeQuery),
    responses((status = 204), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)),
)]
async fn end_snooze(
    State(api): State<Api>,
    Query(SnoozeQuery { device }): Query<SnoozeQuery>,
) -> Result<StatusCode, Refusal> {
    api.alerts.end_snooze(device_key(device)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn device_key(text: Option<String>) -> Result<Option<DeviceKey>, Refusal> {
    let key = text.map(|text| text.parse::<DeviceKey>()).transpose();
    key.map_err(|error| Refusal::bad_request(error.to_string()))
}

fn message_id(text: &str) -> Result<i64, Refusal> {
    let malformed =
        || Refusal::bad_request("the message's number is malformed; write one that GET /v1/alerts lists");
    text.parse().map_err(|_| malformed())
}
