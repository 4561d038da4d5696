//! Scans by other tools, imported into a running appliance: by HTTP and from the spool directory.

use std::{
    collections::BTreeSet, fmt::Write as _, fs, io::Write as _, path::Path, process::Command, time::Duration,
};

use nix::{sys::stat::Mode, unistd::mkfifo};
use serde_json::Value;

use crate::{
    harness::{Portscan, Running, eventually, tested_binary},
    lab::{Lab, outputs},
};

/// The appliance scans no device; only nmap does.
const QUIET: &str = "[feed]\nurl = []\nhosts = []\n";

const LONG: Duration = Duration::from_secs(120);

/// Uploads a file as a CI runner would; returns the status.
fn post(running: &Running, file: &Path) -> String {
    let curl = Command::new("curl")
        .args(["-sS", "-X", "POST", "-H", "Content-Type: text/xml", "-o", "/dev/null", "-w", "%{http_code}"])
        .args(["-T", file.to_str().unwrap(), &format!("{}/v1/scan", running.base())])
        .output()
        .expect("curl is installed");
    assert!(curl.status.success(), "{}", String::from_utf8_lossy(&curl.stderr));
    String::from_utf8(curl.stdout).unwrap()
}

/// The rows of the only scan.
fn rows(running: &Running) -> BTreeSet<(String, u64, String)> {
    let scans = running.get("/v1/scans").json();
    let [scan] = scans.as_array().unwrap().as_slice() else { panic!("{scans}") };
    let rows = running.get(&format!("/v1/scan/{}", scan["id"])).json();
    let row = |row: &Value| {
        let text = |key: &str| row[key].as_str().unwrap().to_owned();
        (text("address"), row["port"].as_u64().unwrap(), text("state"))
    };
    rows.as_array().unwrap().iter().map(row).collect()
}

#[test]
fn an_imported_nmap_report_is_served_as_nmap_reported_it() {
    let lab = Lab::enter("near");
    let portscan = Portscan::new(&lab, QUIET);
    let running = portscan.start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("nmap.xml");
    let nmap = Command::new("nmap")
        .args(["-sS", "-n", "-T4", "-p", "1-100,443,8080", "-oX", file.to_str().unwrap(), "-oG", "-"])
        .arg("10.77.0.5-7")
        .output()
        .expect("nmap is installed");
    assert!(nmap.status.success(), "{}", String::from_utf8_lossy(&nmap.stderr));
    for _ in 0..2 {
        assert_eq!(post(&running, &file), "204");
    }
    // nmap's greppable output is the reference for its XML; whether nmap is right is not tested here.
    let said = outputs::nmap(&String::from_utf8(nmap.stdout).unwrap());
    let open = said.iter().flat_map(|(address, ports)| {
        ports.iter().map(|port| (address.to_string(), u64::from(port), "open".to_owned()))
    });
    assert_eq!(rows(&running), open.collect());
    assert!(said.len() == 3 && said.values().any(|open| open.contains(22)), "{said:?}");
    // nmap ran on the same LAN and reported the MACs: they are the same devices as by an own scan.
    for host in lab.hosts() {
        assert_eq!(running.open_ports(&host.mac().to_string()).as_ref(), said.get(&host.address()));
    }
    running.stop();
}

/// Writes a report of so many hosts with port 22 open and that much script output for each; returns its length.
fn large(file: &Path, hosts: u16, chatter: usize) -> u64 {
    let file = fs::File::create(file).unwrap();
    write_large(&file, hosts, chatter);
    file.metadata().unwrap().len()
}

fn write_large(file: &fs::File, hosts: u16, chatter: usize) {
    let mut out = std::io::BufWriter::new(file);
    let head = "<?xml version=\"1.0\"?>\n<!DOCTYPE nmaprun>\n<nmaprun scanner=\"nmap\" start=\"1772359200\" \
                version=\"7.93\" xmloutputversion=\"1.05\">\n<scaninfo type=\"connect\" protocol=\"tcp\" \
                numservices=\"100\" services=\"1-100\"/>\n";
    out.write_all(head.as_bytes()).unwrap();
    let chatter = "x".repeat(chatter);
    for host in 0..hosts {
        let [high, low] = host.to_be_bytes();
        let mut text = String::new();
        writeln!(
            text,
            "<host><status state=\"up\"/><address addr=\"10.78.{high}.{low}\" addrtype=\"ipv4\"/><ports>\
             <extraports state=\"closed\" count=\"99\"/><port protocol=\"tcp\" portid=\"22\"><state state=\"open\"/>\
             <script id=\"x\" output=\"{chatter}\"/></port></ports></host>"
        )
        .unwrap();
        out.write_all(text.as_bytes()).unwrap();
    }
    out.write_all(b"<runstats><finished time=\"1772359260\" exit=\"success\"/></runstats></nmaprun>\n")
        .unwrap();
    out.flush().unwrap();
}

#[test]
fn importing_a_hundred_megabytes_takes_little_memory() {
    let lab = Lab::enter("near");
    let running = Portscan::new(&lab, QUIET).start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("large.xml");
    assert!(large(&file, 1000, 100_000) > 100_000_000);
    let before = running.peak_rss();
    assert_eq!(post(&running, &file), "204");
    let grown = running.peak_rss() - before;
    assert!(grown < 16 << 20, "{grown} bytes");
    assert_eq!(rows(&running).len(), 1000);
    running.stop();
}

