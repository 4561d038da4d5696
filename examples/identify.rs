//! Identifies texts: reads lines of JSON (`{"kind": "ssh", "text": "OpenSSH_9.6p1 Ubuntu-3"}`) and prints for each one
//! what it says, null for what is not known.
//!
//! `cargo run --release --example identify < texts.jsonl`

use std::io::{self, BufRead, Write};

use portscan::{
    identify::{self, GreetingKind},
    model::DeviceIdentification,
};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Line {
    kind: String,
    /// Each character is a byte of Latin-1, where all of them are below U+0100.
    text: String,
}

#[derive(Serialize)]
struct Identified {
    vendor: Option<String>,
    product: Option<String>,
    version: Option<String>,
    device: DeviceIdentification,
}

fn main() -> io::Result<()> {
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let line: Line = serde_json::from_str(&line)?;
        serde_json::to_writer(&mut out, &identified(&line)?)?;
        writeln!(out)?;
    }
    Ok(())
}

fn identified(line: &Line) -> io::Result<Identified> {
    if line.kind == "device-info" {
        let device = identify::device_info(&line.text).unwrap_or_default();
        return Ok(Identified { vendor: None, product: None, version: None, device });
    }
    let kind = kind(&line.kind).ok_or_else(|| {
        io::Error::other(format!("no such kind of text: {:?}; one of {KINDS:?}", line.kind))
    })?;
    let found = identify::parse(kind, &bytes(&line.text));
    Ok(Identified {
        vendor: found.vendor,
        product: found.product,
        version: found.version,
        device: found.device,
    })
}

fn bytes(text: &str) -> Vec<u8> {
    let latin: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(c).ok()).collect();
    latin.unwrap_or_else(|| text.as_bytes().to_vec())
}

const KINDS: [(&str, GreetingKind); 14] = [
    ("certificate", GreetingKind::CertificateSubject),
    ("ftp", GreetingKind::Ftp),
    ("http-challenge", GreetingKind::HttpChallenge),
    ("http-server", GreetingKind::HttpServer),
    ("imap", GreetingKind::Imap),
    ("mysql", GreetingKind::Mysql),
    ("nntp", GreetingKind::Nntp),
    ("pop3", GreetingKind::Pop3),
    ("rtsp", GreetingKind::Rtsp),
    ("sip", GreetingKind::Sip),
    ("smtp", GreetingKind::Smtp),
    ("ssh", GreetingKind::Ssh),
    ("telnet", GreetingKind::Telnet),
    ("title", GreetingKind::HtmlTitle),
];

fn kind(name: &str) -> Option<GreetingKind> {
    KINDS.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
}
