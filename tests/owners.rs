//! What root does in the service's directory leaves it to the service; and what an earlier version's root has left
//! behind is told with the command that mends it.

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

/// Nobody is looked at.
const QUIET: &str = "[feed]\nurl = []\nhosts = []\n";

const REPORT: &str = r#"<?xml version="1.0"?>
<!DOCTYPE nmaprun>
<nmaprun scanner="nmap" start="1772359200" version="7.93" xmloutputversion="1.05">
<host><status state="up"/><address addr="192.0.2.7" addrtype="ipv4"/><ports>
<port protocol="tcp" portid="22"><state state="open"/></port></ports></host>
<runstats><finished time="1772359260" exit="success"/></runstats></nmaprun>
"#;

/// A service's own directory, as systemd and `adduser --system` make it, and who comes there.
struct Place {
    /// Others may pass through it.
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

    /// A file beside the directory, of root's.
    fn beside(&self, name: &str, text: &str) -> String {
        let path = self.around.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    fn root(&self, lab: &Lab, config: &str) -> Portscan {
        Portscan::new(lab, config).data_dir(&self.data())
    }

    /// The service; where root is alone, root without what root may do beyond others.
    fn service(&self, lab: &Lab, config: &str) -> Portscan {
        let portscan = self.root(lab, config);
        match self.users {
            Users::Many { service, .. } => portscan.run_by(service),
            Users::RootAlone => portscan.unprivileged(),
        }
    }

    /// Every file in the directory is the service's.
    fn assert_services(&self, what: &str) {
        let service = self.users.service();
        let found = owners(&self.data());
        assert!(!found.is_empty(), "{what}");
        let strangers: Vec<_> = found.iter().filter(|file| (file.1, file.2) != (service, service)).collect();
        assert!(strangers.is_empty(), "{what}: {strangers:?} of {found:?}");
    }
}

/// A command, for which no appliance is found over HTTP.
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
fn what_root_does_in_the_services_directory_is_the_services() {
    let lab = Lab::enter("near");
    let place = Place::new();
    let report = place.beside("report.xml", REPORT);
    let (root, service) = (place.root(&lab, QUIET), place.service(&lab, QUIET));
    let copy = place.data().join("copy.db").display().to_string();
    // The first makes the database and the lock.
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
    // What root takes elsewhere is root's, as by cp.
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

/// Where it is opened, SQLite makes a log and its index beside the database; both outlive a process that is killed.
#[test]
fn what_an_appliance_of_roots_leaves_behind_is_the_services() {
    let lab = Lab::enter("near");
    let place = Place::new();
    let spool = place.data().join("spool");
    let config = format!("spool = {spool:?}\n{QUIET}");
    let running = place.root(&lab, &config).start();
    eventually(LONG, "the spool is there", || spool.exists().then_some(()));
    fs::write(spool.join("good.xml"), REPORT).unwrap();
    fs::write(spool.join("bad.xml"), "<html/>").unwrap();
    for name in ["good.xml", "bad.xml"] {
        // Who puts it there it belongs to; here that is the service's runner.
        give(&spool.join(name), place.users.service());
    }
    let at = |name: &str| place.data().join(name);
    eventually(LONG, "the spool is empty", || {
        (at("spool/archive/good.xml").exists() && at("spool/failed/bad.xml.reason").exists()).then_some(())
    });
    for name in ["portscan.db", "portscan.db-wal", "portscan.db-shm", "portscan.lock", "token"] {
        assert!(at(name).exists(), "{name}");
    }
    place.assert_services("at work");
    running.kill();
    place.assert_services("killed");

    let service = place.service(&lab, &config);
    let running = service.start();
    assert_eq!(running.get("/healthz").status, 200);
    assert_eq!(running.get("/v1/hosts").json()[0]["address"], "192.0.2.7");
    running.stop();
}

#[test]
fn the_copy_before_an_upgrade_and_a_missing_directory_are_the_services_too() {
    let lab = Lab::enter("near");
    let place = Place::new();
    let path = place.data().join(portscan::store::FILE_NAME);
    let old = Connection::open(&path).unwrap();
    old.execute_batch(include_str!("../src/store/v1.sql")).unwrap();
    // "pscn", as src/store/schema.rs has it.
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
fn a_first_start_that_finds_its_port_taken_leaves_nothing_and_the_next_works() {
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
    // A second one in its directory is told of the first, not of its port.
    let second = service.run(&["serve", "--config", &config, "--listen", &taken], LONG);
    assert!(second.stderr.contains("is in use by process"), "{second:?}");
    running.stop();
    place.assert_services("the next start");
}

/// The command that a message tells, done as its reader would.
fn mend(message: &str) {
    let (_, command) = message.rsplit_once("sudo chown ").unwrap_or_else(|| panic!("no command: {message}"));
    let command = format!("chown {}", command.lines().next().unwrap());
    assert!(Command::new("sh").args(["-c", &command]).status().unwrap().success(), "{command}");
}

#[test]
fn what_earlier_roots_left_is_told_with_the_command_that_mends_it() {
    let lab = Lab::enter("near");
    let place = Place::new();
    let service = place.service(&lab, QUIET);
    service.start().stop();
    let at = |name: &str| place.data().join(name);
    let (Users::Many { service: uid, .. }, owner) = (place.users, "belongs to root (uid 0)") else {
        // There is nobody whom a chown could help; a mode keeps root without its capabilities out all the same.
        for name in ["portscan.lock", "portscan.db", "token"] {
            fs::set_permissions(at(name), fs::Permissions::from_mode(0o000)).unwrap();
            let refused = run(&service, &["serve"]);
            let command = format!("its mode is 0000; mend it with: chmod u+rw {}", at(name).display());
            assert!(refused.stderr.contains(&command), "{refused:?}");
            fs::set_permissions(at(name), fs::Permissions::from_mode(0o600)).unwrap();
        }
        return;
    };
    // As a crash leaves it, so that there is a log with something in it.
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
        // One command mends all of them.
        (&["portscan.lock", "portscan.db", "portscan.db-wal", "portscan.db-shm", "token"], "portscan.lock"),
    ];
    for (roots, told) in cases {
        for name in roots {
            give(&at(name), 0);
        }
        let refused = run(&service, &["serve"]);
        assert_eq!(refused.status.code(), Some(1), "{roots:?}: {refused:?}");
        let message =
            format!("{} {owner}, but its directory to uid {uid}, and this is uid {uid}", at(told).display());
        assert!(refused.stderr.contains(&message), "{roots:?}: {}", refused.stderr);
        // What else is asked says so, too, of what it needs.
        let words = if told == "token" { &["token"][..] } else { &["hosts"] };
        let asked = run(&service, words);
        let what = format!("{} {owner}", at(told).display());
        assert!(!asked.status.success() && asked.stderr.contains(&what), "{roots:?}: {}", asked.stderr);
        let checked = run(&place.root(&lab, QUIET), &["check-config"]);
        assert!(checked.stdout.contains(&format!("sudo chown {uid}:{uid} ")), "{checked:?}");
        mend(&refused.stderr);
        place.assert_services("mended");
        crash();
    }
}

#[test]
fn another_users_directory_is_told_to_belong_to_that_user() {
    let lab = Lab::enter("near");
    let place = Place::new();
    let service = place.service(&lab, QUIET);
    service.start().stop();
    let Users::Many { service: uid, passer_by } = place.users else {
        // Nobody passes by. Root itself, though, is kept out by a mode where it has no more rights than others.
        fs::set_permissions(place.data(), fs::Permissions::from_mode(0o000)).unwrap();
        let refused = run(&service, &["hosts"]);
        let command = format!("its mode is 0000; mend it with: chmod u+rwx {}", place.data().display());
        assert!(refused.stderr.contains(&command), "{refused:?}");
        return;
    };
    let stranger = place.root(&lab, QUIET).run_by(passer_by);
    let data = place.data().display().to_string();
    let told = format!(
        "{data} belongs to uid {uid}, and this is uid {passer_by}; run this with sudo or as that user"
    );
    for words in [&["hosts"][..], &["import", &place.beside("report.xml", REPORT)], &["serve"], &["token"]] {
        let refused = run(&stranger, words);
        assert!(!refused.status.success() && refused.stderr.contains(&told), "{words:?}: {}", refused.stderr);
        let command = format!("sudo chown -R {passer_by}:{passer_by} {data}");
        assert!(refused.stderr.contains(&command), "{words:?}: {}", refused.stderr);
    }
    // By a link, too, into a directory that is root's alone, as systemd makes it.
    let (private, link) = (place.around.path().join("private"), place.around.path().join("link"));
    fs::create_dir(&private).unwrap();
    fs::set_permissions(&private, fs::Permissions::from_mode(0o700)).unwrap();
    symlink("private/data", &link).unwrap();
    fs::rename(place.data(), private.join("data")).unwrap();
    let refused = run(&Portscan::new(&lab, QUIET).run_by(passer_by).data_dir(&link), &["hosts"]);
    let told = format!(
        "{} belongs to root (uid 0), and this is uid {passer_by}; run this with sudo",
        private.display()
    );
    assert!(refused.stderr.contains(&told) && !refused.stderr.contains("chown"), "{refused:?}");
    // The service itself it is that is asked, wherever its files are.
    let served = Portscan::new(&lab, QUIET).data_dir(&link).start();
    let url = served.base().trim_start_matches("http://").to_owned();
    let asked = Portscan::new(&lab, QUIET).run_by(passer_by).data_dir(&link);
    let config = asked.write_config().display().to_string();
    let hosts = asked.run(&["hosts", "--json", "--config", &config, "--listen", &url], LONG);
    assert_eq!(hosts.json(), json!([]));
    served.stop();
}

/// A directory in which nothing can be made, by its mode or by its disk.
#[test]
fn what_is_read_only_can_be_read_and_says_why_it_cannot_be_written() {
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

    // SQLite opens to be read what it may not write; who stored something would wait for ever.
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
            let told = format!("{} is mounted read-only", place.data().display());
            assert!(!refused.status.success() && refused.stderr.contains(&told), "{words:?}: {refused:?}");
        }
        let checked = run(portscan, &["check-config"]);
        assert!(checked.stdout.contains("is mounted read-only"), "{checked:?}");
    }
}

