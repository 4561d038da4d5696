//! nmap's formats, checked with nmap's own tools: its DTD, ndiff, the parser that most scripts use, and nmap itself.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use portscan::{
    model::Address,
    nmap::{Report, ReportedHost},
};

use crate::{harness::Portscan, lab::Lab};

/// The DTD that nmap installs.
const DTD: &str = "/usr/share/nmap/nmap.dtd";

/// The interpreter that finds Debian's packages, whatever else is on the PATH.
const PYTHON: &str = "/usr/bin/python3";

/// Runs a tool to its end; returns what it printed, as an error if it failed.
fn tool(name: &str, arguments: &[&str]) -> Result<String, String> {
    let ran = Command::new(name).args(arguments).output();
    let ran = ran.unwrap_or_else(|error| panic!("{name} cannot be run ({error}); `make setup` installs it"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if ran.status.success() { Ok(text(&ran.stdout)) } else { Err(text(&ran.stdout) + &text(&ran.stderr)) }
}

/// Fails unless nmap's DTD allows what is in this file.
pub fn assert_valid(file: &Path) {
    tool("xmllint", &["--noout", "--dtdvalid", DTD, file.to_str().unwrap()])
        .unwrap_or_else(|error| panic!("{error}\n{}", fs::read_to_string(file).unwrap()));
}

/// Scans the same ports of the same hosts with both scanners; returns the two XML files.
fn scan_with_both(lab: &Lab, folder: &Path, ports: &str, options: &[&str]) -> (PathBuf, PathBuf) {
    let (ours, theirs) = (folder.join("ours.xml"), folder.join("theirs.xml"));
    let targets: Vec<String> = lab.hosts().map(|host| host.address().to_string()).collect();
    let arguments = |file: &Path| {
        let mut arguments =
            vec!["-sT".to_owned(), "-n".into(), "-T4".into(), "-p".into(), ports.into(), "-oX".into()];
        arguments.push(file.to_str().unwrap().to_owned());
        arguments.extend(options.iter().map(|&option| option.to_owned()));
        arguments.extend(targets.iter().cloned());
        arguments
    };
    let scan: Vec<String> = [vec!["scan".to_owned()], arguments(&ours)].concat();
    let scan: Vec<&str> = scan.iter().map(String::as_str).collect();
    let ran = Portscan::new(lab, "").run(&scan, Duration::from_secs(120));
    assert!(ran.status.success(), "{}", ran.stderr);
    let nmap = arguments(&theirs);
    let nmap: Vec<&str> = nmap.iter().map(String::as_str).collect();
    tool("nmap", &nmap).unwrap_or_else(|error| panic!("{error}"));
    (ours, theirs)
}

fn hosts(file: &Path) -> Vec<ReportedHost> {
    let text = fs::read(file).unwrap();
    let mut report = Report::open(text.as_slice()).unwrap();
    std::iter::from_fn(|| report.next_host().unwrap()).collect()
}

/// The lines in which `ndiff` finds two files to differ, without the headline with time and command.
fn ndiff(ours: &Path, theirs: &Path) -> Vec<String> {
    let said = match tool("ndiff", &[theirs.to_str().unwrap(), ours.to_str().unwrap()]) {
        Ok(said) => said,
        // Exit status 1: they differ; 2: it could not read them, and prints why.
        Err(said) => said,
    };
    let differs = |line: &&str| line.starts_with(['+', '-']) && !line.contains(" scan initiated ");
    said.lines().filter(differs).map(str::to_owned).collect()
}

/// The verdicts about all ports of a file's hosts, in the file's order.
fn verdicts(file: &Path) -> Vec<(Address, u16, &'static str)> {
    let verdicts = |host: ReportedHost| {
        let of = |port, state| (host.address.clone(), port, state);
        host.reports[0].verdicts().map(|found| of(found.port, found.state.as_str())).collect::<Vec<_>>()
    };
    hosts(file).into_iter().flat_map(verdicts).collect()
}

/// Fails if our file differs from the scenario, or from nmap's in anything but nmap's own mistakes: its connect scan
/// takes a socket without an error for a connection, and reports one silent port in some millions as open.
fn assert_tells_the_same(lab: &Lab, ours: &Path, theirs: &Path) {
    let truth = |(address, port, _): &(Address, u16, &'static str)| {
        (address.clone(), *port, lab.host(&address.to_string()).state(*port).as_str())
    };
    let (our, their) = (verdicts(ours), verdicts(theirs));
    assert_eq!(our, our.iter().map(truth).collect::<Vec<_>>());
    let mistakes: Vec<String> = their
        .iter()
        .filter(|&verdict| *verdict != truth(verdict))
        .map(|(_, port, _)| format!("{port}/tcp"))
        .collect();
    // A mistaken port is listed, or counted among those that are not.
    let is_theirs = |line: &String| {
        let about = line.trim_start_matches(['+', '-']);
        mistakes.iter().any(|port| about.split_whitespace().next() == Some(port))
            || (!mistakes.is_empty() && about.starts_with("Not shown:"))
    };
    let differences: Vec<String> = ndiff(ours, theirs).into_iter().filter(|line| !is_theirs(line)).collect();
    assert_eq!(differences, Vec::<String>::new());
    let form = |file: &Path| {
        let hosts = hosts(file).into_iter().map(|host| (host.address.clone(), host.mac));
        let looked_at = verdicts(file).into_iter().map(|(address, port, _)| (address, port));
        (hosts.collect::<Vec<_>>(), looked_at.collect::<Vec<_>>())
    };
    assert_eq!(form(ours), form(theirs));
}

#[test]
fn our_xml_is_valid_and_agrees_with_nmaps() {
    let (lab, folder) = (Lab::enter("near"), tempfile::tempdir().unwrap());
    let (ours, theirs) = scan_with_both(&lab, folder.path(), "20-90,443", &[]);
    assert_valid(&ours);
    assert_eq!(verdicts(&ours).len(), 3 * 72);
    assert_tells_the_same(&lab, &ours, &theirs);
}

/// Once nmap reported port 23 as open on a host that drops packets to it.
#[test]
fn a_false_open_port_in_nmaps_report_does_not_fail_the_comparison() {
    let (lab, folder) = (Lab::enter("near"), tempfile::tempdir().unwrap());
    let ours = folder.path().join("ours.xml");
    let scan = ["scan", "-T4", "-p", "20-90,443", "-oX", ours.to_str().unwrap(), "10.77.0.5-7"];
    let ran = Portscan::new(&lab, "").run(&scan, Duration::from_secs(120));
    assert!(ran.status.success(), "{}", ran.stderr);
    let text = fs::read_to_string(&ours).unwrap();
    let (before, host) = text.split_at(text.find("addr=\"10.77.0.6\"").unwrap());
    let (host, after) = host.split_at(host.find("</host>").unwrap());
    let phantom = "<port protocol=\"tcp\" portid=\"23\"><state state=\"open\" reason=\"syn-ack\" reason_ttl=\"0\"/>\
                   <service name=\"telnet\" method=\"table\" conf=\"3\"/></port></ports>";
    let host = host.replace("count=\"71\"", "count=\"70\"").replace("</ports>", phantom);
    let theirs = folder.path().join("theirs.xml");
    fs::write(&theirs, format!("{before}{host}{after}")).unwrap();
    assert!(verdicts(&theirs).contains(&("10.77.0.6".parse().unwrap(), 23, "open")));
    assert_eq!(ndiff(&ours, &theirs).len(), 3, "the port and two counts: {:?}", ndiff(&ours, &theirs));
    assert_tells_the_same(&lab, &ours, &theirs);
}

#[test]
fn every_optional_part_of_our_xml_is_valid() {
    let (lab, folder) = (Lab::enter("near"), tempfile::tempdir().unwrap());
    let file = folder.path().join("all.xml");
    let file = file.to_str().unwrap();
    // A host that is down, which -v lists; some that time out; a host name.
    let options = ["-v", "-T4", "-p", "1-20000", "--max-rate", "50", "--host-timeout", "20s"];
    let scan = [&["scan"][..], &options, &["-oX", file]].concat();
    let targets = ["10.77.0.5", "10.77.0.6", "10.77.0.99", "localhost"];
    let ran = Portscan::new(&lab, "").run(&[&scan[..], &targets].concat(), Duration::from_secs(240));
    assert!(ran.status.success(), "{}", ran.stderr);
    let text = fs::read_to_string(file).unwrap();
    for part in ["state=\"down\"", "timedout=\"true\"", "hostname name=\"localhost\"", "addrtype=\"mac\""] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_valid(Path::new(file));
}

/// Most scripts read nmap's XML with python-libnmap.
#[test]
fn python_libnmap_reads_our_xml() {
    let (lab, folder) = (Lab::enter("near"), tempfile::tempdir().unwrap());
    let file = folder.path().join("out.xml");
    let file = file.to_str().unwrap();
    let scan = ["scan", "-T4", "-p", "1-100", "-oX", file, "10.77.0.5-7"];
    let ran = Portscan::new(&lab, "").run(&scan, Duration::from_secs(240));
    assert!(ran.status.success(), "{}", ran.stderr);
    let script = "import sys\nfrom libnmap.parser import NmapParser\n\
                  report = NmapParser.parse_fromfile(sys.argv[1])\n\
                  print(report.hosts_up, report.hosts_total, report.summary != '')\n\
                  for host in report.hosts: print(host.address, host.mac, host.status, host.get_open_ports())\n";
    let said = tool(PYTHON, &["-c", script, file]).unwrap_or_else(|error| panic!("{error}"));
    let expected = "3 3 True\n\
                    10.77.0.5 02:00:00:00:00:05 up [(22, 'tcp'), (80, 'tcp')]\n\
                    10.77.0.6 02:00:00:00:00:06 up [(22, 'tcp')]\n\
                    10.77.0.7 02:00:00:00:00:07 up [(80, 'tcp')]\n";
    assert_eq!(said, expected);
}
