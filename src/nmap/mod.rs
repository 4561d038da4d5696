//! F2: nmap's files: its XML is read, and its three formats are written.
//!
//! | file | what it does |
//! |---|---|
//! | `read` | a report as a stream of hosts |
//! | `ports` | what one host's `<ports>` says, in our terms |
//! | `xml` | elements out of a hostile file, in bounded memory |
//! | `write` | the same report as XML (`-oX`), text (`-oN`) and lines for grep (`-oG`) |
//!
//! What is known of the format comes from the DTD that nmap installs and from files that it wrote.

mod ports;
mod read;
mod write;
mod xml;

pub use read::{Host, ReadError, Report, Summary};
pub use write::{Format, Run, Scanned, begin, end, write, write_host};
