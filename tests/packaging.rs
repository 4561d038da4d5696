//! What the package's scripts do, on directories of the test's own. Installing it as a whole is `make deb-test`.

use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

use nix::mount::{MsFlags, mount};

use crate::lab::Lab;

/// A disk of its own at this directory, which hides what is there, in the test's mount namespace.
fn mount_at(path: &str) {
    let size = Some("size=1m");
    mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), size)
        .unwrap_or_else(|e| panic!("{path}: {e}"));
}

fn purge() -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/debian/postrm");
    let purged = Command::new("sh").args([script, "purge"]).output().expect("there is a shell");
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
fn a_purge_ends_well_whatever_is_mounted_where_the_state_is() {
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
    assert_eq!(purge(), "", "there is nothing");

    // The disk is at the place itself, and at that which the link leads to.
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
        assert_eq!(fs::read_dir(place).unwrap().count(), 0, "what was learned is gone");
        assert!(!Path::new(link).is_symlink());
        assert!(purge().contains("is emptied"), "as often as one likes");
        nix::mount::umount(place).unwrap();
        fs::remove_dir(place).unwrap();
    }

    // A disk below is the owner's own: reports for the spool, say.
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
