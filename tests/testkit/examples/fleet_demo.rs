//! A fleet to look at (`make fleet-demo`): a broker, a hub and three appliances, each of which scans a simulated LAN of
//! its own. It prints where the hub's page is, and ends everything on Ctrl-C.
//!
//! Each appliance is in a network namespace with its LAN, and so are the hub and its broker. No namespace has a route
//! to another or to this machine's network. What connects them are forwarders: a listening socket belongs to the
//! namespace in which it was made, and a thread of the hub's namespace may accept its connections all the same. The
//! same brings the page to this machine's loopback.

#![allow(clippy::print_stdout, reason = "it is for a person at a terminal")]
#![allow(clippy::unwrap_used, reason = "a demonstration that cannot go on has failed")]

use std::{
    io,
    net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, Sender, channel},
    thread,
    time::Duration,
};

use nix::sys::signal::{SigSet, Signal};
use tempfile::TempDir;
use testkit::{
    harness::{
        NO_IDENTIFICATION, Portscan, Running,
        nats::{NatsServer, NatsVersion},
        scanner,
    },
    lab::Lab,
};

/// The broker's port, in each namespace.
const BROKER: u16 = 4222;

/// The page's port on this machine, if it is free.
const PAGE: u16 = 8090;

/// How long a subcommand may take.
const COMMAND: Duration = Duration::from_secs(60);

/// Nothing but the simulated devices is to be asked for anything.
const STILL: &str = "[mdns]\nenabled = false\n[names]\ndns = false\nmdns = false\n";

