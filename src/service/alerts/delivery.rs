//! One attempt to deliver a message.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use hyper::{Method, StatusCode};

use super::{links::BrokerLinks, posted::Posted, receiver, secret_file};
use crate::{
    alerts::{mqtt_payload, payload, syslog_line},
    client::{ClientError, HttpClient, HttpRequest, JSON, ResponseLimits, whole},
    clock::Clock,
    config::{ChannelConfig, ChannelKind, SyslogFormat},
    messages::AlertMessage,
    model::one_line,
    net::mqtt::MqttError,
    resolve::Resolve,
    syslog,
};

/// Bounds of one request; only the beginning of the receiver's answer is used.
const LIMITS: ResponseLimits = ResponseLimits { timeout: Duration::from_secs(20), max_bytes: 64 * 1024 };

/// The most characters of an answer that are kept.
pub(super) const MOST_ANSWER: usize = 200;

/// The port of syslog (RFC 5426, 3.3), for TCP, too, as most servers have it.
const SYSLOG_PORT: u16 = 514;

/// Why a message was not delivered. Neither text holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeliveryError {
    /// A later attempt may succeed.
    #[error("{0}")]
    Failed(String),
    /// The receiver refused this message, and would refuse it again.
    #[error("{0}")]
    Refused(String),
}

/// Delivers messages.
#[derive(Clone)]
pub(super) struct Courier {
    pub(super) client: HttpClient,
    pub(super) resolver: Arc<dyn Resolve>,
    pub(super) clock: Arc<dyn Clock>,
    /// This machine's name, for syslog.
    pub(super) hostname: Option<String>,
    /// The recipients that have a mail which other recipients of it still lack.
    pub(super) posted: Arc<Mutex<Posted>>,
    /// The connections to MQTT brokers.
    pub(super) links: BrokerLinks,
}

impl Courier {
    /// Delivers a message, and returns what the receiver answered.
    pub(super) async fn deliver(
        &self,
        channel: &ChannelConfig,
        message: &AlertMessage,
    ) -> Result<String, DeliveryError> {
        match &channel.kind {
            ChannelKind::Syslog { format } => return self.log(channel, *format, message).await,
            ChannelKind::Email(config) => return self.post(channel, config, message).await,
            ChannelKind::Mqtt(_) => return self.publish(channel, message).await,
            ChannelKind::Ntfy | ChannelKind::Webhook { .. } => {}
        }
        let secret = |key, file| secret_file::read(key, file).map_err(DeliveryError::Failed);
        let token = secret("token_file", channel.token_file.as_deref())?;
        let sign = secret("sign_file", channel.sign_file.as_deref())?;
        let Some(payload) = payload(channel, message, token.as_deref(), sign.as_deref()) else {
            return Err(DeliveryError::Failed("the channel's URL is not one of its type".to_owned()));
        };
        let request = HttpRequest {
            method: Method::POST,
            url: &payload.url,
            token: token.as_deref().filter(|_| payload.is_bearer),
            headers: &payload.headers,
            accept: JSON,
            body: Some(("application/json", whole(payload.body.into()))),
        };
        let mut answer = Vec::new();
        let take = |piece: &[u8]| {
            answer.extend_from_slice(
                &piece[..piece.len().min(MOST_ANSWER * 4 - answer.len().min(MOST_ANSWER * 4))],
            );
            Ok(())
        };
        let trusting = channel.ca_file.as_deref().map(|file| self.client.trusting(file)).transpose();
        let unusable = |error| secret_file::unusable("ca_file", channel.ca_file.as_deref(), &error);
        let trusting = trusting.map_err(|error| DeliveryError::Failed(unusable(error)))?;
        match trusting.as_ref().unwrap_or(&self.client).send(request, LIMITS, take).await {
            Ok(()) => Ok(excerpt(&answer)),
            // The receiver has accepted it; the rest of its answer does not matter.
            Err(ClientError::TooLarge(_)) => Ok(excerpt(&answer)),
            Err(error) => Err(judge(&error)),
        }
    }

