//! Reads untrusted data, bounded in bytes and time.

use std::time::Duration;

use tokio::{
    io::{AsyncRead, AsyncReadExt},
    time::{Instant, timeout_at},
};

/// How long after a piece the next may follow: a service sends its greeting at once.
const PAUSE: Duration = Duration::from_millis(500);

/// Reads until the other side has finished, `enough` returns true, the time is over, or this many bytes have arrived.
/// An error ends the reading, too, and what was received before it counts.
pub(super) async fn read_until(
    stream: &mut (impl AsyncRead + Unpin),
    received: &mut Vec<u8>,
    most: usize,
    by: Instant,
    enough: impl Fn(&[u8]) -> bool,
) {
    let mut piece = [0; 1024];
    while received.len() < most && !enough(received) {
        let room = piece.len().min(most - received.len());
        match timeout_at(by, stream.read(&mut piece[..room])).await {
            Ok(Ok(read)) if read > 0 => received.extend_from_slice(&piece[..read]),
            _ => return,
        }
    }
}

/// Reads a greeting: until the service pauses after its first bytes.
pub(super) async fn read_unasked(
    stream: &mut (impl AsyncRead + Unpin),
    most: usize,
    within: Duration,
) -> Vec<u8> {
    let mut received = Vec::new();
    let end = Instant::now() + within;
    let mut by = end;
    while received.len() < most {
        let before = received.len();
        read_until(stream, &mut received, most, by, |now| now.len() > before).await;
        if received.len() == before {
            break;
        }
        by = end.min(Instant::now() + PAUSE);
    }
    received
}
