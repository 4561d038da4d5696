//! Debian's servers, each identified over a real network: correctly, or not at all. `make servers` installs them all
//! and prints the table; the few that `make setup` installs are tested in `identify.rs`.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::{
    harness::{LONG, Portscan, library, server::Server},
    lab::{Node, Switch},
};

/// A Debian server, and its correct identification.
struct Known {
    program: &'static str,
    port: u16,
    /// Its package, for the version.
    package: &'static str,
    /// `None` where it says nothing of itself unless it is asked in its own protocol.
    product: Option<&'static str>,
    /// Writes its files into the directory, and returns its arguments.
    arguments: fn(&Path) -> Vec<String>,
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// Writes a file, and returns its path.
fn written(home: &Path, name: &str, text: &str) -> String {
    let path = home.join(name);
    fs::write(&path, text).expect("writing a configuration");
    path.display().to_string()
}

const SERVERS: &[Known] = &[
    Known { program: "vsftpd", port: 21, package: "vsftpd", product: Some("vsftpd"), arguments: vsftpd },
    Known {
        program: "proftpd",
        port: 2121,
        package: "proftpd-core",
        product: Some("ProFTPD"),
        arguments: proftpd,
    },
    Known {
        program: "lighttpd",
        port: 8080,
        package: "lighttpd",
        product: Some("lighttpd"),
        arguments: lighttpd,
    },
    Known {
        // A scan sends nothing to a port that is not known for the web; the appliance does where UPnP names it.
        program: "minidlnad",
        port: 8200,
        package: "minidlna",
        product: None,
        arguments: minidlna,
    },
    Known {
        program: "mariadbd",
        port: 3306,
        package: "mariadb-server-core",
        product: Some("MariaDB"),
        arguments: mariadb,
    },
    Known { program: "redis-server", port: 6379, package: "redis-server", product: None, arguments: redis },
    Known { program: "mosquitto", port: 1883, package: "mosquitto", product: None, arguments: mosquitto },
    Known { program: "memcached", port: 11_211, package: "memcached", product: None, arguments: memcached },
    // It never receives a byte (RFC 8011's port is a printer's).
    Known { program: "cupsd", port: 631, package: "cups-daemon", product: None, arguments: cups },
];

fn vsftpd(home: &Path) -> Vec<String> {
    fs::create_dir_all("/run/vsftpd/empty").expect("a /run of its own");
    let text = "listen=YES\nbackground=NO\nsecure_chroot_dir=/run/vsftpd/empty\nftp_username=root\n";
    vec![written(home, "vsftpd.conf", text)]
}

fn proftpd(home: &Path) -> Vec<String> {
    let at = home.display();
    let text = format!(
        "ServerName test\nServerType standalone\nPort 2121\nUser root\nGroup root\nPidFile {at}/pid\n\
         ScoreboardFile {at}/score\nDelayEngine off\nUseReverseDNS off\n"
    );
    vec!["-n".to_owned(), "-c".to_owned(), written(home, "proftpd.conf", &text)]
}

fn lighttpd(home: &Path) -> Vec<String> {
    let text =
        format!("server.document-root = \"{}\"\nserver.port = 8080\nserver.modules = ()\n", home.display());
    vec!["-D".to_owned(), "-f".to_owned(), written(home, "lighttpd.conf", &text)]
}

fn minidlna(home: &Path) -> Vec<String> {
    let at = home.display();
    let text = format!("db_dir={at}\nmedia_dir={at}\nlog_dir={at}\nport=8200\nnetwork_interface=lan0\n");
    words(&format!("-S -P {at}/pid -f {}", written(home, "minidlna.conf", &text)))
}

fn mariadb(home: &Path) -> Vec<String> {
    let (data, share) = (home.join("data"), tools().join("usr/share/mysql"));
    fs::create_dir(&data).expect("making its directory");
    words(&format!(
        "--no-defaults --user=root --datadir={} --skip-grant-tables --innodb=OFF --default-storage-engine=Aria \
         --port=3306 --bind-address=0.0.0.0 --socket={}/socket --lc-messages-dir={} --character-sets-dir={}/charsets",
        data.display(),
        home.display(),
        share.display(),
        share.display()
    ))
}

fn redis(home: &Path) -> Vec<String> {
    let mut arguments = words(&format!("--port 6379 --protected-mode no --dir {} --save", home.display()));
    arguments.push(String::new());
    arguments
}

fn mosquitto(home: &Path) -> Vec<String> {
    let text = "listener 1883 0.0.0.0\nallow_anonymous true\nuser root\n";
    vec!["-c".to_owned(), written(home, "mosquitto.conf", text)]
}

fn memcached(_: &Path) -> Vec<String> {
    words("-u root -p 11211 -U 0")
}

fn cups(home: &Path) -> Vec<String> {
    let at = home.display();
    let files = format!(
        "ServerRoot {at}\nStateDir {at}/state\nCacheDir {at}/cache\nRequestRoot {at}/spool\nAccessLog {at}/access\n\
         ErrorLog {at}/error\nServerBin {0}/usr/lib/cups\nDataDir {0}/usr/share/cups\nUser lp\nGroup lp\n\
         SystemGroup root\n",
        tools().display()
    );
    for name in ["state", "cache", "spool"] {
        fs::create_dir(home.join(name)).expect("making its directories");
    }
    let (listens, files) =
        (written(home, "cupsd.conf", "Listen 0.0.0.0:631\n"), written(home, "files.conf", &files));
    vec!["-f".to_owned(), "-c".to_owned(), listens, "-s".to_owned(), files]
}

fn tools() -> PathBuf {
    testkit::repository("target/tools")
}

/// The upstream versions of the unpacked packages: `1:9.2p1-2+deb12u10` is 9.2p1.
fn versions() -> BTreeMap<String, String> {
    let listed = fs::read_to_string(tools().join("servers.versions")).expect("`make servers` writes it");
    let upstream = |version: &str| {
        let version = version.split_once(':').map_or(version, |(_, version)| version);
        let version = version.rsplit_once('-').map_or(version, |(version, _)| version);
        version.split(['+', '~']).next().unwrap_or_default().to_owned()
    };
    listed
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, of)| (name.to_owned(), upstream(of)))
        .collect()
}

