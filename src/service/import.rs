//! Scans that others made, on their way from a file to the store.
//!
//! A report is read twice. First as a whole, which tells that it is one, when it was made and by what digest it
//! is known again; then host by host within the store's transaction. So the one writer is never kept waiting by
//! a file that turns out to be half of one, and no more than a host of it is ever in memory.

mod cached;

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read, Seek},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;

use self::cached::{CacheError, CachedReport};
use crate::{
    clock::Clock,
    model::{Device, ImportFacts, Protocol},
    nmap::{self, ReadError, Report},
    store::{Hosts, Import, Imported, ImportedHost, Store, StoreError},
};

/// How far in the future a report may be: clocks differ, time zones that were mistaken too.
const AHEAD: Duration = Duration::from_secs(24 * 3600);

/// Bytes that are read at once.
const BUFFER: usize = 64 * 1024;

/// Takes reports in; cheap to clone.
#[derive(Clone)]
pub struct Importer {
    store: Store,
    clock: Arc<dyn Clock>,
    /// Where there is room for what is on its way.
    directory: Arc<Path>,
    rooms: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
    /// In Unix milliseconds; 0: none yet.
    last: Arc<AtomicI64>,
}

/// Why a report is not taken.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// It is not what it should be.
    #[error(transparent)]
    Report(#[from] ReadError),
    /// It begins like a result of the original portscan's, and is none.
    #[error(transparent)]
    Cached(#[from] CacheError),
    /// Made tomorrow.
    #[error(
        "the report was made at {0}, more than a day from now; set the clock of the machine that made it"
    )]
    Future(Timestamp),
    /// The store does not take it; it may later.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// This process is about to end.
    #[error("the appliance is stopping; try again when it is back")]
    Stopping,
}

impl ImportError {
    /// Whether the same file may be taken another time: the fault was not its own.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Report(ReadError::Unreadable(_)) | Self::Stopping => true,
            Self::Store(error) => !matches!(error, StoreError::Import(_)),
            Self::Report(_) | Self::Cached(_) | Self::Future(_) => false,
        }
    }
}

impl Importer {
    /// Takes reports into this store; those that come piece by piece are kept in this directory meanwhile.
    pub fn new(store: Store, clock: Arc<dyn Clock>, directory: &Path) -> Self {
        Self {
            store,
            clock,
            directory: directory.into(),
            rooms: Arc::default(),
            failed: Arc::default(),
            last: Arc::default(),
        }
    }

    /// An empty file for a report that is on its way. It has no name, so that nothing of it is left, however
    /// that ends.
    ///
    /// # Errors
    /// The directory is not writable.
    pub fn room(&self) -> io::Result<File> {
        let number = self.rooms.fetch_add(1, Ordering::Relaxed);
        let path = self.directory.join(format!(".report-{}-{number}", std::process::id()));
        let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        fs::remove_file(&path)?;
        Ok(file)
    }

    /// Takes in a report of nmap's, or a result of the original portscan's. The file is read from its start.
    ///
    /// # Errors
    /// It is none, or is not whole, or the store does not take it; then nothing of it is stored.
    pub async fn import(&self, file: File) -> Result<Imported, ImportError> {
        let imported = self.attempt(file).await;
        if imported.is_err() {
            self.count_failed();
        }
        imported
    }

    /// How many were not taken since the start of the process, and when the last one was.
    pub fn facts(&self) -> ImportFacts {
        let last = Some(self.last.load(Ordering::Relaxed)).filter(|&last| last > 0);
        ImportFacts {
            failed: self.failed.load(Ordering::Relaxed),
            last: last.and_then(|last| Timestamp::from_millisecond(last).ok()),
        }
    }

    /// Counts one that was not taken.
    pub(super) fn count_failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// As [`Importer::import`], for who tries again and counts by itself.
    pub(super) async fn attempt(&self, file: File) -> Result<Imported, ImportError> {
        let (done, checked) = oneshot::channel();
        // Not on the runtime's threads for blocking: look-ups of names may have taken them all.
        let thread = thread::Builder::new().name("import".to_owned());
        thread.spawn(move || drop(done.send(check(file)))).map_err(unreadable)?;
        let (import, hosts) = checked.await.map_err(|_| ImportError::Stopping)??;
        // Without a clock of our own nobody's can be wrong.
        if self.clock.is_synchronised() && import.started > self.clock.wall() + AHEAD {
            return Err(ImportError::Future(import.started));
        }
        let imported = self.store.import(import, hosts).await?;
        self.last.store(self.clock.wall().as_millisecond(), Ordering::Relaxed);
        match imported {
            Imported::New(id) => tracing::info!(scan = id.0, "a report has been imported"),
            Imported::Known(id) => tracing::info!(scan = id.0, "a report was there already"),
        }
        Ok(imported)
    }
}

/// Reads all of it; tells what it is, and how to read it again.
fn check(mut file: File) -> Result<(Import, Hosts), ImportError> {
    file.rewind().map_err(unreadable)?;
    let mut reader = BufReader::with_capacity(BUFFER, Digesting { file, sha: Sha256::new() });
    let is_json = reader.fill_buf().map_err(unreadable)?.trim_ascii_start().starts_with(b"{");
    if is_json {
        let report = CachedReport::read(&mut reader)?;
        let (digest, _) = digested(reader);
        return Ok((report.import(digest), Box::new(std::iter::once(Ok(report.host())))));
    }
    let mut report = Report::open(&mut reader)?;
    while report.next_host()?.is_some() {}
    let (started, summary) = (report.started(), report.summary());
    let ports = report.asked().get(&Protocol::Tcp).cloned().unwrap_or_default();
    let (digest, mut file) = digested(reader);
    let import = Import {
        scanner: "nmap".to_owned(),
        digest,
        ports,
        status: summary.status,
        started,
        finished: summary.finished,
    };
    file.rewind().map_err(unreadable)?;
    let again = Report::open(BufReader::with_capacity(BUFFER, file))?;
    Ok((import, Box::new(HostsOf(again))))
}

fn unreadable(error: io::Error) -> ReadError {
    ReadError::Unreadable(Arc::new(error))
}

/// A file and the digest of what was read of it.
struct Digesting {
    file: File,
    sha: Sha256,
}

impl Read for Digesting {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.sha.update(&buffer[..count]);
        Ok(count)
    }
}

/// The digest of a file that was read to its end, and the file.
fn digested(reader: BufReader<Digesting>) -> ([u8; 32], File) {
    let Digesting { file, sha } = reader.into_inner();
    (sha.finalize().into(), file)
}

/// The hosts of a report, as the store takes them.
struct HostsOf(Report<BufReader<File>>);

impl Iterator for HostsOf {
    type Item = Result<ImportedHost, String>;

    fn next(&mut self) -> Option<Self::Item> {
        let host = self.0.next_host().transpose()?;
        Some(host.map(imported).map_err(|error| error.to_string()))
    }
}

fn imported(host: nmap::Host) -> ImportedHost {
    let nmap::Host { address, mac, name, started, finished, reports } = host;
    ImportedHost { device: Device { address, mac, name }, reports, started, finished }
}

#[cfg(test)]
pub(in crate::service) mod tests;
