//! Layer 2: hands a message to a mail server (RFC 5321), over TLS from the start (RFC 8314), after STARTTLS (RFC 3207),
//! or in the clear.
//!
//! Not by mail-send 0.7: it uses only this machine's resolver, it does not report the server's reply to each
//! recipient, and it needs a newer Rust than this project promises.
//!
//! Whatever the server sends is bounded: a line, the lines of a reply, and the time.

mod reply;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, pki_types::ServerName},
};

use self::reply::read_reply;
pub use self::reply::{ReplyJudgement, SmtpReply, SmtpStage};
use crate::model::one_line;

/// How long a connection to one address may take.
const CONNECT: Duration = Duration::from_secs(8);

/// The time limit for everything before the message itself is sent; short enough for the test by the command line.
const DIALOGUE: Duration = Duration::from_secs(25);

/// How long the server may take to accept the message, which its filters may scan first. A client that gives up here
/// does not know whether the server has the message (RFC 5321, 4.5.3.2.6), and will send it again.
const ACCEPTANCE: Duration = Duration::from_secs(60);

/// How long the end of the dialogue may take; nothing depends on it.
const FAREWELL: Duration = Duration::from_secs(2);

/// The most characters of an error's text.
const MAX_TEXT: usize = 300;

/// A mail server, and how to speak with it.
#[derive(Clone, Debug)]
pub struct SmtpServer<'a> {
    /// Its addresses, tried in this order.
    pub addresses: &'a [SocketAddr],
    /// Its name, which its certificate must have.
    pub host: &'a str,
    /// The settings of TLS, and whether STARTTLS begins it; `None`: in the clear.
    pub tls: Option<(Arc<ClientConfig>, bool)>,
    /// The user and the password.
    pub login: Option<(&'a str, &'a str)>,
}

/// A message with its envelope.
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'a> {
    /// The sender's address.
    pub from: &'a str,
    /// The recipients' addresses.
    pub to: &'a [&'a str],
    /// The message, in lines that end with CRLF.
    pub content: &'a str,
}

/// The result of sending a message that the server has accepted for at least one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// What the server said at the end.
    pub answer: String,
    /// The recipients that the server refused, each with its reply.
    pub refused: Vec<(String, SmtpReply)>,
}

/// Why a message was not accepted. No text holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SmtpError {
    /// No connection: no address, listener, route or valid certificate.
    #[error("no connection: {0}")]
    Unreachable(String),
    /// The server has taken too long.
    #[error("no complete answer within {0:?}")]
    TimedOut(Duration),
    /// The connection ended early, or this is not SMTP.
    #[error("the dialogue broke off: {0}")]
    Broken(String),
    /// The server does not offer what is needed.
    #[error("{0}")]
    Unfit(&'static str),
    /// The server refused a command.
    #[error("{stage}: the answer is {reply}{}", reply.remedy(*stage))]
    Refused {
        /// The command.
        stage: SmtpStage,
        /// Its reply.
        reply: SmtpReply,
    },
}

impl SmtpError {
    /// Whether the server refuses this message, and would refuse it again.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { stage, reply } if reply.judge(*stage) == ReplyJudgement::Refused)
    }
}

/// Sends a message.
///
/// # Errors
/// Fails if the server cannot be reached, or accepts the message for no recipient.
pub async fn send_mail(server: &SmtpServer<'_>, envelope: Envelope<'_>) -> Result<Accepted, SmtpError> {
    let late = |_| SmtpError::TimedOut(DIALOGUE);
    let (mut dialogue, refused) = timeout(DIALOGUE, prepare(server, envelope)).await.map_err(late)??;
    let late = |_| SmtpError::TimedOut(ACCEPTANCE);
    let answer = timeout(ACCEPTANCE, dialogue.transmit(envelope.content)).await.map_err(late)??;
    // It has the message; how the connection ends does not matter.
    _ = timeout(FAREWELL, dialogue.ask("QUIT", SmtpStage::End)).await;
    Ok(Accepted { answer: answer.to_string(), refused })
}

