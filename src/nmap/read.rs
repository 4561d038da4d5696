//! A report as a stream of hosts: one at a time is in memory, whatever the size of the file.

use std::{
    collections::BTreeMap,
    io::{self, BufRead},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;

use super::{
    ports::{Ports, reason},
    xml::{Element, Token, Tokens},
};
use crate::model::{
    Address, HostReport, HostStatus, Mac, PortSet, PortState, Protocol, Reason, ScanStatus, one_line,
};

/// Most hosts of a report: as many as a scan of ours may have targets.
const HOSTS_MAX: u32 = 65_536;

/// The longest name or reason that is kept, in characters; no DNS name is longer (RFC 1035, 2.3.4).
const TEXT_MAX: usize = 253;

/// Why a file is not taken. Nothing of it is: half a report would close ports that it does not tell of.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// The system does not give it.
    #[error("the report cannot be read: {0}")]
    Unreadable(Arc<io::Error>),
    /// It ends in the middle.
    #[error("the report ends in the middle: was nmap stopped, or the file still being written? Scan again")]
    Truncated,
    /// Not well-formed XML.
    #[error("the report is not well-formed XML: {0}")]
    Malformed(String),
    /// An internal subset: nmap writes none, and entities are how XML files blow up.
    #[error(
        "the report brings declarations of its own (<!DOCTYPE nmaprun [...]>), which nmap never writes; take them out"
    )]
    Declarations,
    /// A tag beyond all reason.
    #[error("the report has a tag, comment or text of more than {0} bytes")]
    TooLarge(usize),
    /// Elements within elements without end.
    #[error("the report's elements are nested more than {0} deep")]
    TooDeep(usize),
    /// Some other XML, or none.
    #[error("this is not nmap's XML: it begins with {0}; make it with `nmap -oX FILE`")]
    Foreign(String),
    /// When it was made decides where it belongs.
    #[error("the report does not say when its scan started (nmaprun's attribute `start`)")]
    NoStart,
    /// More than a scan of ours would have.
    #[error("the report has more than {HOSTS_MAX} hosts; split it")]
    TooManyHosts,
    /// A host with more `extraports` than there are states.
    #[error("the report has a host with more groups of unlisted ports than nmap can write")]
    TooManyGroups,
}

/// One host of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Where it was.
    pub address: Address,
    /// Who it was, where nmap was its neighbour.
    pub mac: Option<Mac>,
    /// The name that was typed for it, else the one that DNS had.
    pub name: Option<String>,
    /// When nmap began with it; the scan's start where that is not told.
    pub started: Timestamp,
    /// When nmap was done with it; its start where that is not told.
    pub finished: Timestamp,
    /// What was found, a report for each protocol that was looked at; never empty.
    pub reports: Vec<HostReport>,
}

/// The end of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// When the scan ended.
    pub finished: Timestamp,
    /// [`ScanStatus::Complete`], or partial where nmap says that it ended with an error.
    pub status: ScanStatus,
}

/// A report that is being read.
pub struct Report<R> {
    tokens: Tokens<R>,
    started: Timestamp,
    asked: BTreeMap<Protocol, PortSet>,
    hosts: u32,
    summary: Summary,
}

impl<R: BufRead> Report<R> {
    /// Reads up to where the hosts begin.
    ///
    /// # Errors
    /// The file is none of nmap's, or does not say when it was made.
    pub fn open(source: R) -> Result<Self, ReadError> {
        let mut tokens = Tokens::new(source);
        let root = match tokens.next()? {
            Token::Open(root) if root.name() == "nmaprun" => root,
            Token::Open(other) => {
                return Err(ReadError::Foreign(format!("<{}>", one_line(other.name(), 40))));
            }
            Token::Close | Token::End => return Err(ReadError::Foreign("nothing".to_owned())),
        };
        let started =
            time(&root, "start")?.filter(|start| start.as_second() > 0).ok_or(ReadError::NoStart)?;
        // Whole as it may be, nothing says that it ended well until `finished` does.
        let summary = Summary { finished: started, status: ScanStatus::Partial };
        Ok(Self { tokens, started, asked: BTreeMap::new(), hosts: 0, summary })
    }

    /// When the scan began: a report's identity.
    pub fn started(&self) -> Timestamp {
        self.started
    }

    /// What was looked at so far: complete once the first host has been read.
    pub fn asked(&self) -> &BTreeMap<Protocol, PortSet> {
        &self.asked
    }

    /// How it ended: known once every host has been read.
    pub fn summary(&self) -> Summary {
        self.summary
    }

    /// The next host; `None` at the end of a whole report.
    ///
    /// # Errors
    /// The file cannot be read, or is not what it seemed to be.
    pub fn next_host(&mut self) -> Result<Option<Host>, ReadError> {
        while let Some(element) = self.tokens.child()? {
            match element.name() {
                "scaninfo" => {
                    self.note_asked(&element)?;
                    self.tokens.skip()?;
                }
                "runstats" => self.runstats()?,
                "host" => {
                    if let Some(host) = self.host(&element)? {
                        self.hosts += 1;
                        return if self.hosts > HOSTS_MAX {
                            Err(ReadError::TooManyHosts)
                        } else {
                            Ok(Some(host))
                        };
                    }
                }
                // Progress, hints, scripts' output, and whatever later versions will have.
                _ => self.tokens.skip()?,
            }
        }
        match self.tokens.next()? {
            Token::End => Ok(None),
            Token::Open(_) | Token::Close => {
                Err(ReadError::Malformed("something follows the end of the report".to_owned()))
            }
        }
    }

