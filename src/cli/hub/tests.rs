//! The commands without a broker; tests/fleet_keys.rs tries their keys at a real one.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

use jiff::Timestamp;

use super::*;
use crate::{config::Config, model::Moment, tls::client_credentials};

struct TestClock(&'static str);

impl Clock for TestClock {
    fn now(&self) -> Moment {
        Moment::from_start(std::time::Duration::ZERO)
    }

    fn wall(&self) -> Timestamp {
        self.0.parse().unwrap()
    }

    fn is_synchronised(&self) -> bool {
        true
    }
}

/// The leap day: ten and twenty years later there is none.
const TODAY: TestClock = TestClock("2028-02-29T12:00:00Z");

fn ran_at(clock: &TestClock, command: &KeyCommand, overrides: &Overrides) -> Result<String, String> {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut terminal = Terminal { out: &mut out, err: &mut err, input: None, width: None, progress: None };
    let ended = change_keys(command, overrides, clock, &mut terminal).map_err(|error| error.to_string());
    ended.map(|_| String::from_utf8(out).unwrap())
}

fn ran(command: &KeyCommand) -> Result<String, String> {
    ran_at(&TODAY, command, &Overrides::default())
}

fn within(dir: &Path) -> HubDirArgs {
    HubDirArgs { dir: Some(dir.to_owned()) }
}

fn init(dir: &Path, names: &[&str]) -> KeyCommand {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    KeyCommand::Init(InitArgs { names, dir: within(dir), bind: "0.0.0.0:4300".parse().unwrap() })
}

fn member(name: &str) -> MemberArgs {
    MemberArgs { name: name.parse().unwrap(), worker: false }
}

fn enrol(dir: &Path, site: &str, out: Option<PathBuf>) -> KeyCommand {
    KeyCommand::Enrol(EnrolArgs { member: member(site), dir: within(dir), out })
}

fn revoke(dir: &Path, site: &str, older: bool) -> KeyCommand {
    KeyCommand::Revoke(RevokeArgs { member: member(site), older, dir: within(dir) })
}

#[test]
fn all_that_is_made_is_for_its_owner_alone_and_valid_until_the_promised_day() {
    let around = tempfile::tempdir().unwrap();
    let dir = around.path().join("data/hub");
    let told = ran(&init(&dir, &["Hub.example.", "192.0.2.7"])).unwrap();
    assert!(told.contains("nats-server -c") && told.contains("portscan hub enrol SITE"), "{told}");
    ran(&enrol(&dir, "house-3", None)).unwrap();
    let site = dir.join("sites/house-3");
    for folder in [&dir, &dir.join("sites"), &site] {
        for entry in fs::read_dir(folder).unwrap() {
            let data = entry.as_ref().unwrap().metadata().unwrap();
            let expected = if data.is_dir() { 0o700 } else { 0o600 };
            assert_eq!(data.permissions().mode() & 0o777, expected, "{entry:?}");
            assert_eq!(data.uid(), fs::metadata(around.path()).unwrap().uid(), "{entry:?}");
        }
    }
    let read = |crt: &Path, key: &Path| client_credentials(&dir.join("ca.crt"), crt, key).unwrap();
    for (name, end) in [
        ("broker", "2048-02-28"),
        ("hub", "2048-02-28"),
        ("ca", "2048-02-28"),
        ("sites/house-3/site", "2038-02-28"),
    ] {
        let found = read(&dir.join(format!("{name}.crt")), &dir.join(format!("{name}.key")));
        assert_eq!(found.not_after.to_string(), format!("{end}T00:00:00Z"), "{name}");
    }
    assert_eq!(fs::read(site.join("ca.crt")).unwrap(), fs::read(dir.join("ca.crt")).unwrap());
}

#[test]
fn a_hub_is_made_once() {
    let around = tempfile::tempdir().unwrap();
    let dir = around.path().join("hub");
    ran(&init(&dir, &["hub.example"])).unwrap();
    let key = fs::read(dir.join("ca.key")).unwrap();
    assert!(ran(&init(&dir, &["hub.example"])).unwrap_err().contains("ca.key, ca.crt"));
    fs::remove_file(dir.join("nats-server.conf")).unwrap();
    assert!(ran(&init(&dir, &["hub.example"])).unwrap_err().contains("move the directory away"));
    assert_eq!(fs::read(dir.join("ca.key")).unwrap(), key);
}

#[test]
fn the_printed_lines_are_the_sites_configuration() {
    let around = tempfile::tempdir().unwrap();
    let dir = around.path().join("hub");
    ran(&init(&dir, &["2001:db8::7"])).unwrap();
    let told = ran(&enrol(&dir, "house-3", Some(around.path().join("out")))).unwrap();
    let lines = &told[told.find("[fleet]").unwrap()..];
    let config = Config::load(&Overrides::default(), &|_| None, Some(("file".as_ref(), lines))).unwrap();
    let fleet = config.fleet.unwrap();
    assert_eq!(
        (fleet.site.as_str(), fleet.access.hub.to_string().as_str()),
        ("house-3", "tls://[2001:db8::7]:4300")
    );
    assert!(around.path().join("out/house-3/site.key").exists());
    // A router may give the broker another port outside.
    fs::write(dir.join("hub.url"), "tls://hub.example:443\n").unwrap();
    assert!(ran(&enrol(&dir, "house-4", None)).unwrap().contains("hub = \"tls://hub.example:443\""));
    fs::write(dir.join("hub.url"), "nats://hub.example\n").unwrap();
    assert!(
        ran(&enrol(&dir, "house-5", None)).unwrap_err().contains("hub.url: a hub is reached by TLS alone")
    );
}

#[test]
fn the_hub_reaches_its_broker_where_that_listens_whatever_sites_are_told() {
    let around = tempfile::tempdir().unwrap();
    for (bind, host) in
        [("0.0.0.0:4300", "localhost"), ("[::]:4300", "localhost"), ("127.0.0.9:4300", "127.0.0.9")]
    {
        let dir = around.path().join(host).join(bind.len().to_string());
        let mut command = init(&dir, &["hub.example"]);
        let KeyCommand::Init(args) = &mut command else { unreachable!() };
        args.bind = bind.parse().unwrap();
        ran(&command).unwrap();
        fs::write(dir.join("hub.url"), "tls://hub.example:443\n").unwrap();
        let reached = |broker: Option<&str>| {
            let args = ServeHubArgs { dir: within(&dir), broker: broker.map(|url| url.parse().unwrap()) };
            let access = args.access(&Overrides::default()).map_err(|error| error.to_string()).unwrap();
            (access.host, access.port)
        };
        assert_eq!(reached(None), (host.to_owned(), 4300), "{bind}");
        assert_eq!(reached(Some("tls://other:5000")), ("other".to_owned(), 5000));
        // A configuration that says it in another way, and a directory without it, as one that is copied to the hub.
        fs::write(dir.join("nats-server.conf"), "port: 4300\n").unwrap();
        assert_eq!(reached(None), ("localhost".to_owned(), 443));
        fs::remove_file(dir.join("nats-server.conf")).unwrap();
        assert_eq!(reached(None), ("localhost".to_owned(), 443));
    }
}

#[test]
fn a_second_certificate_stands_beside_the_first_until_that_is_revoked() {
    let around = tempfile::tempdir().unwrap();
    let dir = around.path().join("hub");
    ran(&init(&dir, &["hub.example"])).unwrap();
    let users = || fs::read_to_string(dir.join("users.conf")).unwrap();
    let first = ran(&enrol(&dir, "house-3", None)).unwrap();
    assert!(!first.contains("--older"), "{first}");
    let key = fs::read(dir.join("sites/house-3/site.key")).unwrap();
    let second = ran(&enrol(&dir, "house-3", None)).unwrap();
    assert!(second.contains("portscan hub revoke house-3 --older"), "{second}");
    assert_ne!(fs::read(dir.join("sites/house-3/site.key")).unwrap(), key);
    assert_eq!(users().matches("house-3.site").count(), 2);
    let serial = |told: &str| told.split_once("certificate ").unwrap().1[..16].to_owned();
    let told = ran(&revoke(&dir, "house-3", true)).unwrap();
    assert!(told.contains(&serial(&first)) && !users().contains(&serial(&first)), "{told}");
    assert!(users().contains(&serial(&second)));
    assert!(ran(&revoke(&dir, "house-3", true)).unwrap().contains("which stays"));
    ran(&revoke(&dir, "house-3", false)).unwrap();
    assert!(!users().contains("house-3"));
    assert!(ran(&revoke(&dir, "house-3", false)).unwrap_err().contains("there is no site yet"));
}

#[test]
fn what_would_go_wrong_later_is_refused_now() {
    let around = tempfile::tempdir().unwrap();
    let dir = around.path().join("hub");
    let made = init(&dir, &["hub.example"]);
    let told = ran_at(&TestClock("2000-01-01T00:00:00Z"), &made, &Overrides::default()).unwrap_err();
    assert!(told.contains("2000-01-01") && told.contains("set the clock"), "{told}");
    let listen = Overrides { listen: vec!["0.0.0.0:1".to_owned()], ..Overrides::default() };
    assert!(ran_at(&TODAY, &made, &listen).unwrap_err().contains("--bind 0.0.0.0:1"));
    for name in ["", "10.0.0.0/8", "0.0.0.0", "a b", "hub.example:4222"] {
        assert!(ran(&init(&dir, &[name])).unwrap_err().contains("--name hub.example"), "{name}");
    }
    assert!(
        ran(&init(&around.path().join("a\"b"), &["hub.example"])).unwrap_err().contains("plain characters")
    );
    assert!(ran(&enrol(&dir, "house-3", None)).unwrap_err().contains("portscan hub init"));
    assert!(!dir.exists());

    ran(&made).unwrap();
    // Another program's folder of that name.
    let out = around.path().join("etc");
    fs::create_dir_all(out.join("ssh")).unwrap();
    fs::write(out.join("ssh/sshd_config"), "").unwrap();
    let told = ran(&enrol(&dir, "ssh", Some(out.clone()))).unwrap_err();
    assert!(told.contains("name another --out") && !out.join("ssh/site.key").exists(), "{told}");
    fs::write(dir.join("users.conf"), "users = [\n  { user: me, password: secret }\n]\n").unwrap();
    let told = ran(&enrol(&dir, "house-3", None)).unwrap_err();
    assert!(told.contains("users.conf: line 2 was not written by this program"), "{told}");
    assert!(!dir.join("sites").exists());
}
