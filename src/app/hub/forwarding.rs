//! Sends the requests of the hub's clients to a site.

use futures_util::future::BoxFuture;

use crate::{
    fleet::{ForwardedAnswer, ForwardedRequest, LinkError, SiteName},
    http::{ForwardError, ForwardRequest},
    net::nats::HubConnection,
};

/// The way to one site.
pub(super) struct Forwarding {
    pub(super) site: SiteName,
    pub(super) connection: HubConnection,
}

impl ForwardRequest for Forwarding {
    fn forward(&self, request: ForwardedRequest) -> BoxFuture<'_, Result<ForwardedAnswer, ForwardError>> {
        Box::pin(async move {
            self.connection.forward(&self.site, &request).await.map_err(|error| match error {
                LinkError::TimedOut(_) | LinkError::Unreadable(_) => ForwardError::TimedOut,
                _ => ForwardError::Unreachable,
            })
        })
    }
}