/// Sends the commands up to DATA; returns the recipients that the server refused.
async fn prepare(
    server: &SmtpServer<'_>,
    envelope: Envelope<'_>,
) -> Result<(Dialogue, Vec<(String, SmtpReply)>), SmtpError> {
    let mut dialogue = Dialogue::begin(server).await?;
    if let Some((user, password)) = server.login {
        dialogue.log_in(user, password).await?;
    }
    let mut from = format!("MAIL FROM:<{}>", envelope.from);
    if dialogue.offers("SIZE").is_some() {
        // The size makes a server with a lower limit refuse the message at once (RFC 1870).
        from += &format!(" SIZE={}", envelope.content.len());
    }
    dialogue.ask(&from, SmtpStage::Sender).await?.expect(SmtpStage::Sender, 2)?;
    let mut refused = Vec::new();
    for recipient in envelope.to {
        let reply = dialogue.ask(&format!("RCPT TO:<{recipient}>"), SmtpStage::Recipient).await?;
        if !reply.is(2) {
            refused.push(((*recipient).to_owned(), reply));
        }
    }
    if refused.len() == envelope.to.len() {
        // A recipient that may be accepted later makes another attempt worthwhile.
        let later =
            |(_, reply): &&(String, SmtpReply)| reply.judge(SmtpStage::Recipient) == ReplyJudgement::Later;
        let reply = refused.iter().find(later).or(refused.first()).map(|(_, reply)| reply.clone());
        let reply = reply.ok_or(SmtpError::Unfit("the message has no recipient"))?;
        return Err(SmtpError::Refused { stage: SmtpStage::Recipient, reply });
    }
    dialogue.ask("DATA", SmtpStage::Message).await?.expect(SmtpStage::Message, 3)?;
    Ok((dialogue, refused))
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A connection to a server.
struct Dialogue {
    stream: BufReader<Box<dyn Stream>>,
    /// This side's name: its address, because it may have no name that the server knows (RFC 5321, 4.1.4).
    own: String,
    /// The server's extensions, as it lists them.
    offers: Vec<String>,
}

impl Dialogue {
    /// Connects, secures the connection and greets.
    async fn begin(server: &SmtpServer<'_>) -> Result<Self, SmtpError> {
        let stream = connect(server.addresses).await?;
        let own = match stream.local_addr().map(|address| address.ip().to_canonical()) {
            Ok(std::net::IpAddr::V6(ip)) => format!("[IPv6:{ip}]"),
            Ok(ip) => format!("[{ip}]"),
            Err(error) => return Err(broken(&error)),
        };
        let begins_secure = matches!(server.tls, Some((_, false)));
        let stream: Box<dyn Stream> = match &server.tls {
            Some((config, false)) => secure(Box::new(stream), server.host, config).await?,
            _ => Box::new(stream),
        };
        let mut dialogue = Self { stream: BufReader::new(stream), own, offers: Vec::new() };
        read_reply(&mut dialogue.stream).await?.expect(SmtpStage::Greeting, 2)?;
        dialogue.greet().await?;
        match &server.tls {
            Some((config, true)) if !begins_secure => dialogue.start_tls(server.host, config).await,
            _ => Ok(dialogue),
        }
    }

    async fn greet(&mut self) -> Result<(), SmtpError> {
        let reply = self.ask(&format!("EHLO {}", self.own), SmtpStage::Greeting).await?;
        self.offers = reply.expect(SmtpStage::Greeting, 2)?.lines.split_off(1);
        Ok(())
    }

    /// Returns the parameters of an extension, if the server offers it.
    fn offers(&self, keyword: &str) -> Option<&str> {
        self.offers.iter().find_map(|line| {
            let (word, rest) = line.split_once([' ', '=']).unwrap_or((line, ""));
            word.eq_ignore_ascii_case(keyword).then_some(rest)
        })
    }

    async fn start_tls(mut self, host: &str, config: &Arc<ClientConfig>) -> Result<Self, SmtpError> {
        if self.offers("STARTTLS").is_none() {
            return Err(SmtpError::Unfit(
                "the server offers no STARTTLS, so the message would travel in the clear; write its URL with smtps:// \
                 if it takes TLS from the start",
            ));
        }
        self.ask("STARTTLS", SmtpStage::Encryption).await?.expect(SmtpStage::Encryption, 2)?;
        // Data from before TLS must not count as received under it: an attacker may have injected it.
        if !self.stream.buffer().is_empty() {
            return Err(SmtpError::Unfit(
                "the server sent unencrypted text after STARTTLS, which an attacker may have injected",
            ));
        }
        let stream = secure(self.stream.into_inner(), host, config).await?;
        let mut dialogue = Self { stream: BufReader::new(stream), own: self.own, offers: Vec::new() };
        dialogue.greet().await?;
        Ok(dialogue)
    }

    /// Logs in (RFC 4954): by PLAIN (RFC 4616), or by LOGIN, which is all that some servers know.
    async fn log_in(&mut self, user: &str, password: &str) -> Result<(), SmtpError> {
        const STAGE: SmtpStage = SmtpStage::Login;
        let ways = self.offers("AUTH").unwrap_or_default().to_ascii_uppercase();
        let offers = |way: &str| ways.split_ascii_whitespace().any(|offered| offered == way);
        if offers("PLAIN") {
            let proof = BASE64_STANDARD.encode(format!("\0{user}\0{password}"));
            self.ask(&format!("AUTH PLAIN {proof}"), STAGE).await?.expect(STAGE, 2)?;
        } else if offers("LOGIN") {
            self.ask("AUTH LOGIN", STAGE).await?.expect(STAGE, 3)?;
            self.ask(&BASE64_STANDARD.encode(user), STAGE).await?.expect(STAGE, 3)?;
            self.ask(&BASE64_STANDARD.encode(password), STAGE).await?.expect(STAGE, 2)?;
        } else {
            return Err(SmtpError::Unfit(
                "the server takes no password here: it offers neither AUTH PLAIN nor AUTH LOGIN; is this its port for \
                 submission, and is the connection encrypted?",
            ));
        }
        Ok(())
    }

    /// Sends a command. It contains nothing from the network: addresses were checked when the configuration was read.
    async fn ask(&mut self, command: &str, stage: SmtpStage) -> Result<SmtpReply, SmtpError> {
        self.write(format!("{command}\r\n").as_bytes()).await?;
        let reply = read_reply(&mut self.stream).await?;
        // The server is about to close the connection (RFC 5321, 3.8).
        if reply.code == 421 { Err(SmtpError::Refused { stage, reply }) } else { Ok(reply) }
    }

    /// Sends the message itself.
    async fn transmit(&mut self, content: &str) -> Result<SmtpReply, SmtpError> {
        self.write(stuffed(content).as_bytes()).await?;
        read_reply(&mut self.stream).await?.expect(SmtpStage::Message, 2)
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), SmtpError> {
        self.stream.write_all(bytes).await.map_err(|error| broken(&error))?;
        self.stream.flush().await.map_err(|error| broken(&error))
    }
}

/// Encodes the message for the connection: a dot at the beginning of a line is doubled, and a line with only a dot
/// ends it (RFC 5321, 4.5.2).
fn stuffed(content: &str) -> String {
    let mut stuffed = String::with_capacity(content.len() + 16);
    for line in content.split_inclusive('\n') {
        if line.starts_with('.') {
            stuffed.push('.');
        }
        stuffed.push_str(line);
    }
    if !content.ends_with("\r\n") {
        stuffed.push_str("\r\n");
    }
    stuffed + ".\r\n"
}

async fn connect(addresses: &[SocketAddr]) -> Result<TcpStream, SmtpError> {
    let mut failure = "the server's name has no address".to_owned();
    for address in addresses {
        match timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => failure = format!("{address}: {error}"),
            Err(_) => failure = format!("{address}: no answer within {CONNECT:?}"),
        }
    }
    Err(SmtpError::Unreachable(failure))
}

async fn secure(
    stream: Box<dyn Stream>,
    host: &str,
    config: &Arc<ClientConfig>,
) -> Result<Box<dyn Stream>, SmtpError> {
    let failed =
        |error: &dyn std::fmt::Display| SmtpError::Unreachable(one_line(&error.to_string(), MAX_TEXT));
    let name = ServerName::try_from(host.to_owned()).map_err(|error| failed(&error))?;
    let secured = TlsConnector::from(Arc::clone(config)).connect(name, stream).await;
    Ok(Box::new(secured.map_err(|error| failed(&error))?))
}

fn broken(error: &io::Error) -> SmtpError {
    SmtpError::Broken(one_line(&error.to_string(), MAX_TEXT))
}

#[cfg(test)]
mod tests;