    async fn publish(
        &self,
        channel: &ChannelConfig,
        message: &AlertMessage,
    ) -> Result<String, DeliveryError> {
        let published = self.links.publish(&channel.name, mqtt_payload(message)).await;
        let judge = |error: MqttError| match error.judges_the_message() {
            true => DeliveryError::Refused(error.to_string()),
            false => DeliveryError::Failed(error.to_string()),
        };
        published.map(|()| "the broker has it".to_owned()).map_err(judge)
    }

    async fn log(
        &self,
        channel: &ChannelConfig,
        format: SyslogFormat,
        message: &AlertMessage,
    ) -> Result<String, DeliveryError> {
        let failed =
            |error: &dyn std::fmt::Display| DeliveryError::Failed(one_line(&error.to_string(), MOST_ANSWER));
        let addresses = receiver::find(&*self.resolver, &channel.url, SYSLOG_PORT).await;
        let addresses = addresses.map_err(|error| failed(&error))?;
        let server = *addresses.first().ok_or_else(|| failed(&"the server's name has no address"))?;
        let at = self.clock.is_synchronised().then(|| self.clock.wall());
        let line = syslog_line(format, message, self.hostname.as_deref().unwrap_or_default(), at);
        let (sent, answer) = match channel.url.has_scheme("tcp") {
            true => (syslog::send_over_tcp(server, &line).await, "read"),
            false => (syslog::send_datagram(server, &line).await, "sent; UDP has no acknowledgement"),
        };
        sent.map(|()| answer.to_owned()).map_err(|error| failed(&format!("{server}: {error}")))
    }
}

fn excerpt(answer: &[u8]) -> String {
    one_line(String::from_utf8_lossy(answer).trim(), MOST_ANSWER)
}

/// Whether another attempt may succeed. A status of 4xx is about the message, with three exceptions: 401 is about the
/// token, which would stop every message, and 408 and 429 are temporary.
fn judge(error: &ClientError) -> DeliveryError {
    match error {
        ClientError::Status { status, body } => {
            let excerpt = excerpt(body);
            let separator = if excerpt.is_empty() { "" } else { ": " };
            let remedy = match *status {
                StatusCode::UNAUTHORIZED => "; token_file is missing or wrong",
                StatusCode::NOT_FOUND => "; is the url right?",
                _ => "",
            };
            let text = format!("the answer is {status}{separator}{excerpt}{remedy}");
            let passes =
                [StatusCode::UNAUTHORIZED, StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
            match status.is_client_error() && !passes.contains(status) {
                true => DeliveryError::Refused(text),
                false => DeliveryError::Failed(text),
            }
        }
        other => DeliveryError::Failed(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_has_one_usual_cause_names_it() {
        let told = |status| judge(&ClientError::Status { status, body: "no".into() }).to_string();
        assert_eq!(
            told(StatusCode::UNAUTHORIZED),
            "the answer is 401 Unauthorized: no; token_file is missing or wrong"
        );
        assert_eq!(told(StatusCode::NOT_FOUND), "the answer is 404 Not Found: no; is the url right?");
        assert_eq!(told(StatusCode::BAD_GATEWAY), "the answer is 502 Bad Gateway: no");
    }

    #[test]
    fn only_what_judges_the_message_is_a_refusal() {
        for (code, is_refusal) in [
            (400, true),
            (403, true),
            (404, true),
            (413, true),
            (401, false),
            (408, false),
            (429, false),
            (500, false),
            (503, false),
        ] {
            let status = StatusCode::from_u16(code).unwrap();
            let error = judge(&ClientError::Status { status, body: "no\nway".into() });
            assert_eq!(matches!(error, DeliveryError::Refused(_)), is_refusal, "{code}");
            assert!(error.to_string().contains(": no\u{fffd}way"), "{error}");
        }
        assert!(matches!(judge(&ClientError::Redirected("http://x/".to_owned())), DeliveryError::Failed(_)));
    }
}
