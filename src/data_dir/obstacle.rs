//! Explains what denies this user access to the data directory's files, and the command that mends it.

use std::{
    fmt, fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    unistd::{AccessFlags, Gid, Uid, User, access, getegid, geteuid},
};

use super::parent;

/// The prefix of this program's files in its data directory, which may hold other files, too.
const OURS: [&str; 2] = ["portscan.", "token"];

/// The reason that this user has no access to a file of the data directory.
#[derive(Debug, thiserror::Error)]
pub enum Obstacle {
    /// The path does not exist.
    #[error("there is no directory {}; `portscan serve` makes it where it may; is data_dir right?", .0.display())]
    Missing(PathBuf),
    /// A dangling link.
    #[error(
        "{} is a symbolic link to {}, which does not exist; mount or make what it leads to, or remove the link",
        link.display(), target.display()
    )]
    Dangling {
        /// The link.
        link: PathBuf,
        /// Its target.
        target: PathBuf,
    },
    /// A link where none is followed.
    #[error("{} is a symbolic link, which is not followed; remove it", .0.display())]
    Link(PathBuf),
    /// A file where a directory should be.
    #[error("{} is not a directory; move it away, or choose another data_dir", .0.display())]
    NotDirectory(PathBuf),
    /// The file system is read-only.
    #[error(
        "the file system of {} is mounted read-only; mount it for writing (the kernel's log may say why it is not: \
         dmesg)",
        .0.display()
    )]
    ReadOnly(PathBuf),
    /// Its owner or its mode forbids it.
    #[error(transparent)]
    Closed(Box<ClosedPath>),
}

impl Obstacle {
    /// Whether another user, for example the service that owns them, may well have access to the files.
    pub const fn is_of_permission(&self) -> bool {
        matches!(self, Self::Closed(_))
    }
}

/// A user of this machine, by number and name.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Account {
    uid: u32,
    gid: u32,
    /// `None`: it has no name, such as that of a service which does not run (systemd's `DynamicUser`).
    name: Option<String>,
}

impl Account {
    fn of(uid: Uid, gid: Gid) -> Self {
        let name = User::from_uid(uid).ok().flatten().map(|user| user.name);
        Self { uid: uid.as_raw(), gid: gid.as_raw(), name }
    }

    fn owner_of(data: &fs::Metadata) -> Self {
        Self::of(data.uid().into(), data.gid().into())
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name} (uid {})", self.uid),
            None => write!(f, "uid {}", self.uid),
        }
    }
}

/// The kind of path that is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PathKind {
    /// A directory above the data directory, which other users share.
    Around,
    /// The data directory.
    Directory,
    /// A file in it.
    File,
}

/// A file or directory to which its owner or mode denies this user access.
#[derive(Debug, PartialEq, Eq)]
pub struct ClosedPath {
    path: PathBuf,
    kind: PathKind,
    owner: Account,
    mode: u32,
    /// This process's user.
    me: Account,
    /// The owner of the directory that the file is in.
    around: Account,
    /// The files beside it with the same wrong owner, itself included.
    alike: Vec<PathBuf>,
}

impl std::error::Error for ClosedPath {}

impl fmt::Display for ClosedPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, kind, owner, mode, me, around, alike } = self;
        let shown = path.display();
        let (needed, add) = if *kind == PathKind::File { (0o600, "u+rw") } else { (0o700, "u+rwx") };
        if owner.uid == me.uid && mode & needed != needed {
            let path = quoted(path);
            return write!(
                f,
                "{shown} belongs to this user, {me}, but its mode is {mode:04o}; mend it with: chmod {add} {path}"
            );
        }
        if owner.uid == me.uid || me.uid == 0 {
            return write!(
                f,
                "{shown} belongs to {owner}, and the system keeps {me} from it all the same: an access control list, \
                 a security module, a network disk or a container does so; allow it there"
            );
        }
        if *kind == PathKind::File && owner.uid != around.uid {
            let Account { uid, gid, .. } = around;
            return write!(
                f,
                "{shown} belongs to {owner}, but its directory to {around}, and this is {me}; give it back with: \
                 sudo chown {uid}:{gid}{}",
                listed(alike)
            );
        }
        write!(f, "{shown} belongs to {owner}, and this is {me}; run this with sudo or as that user")?;
        let Account { uid, gid, .. } = me;
        match kind {
            // Other users' paths lead through it.
            PathKind::Around => Ok(()),
            PathKind::Directory => {
                write!(f, ", or, if {me} is to have it: sudo chown -R {uid}:{gid} {}", quoted(path))
            }
            PathKind::File => {
                write!(f, ", or, if {me} is to have it: sudo chown {uid}:{gid}{}", listed(alike))
            }
        }
    }
}

/// Formats the paths as arguments of a command, each after a space.
fn listed(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| format!(" {}", quoted(path))).collect()
}

