//! SSH's host key: its fingerprint, as `ssh-keygen -l` prints it (RFC 4253 6.6 for the key's form).

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::claims::Claims;
use crate::model::{IdentifyMethod, PortIdentification};

pub(super) fn identify(key: &[u8], time: Timestamp) -> PortIdentification {
    let fingerprint = format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(key)));
    let said = format!("{} {fingerprint}", algorithm(key).unwrap_or("host key"));
    let found = Claims::default().at_port(Some("ssh"), IdentifyMethod::SshKey, &said, time);
    PortIdentification { host_key: Some(fingerprint), ..found }
}

/// The name of its algorithm, `ssh-ed25519`, with which a key begins.
fn algorithm(key: &[u8]) -> Option<&str> {
    let (length, rest) = key.split_first_chunk::<4>()?;
    let name = rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    let is_name = name.len() <= 64 && name.iter().all(u8::is_ascii_graphic);
    std::str::from_utf8(name).ok().filter(|_| is_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_the_fingerprint_as_ssh_keygen_does() {
        // `ssh-keygen -t ed25519` wrote the file, and `ssh-keygen -l` printed the fingerprint.
        let key = base64::engine::general_purpose::STANDARD.decode(KEY).unwrap();
        let found = identify(&key, Timestamp::UNIX_EPOCH);
        assert_eq!(found.host_key.as_deref(), Some(FINGERPRINT));
        assert_eq!(found.evidence.text, format!("ssh-ed25519 {FINGERPRINT}"));
    }

    #[test]
    fn any_bytes_have_a_fingerprint() {
        for key in [b"".as_slice(), b"\0\0\0\xff", b"\xff\xff\xff\xffabc", b"\0\0\0\x01\x07"] {
            let found = identify(key, Timestamp::UNIX_EPOCH);
            assert_eq!(found.host_key.map(|key| key.len()), Some(50));
            assert!(found.evidence.text.starts_with("host key SHA256:"));
        }
    }

    const KEY: &str = "AAAAC3NzaC1lZDI1NTE5AAAAICBN1ucsp7RblnHOK9p4bYp/CYDYLQi1cAfyMjwvYMZw";
    const FINGERPRINT: &str = "SHA256:WY5541rm+3SzPtwGYtD2tsJ/3aIJKmay6UuNcbr3Fhw";
}
