//! Layer 2: nmap's file formats: reads its XML, and writes its three formats.
//!
//! | file | what it does |
//! |---|---|
//! | `read` | a report as a stream of elements, each of which describes a host |
//! | `gather` | each host once, regardless of how many elements describe it |
//! | `piece` | one element, and several merged into one host |
//! | `ports` | one host's `<ports>`, translated into our terms |
//! | `xml` | elements from a hostile file, in bounded memory |
//! | `error` | why a report is refused |
//! | `write` | the same report as XML (`-oX`), text (`-oN`) and lines for grep (`-oG`) |
//!
//! The format is known from the DTD that nmap installs and from files that it wrote.

mod error;
mod gather;
mod piece;
mod ports;
mod read;
mod write;
mod xml;

pub use error::ReadError;
pub use gather::{Gathered, gather};
pub use piece::ReportedHost;
pub use read::{Omissions, Report, ReportSummary};
pub use write::{Format, ReportInfo, ScannedHost, begin, end, write, write_host, write_xml_part};
