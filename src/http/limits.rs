//! How much a client may ask of the server.

use std::time::Duration;

/// The server's bounds. The defaults are the appliance's; tests pass shorter ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From accepting a connection, or from the end of its last answer, to a complete request head: bounds
    /// both a client that dribbles its head and one that keeps an idle connection. Default 5 s.
    pub header: Duration,
    /// From a complete head to the last byte of the answer having been taken by the kernel. Default 30 s.
    pub request: Duration,
    /// From our last word on a connection to its end, for what the client still sends. Closing a socket that holds
    /// unread bytes makes the kernel send RST, which can destroy an answer that is still on its way (RFC 9112, 9.6).
    /// Default 1 s.
    pub linger: Duration,
    /// Request body, in bytes. Default 1 MB.
    pub body: usize,
    /// A scan that is handed in, in bytes. Default 128 MB.
    pub upload: usize,
    /// Connections open at once, over all listeners. Default 256; where descriptors are few, fewer
    /// ([`connections`](crate::net::Limits::connections)).
    pub connections: usize,
    /// From the stop signal to the last connection's end, for requests under way. Default 800 ms.
    pub stop: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header: Duration::from_secs(5),
            request: Duration::from_secs(30),
            linger: Duration::from_secs(1),
            body: 1 << 20,
            upload: 128 << 20,
            connections: 256,
            stop: Duration::from_millis(800),
        }
    }
}
