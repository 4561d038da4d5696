//! Identification by connections: what devices receive at each level, and how fragile ones survive it.

use std::{
    fs,
    io::Write,
    net::{Ipv4Addr, TcpListener},
    thread,
    time::Duration,
};

use nix::sys::signal::Signal;
use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;

use crate::{
    harness::{LONG, Portscan, Running, eventually, field, scanner, server::Server, static_feed},
    lab::{Lab, Node, Switch, namespace},
};

/// The ports of printers and machine controls.
const LEFT_ALONE: &str = "102,502,515,631,789,1911,1962,2404,4840,5006-5007,9100-9116,9600,9999,18245,20000,34962-34964,\
                          44818,47808";

/// A configuration that scans these ports of all devices of the lab, and logs what is identified.
fn config(lab: &Lab, level: &str, ports: &str) -> String {
    config_of_every(lab, level, "1d", ports)
}

fn config_of_every(lab: &Lab, level: &str, interval: &str, ports: &str) -> String {
    let feed = static_feed(lab);
    format!("log = \"debug\"\n{feed}[identify]\nlevel = \"{level}\"\n{}", scanner("lan", interval, ports))
}

/// Waits until a port was identified by this method, and returns the line that says so.
fn wait_for(running: &Running, address: &str, port: u16, method: &str) -> String {
    running.wait_for_line(LONG, |line| {
        line.contains("identified a port")
            && field(line, "address") == Some(address)
            && field(line, "port") == Some(&port.to_string())
            && field(line, "method") == Some(method)
    })
}

#[test]
fn ports_of_printers_and_controllers_get_no_connection_and_no_byte_at_any_level() {
    for (level, method) in
        [("off", None), ("announced", None), ("greetings", Some("greeting")), ("requests", Some("http"))]
    {
        let lab = Lab::describe(&format!(
            "[[host]]\naddress = \"10.77.0.5\"\nmac = \"02:00:00:00:00:05\"\nopen = \"{LEFT_ALONE}\"\n\
             [[host]]\naddress = \"10.77.0.6\"\nmac = \"02:00:00:00:00:06\"\nopen = \"80\"\n"
        ));
        let ports = format!("80,{LEFT_ALONE}");
        let running = Portscan::new(&lab, &config(&lab, level, &ports)).start();
        running.wait_for_complete(2, LONG);
        let printer = lab.host("10.77.0.5");
        let scanned = printer.stats();
        if let Some(method) = method {
            // Both were due at the same time, and by then the second connection to the printer would be, too.
            wait_for(&running, "10.77.0.6", 80, method);
        }
        let after = printer.stats();
        assert_eq!((after.payload, after.syns, after.left_open), (0, scanned.syns, 0), "{level}: {after:?}");
        let web = lab.host("10.77.0.6").stats();
        assert_eq!(web.payload > 0, level == "requests", "{level}: {web:?}");
        running.stop();
    }
}

#[test]
fn a_level_that_permits_no_connection_makes_none_and_a_device_may_have_its_own() {
    let lab = Lab::describe(
        "[[host]]\naddress = \"10.77.0.5-7\"\nmac = \"02:00:00:00:00:05+\"\nopen = \"22,8080\"\n",
    );
    let rules = "[[device]]\nmatch = \"10.77.0.5\"\nidentify = \"greetings\"\n\
                 [[device]]\nmatch = \"02:00:00:00:00:06\"\nidentify = \"off\"\n";
    let mut portscan = Portscan::new(&lab, &(config(&lab, "announced", "22,8080") + rules));
    let running = portscan.start();
    running.wait_for_complete(3, LONG);
    let syns = |address| lab.host(address).stats().syns;
    let (off, announced) = (syns("10.77.0.6"), syns("10.77.0.7"));
    wait_for(&running, "10.77.0.5", 8080, "greeting");
    assert_eq!((syns("10.77.0.6"), syns("10.77.0.7")), (off, announced));
    assert_eq!(lab.hosts().map(|host| host.stats().payload).sum::<u64>(), 0);

    portscan.set_config(&(config(&lab, "requests", "22,8080") + rules));
    portscan.write_config();
    running.signal(Signal::SIGHUP);
    wait_for(&running, "10.77.0.7", 8080, "http");
    assert_eq!(syns("10.77.0.6"), off);
    let payload = |address| lab.host(address).stats().payload;
    assert_eq!((payload("10.77.0.5"), payload("10.77.0.6")), (0, 0));
    assert!(payload("10.77.0.7") > 0);
    running.stop();
}

