//! An SSH key exchange (RFC 4253, 7 and 8; RFC 8731), up to the server's reply that has its host key. Nothing is
//! encrypted, because the exchange is left there, and no login follows.
//!
//! The server speaks first: if it does not greet as SSH, not a byte is written.

use std::io;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout_at},
};

use super::{NoConnection, REQUEST, bounded::read_until, connect};
use crate::model::Address;

/// The most bytes before the end of the server's identification: it may send other lines first (RFC 4253, 4.2).
const GREETING: usize = 1024;

/// The largest packet that is read (RFC 4253, 6.1), and how many may come before the reply.
const PACKET: usize = 35_000;
const PACKETS: usize = 8;

/// Numbers of messages (RFC 4253, 12; RFC 5656, 7.1).
const DISCONNECT: u8 = 1;
const KEX_INIT: u8 = 20;
const KEX_ECDH_INIT: u8 = 30;
const KEX_ECDH_REPLY: u8 = 31;

/// The algorithms that are offered, in the order of the message. The exchange is the one of which a client's part is any
/// 32 bytes; all current servers have it. The rest only has to have something in common with the server.
const ALGORITHMS: [&str; 10] = [
    "curve25519-sha256,curve25519-sha256@libssh.org",
    "ssh-ed25519,ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521,rsa-sha2-512,rsa-sha2-256,ssh-rsa",
    CIPHERS,
    CIPHERS,
    MACS,
    MACS,
    "none",
    "none",
    "",
    "",
];
const CIPHERS: &str = "chacha20-poly1305@openssh.com,aes128-ctr,aes256-ctr,aes128-gcm@openssh.com,\
                       aes256-gcm@openssh.com,aes128-cbc";
const MACS: &str = "hmac-sha2-256,hmac-sha2-512,hmac-sha2-256-etm@openssh.com,hmac-sha1";

/// What an SSH server shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SshServer {
    /// Its greeting, at most 1 KiB.
    pub greeting: Vec<u8>,
    /// Its host key, as RFC 4253, 6.6 encodes it; `None` if it has shown none.
    pub host_key: Option<Vec<u8>>,
}

/// Reads a server's greeting, and if it is that of SSH, its host key.
///
/// # Errors
/// There is no connection; see [`NoConnection`].
pub async fn ssh_key(address: &Address, port: u16) -> Result<SshServer, NoConnection> {
    let mut stream = connect(address, port).await?;
    let by = Instant::now() + REQUEST;
    let mut greeting = Vec::new();
    read_until(&mut stream, &mut greeting, GREETING, by, |received| identification_end(received).is_some())
        .await;
    let Some(end) = identification_end(&greeting) else { return Ok(SshServer { greeting, host_key: None }) };
    // The beginning of the server's first packet may have come with it.
    let early = greeting.split_off(end);
    let host_key = match timeout_at(by, exchange(&mut stream, early)).await {
        Ok(Ok(host_key)) => host_key,
        Ok(Err(_)) | Err(_) => None,
    };
    Ok(SshServer { greeting, host_key })
}

/// Where the line ends that identifies the server.
fn identification_end(received: &[u8]) -> Option<usize> {
    let mut start = 0;
    while let Some(length) = received[start..].iter().position(|&byte| byte == b'\n') {
        let end = start + length + 1;
        if received[start..].starts_with(b"SSH-") {
            return Some(end);
        }
        start = end;
    }
    None
}

