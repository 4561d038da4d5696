use std::net::Ipv4Addr;

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
};

use super::*;

/// Answers each line of a client with the next of these; returns what the client said.
async fn serve(listener: TcpListener, greeting: &str, answers: &[(&str, &str)]) -> Vec<String> {
    let (stream, _) = listener.accept().await.unwrap();
    let mut stream = BufReader::new(stream);
    stream.write_all(greeting.as_bytes()).await.unwrap();
    let mut said = Vec::new();
    let mut line = String::new();
    while stream.read_line(&mut line).await.unwrap_or(0) > 0 {
        let text = std::mem::take(&mut line).trim_end().to_owned();
        let answer = answers.iter().find(|(start, _)| text.starts_with(start)).map(|(_, answer)| *answer);
        said.push(text);
        if let Some(answer) = answer {
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    }
    said
}

const HELLO: (&str, &str) = ("EHLO", "250-hi\r\n250-AUTH PLAIN LOGIN\r\n250 SIZE 1000\r\n");

async fn attempt(
    answers: &[(&str, &str)],
    tls: bool,
    login: Option<(&str, &str)>,
) -> (Result<Accepted, SmtpError>, Vec<String>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let addresses = [listener.local_addr().unwrap()];
    let tls = tls.then(|| (crate::tls::client_config(None).unwrap(), true));
    let server = SmtpServer { addresses: &addresses, host: "mail.test", tls, login };
    let envelope =
        Envelope { from: "a@b.test", to: &["c@d.test", "e@f.test"], content: "X: y\r\n\r\n.dot\r\n" };
    tokio::join!(send_mail(&server, envelope), serve(listener, "220 hi\r\n", answers))
}

#[tokio::test]
async fn a_message_goes_to_those_whom_the_server_accepts() {
    let answers = [
        HELLO,
        ("AUTH", "235 ok\r\n"),
        ("MAIL", "250 ok\r\n"),
        ("RCPT TO:<c@", "250 ok\r\n"),
        ("RCPT TO:<e@", "550 5.1.1 nobody\r\n"),
        ("DATA", "354 go\r\n"),
        (".dot", ""),
        ("..dot", ""),
        (".", "250 queued as 7\r\n"),
        ("QUIT", "221 bye\r\n"),
    ];
    let (sent, said) = attempt(&answers, false, Some(("me", "s3cret"))).await;
    let sent = sent.unwrap();
    assert_eq!(sent.answer, "250 queued as 7");
    assert_eq!(sent.refused.len(), 1);
    assert_eq!((sent.refused[0].0.as_str(), sent.refused[0].1.code), ("e@f.test", 550));
    let expected = [
        "EHLO [127.0.0.1]",
        "AUTH PLAIN AG1lAHMzY3JldA==",
        "MAIL FROM:<a@b.test> SIZE=14",
        "RCPT TO:<c@d.test>",
        "RCPT TO:<e@f.test>",
        "DATA",
        "X: y",
        "",
        "..dot",
        ".",
        "QUIT",
    ];
    assert_eq!(said, expected);
}

#[tokio::test]
async fn a_connection_without_encryption_is_not_used_where_it_is_asked_for() {
    let (sent, said) = attempt(&[HELLO], true, Some(("me", "s3cret"))).await;
    assert!(sent.unwrap_err().to_string().contains("offers no STARTTLS"));
    assert_eq!(said, ["EHLO [127.0.0.1]"], "no password was sent");
}

/// Text that an attacker injects before TLS begins would count as the server's reply (CVE-2011-0411).
#[tokio::test]
async fn words_that_follow_starttls_in_the_clear_are_refused() {
    let answers = [("EHLO", "250-hi\r\n250 STARTTLS\r\n"), ("STARTTLS", "220 go\r\n250 injected\r\n")];
    let (sent, said) = attempt(&answers, true, None).await;
    assert!(sent.unwrap_err().to_string().contains("an attacker may have injected"));
    assert_eq!(said.last().unwrap(), "STARTTLS");
}

#[tokio::test]
async fn a_wrong_password_is_told_without_it() {
    let (sent, _) = attempt(&[HELLO, ("AUTH", "535 5.7.8 bad\r\n")], false, Some(("me", "s3cret"))).await;
    let error = sent.unwrap_err();
    assert_eq!(error.to_string(), "login: the answer is 535 5.7.8 bad; user or password_file is wrong");
    assert!(!error.is_refusal());
}

#[test]
fn a_line_of_a_dot_does_not_end_the_message() {
    assert_eq!(stuffed("a\r\n.\r\nb"), "a\r\n..\r\nb\r\n.\r\n");
}
