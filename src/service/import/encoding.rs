//! Detects a file's format by its first bytes, and decodes its text to UTF-8.
//!
//! `nmap -oX - > FILE` in PowerShell writes UTF-16, and many editors a byte order mark: both are read. A compressed
//! file, and one in another of the scanners' formats, is refused with an error that names the format and the remedy.

use std::io::{self, BufRead, Read};

use crate::model::bytes_without_mark;

/// Compressed files by their first bytes: the format's name, and the command that unpacks it.
const PACKED: &[(&[u8], &str, &str)] = &[
    (b"\x1f\x8b", "gzip", "gunzip -c FILE"),
    (b"PK\x03\x04", "zip", "unzip -p FILE"),
    (b"BZh", "bzip2", "bunzip2 -c FILE"),
    (b"\xfd7zXZ\0", "xz", "xz -dc FILE"),
    (b"\x28\xb5\x2f\xfd", "zstd", "zstd -dc FILE"),
];

/// Other formats of nmap and masscan, by how they begin.
const OTHERS: &[(&str, &str)] = &[
    ("# Nmap ", "nmap's text (-oN or -oG)"),
    ("Starting Nmap ", "what nmap prints"),
    ("# Masscan ", "masscan's lines for grep (-oG)"),
    ("#masscan", "masscan's list (-oL)"),
    ("[", "JSON, as masscan writes it (-oJ)"),
];

/// How many bytes determine the format: blank lines may come first.
const FIRST: usize = 4096;

/// Bytes of UTF-16 that are decoded at once.
const PIECE: usize = 16 * 1024;

/// Why a file is refused.
#[derive(Debug, thiserror::Error)]
pub enum EncodingError {
    /// It is compressed.
    #[error("the report is a {name} file; unpack it first: `{command} | portscan import -`")]
    Packed {
        /// The format's name.
        name: &'static str,
        /// The command that unpacks it.
        command: &'static str,
    },
    /// It has another format.
    #[error("this is {0}; only XML says which ports were scanned: make it with -oX FILE")]
    Other(&'static str),
    /// Reading it fails.
    #[error("the report cannot be read: {0}")]
    Unreadable(#[from] io::Error),
}

/// The format of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A JSON document.
    Json,
    /// XML, or an unknown format.
    Xml,
}

/// A file's text as UTF-8, without a byte order mark.
pub(super) enum Text<R> {
    /// The file is presumably UTF-8, and is read unchanged.
    Plain(R),
    /// Decoded piece by piece.
    Decoded(Decoder<R>),
}

impl<R: BufRead> Text<R> {
    /// Reads the first bytes; a source returns as many as its buffer holds.
    pub(super) fn open(mut source: R) -> Result<(Self, Kind), EncodingError> {
        let first = source.fill_buf()?;
        if let Some(&(_, name, command)) = PACKED.iter().find(|(magic, ..)| first.starts_with(magic)) {
            return Err(EncodingError::Packed { name, command });
        }
        let mark = first.len() - bytes_without_mark(first).len();
        let mut text = match first {
            [0xff, 0xfe, ..] | [b'<' | b'{', 0, ..] => {
                Self::Decoded(Decoder::new(source, u16::from_le_bytes))
            }
            [0xfe, 0xff, ..] | [0, b'<' | b'{', ..] => {
                Self::Decoded(Decoder::new(source, u16::from_be_bytes))
            }
            _ => {
                source.consume(mark);
                Self::Plain(source)
            }
        };
        let first = text.fill_buf()?;
        let first = first[..first.len().min(FIRST)].trim_ascii_start();
        if let Some((_, what)) = OTHERS.iter().find(|(begin, _)| first.starts_with(begin.as_bytes())) {
            return Err(EncodingError::Other(what));
        }
        let kind = if first.starts_with(b"{") { Kind::Json } else { Kind::Xml };
        Ok((text, kind))
    }

    /// Returns the source.
    pub(super) fn into_inner(self) -> R {
        match self {
            Self::Plain(source) | Self::Decoded(Decoder { source, .. }) => source,
        }
    }
}

impl<R: BufRead> Read for Text<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

impl<R: BufRead> BufRead for Text<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match self {
            Self::Plain(source) => source.fill_buf(),
            Self::Decoded(decoder) => decoder.fill_buf(),
        }
    }

    fn consume(&mut self, count: usize) {
        match self {
            Self::Plain(source) => source.consume(count),
            Self::Decoded(decoder) => decoder.at += count,
        }
    }
}

