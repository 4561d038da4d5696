//! Asks the kernel again where it lacks what the answer takes: another's burst may have taken the last descriptors, and
//! a scan is worth a moment's patience.

use std::{io, time::Duration};

use tokio::time::sleep;

/// From one try to ask the kernel to the next, where it lacks what the answer takes.
const AGAIN: Duration = Duration::from_millis(250);

/// How often it is asked at most: for 30 s. An entry of the kernel's table is as old as that at any time
/// (`gc_stale_time` of arp(7), 60 s), so that an answer that late says no less of who was there before.
const TRIES: usize = 120;

/// What the kernel says, asked again where it cannot answer.
///
/// # Errors
/// It could not for 30 s.
pub async fn retry_kernel_read<T, F: Future<Output = io::Result<T>>>(ask: impl Fn() -> F) -> io::Result<T> {
    for _ in 1..TRIES {
        match ask().await {
            Ok(told) => return Ok(told),
            Err(error) => tracing::debug!(%error, "asking the kernel again"),
        }
        sleep(AGAIN).await;
    }
    ask().await
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, future::ready};

    use nix::errno::Errno;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_kernel_is_asked_again_but_not_for_ever() {
        let asks = Cell::new(0);
        let lacks = |tries| {
            asks.set(asks.get() + 1);
            if asks.get() < tries { Err(Errno::EMFILE.into()) } else { Ok(asks.get()) }
        };
        assert_eq!(retry_kernel_read(|| ready(lacks(3))).await.unwrap(), 3);
        asks.set(0);
        assert_eq!(
            retry_kernel_read(|| ready(lacks(usize::MAX))).await.unwrap_err().raw_os_error(),
            Some(Errno::EMFILE as i32)
        );
        assert_eq!(asks.get(), TRIES);
    }
}
