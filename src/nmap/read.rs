//! Reads a report as a stream of hosts: one at a time is in memory, regardless of the file's size.
//!
//! A host that answered but has no ports (`nmap -sn`) has no reports: it was only seen. A host that did not answer, or
//! to which nothing was sent (`nmap -sL`), is left out and counted.

use std::{collections::BTreeMap, io::BufRead};

use jiff::Timestamp;

use super::{
    error::ReadError,
    piece::{Piece, ReportedHost},
    ports::{Ports, reason},
    xml::{Element, Tokens, XmlToken},
};
use crate::model::{Address, Mac, PortSet, PortState, Protocol, ScanStatus, one_line};

/// The longest name or reason that is kept, in characters; no DNS name is longer (RFC 1035, 2.3.4).
const TEXT_MAX: usize = 253;

/// The parts of a report that are left out, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Omissions {
    /// Hosts that did not answer.
    pub down: u64,
    /// Hosts to which nothing was sent (`nmap -sL`), or about which nothing is reported.
    pub unknown: u64,
    /// Hosts without an address that a single host can have.
    pub unaddressed: u64,
    /// Ports with an unknown protocol, number or state.
    pub unreadable_ports: u64,
    /// Ports of hosts that nmap gave up on: the other ports look like ports that were never requested.
    pub given_up_ports: u64,
}

/// The end of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportSummary {
    /// When the scan ended.
    pub finished: Timestamp,
    /// [`ScanStatus::Complete`], or partial if nmap reports that it ended with an error.
    pub status: ScanStatus,
}

/// A report that is being read.
pub struct Report<R> {
    tokens: Tokens<R>,
    started: Timestamp,
    is_masscan: bool,
    requested: BTreeMap<Protocol, PortSet>,
    left_out: Omissions,
    summary: ReportSummary,
}

impl<R: BufRead> Report<R> {
    /// Reads up to the first host.
    ///
    /// # Errors
    /// Fails if the file is not from nmap, or lacks the time of the scan.
    pub fn open(source: R) -> Result<Self, ReadError> {
        let mut tokens = Tokens::new(source);
        let root = match tokens.next()? {
            XmlToken::Open(root) if root.name() == "nmaprun" => root,
            XmlToken::Open(other) => {
                return Err(ReadError::Foreign(format!("<{}>", one_line(other.name(), 40))));
            }
            XmlToken::Close | XmlToken::End => return Err(ReadError::NoElement),
        };
        let started =
            time(&root, "start")?.filter(|start| start.as_second() > 0).ok_or(ReadError::NoStart)?;
        // Only the element `finished` shows that the scan ended well; a complete file alone does not.
        let summary = ReportSummary { finished: started, status: ScanStatus::Partial };
        let is_masscan = root.text("scanner")?.is_some_and(|scanner| scanner == "masscan");
        let (requested, left_out) = (BTreeMap::new(), Omissions::default());
        Ok(Self { tokens, started, is_masscan, requested, left_out, summary })
    }