#[test]
fn the_import_command_streams_a_report() {
    let lab = Lab::enter("near");
    let portscan = Portscan::new(&lab, QUIET);
    let running = portscan.start();
    let folder = tempfile::tempdir().unwrap();
    // A pipe, so that the command is still running when it has read nearly all.
    let pipe = folder.path().join("large.xml");
    mkfifo(&pipe, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    let command = portscan.begin(&["import", pipe.to_str().unwrap(), "--url", running.base()]);
    let writer = fs::File::options().write(true).open(&pipe).unwrap();
    write_large(&writer, 1000, 60_000);
    let peak = command.peak_rss();
    drop(writer);
    let ended = command.wait(LONG);
    assert!(ended.success(), "{ended}");
    assert!(peak < 32 << 20, "{peak} bytes for a report of 60 MB");
    assert_eq!(rows(&running).len(), 1000);
    running.stop();
}

#[test]
fn the_spool_is_emptied_despite_kills_and_malformed_files() {
    const FILES: u16 = 6;
    let lab = Lab::enter("near");
    let folder = tempfile::tempdir().unwrap();
    let spool = folder.path().join("spool");
    fs::create_dir(&spool).unwrap();
    let portscan = Portscan::new(&lab, &format!("spool = {spool:?}\n{QUIET}"));
    for number in 0..FILES {
        // Renamed once it is complete, as a careful writer does.
        let beside = spool.join(format!("{number}.xml.partial"));
        large(&beside, 300 + number, 10);
        fs::rename(&beside, spool.join(format!("{number}.xml"))).unwrap();
    }
    fs::write(spool.join("notes.XML"), "not a report").unwrap();
    let count = |folder: &str| fs::read_dir(spool.join(folder)).map_or(0, Iterator::count);
    // Each instance is killed in the middle of its work.
    for life in 1..=3 {
        let running = portscan.start();
        eventually(LONG, "it has archived a report", || (count("archive") >= life).then_some(()));
        running.kill();
    }
    let running = portscan.start();
    eventually(LONG, "the spool is empty", || {
        (count("archive") == usize::from(FILES) && count("failed") == 2).then_some(())
    });
    let reason = fs::read_to_string(spool.join("failed/notes.XML.reason")).unwrap();
    assert!(reason.contains("nmap -oX"), "{reason}");
    // All start in the same second: their ids are consecutive, and each report is stored once.
    let scans = running.get("/v1/scans").json();
    assert_eq!(scans.as_array().unwrap().len(), usize::from(FILES), "{scans}");
    running.stop();
}

#[test]
fn a_report_on_standard_input_is_imported_and_summarised() {
    let lab = Lab::enter("near");
    let running = Portscan::new(&lab, QUIET).start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("small.xml");
    large(&file, 3, 10);
    let ran = Command::new(tested_binary())
        .args(["import", "-", "--url", running.base()])
        .stdin(fs::File::open(&file).unwrap())
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let said = String::from_utf8(ran.stdout).unwrap();
    assert_eq!(said, "-: scan 1772359200: 3 hosts with 3 listed ports (3 open)\n");
    assert_eq!(rows(&running).len(), 3);
    running.stop();
}

#[test]
fn expectations_can_be_changed_during_an_import() {
    let lab = Lab::enter("near");
    let running = Portscan::new(&lab, QUIET).start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("large.xml");
    large(&file, 5000, 10);
    let expected = serde_json::json!([{"address": "10.78.0.1", "port": 22, "protocol": "tcp", "state": "open", "comment": ""}]);
    let devices = || running.get("/v1/info").json()["devices"].as_u64().unwrap();
    std::thread::scope(|scope| {
        let import = scope.spawn(|| post(&running, &file));
        eventually(LONG, "the first hosts are stored", || (devices() > 0).then_some(()));
        assert_eq!(running.patch("/v1/expected", &expected).status, 204);
        assert_eq!(import.join().unwrap(), "204");
    });
    assert_eq!((devices(), rows(&running).len()), (5000, 5000));
    running.stop();
}

#[test]
fn control_characters_in_a_spool_file_name_are_escaped_in_the_log() {
    let lab = Lab::enter("near");
    let folder = tempfile::tempdir().unwrap();
    let spool = folder.path().join("spool");
    fs::create_dir(&spool).unwrap();
    let portscan = Portscan::new(&lab, &format!("spool = {spool:?}\n{QUIET}"));
    let running = portscan.start();
    let name =
        "a\n2026-11-29T00:00:00Z  INFO forged\r\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}\u{2028}.xml";
    fs::write(spool.join(name), "<html/>").unwrap();
    let line = running.wait_for_line(LONG, |line| line.contains("to the failed ones"));
    let shown =
        r"a\n2026-11-29T00:00:00Z  INFO forged\r\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}\u{2028}.xml";
    assert!(line.contains(shown), "{line:?}");
    let log = running.log();
    let unseen = |c: char| c != '\n' && (c.is_control() || "\u{202e}\u{2028}".contains(c));
    assert!(
        !log.contains(unseen)
            && !log.lines().any(|line| line.contains("INFO forged") && !line.contains(shown))
    );
    running.stop();
}