#[test]
fn a_gadget_with_few_connections_survives_being_identified() {
    let lab = Lab::enter("gadget");
    let running = Portscan::new(&lab, &config(&lab, "requests", "1-200,6053")).start();
    wait_for(&running, "10.77.0.70", 80, "http");
    wait_for(&running, "10.77.0.70", 6053, "greeting");
    let stats = lab.host("10.77.0.70").stats();
    assert_eq!((stats.reboots, stats.left_open), (0, 0), "{stats:?}");
    assert!(!running.log().contains("fell silent"));
    running.stop();
}

#[test]
fn a_device_that_falls_silent_is_left_alone_after_a_restart_too() {
    let lab = Lab::describe(
        "[[host]]\naddress = \"10.77.0.5-6\"\nmac = \"02:00:00:00:00:05+\"\nopen = \"80,8080\"\n",
    );
    let mut portscan = Portscan::new(&lab, &config(&lab, "requests", "80,8080"));
    let running = portscan.start();
    let fragile = lab.host("10.77.0.5");
    wait_for(&running, "10.77.0.5", 80, "http");
    fragile.vanish();
    running.wait_for_line(LONG, |line| {
        line.contains("a device fell silent") && field(line, "device") == Some("02:00:00:00:00:05")
    });
    running.stop();
    let received = fragile.stats().payload;

    fragile.appear();
    lab.hosts().for_each(|host| host.open(8000));
    portscan.set_config(&config_of_every(&lab, "requests", "5s", "80,8000,8080"));
    let running = portscan.start();
    wait_for(&running, "10.77.0.6", 8000, "http");
    running
        .wait_for_line(LONG, |line| line.contains("finished") && field(line, "address") == Some("10.77.0.5"));
    assert_eq!(fragile.stats().payload, received);
    assert!(!running.log().contains("identified a port address=10.77.0.5"), "{}", running.log());
    running.stop();
}

#[test]
fn a_device_that_has_taken_the_address_of_another_is_sent_nothing() {
    let lab =
        Lab::describe("[[host]]\naddress = \"10.77.0.5-6\"\nmac = \"02:00:00:00:00:05+\"\nopen = \"80\"\n");
    let mut portscan = Portscan::new(&lab, &config(&lab, "off", "80"));
    let running = portscan.start();
    running.wait_for_complete(2, LONG);
    lab.host("10.77.0.5").set_mac("02:00:00:00:00:99");
    namespace::forget_neighbours();
    portscan.set_config(&config(&lab, "requests", "80"));
    portscan.write_config();
    running.signal(Signal::SIGHUP);
    wait_for(&running, "10.77.0.6", 80, "http");
    assert_eq!(lab.host("10.77.0.5").stats().payload, 0);
    assert!(!running.log().contains("identified a port address=10.77.0.5"), "{}", running.log());
    running.stop();
}

/// Greets every connection at this port of a machine, for as long as the test runs.
fn greet(node: &Node, port: u16, greeting: &'static str) {
    let address = node.address();
    let listener = node.within(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).expect("a free port"));
    thread::spawn(move || {
        let mut kept = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap_or_else(|error| panic!("{address}:{port}: {error}"));
            // A port scan has gone by now.
            let _ = stream.write_all(greeting.as_bytes());
            kept.push(stream);
        }
    });
}

