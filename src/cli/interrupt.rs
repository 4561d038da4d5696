//! Ctrl-C, and the signals by which others end a command: once to stop and print what is known, twice to exit.

use std::{io, thread};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Listens for SIGINT, SIGTERM and SIGHUP from now on; the first one cancels the token, the second one ends the process at once. The
/// listener has its own thread, because the command's thread may be blocked on a pipe without a reader.
pub(super) fn listen() -> io::Result<CancellationToken> {
    let interrupted = CancellationToken::new();
    let interrupt = interrupted.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let [mut interrupts, mut terminations, mut hangups] = {
        let _entered = runtime.enter();
        [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?]
    };
    thread::Builder::new().name("interrupt".to_owned()).spawn(move || {
        let mut next = async || {
            tokio::select! {
                _ = interrupts.recv() => {}
                _ = terminations.recv() => {}
                _ = hangups.recv() => {}
            }
        };
        runtime.block_on(async {
            next().await;
            interrupt.cancel();
            next().await;
            std::process::exit(super::INTERRUPTED.into());
        });
    })?;
    Ok(interrupted)
}
