//! Collects the content of a report by host, regardless of how many elements describe a host.
//!
//! The elements are buffered in a file as they are read, each with the position of the previous element of the same
//! host; only the position of each host's last element is in memory. So a report needs the same memory whether a host
//! is in one piece or in a million, and the second pass reads our own file, not one that may have changed.

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
    piece::{Assembly, Piece, ReportedHost},
    read::Report,
};
use crate::model::{Address, PortSet, PortState, Protocol, Reason};

/// The largest size of the buffer file, in bytes: more than the largest report that HTTP accepts would ever need.
const KEPT_MAX: u64 = 256 << 20;

/// A piece in the buffer file.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// The position of the previous piece of the same host.
    before: Option<u64>,
    piece: Piece,
}

/// The hosts of a report, in the order in which they first appear.
pub struct Gathered {
    file: File,
    hosts: std::vec::IntoIter<(Address, u64)>,
    /// The ports that masscan reports as requested; it lists only the open ones.
    unlisted: BTreeMap<Protocol, PortSet>,
    assembly: Assembly,
}

/// Reads a report to its end; `aside` is an empty file used as the buffer.
///
/// # Errors
/// The file is not a report, is incomplete or too large, or the buffer has no room.
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
    let unlisted = if report.scanner() == "masscan" { report.requested().clone() } else { BTreeMap::new() };
    Ok(Gathered { file, hosts: hosts.into_iter(), unlisted, assembly: Assembly::default() })
}

/// The size of the length field of a piece.
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

    fn host(&mut self, address: Address, last: u64) -> io::Result<ReportedHost> {
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
            // In masscan's files a negative answer and no answer look the same.
            self.assembly.fill_rest(protocol, ports, (PortState::ClosedFiltered, Reason::NoResponse));
        }
        let whole = self.assembly.take().map(|piece| piece.into_host(address));
        whole.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

impl Iterator for Gathered {
    type Item = io::Result<ReportedHost>;

    fn next(&mut self) -> Option<Self::Item> {
        let (address, last) = self.hosts.next()?;
        Some(self.host(address, last))
    }
}

#[cfg(test)]
mod tests;