#[test]
fn what_services_say_unasked_tells_what_they_are() {
    let switch = Switch::enter("10.77.0.2/24");
    let (scans, serves) = (switch.plug("10.77.0.1/24"), switch.plug("10.77.0.5/24"));
    greet(&serves, 2022, "SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n");
    greet(&serves, 21, "220 (vsFTPd 3.0.3)\r\n");
    greet(&serves, 12_345, "");
    let config = "log = \"debug\"\n[feed]\nurl = []\nhosts = [{ address = \"10.77.0.5\" }]\n".to_owned()
        + &scanner("lan", "1d", "21,2022,12345");
    let portscan = Portscan::on(&scans, "10.77.0.1", &config);
    let running = scans.within(|| portscan.start());
    let said = |port| {
        let line = wait_for(&running, "10.77.0.5", port, "greeting");
        let field = |key| field(&line, key).map(str::to_owned);
        (field("service"), field("product"), field("version"))
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(said(2022), (some("ssh"), some("OpenSSH"), some("9.2p1")));
    assert_eq!(said(21), (some("ftp"), some("vsftpd"), some("3.0.3")));
    assert_eq!(said(12_345), (None, None, None));
    running.stop_within(Duration::from_secs(20));
}

#[test]
fn real_servers_are_recognised_by_what_they_answer() {
    let switch = Switch::enter("10.77.0.2/24");
    let (scans, serves) = (switch.plug("10.77.0.1/24"), switch.plug("10.77.0.5/24"));
    let (_sshd, fingerprint) = Server::sshd(&serves);
    let _dropbear = Server::dropbear(&serves, 2222);
    let _nginx = Server::nginx(&serves, "Welcome to nas", "/O=Example Inc./CN=nas");
    let config = "log = \"debug\"\n[feed]\nurl = []\nhosts = [{ address = \"10.77.0.5\" }]\n\
                  [identify]\nlevel = \"requests\"\n"
        .to_owned()
        + &scanner("lan", "1d", "22,80,443,2222");
    let portscan = Portscan::on(&scans, "10.77.0.1", &config);
    let running = scans.within(|| portscan.start());
    let product = |port, method| {
        let line = wait_for(&running, "10.77.0.5", port, method);
        let field = |key| field(&line, key).unwrap_or_default().to_owned();
        (field("service"), field("product"))
    };
    let pair = |service: &str, product: &str| (service.to_owned(), product.to_owned());
    assert_eq!(product(22, "greeting"), pair("ssh", "OpenSSH"));
    assert_eq!(product(2222, "greeting"), pair("ssh", "Dropbear"));
    assert_eq!(product(22, "ssh-key"), pair("ssh", ""));
    assert_eq!(product(2222, "ssh-key"), pair("ssh", ""));
    assert_eq!(product(80, "http"), pair("http", "nginx"));
    assert_eq!(product(443, "http"), pair("http", "nginx"));
    wait_for(&running, "10.77.0.5", 443, "tls");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let database = Connection::open_with_flags(portscan.database(), flags).unwrap();
    let stored = || -> rusqlite::Result<Vec<String>> {
        database.prepare("SELECT body FROM identifications")?.query_map([], |row| row.get(0))?.collect()
    };
    for said in [fingerprint.as_str(), "Welcome to nas", "CN=nas,O=Example Inc."] {
        eventually(LONG, said, || stored().unwrap().iter().any(|body| body.contains(said)).then_some(()));
    }
    running.stop_within(Duration::from_secs(20));

    let scanned = scans.within(|| {
        let scan = ["scan", "-sV", "--json", "-p", "22,80,443,2222,9100", "10.77.0.5"];
        portscan.run(&scan, LONG).json()
    });
    let ports = scanned["hosts"][0]["ports"].as_array().unwrap();
    let told: Vec<(u64, &str, &str)> = ports
        .iter()
        .map(|port| {
            let text = |key: &str| port[key].as_str().unwrap_or_default();
            (port["port"].as_u64().unwrap(), text("service"), text("product"))
        })
        .collect();
    let expected =
        [(22, "ssh", "OpenSSH"), (80, "http", "nginx"), (443, "http", "nginx"), (2222, "ssh", "Dropbear")];
    assert_eq!(told, expected);
    assert_eq!((&ports[0]["host_key"], &ports[2]["tls"]), (&fingerprint.into(), &true.into()));
    assert_eq!(
        (&ports[1]["title"], &ports[2]["certificate"]["self_signed"]),
        (&"Welcome to nas".into(), &true.into())
    );

    let table = scans.within(|| portscan.run(&["scan", "-sV", "-p", "22,443", "10.77.0.5"], LONG).stdout);
    let row = table.lines().find(|line| line.starts_with("443/tcp")).unwrap();
    assert!(row.contains("ssl/http") && row.contains("nginx"), "{table}");
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("scan.xml");
    let scan = ["scan", "-sV", "-p", "22,80,443", "-oX", file.to_str().unwrap(), "10.77.0.5"];
    assert!(scans.within(|| portscan.run(&scan, LONG)).status.success());
    crate::nmap::assert_valid(&file);
    let text = fs::read_to_string(&file).unwrap();
    assert!(
        text.contains("product=\"nginx\"") && text.contains("tunnel=\"ssl\" method=\"probed\""),
        "{text}"
    );
}