/// Decodes UTF-16 to UTF-8. A lone surrogate becomes U+FFFD: nmap writes none, and names are shown, not compared.
pub(super) struct Decoder<R> {
    source: R,
    unit: fn([u8; 2]) -> u16,
    /// The first half of a surrogate pair, at the end of the last piece.
    high: Option<u16>,
    text: String,
    at: usize,
    is_started: bool,
}

impl<R: BufRead> Decoder<R> {
    fn new(source: R, unit: fn([u8; 2]) -> u16) -> Self {
        Self { source, unit, high: None, text: String::new(), at: 0, is_started: false }
    }

    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.at >= self.text.len() && self.decode()? {}
        Ok(&self.text.as_bytes()[self.at.min(self.text.len())..])
    }

    /// Decodes the next piece, and returns whether there was one.
    fn decode(&mut self) -> io::Result<bool> {
        let mut bytes = Vec::with_capacity(PIECE);
        self.source.by_ref().take(PIECE as u64).read_to_end(&mut bytes)?;
        let mut units: Vec<u16> = self.high.take().into_iter().collect();
        // A single byte at the end is half a character: the text is truncated, which its parser will find.
        let (pairs, _) = bytes.as_chunks::<2>();
        units.extend(pairs.iter().map(|pair| (self.unit)(*pair)));
        let is_last = bytes.len() < PIECE;
        self.high = units.pop_if(|last| !is_last && (0xd800..0xdc00).contains(last));
        self.at = 0;
        self.text = char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
        if !std::mem::replace(&mut self.is_started, true) && self.text.starts_with('\u{feff}') {
            self.at = '\u{feff}'.len_utf8();
        }
        Ok(!bytes.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<(String, Kind), EncodingError> {
        let (mut text, kind) = Text::open(bytes)?;
        let mut read = String::new();
        text.read_to_string(&mut read)?;
        Ok((read, kind))
    }

    fn utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(bytes).collect()
    }

    #[test]
    fn skips_a_byte_order_mark() {
        assert_eq!(read("\u{feff}<a/>".as_bytes()).unwrap(), ("<a/>".to_owned(), Kind::Xml));
        assert_eq!(read("\u{feff} {}".as_bytes()).unwrap(), (" {}".to_owned(), Kind::Json));
        assert_eq!(read(b"\n<a/>").unwrap(), ("\n<a/>".to_owned(), Kind::Xml));
    }

    #[test]
    fn utf16_is_read_in_either_order_with_a_mark_or_without() {
        // Surrogate pairs at every offset, over several pieces.
        let text = format!("<a b=\"{}\"/>", "é🖨".repeat(PIECE));
        for bytes in [u16::to_le_bytes, u16::to_be_bytes] {
            for mark in ["", "\u{feff}"] {
                for blank in ["", " "] {
                    let whole = format!("{mark}<{blank}{}", &text[1..]);
                    let read = read(&utf16(&whole, bytes)).unwrap().0;
                    assert_eq!(read, whole.trim_start_matches('\u{feff}'));
                }
            }
        }
        let half = utf16("\u{feff}<a/>", u16::to_le_bytes);
        assert_eq!(read(&half[..half.len() - 1]).unwrap().0, "<a/");
    }

    #[test]
    fn refuses_compressed_files_and_other_formats_with_the_remedy() {
        for (bytes, why) in [
            (&b"\x1f\x8b\x08\x00"[..], "gunzip -c FILE | portscan import -"),
            (b"PK\x03\x04", "a zip file"),
            (b"BZh9", "a bzip2 file"),
            (b"\xfd7zXZ\0", "a xz file"),
            (b"\x28\xb5\x2f\xfd", "a zstd file"),
            (b"# Nmap 7.93 scan initiated", "nmap's text (-oN or -oG); only XML"),
            (b"\nStarting Nmap 7.93", "what nmap prints"),
            (b"# Masscan 1.3.2 scan", "masscan's lines"),
            (b"#masscan\nopen tcp 80", "masscan's list (-oL)"),
            (b"[\n{   \"ip\": \"192.0.2.1\"", "JSON, as masscan writes it"),
        ] {
            let said = read(bytes).unwrap_err().to_string();
            assert!(said.contains(why) && (said.contains("-oX") || said.contains("unpack")), "{said}");
        }
    }
}