/// Continues after the server's identification. `early` are the bytes that were read beyond it.
async fn exchange(stream: &mut TcpStream, early: Vec<u8>) -> io::Result<Option<Vec<u8>>> {
    let mut random = [0; 16 + 32];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let (cookie, point) = random.split_at(16);
    let mut opening = format!("SSH-2.0-portscan_{}\r\n", env!("CARGO_PKG_VERSION")).into_bytes();
    opening.extend(packet(&kex_init(cookie)));
    stream.write_all(&opening).await?;
    let mut received = early;
    let mut exchanged = false;
    for _ in 0..PACKETS {
        let payload = next_payload(stream, &mut received).await?;
        match payload.split_first() {
            Some((&KEX_INIT, _)) if !exchanged => {
                exchanged = true;
                let mut init = vec![KEX_ECDH_INIT];
                put_string(&mut init, point);
                stream.write_all(&packet(&init)).await?;
            }
            Some((&KEX_ECDH_REPLY, fields)) => return Ok(first_string(fields).map(<[u8]>::to_vec)),
            Some((&DISCONNECT, _)) | None => return Ok(None),
            // Messages to ignore and to debug.
            Some(_) => {}
        }
    }
    Ok(None)
}

/// The message that offers the algorithms (RFC 4253, 7.1).
fn kex_init(cookie: &[u8]) -> Vec<u8> {
    let mut message = vec![KEX_INIT];
    message.extend(cookie);
    for names in ALGORITHMS {
        put_string(&mut message, names.as_bytes());
    }
    // No guess follows, and a reserved number.
    message.extend([0; 5]);
    message
}

/// Wraps a payload (RFC 4253, 6): before the keys are exchanged, without encryption, in blocks of eight bytes.
fn packet(payload: &[u8]) -> Vec<u8> {
    let unpadded = 4 + 1 + payload.len();
    let padding = 4 + (8 - (unpadded + 4) % 8) % 8;
    let length = u32::try_from(1 + payload.len() + padding).unwrap_or(u32::MAX);
    let mut packet = length.to_be_bytes().to_vec();
    packet.push(u8::try_from(padding).unwrap_or(u8::MAX));
    packet.extend(payload);
    packet.extend(std::iter::repeat_n(0, padding));
    packet
}

/// Reads the next packet, and returns what is in it.
async fn next_payload(stream: &mut TcpStream, received: &mut Vec<u8>) -> io::Result<Vec<u8>> {
    fill(stream, received, 5).await?;
    let length = u32::from_be_bytes([received[0], received[1], received[2], received[3]]);
    let padding = usize::from(received[4]);
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > PACKET || length < padding + 2 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    fill(stream, received, 4 + length).await?;
    let rest = received.split_off(4 + length);
    let packet = std::mem::replace(received, rest);
    Ok(packet[5..4 + length - padding].to_vec())
}

/// Reads until this many bytes have arrived.
async fn fill(stream: &mut TcpStream, received: &mut Vec<u8>, count: usize) -> io::Result<()> {
    let mut piece = [0; 4096];
    while received.len() < count {
        match stream.read(&mut piece).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => received.extend_from_slice(&piece[..read]),
        }
    }
    Ok(())
}

fn put_string(message: &mut Vec<u8>, text: &[u8]) {
    message.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
    message.extend(text);
}

fn first_string(fields: &[u8]) -> Option<&[u8]> {
    let (length, rest) = fields.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    rest.get(..length).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_whole_blocks_with_at_least_four_bytes_of_padding() {
        for length in 0..64 {
            let payload = vec![7; length];
            let packet = packet(&payload);
            assert!(packet.len().is_multiple_of(8) && packet.len() >= 16, "{length}");
            let padding = usize::from(packet[4]);
            assert!((4..12).contains(&padding), "{length}: {padding}");
            assert_eq!(packet[5..packet.len() - padding], payload);
            assert_eq!(u32::from_be_bytes(packet[..4].try_into().unwrap()) as usize, packet.len() - 4);
        }
    }

    #[test]
    fn the_identification_ends_with_its_line_and_may_follow_others() {
        assert_eq!(identification_end(b"SSH-2.0-a\r\nrest"), Some(11));
        assert_eq!(identification_end(b"Welcome\r\nSSH-2.0-a\nrest"), Some(19));
        assert_eq!(identification_end(b"SSH-2.0-a"), None);
        assert_eq!(identification_end(b"220 ftp\r\n"), None);
    }
}