/// A device: address, name, open ports.
type DemoDevice = (&'static str, &'static str, &'static str);

/// The sites, and their devices.
const SITES: [(&str, &[DemoDevice]); 3] = [
    (
        "house-1",
        &[
            ("10.77.0.2", "router", "53,80,443"),
            ("10.77.0.20", "nas", "22,139,445,5000,5001"),
            ("10.77.0.21", "printer", "80,515,631,9100"),
            ("10.77.0.30", "television", "8008,8009,9080"),
        ],
    ),
    (
        "house-2",
        &[
            ("10.77.0.2", "router", "23,53,80,7547"),
            ("10.77.0.20", "camera", "23,80,554"),
            ("10.77.0.21", "home-automation", "22,1883,8123"),
        ],
    ),
    (
        "school",
        &[
            ("10.77.0.2", "gateway", "22,53,443"),
            ("10.77.0.10", "files", "22,139,445,3389"),
            ("10.77.0.11", "database", "22,3306,5432"),
            ("10.77.0.20", "printer-1", "80,443,9100"),
            ("10.77.0.21", "printer-2", "80,443,9100"),
            ("10.77.0.40", "whiteboard", "5555,8080"),
            ("10.77.0.41", "projector", "80,4352"),
        ],
    ),
];

fn main() {
    // Blocked before there is any other thread or process, all of which inherit it: so this thread alone takes the
    // signal, after which every value here is dropped, and with it the processes and their files. The processes are
    // killed then; their data are thrown away.
    let ends = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
    ends.thread_block().unwrap();

    // On this machine's loopback alone, before this thread leaves for the hub's namespace.
    let page = TcpListener::bind((Ipv4Addr::LOCALHOST, PAGE))
        .or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .unwrap();
    let address = page.local_addr().unwrap();
    let hub = Hub::start();
    forward(page, hub.port());

    // Dropping the senders ends the sites.
    let sites: Vec<(Sender<()>, thread::JoinHandle<()>)> = SITES
        .into_iter()
        .map(|(name, devices)| {
            println!("starting the site {name} with {} devices", devices.len());
            let credentials = hub.enrol(name);
            let (stop, stopped) = channel();
            let (sockets, socket) = channel();
            let site = thread::spawn(move || run_site((name, devices), &credentials, &sockets, &stopped));
            forward(socket.recv().expect("the site starts"), BROKER);
            (stop, site)
        })
        .collect();
    println!(
        "\nThe hub's page:  http://{address}/\n  curl -s {address}/v1/sites\n  curl -s \
         '{address}/v1/hosts?site=house-2'\n  curl -s {address}/metrics\nThe devices are simulated, and scanned as \
         you look. Ctrl-C ends everything.\n"
    );
    ends.wait().unwrap();
    println!("ending");
    for (stop, site) in sites {
        drop(stop);
        _ = site.join();
    }
}

/// The hub and its broker, in the namespace of this thread.
struct Hub {
    running: Running,
    _broker: NatsServer,
    commands: Portscan,
    home: TempDir,
    _lab: Lab,
}

impl Hub {
    fn start() -> Self {
        let lab = Lab::describe("host = []");
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("hub");
        let dir = dir.to_str().unwrap();
        let commands = Portscan::new(&lab, &format!("[feed]\nurl = []\nhosts = []\n{STILL}"));
        let bind = format!("127.0.0.1:{BROKER}");
        run(&commands, &["hub", "init", "--name", "localhost", "--bind", &bind, "--dir", dir]);
        let config = home.path().join("hub/nats-server.conf");
        let broker = NatsServer::start(NatsVersion::Newest, &config, BROKER, &lab);
        let config = commands.write_config();
        let serve = ["hub", "serve", "--dir", dir, "--config", config.to_str().unwrap()];
        let running = commands.begin(&serve).listening();
        Self { running, _broker: broker, commands, home, _lab: lab }
    }

    /// The port of its page in its namespace.
    fn port(&self) -> u16 {
        let base = self.running.base();
        base.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or_else(|| panic!("{base}"))
    }

    /// Returns the folder of a new site's credentials.
    fn enrol(&self, site: &str) -> PathBuf {
        let (dir, out) = (self.home.path().join("hub"), self.home.path().join("sites"));
        let arguments =
            ["hub", "enrol", site, "--dir", dir.to_str().unwrap(), "--out", out.to_str().unwrap()];
        run(&self.commands, &arguments);
        out.join(site)
    }
}

fn run(portscan: &Portscan, arguments: &[&str]) {
    let ended = portscan.run(arguments, COMMAND);
    assert!(ended.status.success(), "{arguments:?}: {}", ended.stderr);
}

/// Runs an appliance with its LAN in a namespace of its own, until the sender of `stopped` is gone. Sends the socket by
/// which it reaches the broker.
fn run_site(
    (name, devices): (&str, &[(&str, &str, &str)]),
    credentials: &Path,
    sockets: &Sender<TcpListener>,
    stopped: &Receiver<()>,
) {
    // MACs are a site's own, as they are in life; addresses are not.
    let prefix = format!("02:00:00:{:02X}:00", name.bytes().fold(0_u8, u8::wrapping_add));
    let mac = |number: usize| format!("{prefix}:{number:02X}");
    let hosts: String = devices
        .iter()
        .enumerate()
        .map(|(number, (address, _, open))| {
            format!(
                "[[host]]\naddress = \"{address}\"\nmac = \"{}\"\nopen = \"{open}\"\nrtt = \"2ms\"\n",
                mac(number)
            )
        })
        .collect();
    let listed: Vec<String> = devices
        .iter()
        .enumerate()
        .map(|(number, (address, name, _))| {
            format!("{{ address = \"{address}\", mac = \"{}\", name = \"{name}\" }}", mac(number))
        })
        .collect();
    let lab = Lab::describe(&hosts);
    sockets.send(TcpListener::bind((Ipv4Addr::LOCALHOST, BROKER)).unwrap()).unwrap();
    let config = format!(
        "[feed]\nurl = []\nhosts = [{}]\n{NO_IDENTIFICATION}{STILL}[fleet]\nsite = \"{name}\"\nhub = \
         \"tls://localhost:{BROKER}\"\ncredentials_dir = {credentials:?}\n{}",
        listed.join(", "),
        scanner("common", "10m", "common")
    );
    let _running = Portscan::new(&lab, &config).start();
    // There is nothing to receive: it ends when the sender is dropped.
    _ = stopped.recv();
}

/// Forwards the connections of a socket, of whatever namespace, to this port of this thread's loopback.
fn forward(socket: TcpListener, port: u16) {
    thread::spawn(move || {
        for accepted in socket.incoming() {
            let Ok(accepted) = accepted else { continue };
            // The broker or the hub may be gone; then the client sees a connection that ends.
            let Ok(connected) = TcpStream::connect(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)) else {
                continue;
            };
            let (Ok(answers), Ok(back)) = (connected.try_clone(), accepted.try_clone()) else { continue };
            thread::spawn(move || pass(accepted, connected));
            thread::spawn(move || pass(answers, back));
        }
    });
}

/// Passes on what comes, to its end.
fn pass(mut from: TcpStream, mut to: TcpStream) {
    _ = io::copy(&mut from, &mut to);
    _ = to.shutdown(Shutdown::Write);
}
