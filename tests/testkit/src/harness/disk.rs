//! Disks of the test's own: a small one, and one that loses its power.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use tempfile::TempDir;

use super::missing;

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
        fs::write(&spared, vec![1; left]).expect("there is room for what is to be left");
        let ballast = self.fill();
        fs::remove_file(&spared).expect("removing a file");
        ballast
    }

    /// Takes all space that is left, until the returned file is dropped.
    pub fn fill(&self) -> Ballast {
        use std::io::Write;
        let path = self.path().join("ballast");
        let mut file = File::create(&path).expect("creating a file");
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
pub struct Ballast(PathBuf);

impl Drop for Ballast {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// An ext4 of its own, mounted as [`SmallDisk`] is. When its power is cut, it has what was flushed, and of the rest what
/// the kernel happens to have written: it commits nothing by itself for ten minutes.
pub struct Card {
    image: PathBuf,
    mounted: PathBuf,
    _home: TempDir,
}

impl Card {
    /// Makes one; `None` in a user namespace, where no process may mount an ext4.
    pub fn new(octets: u64) -> Option<Self> {
        let home = TempDir::new().expect("a temporary directory");
        let (image, mounted) = (home.path().join("image"), home.path().join("mounted"));
        fs::create_dir(&mounted).expect("creating a directory");
        File::create(&image).and_then(|file| file.set_len(octets)).expect("writing a file");
        run(Command::new("mkfs.ext4").arg("-q").arg(&image)).expect("making an ext4");
        let card = Self { image, mounted, _home: home };
        match card.mount() {
            Ok(()) => Some(card),
            Err(error) if is_in_user_namespace() => {
                eprintln!("no disk that can lose its power: {error}");
                None
            }
            Err(error) => panic!("mounting an ext4: {error}"),
        }
    }

    pub fn path(&self) -> &Path {
        &self.mounted
    }

    /// Cuts the power, and starts again from what is on the disk. `kill` ends all that uses the disk, which must stand
    /// still when this is called.
    pub fn cut_power(&mut self, kill: impl FnOnce()) {
        let cut = self.image.with_extension("cut");
        run(Command::new("cp").arg("--sparse=always").arg(&self.image).arg(&cut)).expect("copying the disk");
        kill();
        umount2(&self.mounted, MntFlags::empty()).expect("nothing uses the disk");
        fs::rename(&cut, &self.image).expect("replacing the disk");
        self.mount().expect("ext4 mounts what a power cut has left");
    }

    fn mount(&self) -> Result<(), String> {
        run(Command::new("mount").args(["-o", "loop,commit=600"]).arg(&self.image).arg(&self.mounted))
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        let _ = umount2(&self.mounted, MntFlags::MNT_DETACH);
    }
}

/// Runs a program of Debian's; the error is what it has said.
fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let ended = command.output().unwrap_or_else(|e| missing(&name, &e));
    if ended.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&ended.stderr).into_owned()) }
}

/// Whether root is not the machine's (`user_namespaces(7)`).
fn is_in_user_namespace() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").expect("the kernel has user namespaces");
    map.split_whitespace().ne(["0", "0", "4294967295"])
}
