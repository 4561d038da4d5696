//! Imports the scans of other programs from a file into the store.
//!
//! A report is read as a whole, on its own thread, before anything of it is stored: only then are its completeness,
//! its date and its digest known. Until then, its hosts are kept in a file without a name; from there they go to the
//! store, each once, in short steps. So the one writer never waits for a parser, or for a file that turns out to be
//! truncated, and no more than a few hundred hosts are in memory.

mod cached;
mod encoding;
mod taken;

use std::{
    fs::{self, File},
    io::{self, BufReader, Read, Seek},
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
use tokio::sync::{Mutex, oneshot};

use self::{
    cached::{CacheError, CachedReport},
    encoding::{Kind, Text},
};
pub use self::{
    encoding::EncodingError,
    taken::{Counts, Taken},
};
use crate::{
    clock::Clock,
    model::{Device, ImportFacts, Protocol},
    nmap::{self, Omissions, ReadError, Report},
    store::{Import, Imported, ImportedHost, Store, StoreError},
};

/// How far in the future a report may be dated: clocks differ, and time zones may be set wrongly.
const AHEAD: Duration = Duration::from_secs(24 * 3600);

/// Bytes that are read at once.
const BUFFER: usize = 64 * 1024;

/// Imports reports; cheap to clone.
#[derive(Clone)]
pub struct Importer {
    store: Store,
    clock: Arc<dyn Clock>,
    /// A directory with room for reports that are being received.
    directory: Arc<Path>,
    rooms: Arc<AtomicU64>,
    /// Held by one report at a time: of two equal reports, the later is then known.
    turn: Arc<Mutex<()>>,
    failed: Arc<AtomicU64>,
    /// In Unix milliseconds; 0 before the first failure.
    last: Arc<AtomicI64>,
}

/// Why a report is refused.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// It is malformed.
    #[error(transparent)]
    Report(#[from] ReadError),
    /// It is compressed, or in another format.
    #[error(transparent)]
    Encoding(#[from] EncodingError),
    /// It begins like a result of the original portscan, and is not one.
    #[error(transparent)]
    Cached(#[from] CacheError),
    /// It is dated in the future.
    #[error(
        "the report was made at {0}, more than a day from now; set the clock of the machine that made it"
    )]
    Future(Timestamp),
    /// The store refuses it; it may accept it later.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// This process is about to end.
    #[error("the appliance is stopping; try again when it is back")]
    Stopping,
}

impl ImportError {
    /// Whether the same file may be accepted later, because the fault was not its own.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Report(ReadError::Unreadable(_) | ReadError::Unkept(_))
            | Self::Encoding(EncodingError::Unreadable(_))
            | Self::Stopping
            | Self::Store(_) => true,
            Self::Report(_) | Self::Encoding(_) | Self::Cached(_) | Self::Future(_) => false,
        }
    }
}

impl Importer {
    /// Creates an importer into this store. Reports that arrive piece by piece are kept in this directory until they
    /// are complete.
    pub fn new(store: Store, clock: Arc<dyn Clock>, directory: &Path) -> Self {
        Self {
            store,
            clock,
            directory: directory.into(),
            rooms: Arc::default(),
            turn: Arc::default(),
            failed: Arc::default(),
            last: Arc::default(),
        }
    }

    /// Returns an empty file for a report that is being received. It has no name, so that nothing of it is left,
    /// however the transfer ends.
    ///
    /// # Errors
    /// Fails if the directory is not writable.
    pub fn room(&self) -> io::Result<File> {
        let number = self.rooms.fetch_add(1, Ordering::Relaxed);
        let path = self.directory.join(format!(".report-{}-{number}", std::process::id()));
        let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        fs::remove_file(&path)?;
        Ok(file)
    }

    /// Imports a report of nmap or masscan, or a result of the original portscan. The file is read from its start.
    ///
    /// # Errors
    /// Fails if the file is not such a report, or is truncated: then nothing of it is stored. Fails, too, if the store
    /// does not accept all of it: then importing the same report again completes it.
    pub async fn import(&self, file: File) -> Result<Taken, ImportError> {
        let taken = self.attempt(file).await;
        if taken.is_err() {
            self.count_failed();
        }
        taken
    }