    fn note_asked(&mut self, scaninfo: &Element) -> Result<(), ReadError> {
        let (protocol, ports) = (scaninfo.value("protocol")?, scaninfo.value::<PortSet>("services")?);
        if let (Some(protocol), Some(ports)) = (protocol, ports) {
            let asked: &mut PortSet = self.asked.entry(protocol).or_default();
            *asked = asked.union(&ports);
        }
        Ok(())
    }

    fn runstats(&mut self) -> Result<(), ReadError> {
        while let Some(element) = self.tokens.child()? {
            if element.name() == "finished" {
                let failed = element.text("exit")?.is_some_and(|exit| exit == "error");
                self.summary = Summary {
                    finished: time(&element, "time")?.unwrap_or(self.started).max(self.started),
                    status: if failed { ScanStatus::Partial } else { ScanStatus::Complete },
                };
            }
            self.tokens.skip()?;
        }
        Ok(())
    }

    /// The host that begins here; `None` if it has no address, or nothing is said of it.
    fn host(&mut self, element: &Element) -> Result<Option<Host>, ReadError> {
        let started = time(element, "starttime")?;
        let finished = time(element, "endtime")?;
        let timed_out = element.text("timedout")?.is_some_and(|yes| yes == "true");
        let comment = element.text("comment")?;
        let mut draft = Draft::default();
        while let Some(child) = self.tokens.child()? {
            match child.name() {
                "status" => {
                    draft.state = child.text("state")?;
                    draft.reason = child.text("reason")?;
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
        // Masscan says only when it was done with a host.
        let started = started.or(finished).unwrap_or(self.started);
        let finished = finished.unwrap_or(started).max(started);
        let detail = timed_out.then(|| comment.unwrap_or_else(|| "nmap gave it up (timed out)".to_owned()));
        Ok(draft.finish(started, finished, detail, &self.asked))
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
        let mut told = false;
        while let Some(child) = self.tokens.child()? {
            if let Some(state) = state
                && child.name() == "extrareasons"
            {
                told = true;
                let verdict = (state, reason(&child.text("reason")?.unwrap_or_default(), state));
                let count = child.value("count")?.unwrap_or(0);
                if !ports.add_group(verdict, count, child.value("proto")?, child.value("ports")?) {
                    return Err(ReadError::TooManyGroups);
                }
            }
            self.tokens.skip()?;
        }
        match state {
            Some(state) if !told && !ports.add_group((state, reason("", state)), count, None, None) => {
                Err(ReadError::TooManyGroups)
            }
            _ => Ok(()),
        }
    }

    fn port(&mut self, element: &Element, ports: &mut Ports) -> Result<(), ReadError> {
        let (protocol, port) = (element.value("protocol")?, element.value("portid")?);
        while let Some(child) = self.tokens.child()? {
            if child.name() == "state"
                && let (Some(protocol), Some(port), Some(state)) = (protocol, port, child.value("state")?)
            {
                ports.list(protocol, port, state, reason(&child.text("reason")?.unwrap_or_default(), state));
            }
            self.tokens.skip()?;
        }
        Ok(())
    }
}

/// Unix seconds in an attribute; nothing if they are none, or no calendar has them.
fn time(element: &Element, name: &str) -> Result<Option<Timestamp>, ReadError> {
    Ok(element.value(name)?.and_then(|seconds| Timestamp::from_second(seconds).ok()))
}

/// A host of which not all is read yet.
#[derive(Default)]
struct Draft {
    state: Option<String>,
    reason: Option<String>,
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

    /// The host; of one that was given up only that it was is told, for the ports that have no verdict look
    /// like those that were never asked for.
    fn finish(
        self,
        started: Timestamp,
        finished: Timestamp,
        timed_out: Option<String>,
        asked: &BTreeMap<Protocol, PortSet>,
    ) -> Option<Host> {
        let address = self.address?;
        let scanning = Duration::try_from(finished.duration_since(started)).unwrap_or_default();
        let report = |status, protocol| HostReport {
            address: address.clone(),
            status,
            coverage: PortSet::default(),
            default_state: PortState::Closed,
            default_reason: Reason::NoResponse,
            findings: Vec::new(),
            protocol,
            probes: 0,
            preparation: Duration::ZERO,
            scanning,
            detail: String::new(),
        };
        let portless = |status, detail: &str| {
            let protocol = asked.keys().next().copied().unwrap_or(Protocol::Tcp);
            vec![HostReport { detail: one_line(detail, TEXT_MAX), ..report(status, protocol) }]
        };
        let reports = match (self.state.as_deref(), timed_out) {
            (Some("down"), _) => portless(HostStatus::Down, self.reason.as_deref().unwrap_or_default()),
            (Some("up") | None, Some(detail)) => portless(HostStatus::Partial, &detail),
            (Some("up") | None, None) => {
                let part = |part: super::ports::Part| HostReport {
                    coverage: part.coverage,
                    default_state: part.default_state,
                    default_reason: part.default_reason,
                    findings: part.findings,
                    ..report(HostStatus::Up, part.protocol)
                };
                self.ports.parts(asked).into_iter().map(part).collect()
            }
            // Skipped, or unknown: nobody looked.
            _ => Vec::new(),
        };
        let host = Host { address, mac: self.mac, name: self.name, started, finished, reports };
        (!host.reports.is_empty()).then_some(host)
    }
}

#[cfg(test)]
mod tests;
