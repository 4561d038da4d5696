//! Why a report is refused.

use std::{io, sync::Arc};

/// The most hosts of a report: as many as a scan of ours may have targets.
pub(super) const HOSTS_MAX: usize = 65_536;

/// Why a file is refused. It is refused as a whole: half a report would close ports that it does not mention.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// The system cannot read it.
    #[error("the report cannot be read: {0}")]
    Unreadable(Arc<io::Error>),
    /// It ends in the middle.
    #[error("the report ends in the middle: was nmap stopped, or the file still being written? Scan again")]
    Truncated,
    /// Not well-formed XML.
    #[error("the report is not well-formed XML: {0}")]
    Malformed(String),
    /// An internal subset: nmap writes none, and entities are what XML bombs are made of.
    #[error(
        "the report brings declarations of its own (<!DOCTYPE nmaprun [...]>), which nmap never writes; take them out"
    )]
    Declarations,
    /// An excessively long tag.
    #[error("the report has a tag, comment or text of more than {0} bytes")]
    TooLarge(usize),
    /// Excessively nested elements.
    #[error("the report's elements are nested more than {0} deep")]
    TooDeep(usize),
    /// Another kind of XML, or not XML.
    #[error("this is not nmap's XML: it begins with {0}; make it with `nmap -oX FILE`")]
    Foreign(String),
    /// No XML at all, or no more than a declaration. Masscan writes an empty file when it has found nothing.
    #[error(
        "the report has no XML element: the file is empty, or of another format; make it with `nmap -oX FILE`"
    )]
    NoElement,
    /// The start time, which decides the order among scans, is missing.
    #[error("the report does not say when its scan started (nmaprun's attribute `start`)")]
    NoStart,
    /// More hosts than a scan of ours may have.
    #[error("the report has more than {HOSTS_MAX} hosts; split it")]
    TooManyHosts,
    /// More verdicts than are buffered while a report is read.
    #[error("the report has more than {0} MB of results; split it")]
    TooManyResults(u64),
    /// The buffer file cannot be written.
    #[error(
        "the report's results cannot be kept for the moment: {0}; free some space in data_dir, then try again"
    )]
    Unkept(Arc<io::Error>),
    /// A host with more `extraports` than there are states.
    #[error("the report has a host with more groups of unlisted ports than nmap can write")]
    TooManyGroups,
}