#[test]
fn a_token_that_every_user_may_read_is_warned_of() {
    let lab = Lab::enter("near");
    let place = Place::new();
    let service = place.service(&lab, QUIET);
    service.start().stop();
    let token = place.data().join("token");
    fs::set_permissions(&token, fs::Permissions::from_mode(0o644)).unwrap();
    let running = service.start();
    let told = format!("is open to every user of this machine; close it: chmod 600 {}", token.display());
    running.wait_for_line(LONG, |line| line.contains("WARN") && line.contains(&told));
    running.stop();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    let running = service.start();
    assert!(!running.log().contains("every user"), "{}", running.log());
    running.stop();
}

/// Whoever owns the directory may lay links there, and root comes by.
#[test]
fn root_writes_nothing_where_a_link_in_the_directory_points() {
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
    place.assert_services("links or not");

    let elsewhere = place.around.path().join("elsewhere.db");
    for name in ["portscan.db", "token"] {
        fs::remove_file(at(name)).unwrap();
        symlink(&elsewhere, at(name)).unwrap();
        let refused = run(&root, &["serve"]);
        let told = format!("{} is a symbolic link to {}", at(name).display(), elsewhere.display());
        assert!(!refused.status.success() && refused.stderr.contains(&told), "{refused:?}");
        assert!(!elsewhere.exists());
        fs::remove_file(at(name)).unwrap();
    }
}

