//! A Raspberry Pi 3B+ as far as it can be emulated: four Cortex-A53, 1 GB, a card, Debian's kernel and systemd, and a
//! clock that starts at any time. `tests/pi/image.sh` builds the system that it boots.
//!
//! It is a machine on the lab's switch like any other; its root shell is on a serial port of its own, and its log
//! comes out of another, line by line. Its timings mean little, because an emulated processor is slow in its own way.
//! Its memory, its writes, and the relative processor time of two programs are meaningful.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::Ipv4Addr,
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use jiff::Timestamp;
use tempfile::TempDir;

use super::{Reaped, Site, eventually};
use crate::{lab::Switch, repository};

/// The directory in which `make pi-setup` puts the built system.
const IMAGE: &str = "target/pi";

/// Its address, which the image sets and the lab expects of its scanner.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// Its MAC; the first half is the Raspberry Pi Foundation's.
pub const MAC: &str = "B8:27:EB:00:00:01";

/// The time from power-on to a shell: half a minute on an idle machine.
const BOOT: Duration = Duration::from_secs(600);
/// The time for a command in the shell: most take seconds, a scan takes minutes.
const COMMAND: Duration = Duration::from_secs(600);
/// From a command to power off until it is off.
const SHUTDOWN: Duration = Duration::from_secs(180);
/// The time for an answer over HTTP, while the machine may be scanning at full load.
const ANSWER: Duration = Duration::from_secs(60);

/// Its card: a copy of the image, which keeps what is written to it.
pub struct Card(TempDir);

impl Card {
    pub fn fresh() -> Self {
        let card = Self(TempDir::new().expect("a temporary directory"));
        let copied =
            Command::new("cp").arg("--sparse=always").arg(image("disk.img")).arg(card.disk()).status();
        assert!(copied.is_ok_and(|status| status.success()), "no image: `make pi-setup` makes it");
        card
    }

    /// Puts a file into the card's root directory; the card must not be in a machine.
    pub fn put(&self, file: &Path, name: &str) {
        let request = format!("write {} {name}", file.display());
        let output = Command::new("debugfs").args(["-w", "-R", &request]).arg(self.disk()).output();
        // debugfs exits with 0 whatever happens; apart from its version, it prints only errors.
        let said =
            output.map(|output| String::from_utf8_lossy(&output.stderr).into_owned()).expect("debugfs");
        assert!(said.lines().count() <= 1, "{request}: {said}");
    }

    fn disk(&self) -> PathBuf {
        self.0.path().join("disk.img")
    }
}

fn image(file: &str) -> PathBuf {
    repository(IMAGE).join(file)
}

/// A running machine.
pub struct Pi<'a> {
    qemu: Reaped,
    port: BufReader<UnixStream>,
    asked: u32,
    serial: PathBuf,
    site: Site,
    /// Keeps the card in the machine while it runs.
    _card: &'a Card,
}

/// The result of a command in its shell.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub text: String,
}

impl<'a> Pi<'a> {
    /// Powers it on with its clock at this time, and waits for its shell.
    pub fn boot(card: &'a Card, lan: &Switch, clock: Timestamp) -> Self {
        let home = card.0.path();
        let (socket, serial) = (home.join("shell"), home.join("serial.log"));
        // The files of the previous run.
        for file in [&socket, &serial] {
            _ = fs::remove_file(file);
        }
        // The emulator connects to this listener, so that its serial port always has a peer.
        let listener = UnixListener::bind(&socket).expect("a socket");
        listener.set_nonblocking(true).expect("a socket of ours");
        let mut qemu = Reaped(emulator(card, lan.tap(), clock, &socket, &serial));
        let port = eventually(BOOT, "the emulator connects its serial port", || {
            let ended = qemu.0.try_wait().expect("waiting");
            assert!(ended.is_none(), "the emulator has ended: {ended:?}");
            listener.accept().ok()
        });
        port.0.set_nonblocking(false).expect("a socket of ours");
        let site = Site::new(format!("http://{ADDRESS}"), ANSWER);
        let mut pi = Self { qemu, port: BufReader::new(port.0), asked: 0, serial, site, _card: card };
        assert_eq!(pi.ask("true", BOOT).code, 0);
        pi
    }

