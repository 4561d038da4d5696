//! Identifies texts: reads lines of JSON (`{"kind": "ssh_banners", "text": "OpenSSH_9.6p1 Ubuntu-3"}`) and prints for
//! each one `{"vendor", "product", "version", "device"}`, null for what is not known.
//!
//! `cargo run --release --example identify < texts.jsonl`

use std::io::{self, BufRead, Write};

use portscan::{
    identify::{self, GreetingKind},
    model::{DeviceIdentification, DeviceType},
};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Line {
    kind: String,
    /// Each character is a byte of Latin-1, where all of them are below U+0100.
    text: String,
}

/// What a text names first: the software and its maker, or, where it names none, the device's model and its maker.
#[derive(Serialize)]
struct Identified {
    vendor: Option<String>,
    product: Option<String>,
    version: Option<String>,
    device: Option<DeviceType>,
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
    if line.kind == DEVICE_INFO {
        let model = line.text.strip_prefix("model=").unwrap_or(&line.text);
        let device = identify::device_info(model).unwrap_or_default();
        return Ok(of(None, None, None, device));
    }
    let Some((_, kind)) = KINDS.into_iter().find(|(known, _)| *known == line.kind) else {
        let known: Vec<&str> = KINDS.iter().map(|(known, _)| *known).chain([DEVICE_INFO]).collect();
        return Err(io::Error::other(format!("{:?} is not one of {}", line.kind, known.join(", "))));
    };
    let found = identify::parse(kind, &bytes(&line.text));
    Ok(of(found.vendor, found.product, found.version, found.device))
}

fn of(
    vendor: Option<String>,
    product: Option<String>,
    version: Option<String>,
    device: DeviceIdentification,
) -> Identified {
    Identified {
        vendor: vendor.or(device.maker),
        product: product.or(device.model),
        version,
        device: device.device_type,
    }
}

fn bytes(text: &str) -> Vec<u8> {
    let latin: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(c).ok()).collect();
    latin.unwrap_or_else(|| text.as_bytes().to_vec())
}

/// The kind of the TXT record of `_device-info._tcp`: `model=Mac15,12`.
const DEVICE_INFO: &str = "mdns_device-info_txt";

/// The kinds of the other texts, named as collections of greetings name them.
const KINDS: [(&str, GreetingKind); 14] = [
    ("ftp_banners", GreetingKind::Ftp),
    ("html_title", GreetingKind::HtmlTitle),
    ("http_servers", GreetingKind::HttpServer),
    ("http_wwwauth", GreetingKind::HttpChallenge),
    ("imap_banners", GreetingKind::Imap),
    ("mysql_banners", GreetingKind::Mysql),
    ("nntp_banners", GreetingKind::Nntp),
    ("pop_banners", GreetingKind::Pop3),
    ("rtsp_servers", GreetingKind::Rtsp),
    ("sip_banners", GreetingKind::Sip),
    ("smtp_banners", GreetingKind::Smtp),
    ("ssh_banners", GreetingKind::Ssh),
    ("telnet_banners", GreetingKind::Telnet),
    ("x509_subjects", GreetingKind::CertificateSubject),
];
