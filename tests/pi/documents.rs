//! The ways to install that README and its chapters show, followed line by line on a Pi: the package, the apt
//! repository, the installer of a release. The container is in `image.rs`.

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use tempfile::TempDir;

use super::{
    LONG, PACKAGE,
    owner::{Chapter, Owner, Place},
    property, rows, today, wait_for_answers,
};
use crate::{
    harness::{
        avahi::Avahi,
        eventually,
        pi::{self, Card, Pi},
        publisher::Publisher,
        scanner,
    },
    lab::{Lab, Node, Switch},
};

/// A house's network has 254 addresses. The lab's own has 65,534, and with the defaults, as here, a search of all of
/// them takes twenty minutes.
const NETWORK: &str = "/24";
/// Few devices, and none that drops packets: all ports are scanned, as without a configuration, and an emulated
/// processor sends some hundred probes a second.
const HOUSE: &str = r#"
    [[host]]                                    # computers
    address = "10.77.0.10-11"
    mac = "02:00:00:00:00:10+"
    open = "22,80"
    rtt = "300us"
    [[host]]                                    # on WiFi
    address = "10.77.0.40"
    mac = "02:00:00:00:00:40"
    open = "80"
    rtt = "4ms"
    jitter = "25ms"
    [[host]]                                    # reboots if scanned too fast
    address = "10.77.0.60"
    mac = "02:00:00:00:00:60"
    open = "80"
    rtt = "5ms"
    reboot = { syns = 60, silent = "5s" }
    "#;

const README_CHAPTER: &str = "Install it on a Raspberry Pi";

/// Where the test publishes the release, and another machine of the house.
const PUBLISHER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 251);
const DESK: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 252);

/// Runs a program of this machine in the repository.
fn done(command: &mut Command) -> String {
    let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).output();
    let Output { status, stdout, stderr } = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned();
    assert!(status.success(), "{command:?}: {said}");
    said
}

/// What a web server offers as `/portscan`: the apt repository, and the release's tarball with the package's program,
/// as `make repository` and `make dist` put them together.
struct Release {
    folder: TempDir,
    /// gpg's: the path of its socket must be short.
    keys: TempDir,
}

impl Release {
    fn publish() -> Self {
        let (folder, keys) = (TempDir::new().unwrap(), TempDir::with_prefix_in("gpg", "/tmp").unwrap());
        let release = Self { folder, keys };
        let address = "you@example.org";
        release.with_keys(
            "gpg",
            &["--batch", "--quiet", "--passphrase", "", "--quick-gen-key", address, "ed25519"],
        );
        let place = release.place();
        let place = place.to_str().unwrap();
        release.with_keys("cross/repository", &[place, address, PACKAGE]);
        let content = release.folder.path().join("content");
        done(Command::new("dpkg-deb").arg("--extract").arg(PACKAGE).arg(&content));
        let program = format!("arm64={}", content.join("usr/bin/portscan").display());
        done(Command::new("cross/tarball").args([place, env!("CARGO_PKG_VERSION"), "0", &program]));
        release
    }

    fn with_keys(&self, program: &str, arguments: &[&str]) {
        done(Command::new(program).args(arguments).env("GNUPGHOME", self.keys.path()));
    }

    fn place(&self) -> PathBuf {
        self.folder.path().join("portscan")
    }
}

impl Drop for Release {
    fn drop(&mut self) {
        // gpg has left a process that keeps the key.
        _ = Command::new("gpgconf").args(["--kill", "all"]).env("GNUPGHOME", self.keys.path()).status();
    }
}

/// The place to which `scp` copies: the home of `pi`, whose system has no ssh server.
fn copy_to_home(pi: &mut Pi<'_>) {
    let name = Path::new(PACKAGE).file_name().unwrap().to_str().unwrap();
    pi.run(&format!("install -o pi -g pi -m 644 /portscan.deb /home/pi/{name} && rm /portscan.deb"));
}

/// Gives it an address of the house's network, and lets it know the publisher and trust its certificate.
fn move_in(pi: &mut Pi<'_>) {
    let network = "/etc/systemd/network/eth0.network";
    pi.run(&format!(
        "sed -i 's#/16$#{NETWORK}#' {network} && networkctl reload && networkctl reconfigure eth0"
    ));
    eventually(LONG, "the address of the house's network", || {
        pi.run("ip -4 -brief address show dev eth0").contains(NETWORK).then_some(())
    });
    pi.run(&format!("echo '{PUBLISHER} {}' >>/etc/hosts", Publisher::NAME));
    pi.run("cat /ca.pem >>/etc/ssl/certs/ca-certificates.crt");
}

