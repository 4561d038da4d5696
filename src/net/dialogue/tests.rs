//! Strangers that say too much, too slowly, nonsense or nothing.

use std::{net::Ipv4Addr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, sleep},
};

use super::*;

/// A server that does this with its only connection. Returns its address, and what it has received at the end.
async fn server<F>(
    act: impl FnOnce(TcpStream) -> F + Send + 'static,
) -> (Address, u16, tokio::task::JoinHandle<Vec<u8>>)
where
    F: Future<Output = TcpStream> + Send,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let received = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = act(stream).await;
        let mut received = Vec::new();
        // The client resets the connection.
        let _ = stream.read_to_end(&mut received).await;
        received
    });
    (Address::from(Ipv4Addr::LOCALHOST), port, received)
}

async fn says(text: &'static [u8]) -> (Address, u16, tokio::task::JoinHandle<Vec<u8>>) {
    server(move |mut stream| async move {
        stream.write_all(text).await.unwrap();
        stream
    })
    .await
}

/// Sends the same for ever, or until the client has gone.
async fn floods(piece: &'static [u8]) -> (Address, u16, tokio::task::JoinHandle<Vec<u8>>) {
    server(move |mut stream| async move {
        while stream.write_all(piece).await.is_ok() {}
        stream
    })
    .await
}

#[tokio::test]
async fn a_greeting_is_read_without_a_byte_and_within_bounds() {
    let (address, port, received) = says(b"220 ready\r\n").await;
    let start = Instant::now();
    assert_eq!(greeting(&address, port).await.unwrap(), b"220 ready\r\n");
    assert!(start.elapsed() < Duration::from_secs(3), "it does not wait for more than a pause");
    assert_eq!(received.await.unwrap(), b"");

    let (address, port, _) = floods(&[b'x'; 4096]).await;
    assert_eq!(greeting(&address, port).await.unwrap().len(), 1024);

    let (address, port, received) = says(b"").await;
    let start = Instant::now();
    assert_eq!(greeting(&address, port).await.unwrap(), b"");
    assert!((3..5).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    assert_eq!(received.await.unwrap(), b"");
}

#[tokio::test]
async fn a_greeting_in_drops_ends_in_time() {
    let (address, port, _) = server(|mut stream| async move {
        while stream.write_all(b"x").await.is_ok() {
            sleep(Duration::from_millis(200)).await;
        }
        stream
    })
    .await;
    let start = Instant::now();
    let received = greeting(&address, port).await.unwrap();
    assert!(received.len() < 30 && start.elapsed() < Duration::from_secs(5), "{received:?}");
}

#[tokio::test]
async fn a_page_is_read_up_to_its_bound() {
    let (address, port, received) = says(b"HTTP/1.1 200 OK\r\n\r\n").await;
    assert_eq!(page(&address, port).await.unwrap(), b"HTTP/1.1 200 OK\r\n\r\n");
    assert!(received.await.unwrap().starts_with(b"GET / HTTP/1.1\r\nHost: 127.0.0.1:"));
    let (address, port, _) = floods(&[b'x'; 4096]).await;
    assert_eq!(page(&address, port).await.unwrap().len(), 16 * 1024);
}

#[tokio::test]
async fn nonsense_in_place_of_tls_is_nothing() {
    let (address, port, received) = floods(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    assert_eq!(secure_page(&address, port).await.unwrap(), SecurePage::default());
    drop(received);
    let (address, port, _) = says(b"").await;
    let start = Instant::now();
    assert_eq!(secure_page(&address, port).await.unwrap(), SecurePage::default());
    assert!(start.elapsed() < Duration::from_secs(7), "{:?}", start.elapsed());
}

#[tokio::test]
async fn nothing_is_sent_to_a_server_that_does_not_greet_as_ssh() {
    let (address, port, received) = says(b"220 ready\r\n").await;
    let found = ssh_key(&address, port).await.unwrap();
    assert_eq!((found.greeting.as_slice(), found.host_key), (b"220 ready\r\n".as_slice(), None));
    assert_eq!(received.await.unwrap(), b"");
    let (address, port, _) = floods(b"no end of this").await;
    assert_eq!(ssh_key(&address, port).await.unwrap().greeting.len(), 1024);
}

#[tokio::test]
async fn ssh_packets_of_impossible_lengths_are_refused() {
    for packet in [b"\xff\xff\xff\xff\x04", b"\0\0\0\0\0", b"\0\0\0\x05\xff", b"\0\0\0\x05\x04"] {
        let (address, port, received) = server(move |mut stream| async move {
            stream.write_all(b"SSH-2.0-hostile\r\n").await.unwrap();
            stream.write_all(packet).await.unwrap();
            stream.write_all(&[0; 64]).await.unwrap();
            stream
        })
        .await;
        let found = ssh_key(&address, port).await.unwrap();
        assert_eq!((found.greeting.as_slice(), found.host_key), (b"SSH-2.0-hostile\r\n".as_slice(), None));
        assert!(received.await.unwrap().starts_with(b"SSH-2.0-portscan_"));
    }
}

#[tokio::test]
async fn a_closed_port_refuses_and_that_is_no_local_error() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let address = Address::from(Ipv4Addr::LOCALHOST);
    assert!(matches!(touch(&address, port).await, Err(NoConnection::Refused)));
    assert!(matches!(greeting(&address, port).await, Err(NoConnection::Refused)));
}
