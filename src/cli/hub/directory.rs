//! The files of a hub's directory, and how they are written: whole or not at all, for their owner alone.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg, OFlag},
};

use super::HubError;
use crate::data_dir::{create_dir, replace_file};

/// The authority's certificate.
pub(super) const AUTHORITY: &str = "ca.crt";
/// The authority's key. It makes sites; the broker does not need it.
pub(super) const AUTHORITY_KEY: &str = "ca.key";
/// The broker's certificate.
pub(super) const BROKER: &str = "broker.crt";
/// The key of the broker's certificate.
pub(super) const BROKER_KEY: &str = "broker.key";
/// The certificate by which the hub itself connects.
pub(super) const HUB: &str = "hub.crt";
/// The key of the hub's certificate.
pub(super) const HUB_KEY: &str = "hub.key";
/// The broker's configuration.
pub(super) const BROKER_CONFIG: &str = "nats-server.conf";
/// The broker's users, which its configuration includes.
pub(super) const USERS: &str = "users.conf";
/// By which URL sites reach the broker: one line. It may differ from where the broker listens, behind a router.
pub(super) const URL: &str = "hub.url";
/// The broker writes its process's number here.
pub(super) const PID: &str = "nats-server.pid";

/// All that `portscan hub init` makes.
pub(super) const ALL: [&str; 9] =
    [AUTHORITY_KEY, AUTHORITY, BROKER_KEY, BROKER, HUB_KEY, HUB, USERS, URL, BROKER_CONFIG];

/// The longest file that is read: the users of some 4,000 certificates.
const LONGEST: u64 = 1 << 20;

/// A hub's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HubDir(PathBuf);

impl HubDir {
    pub(super) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Which of these files are there.
    pub(super) fn found(&self) -> Vec<&'static str> {
        ALL.into_iter().filter(|name| self.file(name).symlink_metadata().is_ok()).collect()
    }

    /// Makes the directory, for its owner alone, if it is missing.
    pub(super) fn make(&self) -> Result<(), HubError> {
        make_private_dir(&self.0)
    }

    /// Keeps others of these commands from changing the directory until the answer is dropped.
    pub(super) fn lock(&self) -> Result<Flock<File>, HubError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => HubError::NoHub { dir: self.0.clone(), file: AUTHORITY_KEY },
            _ => HubError::Unreadable { path: self.0.clone(), source },
        };
        let directory = File::open(&self.0).map_err(failed)?;
        Flock::lock(directory, FlockArg::LockExclusive).map_err(|(_, errno): (_, Errno)| failed(errno.into()))
    }

    /// Reads one of the files.
    pub(super) fn read(&self, name: &'static str) -> Result<String, HubError> {
        let path = self.file(name);
        let mut text = String::new();
        match File::open(&path).and_then(|file| file.take(LONGEST + 1).read_to_string(&mut text)) {
            Ok(_) if text.len() as u64 > LONGEST => {
                Err(HubError::Malformed { path, why: format!("it is longer than {LONGEST} bytes") })
            }
            Ok(_) => Ok(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(HubError::NoHub { dir: self.0.clone(), file: name })
            }
            Err(source) => Err(HubError::Unreadable { path, source }),
        }
    }

    /// Replaces one of the files.
    pub(super) fn write(&self, name: &str, text: &str) -> Result<(), HubError> {
        write_private(&self.file(name), text, &self.0)
    }
}

/// Makes a directory, for its owner alone, if it is missing.
pub(super) fn make_private_dir(path: &Path) -> Result<(), HubError> {
    if path.is_dir() {
        return Ok(());
    }
    let made = create_dir(path).and_then(|()| {
        // No link is followed: the directory around may be another user's.
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
        let made = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
        made.set_permissions(fs::Permissions::from_mode(0o700))
    });
    made.map_err(|source| HubError::Unwritable { path: path.to_owned(), source })
}

/// Writes a file that its owner alone may read; one that is there is replaced by a whole one. A file within `data_dir`
/// belongs to its directory's owner.
pub(super) fn write_private(path: &Path, text: &str, data_dir: &Path) -> Result<(), HubError> {
    let written = replace_file(path, text.as_bytes(), data_dir);
    written.map_err(|source| HubError::Unwritable { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_stays_private() {
        let dir = tempfile::tempdir().unwrap();
        let hub = HubDir::new(dir.path().join("one/hub"));
        hub.make().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(hub.path()), hub.found().len()), (0o700, 0));
        fs::write(hub.file("users.conf.new"), "half").unwrap();
        for text in ["one", "two"] {
            hub.write(USERS, text).unwrap();
            assert_eq!((hub.read(USERS).unwrap().as_str(), mode(&hub.file(USERS))), (text, 0o600));
        }
        assert_eq!(hub.found(), [USERS]);
        assert!(matches!(hub.read(URL), Err(HubError::NoHub { file: URL, .. })));
    }
}
