//! The alert channels, and what became of their messages.

use axum::{extract::State, response::Response};
use hyper::StatusCode;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Api, gated};
use crate::{
    config::ChannelConfig,
    http::{
        answer::{ErrorBody, Refusal, json},
        auth::Gate,
        extract::Path,
    },
    service::alerts::{AlertRequestError, ChannelStatus, ChannelTest, DeliveryError},
    store::{MessageRecord, MessageState},
};

/// The most messages that are listed.
const MOST: u32 = 500;

pub(super) fn routes(gate: &Gate) -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(alerts))
        .routes(gated(gate, routes!(test_all)))
        .routes(gated(gate, routes!(test)))
        .routes(gated(gate, routes!(retry)))
        .routes(gated(gate, routes!(acknowledge)))
}

/// The alerts.
#[derive(Serialize, ToSchema)]
struct AlertsBody {
    channels: Vec<ChannelBody>,
    /// Events that wait, over all channels.
    pending: usize,
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
    /// `idle`: everything is delivered; `delivering`; `waiting`: for further events; `paused`: after a flood of messages;
    /// `quiet`: held in the quiet hours; `failing`: the last attempt failed, and another follows.
    #[schema(value_type = String, example = "idle")]
    state: &'static str,
    /// Events that wait; those of a message that is being delivered count as one.
    pending: usize,
    /// How long the oldest of them waits.
    oldest_seconds: Option<u64>,
    /// How long the next message or attempt waits.
    next_seconds: Option<u64>,
    /// For how long no attempt has succeeded.
    failing_seconds: Option<u64>,
    /// Why the last attempt failed.
    error: Option<String>,
    /// Why the last message was sent in the built-in words, where the channel's template failed.
    template_error: Option<String>,
    /// The last of which it is known: the latest 200 messages of each channel are kept.
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
    /// The device, if it tells of one alone: its MAC, or its address.
    device: Option<String>,
    /// The first and the last change that it tells of, as /v1/changes numbers them.
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

/// What became of an attempt.
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
            | AlertRequestError::UnknownMessage(_) => StatusCode::NOT_FOUND,
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
    // What was delivered before the start is known from the messages.
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
    let body = AlertsBody { channels, pending, parked: bodies(parked), history: bodies(history) };
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

/// Acknowledges a message: it is parked no longer.
#[utoipa::path(
    post, path = "/v1/alerts/{id}/ack", tag = "alerts", params(("id" = i64, Path)),
    responses((status = 204), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)),
)]
async fn acknowledge(State(api): State<Api>, Path(id): Path<String>) -> Result<StatusCode, Refusal> {
    api.alerts.acknowledge(message_id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn message_id(text: &str) -> Result<i64, Refusal> {
    let malformed =
        || Refusal::bad_request("the message's number is malformed; write one that GET /v1/alerts lists");
    text.parse().map_err(|_| malformed())
}
