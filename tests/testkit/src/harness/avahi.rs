//! Debian's avahi, which most machines of a LAN use to find each other and to be found.

use std::{
    fs::{self, File},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use nix::mount::{MsFlags, mount};
use tempfile::TempDir;

use super::{Reaped, eventually, missing, tool};
use crate::lab::{Node, PORT};

/// The time from the start to the first line of output, on a busy machine.
const READY: Duration = Duration::from_secs(60);

/// A system bus only for avahi, which every user of the machine may use.
const BUS: &str = "<busconfig><listen>unix:path=/run/bus</listen><auth>EXTERNAL</auth><policy context=\"default\">\
    <allow user=\"*\"/><allow own=\"*\"/><allow send_destination=\"*\"/><allow receive_sender=\"*\"/>\
    </policy></busconfig>";

/// An avahi-daemon on a machine, with a bus of its own.
pub struct Avahi<'a> {
    machine: &'a Node,
    log: PathBuf,
    _daemon: Reaped,
    _bus: Reaped,
    _home: TempDir,
}

/// A running announcement by avahi.
pub struct Published {
    _child: Reaped,
}

/// A service as `avahi-browse` resolves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub instance: String,
    pub host: String,
    pub address: String,
    pub port: String,
    pub txt: String,
}

/// One of avahi's programs, or the bus it needs.
fn program(name: &str) -> Command {
    let mut command = tool(name);
    command.env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/run/bus").stdin(Stdio::null());
    command
}

impl<'a> Avahi<'a> {
    /// Starts it under this name and waits until the name is established.
    pub fn start(machine: &'a Node, host_name: &str) -> Self {
        let home = TempDir::new().expect("a temporary directory");
        let log = home.path().join("log");
        let (daemon, bus) = machine.within(|| spawn(home.path(), &log, host_name));
        let avahi = Self { machine, log, _daemon: daemon, _bus: bus, _home: home };
        eventually(READY, "avahi has its name", || {
            avahi.log().contains("Server startup complete").then_some(())
        });
        avahi
    }

    /// Returns its output so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).expect("it writes one")
    }

    /// Returns the present name of its machine.
    pub fn host_name(&self) -> String {
        let log = self.log();
        let last = log.rsplit("Host name is ").next().expect("it has said so");
        last.split(". Local").next().expect("and more").to_owned()
    }

    /// Resolves a name to its IPv4 address; `None` after five seconds.
    pub fn resolve(&self, name: &str) -> Option<String> {
        let output = self.output("avahi-resolve", &["-4", "-n", name]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.trim().split_once('\t').map(|(_, address)| address.to_owned())
    }

    /// Lists the present services of a type, by IPv4, sorted by name.
    pub fn browse(&self, kind: &str) -> Vec<Found> {
        let output = self.output("avahi-browse", &["-rpt", kind]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut found: Vec<Found> = text.lines().filter_map(read).collect();
        found.sort_by(|a, b| a.instance.cmp(&b.instance));
        found
    }

    /// Announces a service of the machine until what this returns is dropped, with `-H HOST` first one of another host.
    pub fn publish(&self, arguments: &[&str]) -> Published {
        self.keep("avahi-publish-service", arguments)
    }

    /// Announces an address of a name.
    pub fn publish_address(&self, name: &str, address: &str) -> Published {
        self.keep("avahi-publish-address", &["-R", name, address])
    }

    fn keep(&self, name: &str, arguments: &[&str]) -> Published {
        let child = self.machine.within(|| program(name).args(arguments).stderr(Stdio::null()).spawn());
        Published { _child: Reaped(child.unwrap_or_else(|e| missing(name, &e))) }
    }

    fn output(&self, name: &str, arguments: &[&str]) -> Output {
        self.machine.within(|| program(name).args(arguments).output().unwrap_or_else(|e| missing(name, &e)))
    }
}

/// `=;eth0;IPv4;INSTANCE;KIND;local;HOST;ADDRESS;PORT;TXT`
fn read(line: &str) -> Option<Found> {
    let fields: Vec<&str> = line.split(';').collect();
    let [_, instance, _, _, host, address, port, txt] = fields.strip_prefix(&["=", PORT])?.try_into().ok()?;
    let [instance, host, address, port, txt] = [instance, host, address, port, txt].map(str::to_owned);
    Some(Found { instance, host, address, port, txt })
}

/// Starts the bus and the daemon; on the machine.
fn spawn(home: &Path, log: &Path, host_name: &str) -> (Reaped, Reaped) {
    // avahi requires a user of its name, even if it does not change to that user.
    for (file, line) in [("passwd", "avahi:x:0:0::/:/bin/false\n"), ("group", "avahi:x:0:\n")] {
        let (ours, theirs) = (home.join(file), Path::new("/etc").join(file));
        let known = fs::read_to_string(&theirs).expect("it is readable");
        if !known.contains("\navahi:") {
            fs::write(&ours, known + line).expect("writing");
            mount(Some(&ours), &theirs, None::<&str>, MsFlags::MS_BIND, None::<&str>)
                .expect("a mount of our own");
        }
    }
    // An earlier run may have left this file.
    _ = fs::remove_file("/run/bus");
    let bus = home.join("bus.conf");
    fs::write(&bus, BUS).expect("writing");
    let bus = program("dbus-daemon")
        .arg(format!("--config-file={}", bus.display()))
        .args(["--nofork", "--nopidfile"])
        .stderr(Stdio::null())
        .spawn();
    let bus = Reaped(bus.unwrap_or_else(|e| missing("dbus-daemon", &e)));
    eventually(READY, "the bus is there", || UnixStream::connect("/run/bus").ok());
    fs::create_dir_all("/run/avahi-daemon").expect("a /run of our own");
    let config = home.join("avahi.conf");
    fs::write(&config, format!("[server]\nhost-name={host_name}\n[publish]\npublish-workstation=no\n"))
        .expect("writing");
    let daemon = program("avahi-daemon")
        .arg("-f")
        .arg(&config)
        .args(["--no-drop-root", "--no-chroot", "--no-rlimits", "--no-proc-title"])
        .stderr(File::create(log).expect("a log"))
        .spawn();
    (Reaped(daemon.unwrap_or_else(|e| missing("avahi-daemon", &e))), bus)
}