/// nginx with a certificate that expired on 31 January 2020, at port 8443.
fn expired(node: &Node) -> Server {
    Server::start(node, "nginx", 8443, |home| {
        let path = |name: &str| home.join(name).display().to_string();
        let made = Command::new("openssl")
            .env("LD_PRELOAD", library("faketime/libfaketime.so.1"))
            .env("FAKETIME", "2020-01-01 00:00:00")
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=old.lan"])
            .args(["-keyout", &path("key"), "-out", &path("certificate")])
            .output();
        assert!(made.is_ok_and(|made| made.status.success()), "openssl makes a certificate");
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {};\n", path(kind)))
            .concat();
        let text = format!(
            "daemon off;\npid {};\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n{temporary}server {{\n\
             listen 8443 ssl;\nssl_certificate {};\nssl_certificate_key {};\n}}\n}}\n",
            path("pid"),
            path("certificate"),
            path("key")
        );
        let config = written(home, "nginx.conf", &text);
        ["-e", "stderr", "-g", "master_process off;", "-c", &config].map(str::to_owned).to_vec()
    })
}

/// Runs `scan -sV` over these ports of the machine at 10.77.0.5, and returns the ports of its document by number.
fn identified(scans: &Node, ports: &str) -> BTreeMap<u16, Value> {
    let portscan = Portscan::on(scans, "10.77.0.1", "[feed]\nurl = []\n");
    let scan = ["scan", "-sV", "-p", ports, "--json", "10.77.0.5"];
    let ran = scans.within(|| portscan.run(&scan, LONG));
    assert!(ran.status.success(), "{ran:?}");
    let document: Value = serde_json::from_str(&ran.stdout).expect("a document");
    let found = document["hosts"][0]["ports"].as_array().expect("ports").clone();
    found.into_iter().map(|port| (u16::try_from(port["port"].as_u64().unwrap()).unwrap(), port)).collect()
}

#[test]
#[ignore = "gets a hundred packages (`make servers`)"]
fn servers_are_named_rightly_or_not_at_all() {
    let versions = versions();
    let switch = Switch::enter("10.77.0.2/24");
    let (scans, serves) = (switch.plug("10.77.0.1/24"), switch.plug("10.77.0.5/24"));
    let (sshd, host_key) = Server::sshd(&serves);
    let mut running = vec![
        sshd,
        Server::dropbear(&serves, 2222),
        Server::nginx(&serves, "Home", "/CN=nas.lan"),
        expired(&serves),
    ];
    running.extend(
        SERVERS.iter().map(|known| Server::start(&serves, known.program, known.port, known.arguments)),
    );
    let ports = SERVERS.iter().map(|known| known.port).chain([22, 80, 443, 2222, 8443]);
    let found = identified(&scans, &ports.map(|port| port.to_string()).collect::<Vec<_>>().join(","));

    let others = [
        (22, "openssh-server", Some("OpenSSH")),
        (80, "nginx-light", Some("nginx")),
        (443, "nginx-light", Some("nginx")),
        (2222, "dropbear-bin", Some("Dropbear")),
        (8443, "nginx-light", Some("nginx")),
    ];
    let all = SERVERS.iter().map(|known| (known.port, known.package, known.product)).chain(others);
    eprintln!("| port | server | service | product | version | learned by |\n|---|---|---|---|---|---|");
    let mut wrong = Vec::new();
    for (port, package, product) in all {
        let row = &found[&port];
        let text = |key: &str| row[key].as_str().unwrap_or("-").to_owned();
        let method = row["evidence"]["method"].as_str().unwrap_or("-");
        eprintln!(
            "| {port} | {package} {} | {} | {} | {} | {method} |",
            versions[package],
            text("service"),
            text("product"),
            text("version")
        );
        let named = row["product"].as_str();
        let version_fits =
            row["version"].as_str().is_none_or(|version| versions[package].starts_with(version));
        if named.map(str::to_lowercase) != product.map(str::to_lowercase) || !version_fits {
            wrong.push(row.clone());
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(found[&22]["host_key"], host_key.as_str());
    let certificate = |port: u16| found[&port]["certificate"].clone();
    assert_eq!(
        (&certificate(443)["subject"], &certificate(443)["self_signed"]),
        (&"CN=nas.lan".into(), &true.into())
    );
    assert_eq!(
        (&certificate(8443)["subject"], &certificate(8443)["not_after"]),
        (&"CN=old.lan".into(), &"2020-01-31T00:00:00Z".into())
    );
}
