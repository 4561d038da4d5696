//! Other scanners' reports agree with an independent reader's view, host for host and port for port.
//!
//! The stored reports are small, and each has something that was once parsed wrongly. `PORTSCAN_TEST_REPORTS=DIR`
//! compares the reports of a directory instead, such as the samples that come with nmap or with its parsers.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use portscan::nmap::{Report, gather};
use serde_json::Value;

use crate::{harness::Portscan, lab::Lab};

/// The interpreter that finds Debian's packages, whatever else is on the PATH.
const PYTHON: &str = "/usr/bin/python3";

/// python-libnmap, and if it fails (masscan reports no host states) a plain XML parser: if an address is listed twice,
/// the later entry counts, port by port.
const READER: &str = r#"
import sys, xml.etree.ElementTree
def parsed(name):
    from libnmap.parser import NmapParser
    for host in NmapParser.parse_fromfile(name).hosts:
        ports = [(protocol, port, host.get_service(port, protocol).state) for port, protocol in host.get_ports()]
        yield host.address, host.status, ports
def plain(name):
    for host in xml.etree.ElementTree.parse(name).getroot().iter("host"):
        state, ports = host.find("status"), host.findall("ports/port")
        address = [a.get("addr") for a in host.findall("address") if a.get("addrtype") != "mac"]
        found = [(port.get("protocol"), port.get("portid"), port.find("state").get("state")) for port in ports]
        if address: yield address[0], "up" if state is None else state.get("state"), found
try: hosts = list(parsed(sys.argv[1]))
except Exception: hosts = list(plain(sys.argv[1]))
for address, status, ports in hosts:
    print(address, status)
    for protocol, port, state in ports: print(address, status, protocol, port, state)
"#;

type Ports = BTreeMap<(String, u16), String>;

/// The hosts that are up with their listed ports, as the reader sees them; `None` if it cannot read the file.
fn seen_by_reader(file: &Path) -> Option<BTreeMap<String, Ports>> {
    let ran = Command::new(PYTHON).args(["-c", READER, file.to_str().unwrap()]).output().unwrap();
    let mut hosts = BTreeMap::<String, Ports>::new();
    for line in String::from_utf8(ran.stdout).unwrap().lines() {
        let words: Vec<&str> = line.split(' ').collect();
        if words[1] != "up" {
            continue;
        }
        let host = hosts.entry(words[0].to_owned()).or_default();
        // ICMP and ARP, which masscan lists as ports, have no port number.
        if let [_, _, protocol @ ("tcp" | "udp" | "sctp" | "ip"), port, state] = words[..] {
            host.insert((protocol.to_owned(), port.parse().unwrap()), state.to_owned());
        }
    }
    ran.status.success().then_some(hosts)
}

/// The hosts as our parser sees them, with the states of our listed ports and of the reader's.
fn seen_by_us(file: &Path, theirs: &BTreeMap<String, Ports>) -> Result<BTreeMap<String, Ports>, String> {
    let text = fs::read(file).unwrap();
    let mut report = Report::open(text.as_slice()).map_err(|error| error.to_string())?;
    let hosts = gather(&mut report, tempfile::tempfile().unwrap()).map_err(|error| error.to_string())?;
    let mut seen = BTreeMap::new();
    for host in hosts.map(Result::unwrap) {
        let address = host.address.to_string();
        let mut ports = Ports::new();
        for report in &host.reports {
            let protocol = report.protocol.as_str().to_owned();
            let listed = report.findings.iter().map(|found| found.port);
            let reference = theirs.get(&address).into_iter().flat_map(Ports::keys);
            let reference = reference.filter(|(of, _)| *of == protocol).map(|(_, port)| *port);
            for port in listed.chain(reference) {
                let state = report.verdict(port).map_or("none", |found| found.state.as_str());
                ports.insert((protocol.clone(), port), state.to_owned());
            }
        }
        seen.insert(address, ports);
    }
    Ok(seen)
}

