//! Reads a service's greeting.

use std::time::Duration;

use super::{NoConnection, bounded::read_unasked, connect};
use crate::model::Address;

/// The most bytes that are read. Greetings are a line or a small packet.
const BYTES: usize = 1024;

/// How long a service may take. Mail servers wait a few seconds on purpose, to catch spammers that do not.
const WITHIN: Duration = Duration::from_secs(3);

/// Connects and reads what the service sends, without writing a byte. Empty if it says nothing.
///
/// # Errors
/// There is no connection; see [`NoConnection`].
pub async fn greeting(address: &Address, port: u16) -> Result<Vec<u8>, NoConnection> {
    let mut stream = connect(address, port).await?;
    Ok(read_unasked(&mut stream, BYTES, WITHIN).await)
}
