//! The connection below MQTT: TCP, and TLS on it where the URL says so.

use std::{io, net::SocketAddr, path::PathBuf, pin::Pin, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    task::spawn_blocking,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream, rustls::pki_types::ServerName};

use super::session::MqttError;
use crate::{model::one_line, tls::client_config};

/// How long connecting may take, TLS included.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where a broker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MqttServer {
    /// The host, by the name in its certificate.
    pub name: String,
    /// Its addresses, tried in this order, and the port.
    pub addresses: Vec<SocketAddr>,
    /// Whether it speaks TLS.
    pub is_encrypted: bool,
    /// A file of authorities (PEM) that are trusted instead of this machine's.
    pub ca_file: Option<PathBuf>,
}

/// A stream to a broker.
pub enum MqttStream {
    /// Readable on the way.
    Plain(TcpStream),
    /// Encrypted.
    Tls(Box<TlsStream<TcpStream>>),
}

/// Connects to a broker.
///
/// # Errors
/// Fails if no address answers within 10 s, or if the certificate does not prove the name.
pub async fn connect_mqtt(server: &MqttServer) -> Result<MqttStream, MqttError> {
    let unreachable = |error: &dyn std::fmt::Display| {
        MqttError::Unreachable(format!("no connection: {}", one_line(&error.to_string(), 200)))
    };
    let connecting = async {
        let tls = match server.is_encrypted {
            true => Some(connector(server.ca_file.clone()).await?),
            false => None,
        };
        let stream = TcpStream::connect(&server.addresses[..]).await?;
        // Each packet is a whole message, which Nagle's algorithm would only delay.
        stream.set_nodelay(true)?;
        let Some(connector) = tls else { return Ok(MqttStream::Plain(stream)) };
        let name = ServerName::try_from(server.name.clone()).map_err(io::Error::other)?;
        let stream = connector.connect(name, stream).await?;
        Ok::<_, io::Error>(MqttStream::Tls(Box::new(stream)))
    };
    match timeout(PATIENCE, connecting).await {
        Ok(connected) => connected.map_err(|error| unreachable(&error)),
        Err(_) => Err(MqttError::TimedOut(PATIENCE)),
    }
}

/// Reads the certificates to trust; blocks on the disk.
async fn connector(ca_file: Option<PathBuf>) -> io::Result<TlsConnector> {
    let config = spawn_blocking(move || client_config(ca_file.as_deref())).await.map_err(io::Error::other)?;
    let wrong = |error| io::Error::other(format!("ca_file: {error}"));
    Ok(TlsConnector::from(config.map_err(wrong)?))
}

impl AsyncRead for MqttStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for MqttStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(
        self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(
        self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
