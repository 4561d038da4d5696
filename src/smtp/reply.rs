//! A mail server's replies, and their meaning for the message.

use std::fmt;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

use super::SmtpError;
use crate::model::one_line;

/// The longest line, in bytes: four times what RFC 5321 (4.5.3.1.5) allows.
const LONGEST_LINE: u64 = 2048;

/// The most lines of a reply.
const MOST_LINES: usize = 64;

/// The most characters of a reply that are shown.
const MAX_SHOWN: usize = 200;

/// A reply (RFC 5321, 4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SmtpReply {
    /// 200 to 599.
    pub code: u16,
    /// The text of each line, as the server wrote it; at least one.
    pub lines: Vec<String>,
}

/// The stage of the dialogue that a reply belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmtpStage {
    /// The greeting.
    Greeting,
    /// TLS.
    Encryption,
    /// The log-in.
    Login,
    /// The sender's address.
    Sender,
    /// A recipient's address.
    Recipient,
    /// The message itself.
    Message,
    /// The end of the connection.
    End,
}

/// What a reply means for the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyJudgement {
    /// Another attempt may succeed.
    Later,
    /// The server would refuse it again.
    Refused,
}

impl fmt::Display for SmtpStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Greeting => "greeting",
            Self::Encryption => "STARTTLS",
            Self::Login => "login",
            Self::Sender => "sender",
            Self::Recipient => "recipient",
            Self::Message => "message",
            Self::End => "end",
        })
    }
}

impl fmt::Display for SmtpReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, one_line(self.lines.join(" ").trim(), MAX_SHOWN))
    }
}

impl SmtpReply {
    /// Whether its code begins with this digit.
    pub(super) fn is(&self, first: u16) -> bool {
        self.code / 100 == first
    }

    pub(super) fn expect(self, stage: SmtpStage, first: u16) -> Result<Self, SmtpError> {
        if self.is(first) { Ok(self) } else { Err(SmtpError::Refused { stage, reply: self }) }
    }

    /// Judges a reply that is not a success. A code of 5xx is final for the message only in reply to its sender, a
    /// recipient or its text. Before that it would stop every message: the password is wrong, or the server does not
    /// know this client's address. Two codes are exceptions: 552, if it means a full mailbox, which its owner can
    /// empty, and not a message that is too long (5.3.4; RFC 3463); and 530, which asks for a password.
    pub fn judge(&self, stage: SmtpStage) -> ReplyJudgement {
        let is_of_message = matches!(stage, SmtpStage::Sender | SmtpStage::Recipient | SmtpStage::Message);
        let is_full = self.code == 552 && stage != SmtpStage::Sender && !self.has_status("5.3.4");
        match is_of_message && self.is(5) && !is_full && self.code != 530 {
            true => ReplyJudgement::Refused,
            false => ReplyJudgement::Later,
        }
    }

    /// Whether it has this enhanced status code (RFC 2034).
    fn has_status(&self, status: &str) -> bool {
        self.lines.iter().any(|line| line.split(' ').next() == Some(status))
    }

    /// Returns the remedy, as the end of an error.
    pub(super) fn remedy(&self, stage: SmtpStage) -> &'static str {
        match (stage, self.code) {
            (SmtpStage::Login, 535) => "; user or password_file is wrong",
            (SmtpStage::Sender | SmtpStage::Recipient, 530) => "; the server asks for user and password_file",
            _ => "",
        }
    }
}

/// Reads one reply.
pub(super) async fn read_reply<R: AsyncBufRead + Unpin>(stream: &mut R) -> Result<SmtpReply, SmtpError> {
    let mut lines: Vec<String> = Vec::new();
    let mut first = None;
    loop {
        let mut line = Vec::new();
        let read = (&mut *stream).take(LONGEST_LINE).read_until(b'\n', &mut line).await;
        read.map_err(|error| super::broken(&error))?;
        if line.last() != Some(&b'\n') {
            let text =
                if line.len() as u64 == LONGEST_LINE { "a line is too long" } else { "the server hung up" };
            return Err(SmtpError::Broken(text.to_owned()));
        }
        let (code, is_last, text) = parse_line(&line).ok_or_else(|| {
            let line = one_line(String::from_utf8_lossy(&line).trim_end(), 60);
            SmtpError::Broken(format!("\"{line}\" is no answer of a mail server"))
        })?;
        if *first.get_or_insert(code) != code || lines.len() == MOST_LINES {
            return Err(SmtpError::Broken("an answer of several lines has no end".to_owned()));
        }
        lines.push(text);
        if is_last {
            return Ok(SmtpReply { code, lines });
        }
    }
}

/// The code, whether it is the reply's last line, and its text.
fn parse_line(line: &[u8]) -> Option<(u16, bool, String)> {
    let line = String::from_utf8_lossy(line);
    let line = line.trim_end_matches(['\r', '\n']);
    let (code, rest) = line.split_at_checked(3)?;
    let code = code.bytes().all(|byte| byte.is_ascii_digit()).then(|| code.parse().ok())??;
    let is_last = match rest.bytes().next() {
        Some(b'-') => false,
        Some(b' ') | None => true,
        Some(_) => return None,
    };
    let text = rest.get(1..).unwrap_or_default().to_owned();
    (200..600).contains(&code).then_some((code, is_last, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(line: &str) -> SmtpReply {
        let (code, _, text) = parse_line(line.as_bytes()).unwrap();
        SmtpReply { code, lines: vec![text] }
    }

    #[test]
    fn only_what_judges_the_message_is_a_refusal() {
        use SmtpStage::{Greeting, Login, Message, Recipient, Sender};
        for (stage, line, is_refusal) in [
            (Greeting, "554 go away", false),
            (Login, "535 5.7.8 no", false),
            (Sender, "550 5.7.1 not yours", true),
            (Sender, "530 5.7.0 log in", false),
            (Sender, "552 5.3.4 too long", true),
            (Recipient, "550 5.1.1 unknown", true),
            (Recipient, "552 5.2.2 full", false),
            (Recipient, "452 4.2.2 full", false),
            (Recipient, "450 4.7.1 later", false),
            (Message, "421 4.3.2 shutting down", false),
            (Message, "552 5.3.4 too long", true),
            (Message, "552 5.2.2 full", false),
            (Message, "554 5.7.1 spam", true),
        ] {
            assert_eq!(reply(line).judge(stage) == ReplyJudgement::Refused, is_refusal, "{stage}: {line}");
        }
    }

    #[tokio::test]
    async fn replies_are_read_within_bounds() {
        let read = async |bytes: &[u8]| read_reply(&mut &*bytes.to_owned()).await;
        let two = read(b"250-one\r\n250 SIZE 100\r\nrest").await.unwrap();
        assert_eq!((two.code, two.lines), (250, vec!["one".to_owned(), "SIZE 100".to_owned()]));
        assert_eq!(read(b"220\n").await.unwrap().code, 220);
        let long = [b"220 ".to_vec(), vec![b'x'; 5000], b"\r\n".to_vec()].concat();
        let endless = b"250-x\r\n".repeat(1000);
        for bytes in
            [&b""[..], b"220 cut", b"SSH-2.0-x\r\n", b"999 x\r\n", b"250-a\r\n251 b\r\n", &long, &endless]
        {
            assert!(matches!(read(bytes).await, Err(SmtpError::Broken(_))), "{bytes:?}");
        }
    }
}
