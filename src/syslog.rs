//! Layer 2: hands lines to a syslog server, over UDP or TCP.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

/// How long to wait for an error that nothing listens on a UDP port. Silence counts as delivered: syslog over UDP has
/// no acknowledgement.
const REFUSAL: Duration = Duration::from_millis(500);

/// How long a TCP server may take to connect, and then to close the connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends one line as a datagram.
///
/// # Errors
/// Fails if it cannot be sent, or if the host answers that nothing listens there.
pub async fn send_datagram(server: SocketAddr, line: &str) -> io::Result<()> {
    let any: SocketAddr =
        if server.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(line.as_bytes()).await?;
    // Only a connected socket receives ICMP errors.
    match timeout(REFUSAL, socket.recv(&mut [0])).await {
        Ok(Err(error)) => Err(error),
        Ok(Ok(_)) | Err(_) => Ok(()),
    }
}

/// Sends one line over a connection of its own, ended by a newline (RFC 6587, 3.4.2).
///
/// TCP does not report whether a server has read what was sent: a connection that breaks loses what the kernel had
/// buffered. So this side closes the connection and waits for the server to close it, too, which it does after it has
/// read everything.
///
/// # Errors
/// Fails if there is no connection, or if the server does not close it in time.
pub async fn send_over_tcp(server: SocketAddr, line: &str) -> io::Result<()> {
    let exchange = async {
        let mut stream = TcpStream::connect(server).await?;
        stream.write_all(format!("{line}\n").as_bytes()).await?;
        stream.shutdown().await?;
        let mut rest = [0; 256];
        while stream.read(&mut rest).await? > 0 {}
        Ok(())
    };
    let late = || {
        let text = "the server did not close the connection, so it is not known whether it has read the line";
        io::Error::new(io::ErrorKind::TimedOut, text)
    };
    timeout(PATIENCE, exchange).await.unwrap_or_else(|_| Err(late()))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_datagram_to_a_closed_port_is_a_failure() {
        let receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let server = receiver.local_addr().unwrap();
        send_datagram(server, "<28>1 - - portscan - - - über").await.unwrap();
        let mut buffer = [0; 100];
        let length = receiver.recv(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..length], "<28>1 - - portscan - - - über".as_bytes());
        drop(receiver);
        let error = send_datagram(server, "lost").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[tokio::test]
    async fn a_line_over_tcp_counts_once_the_server_has_read_it() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let server = listener.local_addr().unwrap();
        let read = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).await.unwrap();
            text
        };
        let (sent, text) = tokio::join!(send_over_tcp(server, "a line"), read);
        sent.unwrap();
        assert_eq!(text, "a line\n");
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_never_reads_has_not_got_the_line() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let error = send_over_tcp(listener.local_addr().unwrap(), "a line").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
