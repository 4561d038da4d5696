//! Where a channel's receiver is, for the channels that connect to it themselves. HTTP has its own client.

use std::net::SocketAddr;

use crate::{client::socket_address, config::ChannelUrl, resolve::Resolve};

/// Finds the receiver's addresses, in the order in which they are to be tried; `default_port` is for a URL without one.
///
/// # Errors
/// Returns why its name leads nowhere.
pub(super) async fn find(
    resolver: &dyn Resolve,
    url: &ChannelUrl,
    default_port: u16,
) -> Result<Vec<SocketAddr>, String> {
    let addresses = resolver.resolve(url.host()).await.map_err(|error| error.to_string())?;
    let port = url.port().unwrap_or(default_port);
    Ok(addresses.iter().map(|address| socket_address(address, port)).collect())
}