/// Prints the head of a table of the steps.
fn begin(document: &str) {
    eprintln!("| seconds | {document} |\n|---|---|");
}

/// A house with the Pi in it.
struct House<'a> {
    lab: &'a Lab,
    /// Another machine.
    desk: &'a Node,
    avahi: Avahi<'a>,
    owner: Owner<'a>,
}

impl House<'_> {
    fn follow_readme(&mut self) {
        begin("README.md: install it on a Raspberry Pi");
        let readme = Chapter::of("README.md", README_CHAPTER);
        let built = PACKAGE.strip_prefix(concat!(env!("CARGO_MANIFEST_DIR"), "/")).unwrap();
        let pattern = built.replace(env!("CARGO_PKG_VERSION"), "*");
        assert_eq!(
            readme.at(Place::Computer),
            ["make deb ARCH=arm64".to_owned(), format!("scp {pattern} pi@raspberrypi.local:")],
            "this test does what these lines do"
        );
        for line in readme.at(Place::Pi) {
            let said = self.owner.types(&line);
            if line.contains(" setup") {
                let asks = "This machine's networks:";
                assert!(said.contains(asks) && said.contains("discover = [\"eth0\"]"), "{said}");
            }
            self.assert_enabled();
        }
        self.assert_works();
    }

    /// What the chapter on the package has beyond README, and those after it.
    fn follow_install(&mut self) {
        begin("docs/install.md");
        let before = rows(&self.owner.pi);
        // An hour of scanning would slow down the rest. The restart below applies it.
        let fewer = scanner("lan", "1d", "1-150");
        self.owner.pi.run(&format!("cat >>/etc/portscan/portscan.toml <<'END'\n{fewer}END"));
        let known = Chapter::of("README.md", README_CHAPTER).at(Place::Pi);
        let lines = Chapter::of("docs/install.md", "Install on a Raspberry Pi").at(Place::Pi);
        let rest: Vec<String> = lines.into_iter().filter(|line| !known.contains(line)).collect();
        let [architecture, grant, restart, ask] = &rest[..] else { panic!("four lines: {rest:?}") };
        assert!(self.owner.types(architecture).contains("arm64"));
        self.owner.types(grant);
        self.owner.types(restart);
        // The name is announced a second after the start, and nobody types faster.
        self.owner.takes("until portscan.local resolves on the Pi itself", |owner| {
            eventually(LONG, "its own name", || {
                (owner.pi.ask("getent hosts portscan.local", LONG).code == 0).then_some(())
            });
        });
        assert!(self.owner.types(ask).contains("{\"macs\":["));
        let pid = property(&mut self.owner.pi, "MainPID");
        let capabilities = self.owner.pi.run(&format!("grep CapEff /proc/{pid}/status"));
        assert!(capabilities.ends_with("2400"), "for port 80 and for ARP: {capabilities}");
        self.assert_kept(&before);
        for heading in ["The service", "Check the machine", "Back up and restore"] {
            for line in Chapter::of("docs/install.md", heading).at(Place::Pi) {
                self.owner.types(&line);
            }
        }
        let check = "sqlite3 /home/pi/portscan.db 'PRAGMA integrity_check'";
        assert_eq!(self.owner.pi.run(check), "ok");
    }

    fn remove(&mut self) {
        let database = "/var/lib/private/portscan/portscan.db";
        let chapter = Chapter::of("docs/install.md", "Remove");
        let [remove, purge] = chapter.spans("sudo apt ")[..] else { panic!("two ways to remove it") };
        self.owner.types(remove);
        self.owner.pi.run(&format!("! test -e /usr/bin/portscan && test -e {database}"));
        self.owner.types(purge);
        self.owner.pi.run(&format!("! test -e {database} && ! test -e /etc/portscan"));
    }

    fn install_from_the_repository(&mut self) {
        begin("docs/releasing.md: install from a repository");
        let chapter = Chapter::of("docs/releasing.md", "Install from it");
        for line in &chapter.at(Place::Pi) {
            self.owner.types(line);
        }
        for line in chapter.spans("sudo apt ") {
            self.owner.types(line);
        }
        self.assert_enabled();
        self.owner.types("portscan status");
    }

    fn install_a_release(&mut self) {
        begin("docs/install.md: any other Linux");
        let chapter = Chapter::of("docs/install.md", "Install on any other Linux");
        let [line] = &chapter.at(Place::Pi)[..] else { panic!("one line") };
        let said = self.owner.types(line);
        assert!(said.contains("is installed: /home/pi/.local/bin/portscan"), "{said}");
        self.owner.types(".local/bin/portscan --version");
        // "As root, `--service` before the address also installs the systemd service and starts it."
        let as_root = line.replace("| sh -s -- ", "| sudo sh -s -- --service ");
        assert_ne!(*line, as_root);
        let said = self.owner.types(&as_root);
        let (_, next) = said.split_once("Next: ").unwrap_or_else(|| panic!("{said}"));
        let said = self.owner.types(next.lines().next().unwrap());
        let (_, next) = said.split_once("next: ").unwrap_or_else(|| panic!("{said}"));
        self.owner.types(next.lines().next().unwrap());
        self.assert_enabled();
        self.assert_works();
        let before = rows(&self.owner.pi);
        // "The same command upgrades it."
        self.owner.types(&as_root);
        self.assert_enabled();
        self.assert_kept(&before);
    }

    /// It runs, will run after the next boot, and answers.
    fn assert_enabled(&mut self) {
        let said = self.owner.pi.run("systemctl is-active portscan && systemctl is-enabled portscan");
        assert_eq!(said, "active\nenabled");
        wait_for_answers(&self.owner.pi);
    }

    /// The page opens under its name, and every device of the house is found and has true results.
    fn assert_works(&mut self) {
        let (lab, desk, avahi, owner) = (self.lab, self.desk, &self.avahi, &mut self.owner);
        let status = owner.types("portscan status");
        assert!(status.contains(": healthy"), "{status}");
        owner.takes("until http://portscan.local/ opens on another machine", |_| {
            let address = eventually(LONG, "portscan.local resolves", || avahi.resolve("portscan.local"));
            assert_eq!(address, pi::ADDRESS.to_string());
            let known = format!("portscan.local:80:{address}");
            let page = desk.within(|| {
                done(Command::new("curl").args(["-sSf", "--resolve", &known, "http://portscan.local/"]))
            });
            assert!(page.contains("<title>"), "{page}");
        });
        owner.takes("until all devices of the house are found", |owner| {
            let wanted: Vec<String> = lab.hosts().map(|host| host.mac().to_string().to_uppercase()).collect();
            eventually(LONG, "all devices are found", || {
                let found = rows(&owner.pi);
                wanted.iter().all(|mac| found.iter().any(|(known, _)| known == mac)).then_some(())
            });
        });
        owner.takes("until all of them have a first result", |owner| {
            for host in lab.hosts() {
                let mac = host.mac().to_string();
                let ports = eventually(LONG, &format!("{mac} is scanned"), || {
                    owner.pi.site().open_ports(&mac).filter(|ports| !ports.is_empty())
                });
                assert!(ports.is_subset(&host.open_ports()), "{mac}: {ports:?}");
            }
        });
        for host in lab.hosts() {
            let stats = host.stats();
            assert_eq!((stats.payload, stats.reboots), (0, 0), "{}", host.address());
        }
    }

    /// A restart keeps every device, and the time since when it is known.
    fn assert_kept(&self, before: &[(String, String)]) {
        let now = rows(&self.owner.pi);
        assert!(before.iter().all(|row| now.contains(row)), "{before:?}, then {now:?}");
    }
}

#[test]
#[ignore = "boots an emulated Pi: make pi-test"]
fn each_documented_way_to_install_works_as_written() {
    let lab = Lab::describe(HOUSE);
    let lan = Switch::around(&lab, &format!("{PUBLISHER}{NETWORK}"));
    let desk = lan.plug(&format!("{DESK}{NETWORK}"));
    let avahi = Avahi::start(&desk, "desk");
    let release = Release::publish();
    let publisher = Publisher::of(release.folder.path(), PUBLISHER);
    let card = Card::fresh();
    card.put(Path::new(PACKAGE), "portscan.deb");
    card.put(&publisher.ca_file(), "ca.pem");
    let mut pi = Pi::boot(&card, &lan, today());
    move_in(&mut pi);
    copy_to_home(&mut pi);
    let mut house = House { lab: &lab, desk: &desk, avahi, owner: Owner { pi } };
    house.follow_readme();
    house.follow_install();
    house.remove();
    house.install_from_the_repository();
    house.remove();
    house.install_a_release();
    house.owner.pi.shut_down();
}