/// Root may read all there is; a service with a user of its own may not.
#[test]
fn check_config_by_root_judges_for_the_services_user() {
    let lab = Lab::enter("near");
    let place = Place::new();
    let Users::Many { service: uid, passer_by } = place.users else {
        eprintln!("this user namespace has no user but root: there is no other to judge for");
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
    for told in [
        format!("error: the configuration {file} cannot be read by uid {uid}"),
        format!("error: auth.token_file {token} cannot be read by uid {uid}"),
        format!("error: spool {} cannot be written to by uid {uid}", spool.display()),
        format!("error: the report {}/r\u{fffd}[2J\u{fffd}.xml cannot be read by uid {uid}", spool.display()),
        format!("LoadCredential=token:{token}"),
        format!("sudo chown {uid} {}", spool.display()),
    ] {
        assert!(closed.stdout.contains(&told), "{told}: {closed:?}");
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
fn check_config_warns_of_a_token_that_every_user_may_read() {
    let lab = Lab::enter("near");
    let place = Place::new();
    let given = place.beside("given", "a-token-of-the-owners");
    fs::set_permissions(&given, fs::Permissions::from_mode(0o644)).unwrap();
    let root = place.root(&lab, &format!("{QUIET}[auth]\ntoken_file = {given:?}\n"));
    let told =
        format!("warning: the token {given} is open to every user of this machine; close it: chmod 600");
    let checked = run(&root, &["check-config", "--user", "root"]);
    assert!(checked.status.success() && checked.stdout.contains(&told), "{checked:?}");
}
