//! Reads elements from a hostile file.
//!
//! quick-xml reads events into a buffer that grows with the file's demands, and remembers the name of every open
//! element: both are bounded here. It expands nothing but the five entities that every XML has; a document that
//! declares its own, or has any declaration, is refused.

use std::{
    io::{self, BufRead, Read},
    str::FromStr,
};

use quick_xml::{
    Error, XmlVersion,
    errors::{IllFormedError, SyntaxError},
    events::{BytesStart, Event},
    reader::Reader,
};

use super::error::ReadError;

/// The largest single tag, comment or text, in bytes. A script's output is one attribute; the ports of an
/// `extrareasons` that alternate over the whole range are 190 KB.
const TAG_MAX: usize = 4 << 20;

/// The deepest nesting of elements. nmap's own are 4 deep, its scripts' tables some 10.
const DEPTH_MAX: usize = 64;

/// The parts of a file that matter here.
pub(super) enum XmlToken {
    /// An element begins; an empty one ends at once.
    Open(Element),
    /// The innermost open element ends.
    Close,
    /// The file ends, with every element closed.
    End,
}

/// An element's name and attributes.
pub(super) struct Element(BytesStart<'static>);

impl Element {
    /// Its name.
    pub(super) fn name(&self) -> &str {
        self.0.name().0
    }

    /// An attribute's value, or `None`. Of two with one name the first counts: looking for a second, as quick-xml does
    /// by default, takes quadratic time in their number.
    pub(super) fn text(&self, name: &str) -> Result<Option<String>, ReadError> {
        let mut attributes = self.0.attributes();
        for attribute in attributes.with_checks(false) {
            let attribute = attribute.map_err(Error::InvalidAttr)?;
            if attribute.key.0 == name {
                return Ok(Some(attribute.normalized_value(XmlVersion::Implicit1_0)?.into_owned()));
            }
        }
        Ok(None)
    }

    /// An attribute's value, parsed; `None` if it is missing or unknown.
    pub(super) fn value<T: FromStr>(&self, name: &str) -> Result<Option<T>, ReadError> {
        Ok(self.text(name)?.and_then(|text| text.trim().parse().ok()))
    }
}

/// A file as a sequence of tokens.
pub(super) struct Tokens<R> {
    reader: Reader<Rationed<R>>,
    buffer: Vec<u8>,
    depth: usize,
}

impl<R: BufRead> Tokens<R> {
    pub(super) fn new(source: R) -> Self {
        let mut reader = Reader::from_reader(Rationed { source, left: TAG_MAX });
        reader.config_mut().expand_empty_elements = true;
        Self { reader, buffer: Vec::new(), depth: 0 }
    }

    /// The next token.
    pub(super) fn next(&mut self) -> Result<XmlToken, ReadError> {
        loop {
            self.buffer.clear();
            self.reader.get_mut().left = TAG_MAX;
            match self.reader.read_event_into(&mut self.buffer)? {
                Event::Start(start) if self.depth < DEPTH_MAX => {
                    self.depth += 1;
                    return Ok(XmlToken::Open(Element(start.into_owned())));
                }
                Event::Start(_) => return Err(ReadError::TooDeep(DEPTH_MAX)),
                Event::End(_) => {
                    self.depth -= 1;
                    return Ok(XmlToken::Close);
                }
                Event::DocType(declared) if declared.contains('[') => return Err(ReadError::Declarations),
                Event::Eof if self.depth > 0 => return Err(ReadError::Truncated),
                Event::Eof => return Ok(XmlToken::End),
                _ => {}
            }
        }
    }

    /// Skips the rest of the element that was opened last.
    pub(super) fn skip(&mut self) -> Result<(), ReadError> {
        let outside = self.depth - 1;
        while self.depth > outside {
            self.next()?;
        }
        Ok(())
    }

    /// The next element within the one that was opened last; `None` at its end.
    pub(super) fn child(&mut self) -> Result<Option<Element>, ReadError> {
        match self.next()? {
            XmlToken::Open(element) => Ok(Some(element)),
            XmlToken::Close => Ok(None),
            // Not reached: an element that is open makes the end an error.
            XmlToken::End => Err(ReadError::Truncated),
        }
    }
}

impl From<Error> for ReadError {
    fn from(error: Error) -> Self {
        match error {
            Error::Io(error) if error.kind() == io::ErrorKind::FileTooLarge => Self::TooLarge(TAG_MAX),
            Error::Io(error) => Self::Unreadable(error),
            Error::IllFormed(IllFormedError::MissingEndTag(_)) => Self::Truncated,
            // The parser's own error for a file that ends within a tag.
            Error::Syntax(SyntaxError::InvalidBangMarkup) => Self::Malformed(error.to_string()),
            Error::Syntax(_) => Self::Truncated,
            other => Self::Malformed(other.to_string()),
        }
    }
}

/// A source that provides a ration of bytes and then fails, until it gets another ration.
struct Rationed<R> {
    source: R,
    left: usize,
}

impl<R: BufRead> Read for Rationed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

impl<R: BufRead> BufRead for Rationed<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.left == 0 {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let available = self.source.fill_buf()?;
        Ok(&available[..available.len().min(self.left)])
    }

    fn consume(&mut self, count: usize) {
        self.left = self.left.saturating_sub(count);
        self.source.consume(count);
    }
}
