//! Resolves the address of a channel's receiver, for channels other than HTTP, which has its own client.

use std::net::SocketAddr;

use crate::{client::socket_address, config::ChannelUrl, resolve::Resolve};

/// Finds the receiver's addresses, in the order in which they are to be tried; `default_port` is for a URL without one.
///
/// # Errors
/// Fails with the reason why the name cannot be resolved.
pub(super) async fn find(
    resolver: &dyn Resolve,
    url: &ChannelUrl,
    default_port: u16,
) -> Result<Vec<SocketAddr>, String> {
    let addresses = resolver.resolve(url.host()).await.map_err(|error| error.to_string())?;
    let port = url.port().unwrap_or(default_port);
    Ok(addresses.iter().map(|address| socket_address(address, port)).collect())
}
