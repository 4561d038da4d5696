//! How much a client may ask of the server.

use std::time::Duration;

use super::reading::LeastRate;

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
    /// What a client has to take of an answer that waits for it, or is disconnected. Default 16 KB within 10 s; no
    /// network that a page can be used on is slower.
    pub reading: LeastRate,
    /// What a client has to send of a scan that it hands in, in bytes, within nine tenths of [`Limits::request`], or
    /// it is given up. Default 16 KB.
    pub sending: u64,
    /// Bytes of all answers together that wait in memory for their clients. Default 8 MB: a piece of 32 KB for each of
    /// 256 connections.
    pub in_flight: usize,
    /// Bytes of all requests' bodies together that are in memory, those of scans handed in apart. Default 2 MB.
    pub bodies: usize,
    /// How long a request waits for either, before it is told to come again (503). Default 5 s.
    pub queue: Duration,
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
            reading: LeastRate { bytes: 16 << 10, within: Duration::from_secs(10) },
            sending: 16 << 10,
            in_flight: 8 << 20,
            bodies: 2 << 20,
            queue: Duration::from_secs(5),
            body: 1 << 20,
            upload: 128 << 20,
            connections: 256,
            stop: Duration::from_millis(800),
        }
    }
}
