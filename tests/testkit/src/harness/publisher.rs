//! Debian's nginx as the web server from which a release is published: the `https://example.org/portscan` of the
//! documents.

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use super::{Reaped, certificates, nginx};

/// A folder served over HTTPS.
pub struct Publisher {
    _child: Reaped,
    home: TempDir,
}

impl Publisher {
    /// Its name in the documents.
    pub const NAME: &str = "example.org";

    /// Serves a folder at this address of the calling thread's network.
    pub fn of(folder: &Path, address: Ipv4Addr) -> Self {
        let home = TempDir::new().expect("a temporary directory");
        certificates::make(home.path());
        let certificate = home.path().join("server").display().to_string();
        let server = format!(
            "server {{\nlisten {address}:443 ssl;\nssl_certificate {certificate}.pem;\n\
             ssl_certificate_key {certificate}.key;\nroot {};\n}}\n",
            folder.display()
        );
        let child = nginx::serve(&home, &server, &format!("{address}:443"));
        Self { _child: child, home }
    }

    /// The authority that its certificate is of (PEM).
    pub fn ca_file(&self) -> PathBuf {
        self.home.path().join("ca.pem")
    }
}
