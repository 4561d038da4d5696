//! The kinds of texts, each with a grammar of its own.

/// The bytes of a greeting that are looked at; what comes after them is ignored.
pub const GREETING_MAX: usize = 1024;

/// The kind of a text, which determines the grammar that parses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GreetingKind {
    /// The subject of an X.509 certificate as RFC 4514 writes it: `CN=nas,O=Synology Inc.,C=TW`.
    CertificateSubject,
    /// FTP's first reply (RFC 959 4.2), with or without the code 220.
    Ftp,
    /// The text of a page's `title`, with or without entities.
    HtmlTitle,
    /// The value of `WWW-Authenticate` (RFC 9110 11.6.1).
    HttpChallenge,
    /// The value of `Server` (RFC 9110 10.2.4).
    HttpServer,
    /// IMAP's greeting (RFC 9051 7.1), with or without `* OK`.
    Imap,
    /// MQTT's CONNACK packet (MQTT 3.1.1 3.2, MQTT 5 3.2).
    Mqtt,
    /// MySQL's initial handshake packet, or the server version in it.
    Mysql,
    /// NNTP's greeting (RFC 3977 5.1), with or without its code.
    Nntp,
    /// POP3's greeting (RFC 1939 4), with or without `+OK`.
    Pop3,
    /// A message of PostgreSQL's protocol 3.
    Postgresql,
    /// A reply of Redis (RESP).
    Redis,
    /// The protocol version that a VNC server greets with (RFC 6143 7.1.1).
    Rfb,
    /// RTSP's `Server` (RFC 7826 18.48).
    Rtsp,
    /// SIP's `Server` or `User-Agent` (RFC 3261 20.35, 20.41).
    Sip,
    /// SMTP's greeting (RFC 5321 4.2), with or without the code 220.
    Smtp,
    /// SSH's identification (RFC 4253 4.2), with or without `SSH-2.0-`.
    Ssh,
    /// A telnet server's text before its log-in, with or without the options of RFC 854.
    Telnet,
}
