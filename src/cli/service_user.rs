//! Checks whether the user that the appliance runs as may use a file. Root may use any file, so a check by root proves
//! nothing for a service with its own user.

use std::{
    fmt,
    os::unix::{fs::MetadataExt, process::CommandExt},
    path::Path,
    process::{Command, Stdio},
};

use nix::unistd::{Gid, Uid, User, geteuid};

/// The name of the packaged unit, and so of the user that systemd makes for it (`DynamicUser`) while it runs.
const UNIT: &str = "portscan";

/// A user without special rights: a file that is closed to it may be closed to the service.
const NOBODY: u32 = 65_534;

/// The user does not exist, or cannot be checked.
#[derive(Debug, thiserror::Error)]
pub(super) enum UserError {
    #[error("there is no user \"{0}\"; name one of `getent passwd`, or write a number")]
    Unknown(String),
    #[error("only root can judge for another user; run this with sudo, or as that user without --user")]
    NotRoot,
}

/// The user whose rights this process, as root, checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServiceUser {
    uid: u32,
    gid: u32,
    name: Option<String>,
    /// Whether the user is only a guess.
    pub(super) is_guess: bool,
}

/// The use of a path that is checked, each by an option of `test`(1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileAccess {
    Read,
    Write,
}

impl ServiceUser {
    /// Returns the user that the appliance runs as: the named one; else, if this process is root, the owner of
    /// `data_dir`, else that of the packaged unit, else a guess. `None`: this process's own user, which needs no
    /// separate check.
    ///
    /// # Errors
    /// Fails if there is no such user, or if this process cannot check its rights.
    pub(super) fn find(named: Option<&str>, data_dir: &Path) -> Result<Option<Self>, UserError> {
        let me = geteuid();
        let known = |user: User| Self::new(user.uid, user.gid, Some(user.name));
        let by_name = |name: &str| User::from_name(name).ok().flatten().map(known);
        let found = match named {
            Some(name) => {
                let by_number =
                    || name.parse().ok().map(|uid| Self::of(Uid::from_raw(uid), Gid::from_raw(uid)));
                by_name(name).or_else(by_number).ok_or_else(|| UserError::Unknown(name.to_owned()))?
            }
            None if !me.is_root() => return Ok(None),
            None => std::fs::metadata(data_dir)
                .ok()
                .filter(|data| data.uid() != 0)
                .map(|data| Self::of(Uid::from_raw(data.uid()), Gid::from_raw(data.gid())))
                .or_else(|| by_name(UNIT))
                .unwrap_or_else(|| Self {
                    is_guess: true,
                    ..Self::of(Uid::from_raw(NOBODY), Gid::from_raw(NOBODY))
                }),
        };
        match (found.uid == me.as_raw(), me.is_root()) {
            (true, _) => Ok(None),
            (false, true) => Ok(Some(found)),
            (false, false) => Err(UserError::NotRoot),
        }
    }

    const fn new(uid: Uid, gid: Gid, name: Option<String>) -> Self {
        Self { uid: uid.as_raw(), gid: gid.as_raw(), name, is_guess: false }
    }

    fn of(uid: Uid, gid: Gid) -> Self {
        let user = User::from_uid(uid).ok().flatten();
        Self::new(uid, user.as_ref().map_or(gid, |user| user.gid), user.map(|user| user.name))
    }

    /// Formats the user for a command such as chown.
    pub(super) fn as_owner(&self) -> String {
        if self.is_guess { "USER".to_owned() } else { self.uid.to_string() }
    }

    /// Whether the system permits the user this access to a path. Returns true if that cannot be determined.
    ///
    /// A process of that user checks it, because only the kernel knows everything that counts: every directory on the
    /// way, access control lists, security modules. Like a service of systemd it has no supplementary groups.
    pub(super) fn may(&self, path: &Path, access: FileAccess) -> bool {
        let option = match access {
            FileAccess::Read => "-r",
            FileAccess::Write => "-w",
        };
        let mut test = Command::new("test");
        test.arg(option).arg(path).uid(self.uid).gid(self.gid);
        test.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).current_dir("/");
        test.status().map_or(true, |status| status.code() != Some(1))
    }
}

impl fmt::Display for ServiceUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            _ if self.is_guess => {
                f.write_str("every user of this machine, so perhaps not by the one that portscan runs as")
            }
            Some(name) => write!(f, "{name} (uid {}), the user that portscan runs as", self.uid),
            None => write!(f, "uid {}, the user that portscan runs as", self.uid),
        }
    }
}
