//! Real Debian servers, each on its own machine of the lab, as people have them on their networks.

use std::{
    fs,
    net::TcpStream,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use nix::mount::{MsFlags, mount};
use tempfile::TempDir;

use super::{Reaped, eventually, missing, tool};
use crate::lab::{Node, PORT};

/// From start to its first connection, on a busy machine.
const READY: Duration = Duration::from_secs(60);

/// A server that runs until it is dropped.
pub struct Server {
    _child: Reaped,
    _home: TempDir,
}

impl Server {
    /// Starts a program that `make setup` gets, on this machine, and waits until it listens at the port. `arguments` may
    /// write its files into the directory that they are given, which is there as long as the server.
    pub fn start(
        node: &Node,
        program: &str,
        port: u16,
        arguments: impl FnOnce(&Path) -> Vec<String> + Send,
    ) -> Self {
        let server = Self::spawn(node, program, arguments);
        let address = node.address();
        eventually(READY, &format!("{program} listens"), || {
            node.within(|| TcpStream::connect((address, port)).ok())
        });
        server
    }

    /// The same for a server that listens at this port by UDP.
    pub fn start_udp(
        node: &Node,
        program: &str,
        port: u16,
        arguments: impl FnOnce(&Path) -> Vec<String> + Send,
    ) -> Self {
        let server = Self::spawn(node, program, arguments);
        eventually(READY, &format!("{program} listens"), || {
            let sockets = node.within(|| fs::read_to_string("/proc/thread-self/net/udp"));
            sockets.expect("it is readable").contains(&format!(":{port:04X} ")).then_some(())
        });
        server
    }

    fn spawn(node: &Node, program: &str, arguments: impl FnOnce(&Path) -> Vec<String> + Send) -> Self {
        let home = TempDir::new().expect("a temporary directory");
        let child = node.within(|| {
            let arguments = arguments(home.path());
            let child = tool(program).args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).spawn();
            Reaped(child.unwrap_or_else(|error| missing(program, &error)))
        });
        Self { _child: child, _home: home }
    }

    /// dnsmasq: DNS at port 53, and TFTP at port 69, from another port as all of them do.
    pub fn dnsmasq(node: &Node) -> Self {
        Self::start(node, "dnsmasq", 53, |home| {
            let root = format!("--tftp-root={}", home.display());
            // It stays the user that it is: a user namespace has no other.
            let fixed = ["--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts"];
            let more = ["--enable-tftp", &root];
            fixed.into_iter().chain(more).map(str::to_owned).collect()
        })
    }

    /// chrony, a server of NTP at port 123 that leaves the machine's clock alone.
    pub fn chronyd(node: &Node) -> Self {
        Self::start_udp(node, "chronyd", 123, |home| {
            let config = home.join("chrony.conf");
            let pid = home.join("pid");
            let text =
                format!("local stratum 10\nallow\ncmdport 0\nbindcmdaddress /\npidfile {}\n", pid.display());
            fs::write(&config, text).expect("writing its configuration");
            ["-d", "-x", "-u", "root", "-f"]
                .map(str::to_owned)
                .into_iter()
                .chain([config.display().to_string()])
                .collect()
        })
    }

    /// net-snmp's agent at port 161, which knows this community; none knows its users.
    pub fn snmpd(node: &Node, community: &str) -> Self {
        Self::start_udp(node, "snmpd", 161, |home| {
            let config = home.join("snmpd.conf");
            let text = format!(
                "agentaddress udp:161\nrocommunity {community}\n[snmp] persistentDir {}\n",
                home.display()
            );
            fs::write(&config, text).expect("writing its configuration");
            ["-f", "-C", "-LS", "0-4", "d", "-c"]
                .map(str::to_owned)
                .into_iter()
                .chain([config.display().to_string()])
                .collect()
        })
    }

    /// radvd, which advertises this IPv6 network on the machine's port.
    pub fn radvd(node: &Node, network: &str) -> Self {
        Self::spawn(node, "radvd", |home| {
            let [config, pid] = ["radvd.conf", "pid"].map(|name| home.join(name).display().to_string());
            let text = format!(
                "interface {PORT} {{\nAdvSendAdvert on;\nMinRtrAdvInterval 3;\nMaxRtrAdvInterval 4;\n\
                 prefix {network} {{}};\n}};\n"
            );
            fs::write(&config, text).expect("writing its configuration");
            fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1").expect("a router forwards");
            ["-n", "-m", "stderr", "-C", &config, "-p", &pid].map(str::to_owned).to_vec()
        })
    }

    /// OpenSSH's server at port 22. Returns the fingerprint of its host key, too.
    pub fn sshd(node: &Node) -> (Self, String) {
        let mut fingerprint = String::new();
        let server = Self::start(node, "sshd", 22, |home| {
            add_user(home, "sshd");
            fs::create_dir_all("/run/sshd").expect("a /run of its own");
            let key = home.join("key");
            fingerprint = new_ssh_key(&key);
            let config = home.join("config");
            let text = format!("HostKey {}\nPidFile none\nUsePAM no\n", key.display());
            fs::write(&config, text).expect("writing its configuration");
            vec!["-D".to_owned(), "-e".to_owned(), "-f".to_owned(), config.display().to_string()]
        });
        (server, fingerprint)
    }

    /// Dropbear, the SSH server of small devices, at this port.
    pub fn dropbear(node: &Node, port: u16) -> Self {
        Self::start(node, "dropbear", port, |home| {
            let pid = home.join("pid");
            // It makes a host key when the first client comes, which has to wait for it.
            let key = home.join("key");
            let made = tool("dropbearkey").args(["-t", "ed25519", "-f"]).arg(&key).output();
            assert!(made.is_ok_and(|made| made.status.success()), "dropbearkey makes a key");
            ["-F", "-E", "-p", &port.to_string(), "-r", &key.display().to_string(), "-P"]
                .map(str::to_owned)
                .into_iter()
                .chain([pid.display().to_string()])
                .collect()
        })
    }

    /// nginx with a page of this title at port 80, and by TLS at port 443, with a certificate for this subject, as
    /// `openssl req` reads it.
    pub fn nginx(node: &Node, title: &str, subject: &str) -> Self {
        Self::start(node, "nginx", 443, |home| {
            let path = |name: &str| home.join(name).display().to_string();
            let made = Command::new("openssl")
                .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
                .args(["-days", "30", "-subj", subject, "-addext", "subjectAltName=DNS:nas.local"])
                .args(["-keyout", &path("key"), "-out", &path("certificate")])
                .output();
            assert!(made.is_ok_and(|made| made.status.success()), "openssl makes a certificate");
            fs::write(path("index.html"), format!("<html><head><title>{title}</title></head></html>"))
                .expect("writing its page");
            let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
                .map(|kind| format!("{kind}_temp_path {};\n", path(kind)))
                .concat();
            let config = format!(
                "daemon off;\npid {};\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n{temporary}\
                 server {{\nlisten 80;\nlisten 443 ssl;\nssl_certificate {};\nssl_certificate_key {};\nroot {};\n\
                 types {{ text/html html; }}\n}}\n}}\n",
                path("pid"),
                path("certificate"),
                path("key"),
                home.display()
            );
            fs::write(home.join("nginx.conf"), config).expect("writing its configuration");
            // One process: workers would be another user's, which a user namespace does not have.
            ["-e", "stderr", "-g", "master_process off;", "-c", &path("nginx.conf")]
                .map(str::to_owned)
                .to_vec()
        })
    }
}

/// Makes an SSH key without a password, and returns its fingerprint.
fn new_ssh_key(path: &Path) -> String {
    let keygen = |arguments: &[&str]| {
        let ran = Command::new("ssh-keygen").args(arguments).arg("-f").arg(path).output();
        let ran = ran.unwrap_or_else(|error| missing("ssh-keygen", &error));
        assert!(ran.status.success(), "ssh-keygen: {}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8_lossy(&ran.stdout).into_owned()
    };
    keygen(&["-q", "-t", "ed25519", "-N", ""]);
    let shown = keygen(&["-l"]);
    shown.split(' ').nth(1).expect("size, fingerprint, comment").to_owned()
}

/// Gives the machine a user of this name, with the number of the user that runs the tests, because there may be no
/// other.
fn add_user(home: &Path, name: &str) {
    let (ours, theirs) = (home.join("passwd"), Path::new("/etc/passwd"));
    let known = fs::read_to_string(theirs).expect("it is readable");
    if !known.contains(&format!("\n{name}:")) {
        fs::write(&ours, known + &format!("{name}:x:0:0::/:/bin/false\n")).expect("writing");
        mount(Some(&ours), theirs, None::<&str>, MsFlags::MS_BIND, None::<&str>).expect("a mount of its own");
    }
}
