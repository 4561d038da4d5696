//! Ctrl-C: once to stop and tell what is known, twice to leave.

use std::{io, thread};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// Listens for SIGINT from now on; the value becomes true with the first. The second ends the process at
/// once, whatever it is doing: so the listener has a thread of its own, for the command's may be waiting for
/// a pipe that nobody reads.
pub(super) fn listen() -> io::Result<watch::Receiver<bool>> {
    let (interrupted, receiver) = watch::channel(false);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let mut signals = {
        let _entered = runtime.enter();
        signal(SignalKind::interrupt())?
    };
    thread::Builder::new().name("interrupt".to_owned()).spawn(move || {
        runtime.block_on(async {
            signals.recv().await;
            interrupted.send_replace(true);
            signals.recv().await;
            std::process::exit(super::INTERRUPTED.into());
        });
    })?;
    Ok(receiver)
}