    /// Runs a command in its root shell; returns its output, standard error included.
    pub fn ask(&mut self, command: &str, within: Duration) -> Said {
        self.asked += 1;
        let end = format!("-- command {} ended with ", self.asked);
        let script = format!("{{ {command}\n}} </dev/null 2>&1; printf '\\n{end}%d\\n' $?\n");
        self.port.get_mut().write_all(script.as_bytes()).expect("the port is there");
        self.port.get_ref().set_read_timeout(Some(within)).expect("a socket of ours");
        let mut text = String::new();
        loop {
            let mut line = String::new();
            let read = self.port.read_line(&mut line);
            assert!(read.as_ref().is_ok_and(|&octets| octets > 0), "{command}: {read:?} after {text}");
            if let Some(code) = line.strip_prefix(&end) {
                return Said { code: code.trim().parse().expect("a number"), text: text.trim().to_owned() };
            }
            text += &line;
        }
    }

    /// Runs a command that must succeed; returns its output.
    pub fn run(&mut self, command: &str) -> String {
        let Said { code, text } = self.ask(command, COMMAND);
        assert_eq!(code, 0, "{command}: {text}");
        text
    }

    /// Returns the appliance on it, as a client on the network sees it.
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// Returns the output of its serial console so far: the kernel's messages and the log.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.serial).expect("it writes one")).into_owned()
    }

    /// Cuts its power; returns its console output.
    pub fn cut(mut self) -> String {
        self.qemu.0.kill().expect("it is on");
        self.qemu.0.wait().expect("waiting");
        self.log()
    }

    /// Shuts it down.
    pub fn shut_down(mut self) {
        self.run("systemctl --no-block poweroff");
        let off = || self.qemu.0.try_wait().expect("waiting");
        let status = eventually(SHUTDOWN, "it is off", off);
        assert!(status.success(), "{status}");
    }
}

impl Drop for Pi<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!(
                "--- the Pi's log ends with ---\n{}\n---",
                lines[lines.len().saturating_sub(60)..].join("\n")
            );
        }
    }
}

/// Starts it. What the guest has flushed is in this machine's page cache at the least, which outlives the emulator.
fn emulator(card: &Card, tap: &str, clock: Timestamp, shell: &Path, serial: &Path) -> Child {
    // The kernel reads the machine's clock; systemd, which accepts no date before its own release, sets it again
    // (kernel-command-line(7)).
    let options = "console=ttyAMA0 quiet panic=1 net.ifnames=0 systemd.show_status=0 systemd.clock_usec=";
    let options = format!("{options}{}", clock.as_microsecond());
    let drive = format!("file={},format=raw,if=none,id=card", card.disk().display());
    let network = format!("tap,id=lan,ifname={tap},script=no,downscript=no");
    let mut qemu = Command::new("qemu-system-aarch64");
    qemu.args(["-M", "virt", "-cpu", "cortex-a53", "-smp", "4", "-m", "1G", "-nodefaults", "-no-reboot"]);
    qemu.args(["-display", "none", "-append", &options]);
    qemu.arg("-kernel").arg(image("vmlinuz")).arg("-initrd").arg(image("initrd"));
    qemu.args(["-drive", &drive, "-device", "virtio-blk-device,drive=card"]);
    qemu.args(["-netdev", &network, "-device", &format!("virtio-net-device,netdev=lan,mac={MAC}")]);
    qemu.args(["-device", "virtio-rng-device", "-device", "virtio-serial-device"]);
    qemu.args(["-chardev", &format!("socket,id=shell,path={}", shell.display())]);
    qemu.args(["-device", "virtserialport,chardev=shell,name=shell"]);
    qemu.args(["-serial", &format!("file:{}", serial.display())]);
    qemu.stdin(Stdio::null()).stdout(Stdio::null());
    qemu.spawn().unwrap_or_else(|e| panic!("qemu-system-aarch64: {e}; `make pi-setup` installs it"))
}
