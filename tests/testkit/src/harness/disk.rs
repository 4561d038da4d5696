//! A small disk of the test's own.

use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use tempfile::TempDir;

/// A tmpfs, mounted in the mount namespace that the test's thread has entered (`Lab::enter`).
pub struct SmallDisk {
    directory: TempDir,
}

impl SmallDisk {
    pub fn new(octets: u64) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let size = format!("size={octets}");
        mount(Some("tmpfs"), directory.path(), Some("tmpfs"), MsFlags::empty(), Some(size.as_str()))
            .unwrap_or_else(|e| panic!("mounting a tmpfs (enter a lab first): {e}"));
        Self { directory }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Remounts it, read-only or writable; no process may have a file open for writing.
    pub fn set_read_only(&self, is_read_only: bool) {
        let flags = if is_read_only { MsFlags::MS_RDONLY } else { MsFlags::empty() };
        mount(None::<&str>, self.path(), None::<&str>, MsFlags::MS_REMOUNT | flags, None::<&str>)
            .unwrap_or_else(|e| panic!("mounting it anew: {e}"));
    }

    /// Takes all free space except this many octets, until the returned file is dropped.
    pub fn fill_but(&self, left: usize) -> Ballast {
        let spared = self.path().join("spared");
        std::fs::write(&spared, vec![1; left]).expect("there is room for what is to be left");
        let ballast = self.fill();
        std::fs::remove_file(&spared).expect("removing a file");
        ballast
    }

    /// Takes all space that is left, until the returned file is dropped.
    pub fn fill(&self) -> Ballast {
        use std::io::Write;
        let path = self.path().join("ballast");
        let mut file = std::fs::File::create(&path).expect("creating a file");
        // Down to single octets: what is left after a failed write of a block may still take a page.
        for size in [65_536, 4096, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
        Ballast(path)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, because a process that a failed test left may hold a file. An error means that the mount is already
        // gone.
        let _ = umount2(self.directory.path(), MntFlags::MNT_DETACH);
    }
}

/// A file that fills a disk.
pub struct Ballast(std::path::PathBuf);

impl Drop for Ballast {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