    /// The program that made it: `nmap`, or `masscan`, which writes the same format.
    pub fn scanner(&self) -> &'static str {
        if self.is_masscan { "masscan" } else { "nmap" }
    }

    /// When the scan began, which identifies the report.
    pub fn started(&self) -> Timestamp {
        self.started
    }

    /// The requested ports so far: complete once the first host has been read.
    pub fn requested(&self) -> &BTreeMap<Protocol, PortSet> {
        &self.requested
    }

    /// How it ended: known once every host has been read.
    pub fn summary(&self) -> ReportSummary {
        self.summary
    }

    /// What was left out so far: complete once every host has been read.
    pub fn left_out(&self) -> Omissions {
        self.left_out
    }

    /// Returns the next `<host>`; `None` at the end of a complete report. There may be several for one host: see
    /// [`gather`](super::gather).
    ///
    /// # Errors
    /// Fails if the file cannot be read, or turns out not to be a report.
    pub fn next_host(&mut self) -> Result<Option<ReportedHost>, ReadError> {
        Ok(self.next_piece()?.map(|(address, piece)| piece.into_host(address)))
    }

    pub(super) fn next_piece(&mut self) -> Result<Option<(Address, Piece)>, ReadError> {
        while let Some(element) = self.tokens.child()? {
            match element.name() {
                "scaninfo" => {
                    self.note_asked(&element)?;
                    self.tokens.skip()?;
                }
                "runstats" => self.runstats()?,
                "host" => {
                    if let Some(piece) = self.host(&element)? {
                        return Ok(Some(piece));
                    }
                }
                // Progress, hints, script output, and additions of later versions.
                _ => self.tokens.skip()?,
            }
        }
        match self.tokens.next()? {
            XmlToken::End => Ok(None),
            XmlToken::Open(_) | XmlToken::Close => {
                Err(ReadError::Malformed("something follows the end of the report".to_owned()))
            }
        }
    }

    fn note_asked(&mut self, scaninfo: &Element) -> Result<(), ReadError> {
        let (protocol, ports) = (scaninfo.value("protocol")?, scaninfo.value::<PortSet>("services")?);
        if let (Some(protocol), Some(ports)) = (protocol, ports) {
            let requested: &mut PortSet = self.requested.entry(protocol).or_default();
            *requested = requested.union(&ports);
        }
        Ok(())
    }

    fn runstats(&mut self) -> Result<(), ReadError> {
        while let Some(element) = self.tokens.child()? {
            if element.name() == "finished" {
                let failed = element.text("exit")?.is_some_and(|exit| exit == "error");
                self.summary = ReportSummary {
                    finished: time(&element, "time")?.unwrap_or(self.started).max(self.started),
                    status: if failed { ScanStatus::Partial } else { ScanStatus::Complete },
                };
            }
            self.tokens.skip()?;
        }
        Ok(())
    }

    /// Reads the host that begins here; `None` if it is left out.
    fn host(&mut self, element: &Element) -> Result<Option<(Address, Piece)>, ReadError> {
        let started = time(element, "starttime")?;
        let finished = time(element, "endtime")?;
        let timed_out = element.text("timedout")?.is_some_and(|yes| yes == "true");
        let comment = element.text("comment")?;
        let mut draft = Draft::default();
        while let Some(child) = self.tokens.child()? {
            match child.name() {
                "status" => {
                    draft.state = child.text("state")?;
                    self.tokens.skip()?;
                }
                "address" => {
                    draft.note_address(&child)?;
                    self.tokens.skip()?;
                }
                "hostnames" => self.hostnames(&mut draft)?,
                "ports" => self.ports(&mut draft.ports)?,
                _ => self.tokens.skip()?,
            }
        }
        // Masscan reports only when it finished a host.
        let started = started.or(finished).unwrap_or(self.started);
        let finished = finished.unwrap_or(started).max(started);
        let given_up = timed_out.then(|| comment.unwrap_or_else(|| "nmap gave it up (timed out)".to_owned()));
        Ok(draft.finish(started, finished, given_up, &self.requested, &mut self.left_out))
    }

    fn hostnames(&mut self, draft: &mut Draft) -> Result<(), ReadError> {
        while let Some(child) = self.tokens.child()? {
            if child.name() == "hostname" {
                let typed = child.text("type")?.is_some_and(|kind| kind == "user");
                if draft.name.is_none() || (typed && !draft.name_is_typed) {
                    draft.name = child.text("name")?.map(|name| one_line(&name, TEXT_MAX));
                    draft.name_is_typed = typed;
                }
            }
            self.tokens.skip()?;
        }
        Ok(())
    }

    fn ports(&mut self, ports: &mut Ports) -> Result<(), ReadError> {
        while let Some(child) = self.tokens.child()? {
            match child.name() {
                "extraports" => self.extraports(&child, ports)?,
                "port" => self.port(&child, ports)?,
                _ => self.tokens.skip()?,
            }
        }
        Ok(())
    }

    fn extraports(&mut self, element: &Element, ports: &mut Ports) -> Result<(), ReadError> {
        let state: Option<PortState> = element.value("state")?;
        let count = element.value("count")?.unwrap_or(0);
        let mut has_reasons = false;
        while let Some(child) = self.tokens.child()? {
            if let Some(state) = state
                && child.name() == "extrareasons"
            {
                has_reasons = true;
                let protocol = child.value("proto")?;
                let word = child.text("reason")?.unwrap_or_default();
                let verdict = (state, reason(&word, state, protocol.unwrap_or(Protocol::Tcp)));
                let count = child.value("count")?.unwrap_or(0);
                if !ports.add_group(verdict, count, protocol, child.value("ports")?) {
                    return Err(ReadError::TooManyGroups);
                }
            }
            self.tokens.skip()?;
        }
        match state {
            Some(state)
                if !has_reasons
                    && !ports.add_group((state, reason("", state, Protocol::Tcp)), count, None, None) =>
            {
                Err(ReadError::TooManyGroups)
            }
            _ => Ok(()),
        }
    }

    fn port(&mut self, element: &Element, ports: &mut Ports) -> Result<(), ReadError> {
        let protocol = element.value("protocol")?;
        let port = protocol.zip(element.value("portid")?);
        let mut verdict = None;
        while let Some(child) = self.tokens.child()? {
            if child.name() == "state"
                && let Some(state) = child.value("state")?
            {
                let word = child.text("reason")?.unwrap_or_default();
                verdict = Some((state, reason(&word, state, protocol.unwrap_or(Protocol::Tcp))));
            }
            self.tokens.skip()?;
        }
        ports.list(port.zip(verdict));
        Ok(())
    }
}

