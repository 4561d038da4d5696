//! `GET /`, within TLS or without.

use std::net::IpAddr;

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    time::{Instant, timeout_at},
};

use super::{NoConnection, REQUEST, bounded::read_until, connect, tls::handshake};
use crate::model::Address;

/// The most bytes of an answer that are read: the header and the beginning of the page, where its title is.
const BYTES: usize = 16 * 1024;

/// What a TLS server shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecurePage {
    /// Its own certificate, in DER; `None` if it has shown none.
    pub certificate: Option<Vec<u8>>,
    /// Its answer to `GET /` within TLS; empty if it has given none.
    pub response: Vec<u8>,
}

/// Requests a server's first page. Returns what it answers, at most 16 KiB: empty if nothing. A redirect is not followed.
///
/// # Errors
/// There is no connection; see [`NoConnection`].
pub async fn page(address: &Address, port: u16) -> Result<Vec<u8>, NoConnection> {
    let mut stream = connect(address, port).await?;
    Ok(get(&mut stream, address, port, Instant::now() + REQUEST).await)
}

/// Makes a TLS handshake, which trusts any certificate, and if it succeeds requests the first page.
///
/// # Errors
/// There is no connection; see [`NoConnection`].
pub async fn secure_page(address: &Address, port: u16) -> Result<SecurePage, NoConnection> {
    let stream = connect(address, port).await?;
    let by = Instant::now() + REQUEST;
    let Ok((certificate, encrypted)) = timeout_at(by, handshake(stream, address.ip())).await else {
        return Ok(SecurePage::default());
    };
    let response = match encrypted {
        Some(mut encrypted) => get(&mut encrypted, address, port, by).await,
        None => Vec::new(),
    };
    Ok(SecurePage { certificate, response })
}

/// Sends the request and reads the answer. An error ends the reading, and what was received before it counts.
async fn get(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    address: &Address,
    port: u16,
    by: Instant,
) -> Vec<u8> {
    let mut received = Vec::new();
    let request = request(address, port);
    let sent = async {
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await
    };
    if matches!(timeout_at(by, sent).await, Ok(Ok(()))) {
        read_until(stream, &mut received, BYTES, by, |_| false).await;
    }
    received
}

/// Makes the request, with this program as the user agent, and `Connection: close`, so that the answer has an end.
fn request(address: &Address, port: u16) -> String {
    let host = match address.ip() {
        IpAddr::V4(ip) => ip.to_string(),
        // Without a zone, which means nothing to the server.
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "GET / HTTP/1.1\r\nHost: {host}:{port}\r\nUser-Agent: portscan/{version}\r\nAccept: */*\r\n\
         Connection: close\r\n\r\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_names_the_host_as_a_browser_does_and_what_sends_it() {
        let request = request(&"fe80::1%eth0".parse().unwrap(), 8080);
        let version = env!("CARGO_PKG_VERSION");
        assert!(request.starts_with("GET / HTTP/1.1\r\nHost: [fe80::1]:8080\r\n"), "{request}");
        assert!(request.contains(&format!("User-Agent: portscan/{version}\r\n")), "{request}");
        assert!(request.ends_with("\r\nConnection: close\r\n\r\n"), "{request}");
    }
}