    /// Returns how many imports have failed since the start of the process, and when the last one did.
    pub fn facts(&self) -> ImportFacts {
        let last = Some(self.last.load(Ordering::Relaxed)).filter(|&last| last > 0);
        ImportFacts {
            failed: self.failed.load(Ordering::Relaxed),
            last: last.and_then(|last| Timestamp::from_millisecond(last).ok()),
        }
    }

    /// Counts a failed import.
    pub(super) fn count_failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// As [`Importer::import`], for callers that retry and count failures themselves.
    pub(super) async fn attempt(&self, file: File) -> Result<Taken, ImportError> {
        let _turn = self.turn.lock().await;
        let (done, taken) = oneshot::channel();
        let importer = self.clone();
        // Not on the runtime's blocking threads: name look-ups may have taken them all.
        let thread = thread::Builder::new().name("import".to_owned());
        thread.spawn(move || drop(done.send(importer.take(file)))).map_err(unreadable)?;
        let taken = taken.await.map_err(|_| ImportError::Stopping)??;
        self.last.store(self.clock.wall().as_millisecond(), Ordering::Relaxed);
        let scan = taken.imported.scan().0;
        let Counts { scanned, seen, open, .. } = taken.counts;
        match taken.imported {
            Imported::New(_) => tracing::info!(scan, scanned, seen, open, "report imported"),
            Imported::Known(_) => tracing::info!(scan, "report already known"),
        }
        Ok(taken)
    }

    /// Reads the report, and stores it.
    fn take(&self, file: File) -> Result<Taken, ImportError> {
        let Checked { import, hosts, left_out } = self.check(file)?;
        // As long as this machine's clock is not set, it cannot prove a report's wrong.
        if self.clock.is_synchronised() && import.started > self.clock.wall() + AHEAD {
            return Err(ImportError::Future(import.started));
        }
        let mut counts = Counts::default();
        let counted = hosts.inspect(|host| host.iter().for_each(|host| counts.add(host)));
        let imported = self.store.import(import, counted)?;
        Ok(Taken { imported, counts, left_out })
    }

    /// Reads all of the report, and returns what it contains.
    fn check(&self, mut file: File) -> Result<Checked, ImportError> {
        file.rewind().map_err(unreadable)?;
        let reader = BufReader::with_capacity(BUFFER, Digesting { file, sha: Sha256::new() });
        let (mut text, kind) = Text::open(reader)?;
        if kind == Kind::Json {
            let report = CachedReport::read(&mut text)?;
            let hosts = Box::new(std::iter::once(Ok(report.host())));
            return Ok(Checked {
                import: report.import(digest(text)),
                hosts,
                left_out: Omissions::default(),
            });
        }
        let mut report = Report::open(&mut text)?;
        let aside = self.room().map_err(|error| ReadError::Unkept(Arc::new(error)))?;
        let gathered = nmap::gather(&mut report, aside)?;
        let (started, summary, left_out) = (report.started(), report.summary(), report.left_out());
        let ports = report.requested().get(&Protocol::Tcp).cloned().unwrap_or_default();
        let scanner = report.scanner().to_owned();
        let import = Import {
            scanner,
            digest: digest(text),
            ports,
            status: summary.status,
            started,
            finished: summary.finished,
        };
        Ok(Checked { import, hosts: Box::new(gathered.map(|host| host.map(imported))), left_out })
    }
}

/// A report that was read to its end.
struct Checked {
    import: Import,
    hosts: Box<dyn Iterator<Item = io::Result<ImportedHost>>>,
    left_out: Omissions,
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

/// Returns the digest of a file that was read to its end.
fn digest(text: Text<BufReader<Digesting>>) -> [u8; 32] {
    text.into_inner().into_inner().sha.finalize().into()
}

fn imported(host: nmap::ReportedHost) -> ImportedHost {
    let nmap::ReportedHost { address, mac, name, started, finished, reports } = host;
    ImportedHost { device: Device { address, mac, name }, reports, started, finished }
}

#[cfg(test)]
pub(in crate::service) mod tests;
