//! Debian's nginx as a TLS proxy in front of a receiver of alerts.

use std::path::PathBuf;

use tempfile::TempDir;

use super::{Reaped, certificates, nginx};
use crate::lab::Lab;

/// In the lab's network, where any port is free: with a certificate that is right, an expired one, and that of another
/// name.
const PORTS: [(&str, u16); 3] = [("server", 8443), ("expired", 8444), ("misnamed", 8445)];

/// HTTPS before a server that speaks HTTP.
pub struct TlsFront {
    _child: Reaped,
    home: TempDir,
}

impl TlsFront {
    /// Starts it before the server at `ADDRESS:PORT`.
    pub fn before(_within: &Lab, server: &str) -> Self {
        let home = TempDir::new().expect("a temporary directory");
        certificates::make(home.path());
        let servers = PORTS.map(|(name, port)| {
            let path = home.path().join(name).display().to_string();
            format!(
                "server {{\nlisten 127.0.0.1:{port} ssl;\nssl_certificate {path}.pem;\n\
                 ssl_certificate_key {path}.key;\nlocation / {{ proxy_pass http://{server}; }}\n}}\n"
            )
        });
        let child = nginx::serve(&home, &servers.concat(), &format!("127.0.0.1:{}", PORTS[0].1));
        Self { _child: child, home }
    }

    /// The authority that its certificates are of (PEM).
    pub fn ca_file(&self) -> PathBuf {
        self.home.path().join("ca.pem")
    }

    /// Returns the URL with this certificate: `server`, `expired` or `misnamed`.
    pub fn url(&self, certificate: &str) -> String {
        let (_, port) = PORTS.into_iter().find(|(name, _)| *name == certificate).expect("one of those");
        format!("https://127.0.0.1:{port}")
    }
}
