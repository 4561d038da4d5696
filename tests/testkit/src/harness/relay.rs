//! A relay between a client and a server of the loopback, which can be cut: then bytes wait, as behind a router that is
//! off, and neither side is told.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
};

/// A relay that runs until the process ends.
pub struct Relay {
    state: Arc<(Mutex<RelayState>, Condvar)>,
}

#[derive(Default)]
struct RelayState {
    is_cut: bool,
    /// How often it was cut: a connection from before ends when the relay is mended.
    cuts: usize,
}

impl Relay {
    /// Relays from one port of the loopback to another, in the network of the calling thread.
    pub fn start(from: u16, to: u16) -> Self {
        let state = Arc::new((Mutex::new(RelayState::default()), Condvar::new()));
        let listener = TcpListener::bind(("127.0.0.1", from)).expect("a free port");
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming() {
                wait_until_whole(&shared, usize::MAX);
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(("127.0.0.1", to))) else {
                    continue;
                };
                let cuts = lock(&shared).cuts;
                for (source, sink) in [(&client, &server), (&server, &client)] {
                    let (source, sink) = (source.try_clone(), sink.try_clone());
                    let (source, sink) = (source.expect("a descriptor"), sink.expect("a descriptor"));
                    let shared = Arc::clone(&shared);
                    thread::spawn(move || pass(source, sink, &shared, cuts));
                }
            }
        });
        Self { state }
    }

    /// Passes nothing on from now on.
    pub fn cut(&self) {
        let mut state = lock(&self.state);
        state.is_cut = true;
        state.cuts += 1;
    }

    /// Ends the connections from before the cut, and passes on those that are made from now on.
    pub fn mend(&self) {
        lock(&self.state).is_cut = false;
        self.state.1.notify_all();
    }
}

fn lock(state: &(Mutex<RelayState>, Condvar)) -> std::sync::MutexGuard<'_, RelayState> {
    state.0.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits while the relay is cut; returns whether it was not cut since this many cuts.
fn wait_until_whole(state: &(Mutex<RelayState>, Condvar), cuts: usize) -> bool {
    let whole = state.1.wait_while(lock(state), |state| state.is_cut);
    whole.unwrap_or_else(PoisonError::into_inner).cuts <= cuts
}

fn pass(mut source: TcpStream, mut sink: TcpStream, state: &(Mutex<RelayState>, Condvar), cuts: usize) {
    let mut bytes = [0; 16 * 1024];
    while let Ok(count @ 1..) = source.read(&mut bytes) {
        if !wait_until_whole(state, cuts) || sink.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    for end in [source, sink] {
        // The other side may have closed it.
        let _ = end.shutdown(Shutdown::Both);
    }
}
