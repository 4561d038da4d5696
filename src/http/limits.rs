//! The server's bounds for clients.

use std::time::Duration;

use super::reading::LeastRate;

/// The server's bounds. The defaults are the appliance's; tests pass shorter ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerLimits {
    /// From accepting a connection, or from the end of its last response, to a complete request head: bounds both a
    /// client that sends its head slowly and one that keeps an idle connection. Default 5 s.
    pub header: Duration,
    /// From a complete head to when the kernel has taken the last byte of the response. Default 30 s.
    pub request: Duration,
    /// From the last response on a connection to its end, to read what the client still sends. To close a socket with
    /// unread bytes makes the kernel send RST, which can destroy a response that is still in flight (RFC 9112, 9.6).
    /// Default 1 s.
    pub linger: Duration,
    /// The least rate at which a client has to read its response; a slower one is disconnected. Default 16 KB within 10
    /// s; no network on which the page is usable is slower.
    pub reading: LeastRate,
    /// How many bytes of an uploaded scan a client has to send within nine tenths of [`ServerLimits::request`]; a
    /// slower upload is aborted. Default 16 KB.
    pub sending: u64,
    /// The most bytes of all responses together that wait in memory for their clients. Default 8 MB: a piece of 32 KB
    /// for each of 256 connections.
    pub in_flight: usize,
    /// The most bytes of all request bodies together in memory, without uploaded scans. Default 2 MB.
    pub bodies: usize,
    /// How long a request waits for room in `in_flight` or `bodies` before it is refused with 503. Default 5 s.
    pub queue: Duration,
    /// The largest request body, in bytes. Default 1 MB.
    pub body: usize,
    /// The largest uploaded scan, in bytes. Default 128 MB.
    pub upload: usize,
    /// The most connections open at once, over all listeners. Default 256; fewer if descriptors are few
    /// ([`connections`](crate::net::SystemLimits::connections)).
    pub connections: usize,
    /// From the stop signal to the end of the last connection, for requests in progress. Default 800 ms.
    pub stop: Duration,
}

impl Default for ServerLimits {
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
