//! Imports reports from a directory, for runners that do not speak HTTP.
//!
//! A report (`.xml`, `.json`) that lies there unchanged for a while is imported, then moved to `archive`, or to
//! `failed` with the reason beside it. It is moved only after the commit: a process that ends in between finds the
//! file again, and the store recognises it. The directory is polled every few seconds rather than watched by inotify,
//! which does not work on network file systems.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{sync::watch, time::MissedTickBehavior};

use super::import::{ImportError, Importer};
use crate::{
    clock::Clock,
    config::Config,
    data_dir::{create_dir, create_readable_file},
    model::Moment,
    nmap::ReadError,
};

/// How often the directory is read. A file that has not changed in between is complete.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How long to wait for the rest of a truncated report: nmap writes its file while it scans, and may pause for hours.
const HALF_KEPT: Duration = Duration::from_secs(24 * 3600);

/// The limit of files per reading, so that a directory full of rubbish costs no memory; the others come next.
const MOST: usize = 1024;

/// The pause after a try that failed for no fault of the file.
const RETRY: Duration = Duration::from_secs(60);

/// A file's size and time when the directory was read.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Version {
    bytes: u64,
    changed: SystemTime,
}

/// A file that was there when the directory was last read.
struct Seen {
    version: Version,
    /// When to try this version again; `None` before the first try.
    again: Option<Moment>,
}

/// Imports what is put into the spool directory.
pub struct Spool {
    importer: Importer,
    clock: Arc<dyn Clock>,
    config: watch::Receiver<Arc<Config>>,
    seen: HashMap<PathBuf, Seen>,
    /// What was last logged of the directory, so that it is logged once.
    trouble: Option<(PathBuf, String)>,
}

impl Spool {
    /// Imports from the configuration's `spool`, which may change at run time.
    pub fn new(importer: Importer, clock: Arc<dyn Clock>, config: watch::Receiver<Arc<Config>>) -> Self {
        Self { importer, clock, config, seen: HashMap::new(), trouble: None }
    }

    /// Polls the directory until it is dropped.
    pub async fn run(mut self) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let Some(directory) = self.config.borrow().spool.clone() else { continue };
            let trouble = self.look(&directory).await.err();
            let trouble = trouble.map(|error| (directory, error.to_string()));
            if let Some((directory, error)) = &trouble
                && trouble != self.trouble
            {
                tracing::warn!(
                    spool = %directory.display(),
                    %error,
                    "failed to use the spool; give it to the user that this runs as"
                );
            }
            self.trouble = trouble;
        }
    }

    /// Imports the files that are complete. A file that cannot be moved does not keep the others waiting.
    async fn look(&mut self, directory: &Path) -> io::Result<()> {
        create_dir(directory)?;
        let found = list(directory)?;
        let mut before = std::mem::take(&mut self.seen);
        let mut ended = Ok(());
        for (path, version) in found {
            let seen = before.remove(&path).filter(|seen| seen.version == version);
            let is_due = seen.as_ref().is_some_and(|seen| seen.again.is_none_or(|at| at <= self.clock.now()));
            let again = if is_due {
                match self.take(directory, &path, version).await {
                    Ok(None) => continue,
                    Ok(Some(wait)) => Some(self.clock.now() + wait),
                    Err(error) => {
                        ended = Err(error);
                        Some(self.clock.now() + RETRY)
                    }
                }
            } else {
                seen.and_then(|seen| seen.again)
            };
            self.seen.insert(path, Seen { version, again });
        }
        ended
    }

    /// Imports a file and moves it away, or returns when to try again.
    async fn take(
        &mut self,
        directory: &Path,
        path: &Path,
        version: Version,
    ) -> io::Result<Option<Duration>> {
        let error = match self.importer.attempt(File::open(path)?).await {
            Ok(_) => return file_away(path, &directory.join("archive")).map(|_| None),
            Err(error) => error,
        };
        tracing::debug!(path = %path.display(), %error, "failed to import a report from the spool");
        if error.may_pass() {
            return Ok(Some(RETRY));
        }
        if matches!(error, ImportError::Report(ReadError::Truncated)) {
            let age = SystemTime::from(self.clock.wall()).duration_since(version.changed).unwrap_or_default();
            if age < HALF_KEPT {
                return Ok(Some(HALF_KEPT - age));
            }
        }
        self.importer.count_failed();
        tracing::warn!(path = %path.display(), %error, "moving a report from the spool to the failed ones");
        let mut reason = file_away(path, &directory.join("failed"))?.into_os_string();
        reason.push(".reason");
        // The reason file of an earlier report with that name; a user has since removed the report.
        let _ = fs::remove_file(&reason);
        writeln!(create_readable_file(Path::new(&reason), directory)?, "{error}")?;
        Ok(None)
    }
}

/// Lists the files that have the name of a report (`.xml`, `.json`), in the order of their names: a user may miss any
/// other file. By custom, files that begin with a dot are still being written.
fn list(directory: &Path) -> io::Result<Vec<(PathBuf, Version)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        let path = entry.path();
        let extension = path.extension().unwrap_or_default();
        let named = ["xml", "json"].iter().any(|known| extension.eq_ignore_ascii_case(known));
        // The metadata of the entry itself: what a link points to must not be moved.
        let data = match entry.metadata() {
            Ok(data) if data.is_file() && named && !hidden => data,
            // It is gone since it was listed, or is not a regular file.
            _ => continue,
        };
        found.push((path, Version { bytes: data.len(), changed: data.modified()? }));
        if found.len() >= MOST {
            break;
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

/// Moves a file into this directory, under a name that no other file has there.
fn file_away(path: &Path, directory: &Path) -> io::Result<PathBuf> {
    create_dir(directory)?;
    let name = path.file_name().unwrap_or_default();
    let numbered = (1..).map(|number: u32| {
        let mut numbered = name.to_owned();
        numbered.push(format!(".{number}"));
        numbered
    });
    let mut places = std::iter::once(name.to_owned()).chain(numbered).map(|name| directory.join(name));
    let place = places.find(|place| !place.exists()).unwrap_or_else(|| directory.join(name));
    fs::rename(path, &place)?;
    Ok(place)
}

#[cfg(test)]
mod tests;
