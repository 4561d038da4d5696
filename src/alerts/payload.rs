//! The HTTP request that carries a message.

use ring::hmac;

use crate::{
    config::{ChannelConfig, ChannelKind, WebhookShape},
    messages::{AlertMessage, shapes},
};

/// A POST request, its bearer token apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpPayload {
    /// Where it goes; may hold a secret.
    pub url: String,
    /// Further headers; their values may be secrets.
    pub headers: Vec<(&'static str, String)>,
    /// Whether the channel's token is sent as a bearer token, not in `headers`.
    pub is_bearer: bool,
    /// JSON.
    pub body: String,
}

/// Writes the request for a channel that speaks HTTP; `None`: it does not. `token` and `sign` are what its files hold.
pub fn payload(
    channel: &ChannelConfig,
    message: &AlertMessage,
    token: Option<&str>,
    sign: Option<&str>,
) -> Option<HttpPayload> {
    let url = channel.url.reveal().to_owned();
    let mut headers = vec![("idempotency-key", message.key.clone())];
    let mut is_bearer = true;
    let (url, body) = match &channel.kind {
        ChannelKind::Syslog { .. } | ChannelKind::Email(_) | ChannelKind::Mqtt(_) => return None,
        ChannelKind::Ntfy => {
            let (server, topic) = url.trim_end_matches('/').rsplit_once('/')?;
            (server.to_owned(), shapes::ntfy(message, topic))
        }
        ChannelKind::Webhook { shape } => {
            let body = match shape {
                WebhookShape::Generic => shapes::generic(message),
                WebhookShape::Slack => shapes::slack(message),
                WebhookShape::Discord => shapes::discord(message),
                WebhookShape::Gotify => {
                    is_bearer = false;
                    headers.extend(token.map(|token| ("x-gotify-key", token.to_owned())));
                    shapes::gotify(message)
                }
                WebhookShape::Apprise => shapes::apprise(message),
                WebhookShape::Alertmanager => shapes::alertmanager(message),
            };
            (url, body)
        }
    };
    let body = body.to_string();
    headers.extend(sign.map(|key| ("x-portscan-signature", signature(key, &body))));
    Some(HttpPayload { url, headers, is_bearer, body })
}

/// `sha256=` and the HMAC of the body in hexadecimal, as GitHub's webhooks write it.
fn signature(key: &str, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
    let tag = hmac::sign(&key, body.as_bytes());
    let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Test case 2 of RFC 4231.
    #[test]
    fn signs_as_the_standard_says() {
        assert_eq!(
            signature("Jefe", "what do ya want for nothing?"),
            "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }
}