/// Quotes a path for a shell.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%".contains(c);
    match text.chars().all(is_plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

/// Returns what keeps this user from reading these files of a directory, or from writing them and others beside them;
/// `None` if nothing does. Missing files are no obstacle. Capabilities of a user other than root are ignored, so this
/// explains a refusal rather than predicts one.
pub fn obstacle(directory: &Path, files: &[&str], writes: bool) -> Option<Obstacle> {
    let around = match fs::metadata(directory) {
        Ok(data) if data.is_dir() => data,
        Ok(_) => return Some(Obstacle::NotDirectory(directory.to_owned())),
        Err(error) => return unreached(directory, error.kind()),
    };
    let needed = AccessFlags::X_OK | if writes { AccessFlags::W_OK } else { AccessFlags::empty() };
    if let Some(obstacle) = refused(directory, needed, &around) {
        return Some(obstacle);
    }
    let needed = AccessFlags::R_OK | if writes { AccessFlags::W_OK } else { AccessFlags::empty() };
    files.iter().find_map(|name| {
        let path = directory.join(name);
        if let Ok(target) = fs::read_link(&path)
            && !path.exists()
        {
            return Some(Obstacle::Dangling { link: path, target });
        }
        refused(&path, needed, &around)
    })
}

/// Returns why the kernel denies this use of a path, if it does.
fn refused(path: &Path, needed: AccessFlags, around: &fs::Metadata) -> Option<Obstacle> {
    match access(path, needed) {
        Err(Errno::EROFS) => Some(Obstacle::ReadOnly(path.to_owned())),
        Err(Errno::EACCES | Errno::EPERM) => closed(path, around),
        // Other errors are not about permissions; the code that uses the path reports them.
        Ok(()) | Err(_) => None,
    }
}

fn closed(path: &Path, around: &fs::Metadata) -> Option<Obstacle> {
    let data = fs::metadata(path).ok()?;
    let kind = if data.is_dir() { PathKind::Directory } else { PathKind::File };
    Some(closed_as(kind, path, &data, around))
}

fn closed_as(kind: PathKind, path: &Path, data: &fs::Metadata, around: &fs::Metadata) -> Obstacle {
    Obstacle::Closed(Box::new(ClosedPath {
        path: path.to_owned(),
        kind,
        owner: Account::owner_of(data),
        mode: data.mode() & 0o7777,
        me: Account::of(geteuid(), getegid()),
        around: Account::owner_of(around),
        alike: alike(path, data.uid()),
    }))
}

/// Explains why a directory is not even visible: the first component of its path that is wrong.
fn unreached(directory: &Path, kind: io::ErrorKind) -> Option<Obstacle> {
    let (seen, data) = last_seen(directory, MOST_LINKS)?;
    match kind {
        io::ErrorKind::NotFound if data.is_symlink() => {
            let target = fs::read_link(&seen).ok()?;
            Some(Obstacle::Dangling { link: seen, target })
        }
        io::ErrorKind::NotFound => Some(Obstacle::Missing(directory.to_owned())),
        io::ErrorKind::NotADirectory => Some(Obstacle::NotDirectory(seen)),
        io::ErrorKind::PermissionDenied => Some(closed_as(PathKind::Around, &seen, &data, &data)),
        _ => None,
    }
}

/// The most links that are followed to find what is in the way, as the kernel does (`path_resolution(7)`).
const MOST_LINKS: u8 = 40;

/// Returns the last component of a path with readable metadata; a link only if its target is unknown.
fn last_seen(path: &Path, links: u8) -> Option<(PathBuf, fs::Metadata)> {
    let ways = path.ancestors().map(|path| if path.as_os_str().is_empty() { Path::new(".") } else { path });
    let (seen, data) = ways.filter_map(|path| Some((path, fs::symlink_metadata(path).ok()?))).next()?;
    // With systemd's DynamicUser, /var/lib/portscan is a link into /var/lib/private, which is root's alone.
    let behind = || {
        let target = parent(seen).join(fs::read_link(seen).ok()?);
        let forbidden = fs::metadata(seen).err()?.kind() == io::ErrorKind::PermissionDenied;
        if forbidden { last_seen(&target, links.checked_sub(1)?) } else { None }
    };
    behind().or_else(|| Some((seen.to_owned(), data)))
}

/// Returns this program's files beside one, and itself, that belong to this user.
fn alike(path: &Path, uid: u32) -> Vec<PathBuf> {
    let mut alike = ours(parent(path), |owner| owner == uid);
    if !alike.iter().any(|other| other == path) {
        alike.push(path.to_owned());
    }
    alike.sort();
    alike
}

/// Returns this program's files in a directory, if their owner satisfies `is_meant`.
fn ours(directory: &Path, is_meant: impl Fn(u32) -> bool) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let is_ours = |entry: &fs::DirEntry| {
        let name = entry.file_name();
        OURS.iter().any(|begin| name.as_encoded_bytes().starts_with(begin.as_bytes()))
            // The owner of the entry itself: a link's target is not ours to give away.
            && entry.metadata().is_ok_and(|data| data.is_file() && is_meant(data.uid()))
    };
    let mut found: Vec<_> = entries.filter(is_ours).map(|entry| entry.path()).collect();
    found.sort();
    found
}

