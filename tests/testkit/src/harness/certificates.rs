//! A certificate authority for one test, with one valid certificate and some invalid ones.

use std::{fs, path::Path, process::Command};

use super::missing;

/// Makes `ca.pem` in this directory, and with their keys (`NAME.key`) `server.pem`, for the loopback and for the
/// example.org of the documents, `expired.pem`, and `misnamed.pem`, for another name.
pub(super) fn make(home: &Path) {
    let openssl = |arguments: &[&str]| {
        let made = Command::new("openssl").args(arguments).current_dir(home).output();
        let made = made.unwrap_or_else(|e| missing("openssl", &e));
        assert!(made.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&made.stderr));
    };
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    let ca = ["-x509", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=lab", "-days", "30"];
    openssl(&[&["req"], &key[..], &ca[..], &["-addext", "basicConstraints=critical,CA:TRUE"][..]].concat());
    for (name, host, days) in [
        ("server", "DNS:localhost,DNS:example.org,IP:127.0.0.1", "30"),
        ("expired", "IP:127.0.0.1", "0"),
        ("misnamed", "DNS:other", "30"),
    ] {
        let (key_file, request, certificate) =
            (format!("{name}.key"), format!("{name}.csr"), format!("{name}.pem"));
        let extensions = format!("subjectAltName={host}\nbasicConstraints=CA:FALSE\n");
        fs::write(home.join("extensions"), extensions).expect("writing a file");
        let subject = ["-keyout", &key_file, "-out", &request, "-subj", "/CN=server"];
        openssl(&[&["req"], &key[..], &subject[..]].concat());
        let mut signing = vec!["x509", "-req", "-in", &request, "-out", &certificate, "-CA", "ca.pem"];
        signing.extend(["-CAkey", "ca.key", "-CAcreateserial", "-days", days, "-extfile", "extensions"]);
        openssl(&signing);
    }
}
