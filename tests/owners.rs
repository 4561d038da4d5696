//! Files that root creates in the service's directory belong to the service; and files that an earlier version left to
//! root are reported with the command that fixes their owner.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use nix::{
    mount::{MsFlags, mount},
    sys::signal::Signal,
};
use rusqlite::Connection;
use serde_json::json;
use tempfile::TempDir;

use crate::{
    harness::{
        Finished, LONG, Portscan, eventually,
        users::{Users, give, owners, users},
    },
    lab::Lab,
};

/// No device is scanned.
const QUIET: &str = "[feed]\nurl = []\nhosts = []\n";

const REPORT: &str = r#"<?xml version="1.0"?>
<!DOCTYPE nmaprun>
<nmaprun scanner="nmap" start="1772359200" version="7.93" xmloutputversion="1.05">
<host><status state="up"/><address addr="192.0.2.7" addrtype="ipv4"/><ports>
<port protocol="tcp" portid="22"><state state="open"/></port></ports></host>
<runstats><finished time="1772359260" exit="success"/></runstats></nmaprun>
"#;

/// A service's own directory, as systemd and `adduser --system` make it, and the users of the test.
struct Place {
    /// Other users may pass through it.
    around: TempDir,
    users: Users,
}

impl Place {
    fn new() -> Self {
        let place = Self { around: tempfile::tempdir().unwrap(), users: users() };
        fs::set_permissions(place.around.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(place.data()).unwrap();
        fs::set_permissions(place.data(), fs::Permissions::from_mode(0o700)).unwrap();
        give(&place.data(), place.users.service());
        place
    }

    fn data(&self) -> PathBuf {
        self.around.path().join("data")
    }

    /// Writes a file of root's beside the directory.
    fn beside(&self, name: &str, text: &str) -> String {
        let path = self.around.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    fn root(&self, lab: &Lab, config: &str) -> Portscan {
        Portscan::new(lab, config).data_dir(&self.data())
    }

    /// The service's appliance; without a second user it is root without its privileges.
    fn service(&self, lab: &Lab, config: &str) -> Portscan {
        let portscan = self.root(lab, config);
        match self.users {
            Users::Many { service, .. } => portscan.run_by(service),
            Users::RootAlone => portscan.unprivileged(),
        }
    }

    /// Asserts that every file in the directory belongs to the service.
    fn assert_services(&self, what: &str) {
        let service = self.users.service();
        let found = owners(&self.data());
        assert!(!found.is_empty(), "{what}");
        let strangers: Vec<_> = found.iter().filter(|file| (file.1, file.2) != (service, service)).collect();
        assert!(strangers.is_empty(), "{what}: {strangers:?} of {found:?}");
    }
}

/// Runs a command that finds no appliance over HTTP.
fn run(portscan: &Portscan, words: &[&str]) -> Finished {
    let config = portscan.write_config().display().to_string();
    portscan.run(&[words, &["--config", &config, "--listen", "127.0.0.1:9999"]].concat(), LONG)
}

fn done(portscan: &Portscan, words: &[&str]) -> Finished {
    let finished = run(portscan, words);
    assert!(finished.status.success(), "{words:?}: {finished:?}");
    finished
}

#[test]
fn files_that_root_creates_in_the_services_directory_belong_to_the_service() {
    let lab = Lab::enter("near");
    let place = Place::new();
    let report = place.beside("report.xml", REPORT);
    let (root, service) = (place.root(&lab, QUIET), place.service(&lab, QUIET));
    let copy = place.data().join("copy.db").display().to_string();
    // The first command creates the database and the lock.
    for words in [
        &["import", &report][..],
        &["token"],
        &["expected", "set", "192.0.2.7", "80"],
        &["expected", "accept", "--all"],
        &["hosts"],
        &["diff"],
        &["backup", &copy],
    ] {
        done(&root, words);
        place.assert_services(&words.join(" "));
    }
    // A backup elsewhere belongs to root, as with cp.
    let outside = place.around.path().join("copy.db");
    done(&root, &["backup", outside.to_str().unwrap()]);
    let data = fs::metadata(&outside).unwrap();
    assert_eq!((data.uid(), data.mode() & 0o777), (0, 0o600));

    // The service reads what root stored, and stores more.
    let hosts = done(&service, &["hosts", "--json"]).json();
    assert_eq!(hosts[0]["address"], "192.0.2.7");
    let running = service.start();
    let token = running.get("/v1/expected").json();
    assert_eq!(token.as_array().unwrap().len(), 2, "{token}");
    let url = running.base().to_owned();
    let set = service.run(&["expected", "set", "192.0.2.7", "443", "--url", &url], LONG);
    assert!(set.status.success(), "{set:?}");
    running.stop();
    place.assert_services("the service itself");
}

/// Opening the database creates a log and its index beside it; both outlive a killed process.
#[test]
fn files_of_an_appliance_run_by_root_belong_to_the_service() {
    let lab = Lab::enter("near");
    let place = Place::new();
    let spool = place.data().join("spool");
    let config = format!("spool = {spool:?}\n{QUIET}");
    let running = place.root(&lab, &config).start();
    eventually(LONG, "the spool directory exists", || spool.exists().then_some(()));
    fs::write(spool.join("good.xml"), REPORT).unwrap();
    fs::write(spool.join("bad.xml"), "<html/>").unwrap();
    for name in ["good.xml", "bad.xml"] {
        // A report belongs to its writer, here the service's runner.
        give(&spool.join(name), place.users.service());
    }
    let at = |name: &str| place.data().join(name);
    eventually(LONG, "the spool is empty", || {
        (at("spool/archive/good.xml").exists() && at("spool/failed/bad.xml.reason").exists()).then_some(())
    });
    for name in ["portscan.db", "portscan.db-wal", "portscan.db-shm", "portscan.lock", "token"] {
        assert!(at(name).exists(), "{name}");
    }
    place.assert_services("running");
    running.kill();
    place.assert_services("killed");

    let service = place.service(&lab, &config);
    let running = service.start();
    assert_eq!(running.get("/healthz").status, 200);
    assert_eq!(running.get("/v1/hosts").json()[0]["address"], "192.0.2.7");
    running.stop();
}

#[test]
fn the_upgrade_copy_and_a_created_directory_belong_to_the_service() {
    let lab = Lab::enter("near");
    let place = Place::new();
    let path = place.data().join(portscan::store::FILE_NAME);
    let old = Connection::open(&path).unwrap();
    old.execute_batch(include_str!("../src/store/v1.sql")).unwrap();
    // "pscn", as in src/store/schema.rs.
    old.execute_batch("PRAGMA application_id = 0x7073636e; PRAGMA user_version = 1").unwrap();
    drop(old);
    give(&path, place.users.service());
    let (root, service) = (place.root(&lab, QUIET), place.service(&lab, QUIET));
    let refused = run(&root, &["hosts"]);
    assert!(
        refused.stderr.contains("has schema 1") && refused.stderr.contains("portscan serve"),
        "{refused:?}"
    );
    done(&root, &["expected", "set", "192.0.2.7", "80"]);
    assert!(place.data().join("portscan.db.v1").exists());
    place.assert_services("after the upgrade");
    done(&service, &["expected", "list"]);

    let below = place.data().join("below/this");
    let config =
        place.beside("other.toml", &format!("listen = [\"127.0.0.1:0\"]\ndata_dir = {below:?}\n{QUIET}"));
    let running = root.begin(&["serve", "--config", &config]).listening();
    running.signal(Signal::SIGTERM);
    assert!(running.wait(LONG).success());
    assert!(below.join("portscan.db").exists());
    place.assert_services("a directory that was missing");
}

#[test]
fn a_first_start_on_a_taken_port_creates_no_file_and_the_next_succeeds() {
    let lab = Lab::enter("near");
    let place = Place::new();
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    let below = place.data().join("missing");
    let missing = place.beside("other.toml", &format!("data_dir = {below:?}\n{QUIET}"));
    for portscan in [place.root(&lab, QUIET), place.service(&lab, QUIET)] {
        let config = portscan.write_config().display().to_string();
        for config in [&config, &missing] {
            let refused = portscan.run(&["serve", "--config", config, "--listen", &taken], LONG);
            assert_eq!(refused.status.code(), Some(1), "{refused:?}");
            assert!(refused.stderr.contains(&format!("cannot listen on {taken}: something else does")));
            assert_eq!(owners(&place.data()), [], "{refused:?}");
        }
    }
    drop(holder);
    let service = place.service(&lab, QUIET);
    let config = service.write_config().display().to_string();
    let running = service.begin(&["serve", "--config", &config, "--listen", &taken]).listening();
    assert_eq!(running.get("/healthz").status, 200);
    // A second appliance in the same directory is refused because of the first, not because of the port.
    let second = service.run(&["serve", "--config", &config, "--listen", &taken], LONG);
    assert!(second.stderr.contains("is in use by process"), "{second:?}");
    running.stop();
    place.assert_services("the next start");
}

/// Runs the chown command that a message names.
fn mend(message: &str) {
    let (_, command) = message.rsplit_once("sudo chown ").unwrap_or_else(|| panic!("no command: {message}"));
    let command = format!("chown {}", command.lines().next().unwrap());
    assert!(Command::new("sh").args(["-c", &command]).status().unwrap().success(), "{command}");
}

#[test]
fn files_left_to_root_are_reported_with_the_command_that_fixes_them() {
    let lab = Lab::enter("near");
    let place = Place::new();
    let service = place.service(&lab, QUIET);
    service.start().stop();
    let at = |name: &str| place.data().join(name);
    let (Users::Many { service: uid, .. }, owner) = (place.users, "belongs to root (uid 0)") else {
        // No second user exists to chown to; but a mode can keep out root without its capabilities.
        for name in ["portscan.lock", "portscan.db", "token"] {
            fs::set_permissions(at(name), fs::Permissions::from_mode(0o000)).unwrap();
            let refused = run(&service, &["serve"]);
            let command = format!("its mode is 0000; mend it with: chmod u+rw {}", at(name).display());
            assert!(refused.stderr.contains(&command), "{refused:?}");
            fs::set_permissions(at(name), fs::Permissions::from_mode(0o600)).unwrap();
        }
        return;
    };
    // A kill leaves a log with something in it.
    let crash = || {
        let running = service.start();
        assert_eq!(running.get("/healthz").status, 200);
        done(&service, &["expected", "set", "192.0.2.7", "80", "--url", running.base()]);
        running.kill();
        assert!(fs::metadata(at("portscan.db-wal")).unwrap().len() > 0);
    };
    crash();
    let cases: [(&[&str], &str); 6] = [
        (&["portscan.lock"], "portscan.lock"),
        (&["portscan.db"], "portscan.db"),
        (&["portscan.db-wal"], "portscan.db-wal"),
        (&["portscan.db-shm"], "portscan.db-shm"),
        (&["token"], "token"),
        // One command fixes all of them.
        (&["portscan.lock", "portscan.db", "portscan.db-wal", "portscan.db-shm", "token"], "portscan.lock"),
    ];
    for (roots, named) in cases {
        for name in roots {
            give(&at(name), 0);
        }
        let refused = run(&service, &["serve"]);
        assert_eq!(refused.status.code(), Some(1), "{roots:?}: {refused:?}");
        let message =
            format!("{} {owner}, but its directory to uid {uid}, and this is uid {uid}", at(named).display());
        assert!(refused.stderr.contains(&message), "{roots:?}: {}", refused.stderr);
        // Other commands report it, too, for the file that they need.
        let words = if named == "token" { &["token"][..] } else { &["hosts"] };
        let other = run(&service, words);
        let what = format!("{} {owner}", at(named).display());
        assert!(!other.status.success() && other.stderr.contains(&what), "{roots:?}: {}", other.stderr);
        let checked = run(&place.root(&lab, QUIET), &["check-config"]);
        assert!(checked.stdout.contains(&format!("sudo chown {uid}:{uid} ")), "{checked:?}");
        mend(&refused.stderr);
        place.assert_services("mended");
        crash();
    }
}

#[test]
fn a_directory_of_another_user_is_refused_with_its_owner() {
    let lab = Lab::enter("near");
    let place = Place::new();
    let service = place.service(&lab, QUIET);
    service.start().stop();
    let Users::Many { service: uid, passer_by } = place.users else {
        // No second user exists; but a mode keeps out root without its capabilities.
        fs::set_permissions(place.data(), fs::Permissions::from_mode(0o000)).unwrap();
        let refused = run(&service, &["hosts"]);
        let command = format!("its mode is 0000; mend it with: chmod u+rwx {}", place.data().display());
        assert!(refused.stderr.contains(&command), "{refused:?}");
        return;
    };
    let stranger = place.root(&lab, QUIET).run_by(passer_by);
    let data = place.data().display().to_string();
    let message = format!(
        "{data} belongs to uid {uid}, and this is uid {passer_by}; run this with sudo or as that user"
    );
    for words in [&["hosts"][..], &["import", &place.beside("report.xml", REPORT)], &["serve"], &["token"]] {
        let refused = run(&stranger, words);
        assert!(
            !refused.status.success() && refused.stderr.contains(&message),
            "{words:?}: {}",
            refused.stderr
        );
        let command = format!("sudo chown -R {passer_by}:{passer_by} {data}");
        assert!(refused.stderr.contains(&command), "{words:?}: {}", refused.stderr);
    }
    // Also through a link into a directory of root's, as systemd makes it.
    let (private, link) = (place.around.path().join("private"), place.around.path().join("link"));
    fs::create_dir(&private).unwrap();
    fs::set_permissions(&private, fs::Permissions::from_mode(0o700)).unwrap();
    symlink("private/data", &link).unwrap();
    fs::rename(place.data(), private.join("data")).unwrap();
    let refused = run(&Portscan::new(&lab, QUIET).run_by(passer_by).data_dir(&link), &["hosts"]);
    let message = format!(
        "{} belongs to root (uid 0), and this is uid {passer_by}; run this with sudo",
        private.display()
    );
    assert!(refused.stderr.contains(&message) && !refused.stderr.contains("chown"), "{refused:?}");
    // The command uses the running service over HTTP, wherever its files are.
    let served = Portscan::new(&lab, QUIET).data_dir(&link).start();
    let url = served.base().trim_start_matches("http://").to_owned();
    let client = Portscan::new(&lab, QUIET).run_by(passer_by).data_dir(&link);
    let config = client.write_config().display().to_string();
    let hosts = client.run(&["hosts", "--json", "--config", &config, "--listen", &url], LONG);
    assert_eq!(hosts.json(), json!([]));
    served.stop();
}

/// The directory is made read-only by its mode, then by its mount.
#[test]
fn a_read_only_directory_can_be_read_and_writing_names_the_cause() {
    let lab = Lab::enter("near");
    let place = Place::new();
    let service = place.service(&lab, QUIET);
    let report = place.beside("report.xml", REPORT);
    fs::set_permissions(&report, fs::Permissions::from_mode(0o644)).unwrap();
    done(&service, &["import", &report]);
    let before = owners(&place.data());
    let writes: [&[&str]; 3] = [&["import", &report], &["expected", "accept", "--all"], &["serve"]];
    let reads = |portscan: &Portscan, copy: &Path| {
        let hosts = done(portscan, &["hosts", "--json"]).json();
        assert_eq!(hosts[0]["address"], "192.0.2.7");
        for words in [&["changes"][..], &["diff"], &["expected", "list"], &["backup", copy.to_str().unwrap()]]
        {
            done(portscan, words);
        }
        assert_eq!(owners(&place.data()), before);
    };
    let copies = tempfile::tempdir().unwrap();
    fs::set_permissions(copies.path(), fs::Permissions::from_mode(0o777)).unwrap();

    fs::set_permissions(place.data(), fs::Permissions::from_mode(0o500)).unwrap();
    reads(&service, &copies.path().join("1.db"));
    let mend = format!("its mode is 0500; mend it with: chmod u+rwx {}", place.data().display());
    for words in writes {
        let refused = run(&service, words);
        assert!(!refused.status.success() && refused.stderr.contains(&mend), "{words:?}: {refused:?}");
    }
    fs::set_permissions(place.data(), fs::Permissions::from_mode(0o700)).unwrap();

    // SQLite opens a file that it may not write for reading; a writer would then wait for ever.
    fs::set_permissions(service.database(), fs::Permissions::from_mode(0o400)).unwrap();
    reads(&service, &copies.path().join("1.db"));
    let mend = format!("its mode is 0400; mend it with: chmod u+rw {}", service.database().display());
    for words in writes {
        let refused = run(&service, words);
        assert!(!refused.status.success() && refused.stderr.contains(&mend), "{words:?}: {refused:?}");
    }
    fs::set_permissions(service.database(), fs::Permissions::from_mode(0o600)).unwrap();

    let bind = |flags| mount(Some(&place.data()), &place.data(), None::<&str>, flags, None::<&str>).unwrap();
    bind(MsFlags::MS_BIND);
    bind(MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY);
    let root = place.root(&lab, QUIET);
    reads(&service, &copies.path().join("2.db"));
    reads(&root, &copies.path().join("3.db"));
    for portscan in [&service, &root] {
        for words in writes {
            let refused = run(portscan, words);
            let cause = format!("{} is mounted read-only", place.data().display());
            assert!(!refused.status.success() && refused.stderr.contains(&cause), "{words:?}: {refused:?}");
        }
        let checked = run(portscan, &["check-config"]);
        assert!(checked.stdout.contains("is mounted read-only"), "{checked:?}");
    }
}

#[test]
fn a_world_readable_token_causes_a_warning_at_the_start() {
    let lab = Lab::enter("near");
    let place = Place::new();
    let service = place.service(&lab, QUIET);
    service.start().stop();
    let token = place.data().join("token");
    fs::set_permissions(&token, fs::Permissions::from_mode(0o644)).unwrap();
    let running = service.start();
    let warning = format!("is open to every user of this machine; close it: chmod 600 {}", token.display());
    running.wait_for_line(LONG, |line| line.contains("WARN") && line.contains(&warning));
    running.stop();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    let running = service.start();
    assert!(!running.log().contains("every user"), "{}", running.log());
    running.stop();
}

/// The directory's owner may create links in it, and root's commands write there.
#[test]
fn root_follows_no_link_in_the_services_directory() {
    let lab = Lab::enter("near");
    let place = Place::new();
    let (root, at) = (place.root(&lab, QUIET), |name: &str| place.data().join(name));
    let precious = place.beside("precious", "precious");
    for name in ["portscan.lock", "token.new", "copy.db.partial"] {
        symlink(&precious, at(name)).unwrap();
    }
    let refused = run(&root, &["expected", "set", "192.0.2.7", "80"]);
    assert!(refused.stderr.contains("portscan.lock is a symbolic link"), "{refused:?}");
    fs::remove_file(at("portscan.lock")).unwrap();
    done(&root, &["token"]);
    let running = root.start();
    let copy = at("copy.db").display().to_string();
    done(&root, &["backup", &copy, "--url", running.base()]);
    running.stop();
    assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
    assert_eq!(fs::metadata(&precious).unwrap().uid(), 0);
    place.assert_services("despite the links");

    let elsewhere = place.around.path().join("elsewhere.db");
    for name in ["portscan.db", "token"] {
        fs::remove_file(at(name)).unwrap();
        symlink(&elsewhere, at(name)).unwrap();
        let refused = run(&root, &["serve"]);
        let message = format!("{} is a symbolic link to {}", at(name).display(), elsewhere.display());
        assert!(!refused.status.success() && refused.stderr.contains(&message), "{refused:?}");
        assert!(!elsewhere.exists());
        fs::remove_file(at(name)).unwrap();
    }
}

/// Root may read every file; a service with its own user may not.
#[test]
fn check_config_by_root_checks_access_for_the_services_user() {
    let lab = Lab::enter("near");
    let place = Place::new();
    let Users::Many { service: uid, passer_by } = place.users else {
        eprintln!("this user namespace has no user but root: there is no other user to check for");
        return;
    };
    let spool = place.around.path().join("spool");
    fs::create_dir(&spool).unwrap();
    let (token, report) = (place.beside("token", "a-token-of-the-owners"), spool.join("r\u{1b}[2J\n.xml"));
    fs::write(&report, REPORT).unwrap();
    let set_mode = |path: &str, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let config = format!("spool = {spool:?}\n{QUIET}[auth]\ntoken_file = {token:?}\n");
    let root = place.root(&lab, &config);
    let file = root.write_config().display().to_string();
    fs::set_permissions(Path::new(&file).parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
    let check = |more: &[&str]| {
        let words = ["check-config", "--config", &file, "--listen", "127.0.0.1:0"];
        root.run(&[&words, more].concat(), LONG)
    };
    set_mode(&token, 0o600);
    set_mode(&report.display().to_string(), 0o600);
    set_mode(&file, 0o600);
    let closed = check(&[]);
    assert_eq!(closed.status.code(), Some(1), "{closed:?}");
    for line in [
        format!("error: the configuration {file} cannot be read by uid {uid}"),
        format!("error: auth.token_file {token} cannot be read by uid {uid}"),
        format!("error: spool {} cannot be written to by uid {uid}", spool.display()),
        format!("error: the report {}/r\u{fffd}[2J\u{fffd}.xml cannot be read by uid {uid}", spool.display()),
        format!("LoadCredential=token:{token}"),
        format!("sudo chown {uid} {}", spool.display()),
    ] {
        assert!(closed.stdout.contains(&line), "{line}: {closed:?}");
    }
    assert!(check(&["--user", "root"]).status.success());

    set_mode(&file, 0o644);
    set_mode(&report.display().to_string(), 0o644);
    give(Path::new(&token), uid);
    give(&spool, uid);
    let open = check(&[]);
    assert!(open.status.success() && !open.stdout.contains("cannot be"), "{open:?}");
    let other = check(&["--user", &passer_by.to_string()]);
    assert!(other.stdout.contains(&format!("auth.token_file {token} cannot be read by uid {passer_by}")));
    assert!(other.stdout.contains("data_dir"), "{other:?}");
    let unknown = check(&["--user", "no-such-user"]);
    assert!(unknown.stderr.contains("there is no user \"no-such-user\""), "{unknown:?}");
    let stranger = root.run_by(passer_by);
    let refused = stranger.run(&["check-config", "--config", &file, "--user", "root"], LONG);
    assert!(refused.stderr.contains("only root can judge for another user"), "{refused:?}");
}

#[test]
fn check_config_warns_of_a_world_readable_token() {
    let lab = Lab::enter("near");
    let place = Place::new();
    let given = place.beside("given", "a-token-of-the-owners");
    fs::set_permissions(&given, fs::Permissions::from_mode(0o644)).unwrap();
    let root = place.root(&lab, &format!("{QUIET}[auth]\ntoken_file = {given:?}\n"));
    let warning =
        format!("warning: the token {given} is open to every user of this machine; close it: chmod 600");
    let checked = run(&root, &["check-config", "--user", "root"]);
    assert!(checked.status.success() && checked.stdout.contains(&warning), "{checked:?}");
}