/// Describes this program's files that do not belong to the directory's owner, as root's commands of earlier versions
/// left them, with the command that mends it; `None` if there are no such files.
pub fn strangers(directory: &Path) -> Option<String> {
    let around = fs::metadata(directory).ok()?;
    let files = ours(directory, |owner| owner != around.uid());
    let first = files.first()?;
    let stranger = Account::owner_of(&fs::symlink_metadata(first).ok()?);
    let owner = Account::owner_of(&around);
    Some(format!(
        "{} belongs to {stranger}, but its directory to {owner}, which cannot open it; give it back with: sudo chown \
         {}:{}{}",
        first.display(),
        owner.uid,
        owner.gid,
        listed(&files)
    ))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn account(uid: u32, name: Option<&str>) -> Account {
        Account { uid, gid: uid + 1, name: name.map(str::to_owned) }
    }

    fn closed_file() -> ClosedPath {
        let path = PathBuf::from("/d/portscan.db");
        ClosedPath {
            alike: vec![path.clone(), "/d/it's.lock".into()],
            path,
            kind: PathKind::File,
            owner: account(0, Some("root")),
            mode: 0o600,
            me: account(998, None),
            around: account(998, None),
        }
    }

    /// Users are shown by name and number, and the command mends what the message reports.
    #[test]
    fn the_command_gives_the_file_to_its_rightful_owner() {
        let alice = account(1000, Some("alice"));
        let roots = closed_file();
        assert_eq!(
            roots.to_string(),
            "/d/portscan.db belongs to root (uid 0), but its directory to uid 998, and this is uid 998; give it back \
             with: sudo chown 998:999 /d/portscan.db '/d/it'\\''s.lock'"
        );
        // Another user is denied access: the files are the service's, not the passer-by's.
        let passer_by = ClosedPath { me: alice.clone(), ..closed_file() };
        assert!(
            passer_by.to_string().contains("this is alice (uid 1000); give it back with: sudo chown 998:999")
        );
        let shared = ClosedPath { around: account(0, Some("root")), ..closed_file() };
        assert!(shared.to_string().contains("sudo chown 998:999 /d/portscan.db"), "{shared}");
        let directory = ClosedPath {
            path: "/d".into(),
            kind: PathKind::Directory,
            owner: account(998, Some("portscan")),
            me: alice,
            ..closed_file()
        };
        assert_eq!(
            directory.to_string(),
            "/d belongs to portscan (uid 998), and this is alice (uid 1000); run this with sudo or as that user, or, \
             if alice (uid 1000) is to have it: sudo chown -R 1000:1001 /d"
        );
        // No user may take over /var/lib/private, for example.
        let around = ClosedPath { kind: PathKind::Around, ..directory };
        assert!(around.to_string().ends_with("run this with sudo or as that user"), "{around}");
    }

    #[test]
    fn a_mode_is_mended_without_sudo_and_what_no_chown_mends_is_reported() {
        let own = ClosedPath { owner: account(998, None), mode: 0o400, ..closed_file() };
        assert!(
            own.to_string().ends_with("its mode is 0400; mend it with: chmod u+rw /d/portscan.db"),
            "{own}"
        );
        let folder = ClosedPath { kind: PathKind::Directory, mode: 0o555, ..own };
        assert!(folder.to_string().ends_with("chmod u+rwx /d/portscan.db"), "{folder}");
        let listed = ClosedPath { owner: account(998, None), ..closed_file() };
        let mapped =
            ClosedPath { me: account(0, Some("root")), owner: account(65_534, None), ..closed_file() };
        for odd in [listed, mapped] {
            assert!(
                !odd.to_string().contains("chown") && odd.to_string().contains("security module"),
                "{odd}"
            );
        }
    }

    #[test]
    fn an_obstacle_is_reported_by_its_kind() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        fs::write(at("file"), "").unwrap();
        symlink("nowhere", at("link")).unwrap();
        assert!(obstacle(dir.path(), &["missing", "file"], true).is_none());
        assert!(
            matches!(obstacle(&at("file"), &[], false), Some(Obstacle::NotDirectory(path)) if path == at("file"))
        );
        assert!(
            matches!(obstacle(&at("file/below"), &[], false), Some(Obstacle::NotDirectory(path)) if path == at("file"))
        );
        assert!(
            matches!(obstacle(&at("a/b"), &[], false), Some(Obstacle::Missing(path)) if path == at("a/b"))
        );
        for (directory, files) in [(at("link"), &[] as &[_]), (at("link/below"), &[]), (at(""), &["link"])] {
            let found = obstacle(&directory, files, false);
            let Some(Obstacle::Dangling { link, target }) = &found else { panic!("{found:?}") };
            assert_eq!((link, target), (&at("link"), &PathBuf::from("nowhere")));
        }
    }

    #[test]
    fn files_of_one_owner_are_not_reported() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("portscan.db"), "").unwrap();
        assert_eq!(strangers(dir.path()), None);
    }
}
