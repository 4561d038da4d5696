//! The client's side of a TLS handshake that trusts every certificate, because it is only looked at.

use std::{
    net::IpAddr,
    sync::{Arc, OnceLock},
};

use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
        client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        crypto::{WebPkiSupportedAlgorithms, ring},
        pki_types::{CertificateDer, ServerName, UnixTime},
    },
};

/// The largest certificate that is kept. Those with many names have a few kilobytes.
const CERTIFICATE_MAX: usize = 16 * 1024;

/// Makes a handshake. Returns the server's own certificate, also if the handshake fails after it, and the encrypted
/// connection if it succeeds.
pub(super) async fn handshake(
    stream: TcpStream,
    peer: IpAddr,
) -> (Option<Vec<u8>>, Option<TlsStream<TcpStream>>) {
    let provider = Arc::new(ring::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let observer = Arc::new(Observer { seen: OnceLock::new(), algorithms });
    let Ok(config) = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()
    else {
        return (None, None);
    };
    let mut config = config
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&observer) as Arc<dyn ServerCertVerifier>)
        .with_no_client_auth();
    // Every connection is the only one to its server for a month.
    config.resumption = tokio_rustls::rustls::client::Resumption::disabled();
    // An address is no server name, so that none is sent (RFC 6066, 3): the server shows its usual certificate.
    let name = ServerName::IpAddress(peer.into());
    let encrypted = TlsConnector::from(Arc::new(config)).connect(name, stream).await.ok();
    (observer.seen.get().cloned().filter(|seen| seen.len() <= CERTIFICATE_MAX), encrypted)
}

/// Accepts every certificate, and keeps the server's own.
#[derive(Debug)]
struct Observer {
    seen: OnceLock<Vec<u8>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Observer {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.seen.get_or_init(|| own.to_vec());
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _own: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _own: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
