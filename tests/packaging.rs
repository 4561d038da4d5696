//! The package's scripts, run on directories of the test. Installing the whole package is `make deb-test`.

use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

use nix::mount::{MsFlags, mount};

use crate::lab::Lab;

/// Mounts a small file system at this directory, which hides its content, in the test's mount namespace.
fn mount_at(path: &str) {
    let size = Some("size=1m");
    mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), size)
        .unwrap_or_else(|e| panic!("{path}: {e}"));
}

fn purge() -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/debian/postrm");
    let purged = Command::new("sh").args([script, "purge"]).output().expect("a shell");
    let said = String::from_utf8_lossy(&purged.stdout).into_owned();
    assert!(purged.status.success() && purged.stderr.is_empty(), "{purged:?}");
    said
}

fn write_state(directory: &str) {
    for name in ["portscan.db", "token", ".hidden"] {
        fs::write(format!("{directory}/{name}"), "x").unwrap();
    }
}

#[test]
fn a_purge_succeeds_with_a_disk_mounted_at_or_below_the_state_directory() {
    let _lab = Lab::enter("near");
    mount_at("/var/lib");
    let (link, private) = ("/var/lib/portscan", "/var/lib/private/portscan");
    let link_state = || {
        fs::create_dir_all(private).unwrap();
        symlink("private/portscan", link).unwrap();
    };

    link_state();
    write_state(private);
    assert_eq!(purge(), "");
    assert!(!Path::new(private).exists() && !Path::new(link).is_symlink());
    assert_eq!(purge(), "", "nothing is left to remove");

    // The disk is mounted at the directory itself, then at the directory that the link leads to.
    for (place, is_linked) in [(link, false), (private, true)] {
        if is_linked {
            link_state();
        } else {
            fs::create_dir(link).unwrap();
        }
        mount_at(place);
        write_state(place);
        let said = purge();
        assert!(said.contains(&format!("{place} is emptied; a disk is mounted there")), "{said}");
        assert_eq!(fs::read_dir(place).unwrap().count(), 0, "the state is removed");
        assert!(!Path::new(link).is_symlink());
        assert!(purge().contains("is emptied"), "a purge can be repeated");
        nix::mount::umount(place).unwrap();
        fs::remove_dir(place).unwrap();
    }

    // A disk below the directory is the owner's, for example with reports for the spool.
    link_state();
    write_state(private);
    let spool = format!("{private}/spool");
    fs::create_dir(&spool).unwrap();
    mount_at(&spool);
    write_state(&spool);
    let said = purge();
    assert!(said.contains(&format!("{private} cannot be removed as a whole")), "{said}");
    assert_eq!(fs::read_dir(&spool).unwrap().count(), 3);
    assert!(!Path::new(private).join("token").exists());
}
