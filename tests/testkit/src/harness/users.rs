//! Determines which users exist besides root. A user namespace (`unshare --map-root-user`, `make test`) may have no
//! others: the kernel knows no other numbers there.

use std::{
    fs,
    os::unix::fs::{MetadataExt, chown},
    path::Path,
};

/// The users that a test may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Users {
    /// Root and these two others.
    Many { service: u32, passer_by: u32 },
    /// Only root.
    RootAlone,
}

/// Two numbers that no distribution assigns.
const SERVICE: u32 = 54_321;
const PASSER_BY: u32 = 54_322;

/// The users that the kernel knows here, and groups of the same numbers (`user_namespaces(7)`).
pub fn users() -> Users {
    let is_mapped = |map: &str, number: u32| {
        let map = fs::read_to_string(format!("/proc/self/{map}")).expect("the kernel has user namespaces");
        map.lines().any(|line| {
            let numbers: Vec<u64> = line.split_whitespace().map(|number| number.parse().unwrap()).collect();
            (numbers[0]..numbers[0] + numbers[2]).contains(&u64::from(number))
        })
    };
    let has = |number| is_mapped("uid_map", number) && is_mapped("gid_map", number);
    match has(SERVICE) && has(PASSER_BY) {
        true => Users::Many { service: SERVICE, passer_by: PASSER_BY },
        false => Users::RootAlone,
    }
}

impl Users {
    /// The user that a service runs as: where there is no other, root.
    pub fn service(self) -> u32 {
        match self {
            Self::Many { service, .. } => service,
            Self::RootAlone => {
                eprintln!("this user namespace has no user but root: the service is root's, too");
                0
            }
        }
    }
}

/// Gives a file or a directory, but nothing in it, to a user and the group of the same number.
pub fn give(path: &Path, user: u32) {
    chown(path, Some(user), Some(user))
        .unwrap_or_else(|e| panic!("giving {} to {user}: {e}", path.display()));
}

/// All that is in a directory and below it, with its owner and group, in order; by paths from there.
pub fn owners(directory: &Path) -> Vec<(String, u32, u32)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let data = fs::symlink_metadata(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if data.is_dir() {
            let below = owners(&path).into_iter();
            found.extend(below.map(|(below, user, group)| (format!("{name}/{below}"), user, group)));
        }
        found.push((name, data.uid(), data.gid()));
    }
    found.sort();
    found
}
