//! Layer 1: identifies services and devices by what they say about themselves.
//!
//! No I/O, no clock, no state: bytes go in, a [`PortIdentification`] comes out. The caller connects and reads; this
//! module never causes a packet.
//!
//! Two things identify, in this order:
//!
//! 1. **The grammar.** Each kind of text has one (RFC 4253 4.2 for SSH, RFC 9110 10.2.4 for an HTTP server, ...), and a
//!    file here that parses it. It yields product and version also for products that no table lists.
//! 2. **Tables** for what no grammar can know: the title "DiskStation" belongs to a Synology NAS, "iPhone12,5" is an
//!    iPhone 11 Pro Max. They are text in the binary and read in place; tables/README.md explains them.
//!
//! A value that the text does not contain stays `None`: a wrong name costs more trust than a missing one. A version
//! is what the service claims: distributions fix faults without changing it.

mod certificate;
mod certificate_subject;
mod challenge;
mod claims;
mod database;
mod device_info;
mod ftp;
mod greeting;
mod html_title;
mod http;
mod http_server;
mod kind;
mod mail;
mod mqtt;
mod rfb;
mod service_record;
mod ssh;
mod ssh_key;
mod streaming;
mod table;
mod telnet;
mod text;
mod upnp;
mod version;

use jiff::Timestamp;

use self::greeting::Greeting;
pub use self::{
    claims::Claims,
    kind::{GREETING_MAX, GreetingKind},
};
use crate::model::{DeviceIdentification, Evidence, IdentifyMethod, PortIdentification};

/// The bytes of an HTTP response or a UPnP description that are looked at. A page's title is in its first kilobytes,
/// unless scripts stand before it.
pub const RESPONSE_MAX: usize = 16 * 1024;

/// The longest certificate that is parsed, in bytes. Most have less than 2 KiB; hundreds of names make 8.
pub const CERTIFICATE_MAX: usize = 16 * 1024;

/// Parses a text of a known kind. At most [`GREETING_MAX`] bytes are looked at. The texts of the answer are one
/// line each, of at most 80 characters, without unseen characters.
pub fn parse(kind: GreetingKind, greeting: &[u8]) -> Claims {
    let greeting = &greeting[..greeting.len().min(GREETING_MAX)];
    let text = || text::decode(greeting);
    let found = match kind {
        GreetingKind::CertificateSubject => certificate_subject::parse(&text()),
        GreetingKind::Ftp => ftp::parse(&text()),
        GreetingKind::HtmlTitle => html_title::parse(&text()),
        GreetingKind::HttpChallenge => challenge::parse(&text()),
        GreetingKind::HttpServer => http_server::parse(&text()),
        GreetingKind::Imap => mail::parse_imap(&text()),
        GreetingKind::Mqtt => mqtt::parse(greeting),
        GreetingKind::Mysql => database::parse_mysql(greeting),
        GreetingKind::Nntp => mail::parse_nntp(&text()),
        GreetingKind::Pop3 => mail::parse_pop3(&text()),
        GreetingKind::Postgresql => database::parse_postgresql(greeting),
        GreetingKind::Redis => database::parse_redis(&text()),
        GreetingKind::Rfb => rfb::parse(&text()),
        GreetingKind::Rtsp => streaming::parse_rtsp(&text()),
        GreetingKind::Sip => streaming::parse_sip(&text()),
        GreetingKind::Smtp => mail::parse_smtp(&text()),
        GreetingKind::Ssh => ssh::parse(&text()),
        GreetingKind::Telnet => telnet::parse(greeting),
    };
    found.cleaned()
}

/// Identifies a service by its greeting. The bytes determine the protocol; the port counts only where they are
/// ambiguous, as FTP's and SMTP's `220` is. At most [`GREETING_MAX`] bytes are looked at. `None` if no protocol is
/// recognised.
pub fn from_greeting(port: u16, received: &[u8], time: Timestamp) -> Option<PortIdentification> {
    let received = &received[..received.len().min(GREETING_MAX)];
    let method = IdentifyMethod::Greeting;
    let (found, service) = match greeting::recognise(port, received)? {
        Greeting::Service("http") => return http::identify(received, method, time),
        Greeting::Service("rtsp") => {
            let server = http::read(received).server.unwrap_or_default();
            (parse(GreetingKind::Rtsp, server.as_bytes()), "rtsp")
        }
        Greeting::Service("sip") => {
            let response = http::read(received);
            let server = response.server.or(response.user_agent).unwrap_or_default();
            (parse(GreetingKind::Sip, server.as_bytes()), "sip")
        }
        Greeting::Service(service) => (Claims::default(), service),
        Greeting::Known(kind, service) => (parse(kind, received), service),
    };
    let said = match service {
        "telnet" => telnet::text(received),
        _ => text::decode(received),
    };
    Some(found.at_port(Some(service), method, &said, time))
}

/// Identifies a web server by its answer to `GET /`: status line, headers and the beginning of the body as they were
/// received, and whether that was inside TLS. At most [`RESPONSE_MAX`] bytes are looked at. `None` if it is not HTTP.
pub fn from_http(response: &[u8], tls: bool, time: Timestamp) -> Option<PortIdentification> {
    let response = &response[..response.len().min(RESPONSE_MAX)];
    let found = http::identify(response, IdentifyMethod::Http, time)?;
    Some(PortIdentification { tls, ..found })
}

/// Reads the server's own certificate of a TLS handshake, in DER; its signature and validity are not verified. It
/// does not show which protocol is inside TLS, so `service` is `None`. `None` if it is not an X.509 certificate, or
/// has more than [`CERTIFICATE_MAX`] bytes.
pub fn from_certificate(der: &[u8], time: Timestamp) -> Option<PortIdentification> {
    if der.len() > CERTIFICATE_MAX {
        return None;
    }
    certificate::identify(der, time)
}

/// Reads an SSH host key, as the key exchange sends it (`K_S` of RFC 4253 8), and returns its fingerprint.
pub fn from_ssh_key(key_blob: &[u8], time: Timestamp) -> PortIdentification {
    ssh_key::identify(key_blob, time)
}

/// Identifies a service that a device announces by DNS-SD, by its type, `_ipp._tcp` with or without a domain, and the
/// keys and values of its TXT record; of several values of a key, the first counts. `None` if the type is not
/// well-formed.
pub fn from_service_record(
    service_type: &str,
    txt: &[(String, String)],
    time: Timestamp,
) -> Option<PortIdentification> {
    service_record::identify(service_type, txt, time)
}

/// Identifies a device by its description of itself (UPnP Device Architecture 2.0, 2.3). At most [`RESPONSE_MAX`]
/// bytes are looked at. `None` if it says nothing of the device.
pub fn from_upnp_description(xml: &[u8], time: Timestamp) -> Option<(DeviceIdentification, Evidence)> {
    let xml = &xml[..xml.len().min(RESPONSE_MAX)];
    let (device, quoted) = upnp::parse(xml);
    let device = claims::clean_device(device);
    if device.is_empty() {
        return None;
    }
    Some((device, claims::evidence(IdentifyMethod::Upnp, &quoted, time)))
}

/// Identifies a device by its maker's code for the model, as in the TXT record of `_device-info._tcp`:
/// `MacBookPro18,3`. `None` if the code is unknown.
pub fn device_info(model: &str) -> Option<DeviceIdentification> {
    let model: String = model.trim().chars().take(80).collect();
    let device = claims::clean_device(device_info::parse(&model));
    (!device.is_empty()).then_some(device)
}

#[cfg(test)]
mod tests;
