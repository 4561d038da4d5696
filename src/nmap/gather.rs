//! All that a report tells, each host once, whatever number of elements tell of it.
//!
//! The elements are kept in a file as they are read, each with the place of the one before it that tells of the
//! same host; in memory is only where each host's last one is. So a report needs the same memory whether it has
//! a host in one piece or in a million, and what is read twice is ours and not a file that may change meanwhile.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::{self, BufRead, BufWriter, Write},
    os::unix::fs::FileExt,
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{
    error::{HOSTS_MAX, ReadError},
    piece::{Assembly, Host, Piece},
    read::Report,
};
use crate::model::{Address, PortSet, PortState, Protocol, Reason};

/// The most that is kept aside, in bytes: more than the largest report that HTTP takes would ever need.
const KEPT_MAX: u64 = 256 << 20;

/// A piece as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// Where the piece before it of the same host is.
    before: Option<u64>,
    piece: Piece,
}

/// The hosts of a report, in the order in which they were first told of.
pub struct Gathered {
    file: File,
    hosts: std::vec::IntoIter<(Address, u64)>,
    /// What masscan says that it asked for, and lists only where it is open.
    unlisted: BTreeMap<Protocol, PortSet>,
    assembly: Assembly,
}

/// Reads a report to its end; `aside` is an empty file to keep in what was read.
///
/// # Errors
/// The report is none, is not whole or is too large, or there is no room aside.
pub fn gather<R: BufRead>(report: &mut Report<R>, aside: File) -> Result<Gathered, ReadError> {
    let unkept = |error| ReadError::Unkept(Arc::new(error));
    let mut places = HashMap::<Address, usize>::new();
    let mut hosts: Vec<(Address, u64)> = Vec::new();
    let mut out = BufWriter::new(aside);
    let mut end = 0;
    while let Some((address, piece)) = report.next_piece()? {
        let place = places.get(&address).copied();
        let kept = Kept { before: place.map(|place| hosts[place].1), piece };
        let bytes = serde_json::to_vec(&kept).map_err(|error| unkept(error.into()))?;
        match place {
            Some(place) => hosts[place].1 = end,
            None if hosts.len() == HOSTS_MAX => return Err(ReadError::TooManyHosts),
            None => {
                places.insert(address.clone(), hosts.len());
                hosts.push((address, end));
            }
        }
        let length = bytes.len() as u64;
        out.write_all(&length.to_le_bytes()).and_then(|()| out.write_all(&bytes)).map_err(unkept)?;
        end += LENGTH as u64 + length;
        if end > KEPT_MAX {
            return Err(ReadError::TooManyResults(KEPT_MAX >> 20));
        }
    }
    let file = out.into_inner().map_err(|error| unkept(error.into_error()))?;
    let unlisted = if report.scanner() == "masscan" { report.asked().clone() } else { BTreeMap::new() };
    Ok(Gathered { file, hosts: hosts.into_iter(), unlisted, assembly: Assembly::default() })
}

/// The bytes that say how long a piece is.
const LENGTH: usize = size_of::<u64>();

impl Gathered {
    fn kept(&self, at: u64) -> io::Result<Kept> {
        let mut length = [0; LENGTH];
        self.file.read_exact_at(&mut length, at)?;
        let length = usize::try_from(u64::from_le_bytes(length)).unwrap_or(0);
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, at + LENGTH as u64)?;
        Ok(serde_json::from_slice(&bytes)?)
    }

    fn host(&mut self, address: Address, last: u64) -> io::Result<Host> {
        let Kept { mut before, piece } = self.kept(last)?;
        if before.is_none() && self.unlisted.is_empty() {
            return Ok(piece.into_host(address));
        }
        self.assembly.add_older(piece);
        while let Some(at) = before {
            let kept = self.kept(at)?;
            self.assembly.add_older(kept.piece);
            before = kept.before;
        }
        for (&protocol, ports) in &self.unlisted {
            // An answer that says no and none at all look the same in masscan's files.
            self.assembly.fill_rest(protocol, ports, (PortState::ClosedFiltered, Reason::NoResponse));
        }
        let whole = self.assembly.take().map(|piece| piece.into_host(address));
        whole.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

impl Iterator for Gathered {
    type Item = io::Result<Host>;

    fn next(&mut self) -> Option<Self::Item> {
        let (address, last) = self.hosts.next()?;
        Some(self.host(address, last))
    }
}

#[cfg(test)]
mod tests;