fn reports() -> Vec<PathBuf> {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/nmap");
    let root = std::env::var_os("PORTSCAN_TEST_REPORTS").map_or(kept, PathBuf::from);
    let (mut folders, mut files) = (vec![root], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "xml") {
                files.push(path);
            }
        }
    }
    files.sort();
    assert!(!files.is_empty());
    files
}

/// `(address, protocol, port, state)` of every row of a scan.
fn rows(answer: &Value) -> BTreeSet<(String, String, u64, String)> {
    let row = |row: &Value| {
        let text = |key: &str| row[key].as_str().unwrap().to_owned();
        (text("address"), text("protocol"), row["port"].as_u64().unwrap(), text("state"))
    };
    let all: Vec<_> = answer.as_array().unwrap().iter().map(row).collect();
    let each: BTreeSet<_> = all.iter().cloned().collect();
    assert_eq!(all.len(), each.len(), "no row twice: {all:?}");
    each
}

#[test]
fn our_parser_agrees_with_an_independent_reader() {
    let mut differing = Vec::new();
    for file in reports() {
        let name = file.display();
        let Some(theirs) = seen_by_reader(&file) else {
            eprintln!(
                "{name}: unreadable for the reader; our parser: {:?}",
                seen_by_us(&file, &BTreeMap::new()).err()
            );
            continue;
        };
        let ports: usize = theirs.values().map(Ports::len).sum();
        match seen_by_us(&file, &theirs) {
            Err(why) => eprintln!("{name}: {} hosts, {ports} ports; refused: {why}", theirs.len()),
            // Hosts that timed out have no ports in our results.
            Ok(mut ours) => {
                // Groups of ports that are named individually are findings of ours if they differ from the default.
                for (address, ports) in &mut ours {
                    let named = theirs.get(address);
                    ports.retain(|port, state| {
                        state == "open" || named.is_none_or(|it| it.contains_key(port))
                    });
                }
                eprintln!("{name}: {} hosts, {ports} ports; equal: {}", theirs.len(), ours == theirs);
                if ours != theirs {
                    differing.push(format!("{name}: theirs {theirs:?}\nours {ours:?}"));
                }
            }
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

#[test]
fn an_imported_report_is_served_as_an_independent_reader_sees_it() {
    let lab = Lab::enter("near");
    for file in reports() {
        let Some(theirs) = seen_by_reader(&file) else { continue };
        if seen_by_us(&file, &theirs).is_err() {
            continue;
        }
        let portscan = Portscan::new(&lab, "[feed]\nurl = []\nhosts = []\n");
        let running = portscan.start();
        let curl = Command::new("curl")
            .args(["-sS", "-X", "POST", "-H", "Content-Type: text/xml", "-H", "Accept: application/json"])
            .args(["-T", file.to_str().unwrap(), &format!("{}/v1/scan", running.base())])
            .output()
            .unwrap();
        let taken: Value = serde_json::from_slice(&curl.stdout).unwrap();
        let served = rows(&running.get(&format!("/v1/scan/{}", taken["id"])).json());
        let open = |state: &String| state == "open";
        let open_ports: BTreeSet<_> = theirs
            .iter()
            .flat_map(|(address, ports)| {
                ports.iter().filter(|(_, state)| open(state)).map(|((protocol, port), state)| {
                    (address.clone(), protocol.clone(), u64::from(*port), state.clone())
                })
            })
            .collect();
        let served: BTreeSet<_> = served.into_iter().filter(|(.., state)| open(state)).collect();
        assert_eq!(served, open_ports, "{}", file.display());
        // A device may have several of the addresses.
        let hosts = running.get("/v1/hosts").json();
        let addresses =
            hosts.as_array().unwrap().iter().flat_map(|host| host["addresses"].as_array().unwrap());
        let hosts: BTreeSet<String> =
            addresses.map(|at| at["address"].as_str().unwrap().to_owned()).collect();
        assert_eq!(hosts, theirs.into_keys().collect(), "{}", file.display());
        running.stop();
    }
}
