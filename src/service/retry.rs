//! Retries reads from the kernel that fail for lack of resources: another program's burst may have taken the last
//! descriptors, and a scan is worth a short wait.

use std::{io, time::Duration};

use tokio::time::sleep;

/// The pause between two tries.
const AGAIN: Duration = Duration::from_millis(250);

/// The limit of tries: for 30 s. An entry of the kernel's table may be as old as that at any time (`gc_stale_time` of
/// arp(7), 60 s), so a late answer proves no less about which device was there before.
const TRIES: usize = 120;

/// Reads from the kernel, and retries while it lacks resources.
///
/// # Errors
/// Fails if it still lacks them after 30 s.
pub async fn retry_kernel_read<T, F: Future<Output = io::Result<T>>>(ask: impl Fn() -> F) -> io::Result<T> {
    for _ in 1..TRIES {
        match ask().await {
            Ok(told) => return Ok(told),
            Err(error) => tracing::debug!(%error, "retrying a read from the kernel"),
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
    async fn retries_kernel_reads_but_not_for_ever() {
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