/// Unix seconds in an attribute; `None` if invalid or beyond the calendar.
fn time(element: &Element, name: &str) -> Result<Option<Timestamp>, ReadError> {
    Ok(element.value(name)?.and_then(|seconds| Timestamp::from_second(seconds).ok()))
}

/// A host that is not completely read.
#[derive(Default)]
struct Draft {
    state: Option<String>,
    address: Option<Address>,
    mac: Option<Mac>,
    name: Option<String>,
    name_is_typed: bool,
    ports: Ports,
}

impl Draft {
    fn note_address(&mut self, element: &Element) -> Result<(), ReadError> {
        if element.text("addrtype")?.is_some_and(|kind| kind == "mac") {
            self.mac = element.value("addr")?.filter(|mac: &Mac| mac.is_unicast());
        } else if self.address.is_none() {
            self.address = element.value("addr")?.filter(Address::is_host);
        }
        Ok(())
    }

    /// The piece for the host; `None`, and counted, if there is nothing to keep. Of a host that was given up only that
    /// fact is kept, because the ports without a verdict look like ports that were never requested.
    fn finish(
        self,
        started: Timestamp,
        finished: Timestamp,
        given_up: Option<String>,
        requested: &BTreeMap<Protocol, PortSet>,
        left_out: &mut Omissions,
    ) -> Option<(Address, Piece)> {
        match self.state.as_deref() {
            Some("up") => {}
            // Masscan has no host states, and reports only hosts that answered.
            None if self.ports.elements() > 0 => {}
            Some("down") => {
                left_out.down += 1;
                return None;
            }
            // Skipped, or unknown: nothing was sent to it.
            _ => {
                left_out.unknown += 1;
                return None;
            }
        }
        let Some(address) = self.address else {
            left_out.unaddressed += 1;
            return None;
        };
        let (mac, name) = (self.mac, self.name);
        let piece = Piece { mac, name, started, finished, given_up: None, parts: Vec::new() };
        let piece = match given_up {
            Some(detail) => {
                left_out.given_up_ports += self.ports.elements();
                let protocol = requested.keys().next().copied().unwrap_or(Protocol::Tcp);
                Piece { given_up: Some((protocol, one_line(&detail, TEXT_MAX))), ..piece }
            }
            None => {
                left_out.unreadable_ports += self.ports.unreadable();
                Piece { parts: self.ports.parts(requested), ..piece }
            }
        };
        Some((address, piece))
    }
}

#[cfg(test)]
mod tests;
