//! The commands against this machine's loopback, with the real engine and real sockets.

use std::{
    ffi::OsString,
    io,
    net::{Ipv4Addr, TcpListener, UdpSocket},
    num::NonZeroUsize,
    path::Path,
    sync::Arc,
};

use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    clock::SystemClock,
    net::{ConnectProber, SystemResolver},
};

fn world() -> CommandEnv {
    let clock = SystemClock::start();
    CommandEnv {
        clock: Arc::new(clock),
        resolver: Arc::new(SystemResolver::default()),
        links: Box::new(Links::read),
        prober: Box::new(move || {
            let limits = SystemLimits::raise_and_read()?;
            let prober = ConnectProber::start(NonZeroUsize::MIN, clock)?;
            let bounds = limits.bounds();
            let watch = prober.links().clone();
            let (scanner, thread) = Scanner::start(1, prober, clock, move || bounds)?;
            Ok(ProbeEngine { scanner, thread, limits, watch })
        }),
    }
}

/// The output of a command and its exit code.
struct Ran {
    out: String,
    err: String,
    code: u8,
}

async fn ran_with(line: &str, interrupted: CancellationToken) -> Ran {
    ran_in(&world(), line, interrupted).await
}

async fn ran_in(world: &CommandEnv, line: &str, interrupted: CancellationToken) -> Ran {
    let arguments = parse(line.split_whitespace().map(OsString::from)).unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut terminal = Terminal { out: &mut out, err: &mut err, input: None, width: None, progress: None };
    let ended = match &arguments.command {
        // `dispatch` would take Ctrl-C from the person who runs the tests.
        Command::Now(Now::Scan(scan)) => {
            scan::scan(scan, (arguments.verbose, &arguments.overrides()), world, &mut terminal, interrupted)
                .await
        }
        Command::Now(now) => dispatch(now, &arguments, world, &mut terminal).await,
        Command::Serve | Command::Worker => panic!("not a command that ends"),
    };
    let code = exit_code(ended, &mut terminal);
    Ran { out: String::from_utf8(out).unwrap(), err: String::from_utf8(err).unwrap(), code }
}

async fn ran(line: &str) -> Ran {
    ran_with(line, CancellationToken::new()).await
}

fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// A port on which nothing listens.
fn closed_port() -> u16 {
    listener().1
}

#[tokio::test]
async fn a_scan_lists_the_open_ports() {
    let ((_listener, open), closed) = (listener(), closed_port());
    let ran = ran(&format!("portscan scan -T4 -p {open},{closed} 127.0.0.1")).await;
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{}", ran.out);
    assert!(ran.out.starts_with("127.0.0.1  up"), "{}", ran.out);
    let row = |port: u16, state: &str| {
        ran.out.lines().any(|line| line.starts_with(&format!("{port}/tcp")) && line.contains(state))
    };
    assert!(row(open, "open") && row(closed, "closed"), "{}", ran.out);
    assert!(ran.out.lines().last().unwrap().starts_with("1 host up; 1 port open; "), "{}", ran.out);
}

#[tokio::test]
async fn json_output_is_one_document_in_the_order_of_the_targets() {
    let (_listener, open) = listener();
    let ran = ran(&format!("portscan scan --json -T4 -p {open} 127.0.0.3 127.0.0.1-2 127.0.0.3")).await;
    let document: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(document["scan"]["status"], "complete");
    let addresses: Vec<&str> =
        document["hosts"].as_array().unwrap().iter().map(|host| host["address"].as_str().unwrap()).collect();
    assert_eq!(addresses, ["127.0.0.3", "127.0.0.1", "127.0.0.2"]);
    assert_eq!(document["hosts"][1]["ports"][0]["port"], open);
}

#[tokio::test]
async fn report_options_write_the_files_that_nmap_would() {
    let ((_listener, open), folder) = (listener(), tempfile::tempdir().unwrap());
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("old.gnmap"), "before").unwrap();
    let line = format!(
        "portscan scan -T4 -p {open} -oA {} -oG {} 127.0.0.1",
        at("all").display(),
        at("old.gnmap").display()
    );
    let done = ran(&line).await;
    assert_eq!((done.code, done.err.as_str()), (0, ""));
    assert!(done.out.contains("1 port open"), "the table is printed too: {}", done.out);
    let text = |name: &str| std::fs::read_to_string(at(name)).unwrap();
    assert!(text("all.nmap").contains("Nmap scan report for 127.0.0.1\n"));
    assert!(text("all.gnmap").contains(&format!("Ports: {open}/open/tcp")));
    assert_eq!(
        text("all.gnmap").lines().nth(1),
        text("old.gnmap").lines().nth(1),
        "the old file is overwritten"
    );
    let xml = text("all.xml");
    assert!(xml.contains(&format!("args=\"{line}\"")), "{xml}");
    let mut report = crate::nmap::Report::open(xml.as_bytes()).unwrap();
    let host = report.next_host().unwrap().unwrap();
    assert_eq!(host.reports[0].open_ports().collect::<Vec<_>>(), [open]);
    let left: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 4, "no temporary file is left: {left:?}");
}

#[tokio::test]
async fn a_report_on_standard_output_replaces_the_table() {
    let (_listener, open) = listener();
    for (option, begins) in [("-oX", "<?xml"), ("-oN", "# Nmap"), ("-oG", "# Nmap")] {
        let ran = ran(&format!("portscan scan -T4 -p {open} {option} - 127.0.0.1")).await;
        assert!(ran.code == 0 && ran.out.starts_with(begins), "{}", ran.out);
        assert!(!ran.out.contains("probes/s"), "{}", ran.out);
    }
}

#[tokio::test]
async fn reports_an_unwritable_report_before_any_scan() {
    let ran = ran("portscan scan -p- -oX /nowhere/out.xml 127.0.0.1").await;
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    assert!(ran.err.contains("/nowhere/out.xml"), "{}", ran.err);
}

#[tokio::test]
async fn an_interrupted_scan_writes_a_report_with_an_error_exit() {
    let interrupted = CancellationToken::new();
    interrupted.cancel();
    let ran = ran_with("portscan scan -p- -oX - 127.0.0.0/26", interrupted).await;
    assert_eq!(ran.code, 130);
    assert!(ran.out.contains("exit=\"error\" errormsg=\"interrupted"), "{}", ran.out);
    assert!(ran.out.ends_with("</nmaprun>\n"));
}

#[tokio::test]
async fn an_interrupted_scan_prints_its_findings() {
    let interrupted = CancellationToken::new();
    interrupted.cancel();
    let ran = ran_with("portscan scan -p- 127.0.0.0/26", interrupted).await;
    assert_eq!(ran.code, 130);
    assert!(ran.out.lines().last().unwrap().starts_with("interrupted: "), "{}", ran.out);
    assert!(ran.out.contains(" not scanned;"), "{}", ran.out);
}

/// A port at which datagrams are taken and never answered.
fn silent_udp() -> (UdpSocket, u16) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}

#[tokio::test]
async fn a_scan_of_udp_tells_an_answer_from_a_refusal() {
    let ((server, open), (_, closed)) = (silent_udp(), silent_udp());
    let answering = std::thread::spawn(move || {
        let (_, asker) = server.recv_from(&mut [0; 8]).unwrap();
        server.send_to(b"!", asker).unwrap();
    });
    let folder = tempfile::tempdir().unwrap();
    let all = folder.path().join("all");
    let line = format!("portscan scan -sU --reason -p U:{open},{closed} -oA {} 127.0.0.1", all.display());
    let ran = ran(&line).await;
    answering.join().unwrap();
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{}", ran.out);
    let row = |port: u16, words: &[&str]| {
        let is_it = |line: &&str| line.starts_with(&format!("{port}/udp"));
        ran.out.lines().find(is_it).is_some_and(|line| words.iter().all(|word| line.contains(word)))
    };
    assert!(row(open, &["open", "udp-response"]) && row(closed, &["closed", "port-unreach"]), "{}", ran.out);
    let text = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    assert!(text("all.nmap").contains(&format!("{open}/udp")), "{}", text("all.nmap"));
    assert!(text("all.gnmap").contains(&format!("{open}/open/udp//")), "{}", text("all.gnmap"));
    let (xml, ports) = (text("all.xml"), format!("{},{}", open.min(closed), open.max(closed)));
    let scaninfo =
        format!("<scaninfo type=\"udp\" protocol=\"udp\" numservices=\"2\" services=\"{ports}\"/>");
    // Two ports in a row are a range.
    assert!(xml.contains(&scaninfo) || open.abs_diff(closed) == 1, "{xml}");
    let mut report = crate::nmap::Report::open(xml.as_bytes()).unwrap();
    let host = report.next_host().unwrap().unwrap();
    assert_eq!(host.reports[0].protocol, crate::model::Protocol::Udp);
    assert_eq!(host.reports[0].open_ports().collect::<Vec<_>>(), [open]);
}

#[tokio::test]
async fn an_interrupted_scan_of_udp_prints_what_is_known() {
    let (_silent, port) = silent_udp();
    let interrupted = CancellationToken::new();
    interrupted.cancel();
    let ran = ran_with(&format!("portscan scan -sU -Pn -p {port} 127.0.0.1"), interrupted).await;
    assert_eq!(ran.code, 130);
    assert!(ran.out.contains("partial: stopped"), "{}", ran.out);
    assert!(ran.out.lines().last().unwrap().starts_with("interrupted: "), "{}", ran.out);
}

#[tokio::test]
async fn probe_prints_a_line_and_exits_with_1_unless_open() {
    let ((_listener, open), closed) = (listener(), closed_port());
    let found = ran(&format!("portscan probe 127.0.0.1 {open}")).await;
    assert_eq!(found.code, 0);
    assert!(found.out.starts_with(&format!("127.0.0.1:{open} open")), "{}", found.out);
    let missing = ran(&format!("portscan probe --json 127.0.0.1 {closed}")).await;
    assert_eq!(missing.code, 1);
    assert_eq!(serde_json::from_str::<Value>(&missing.out).unwrap()["state"], "closed");
}

/// A name server that filters advertisements.
struct Blocking;

impl Resolve for Blocking {
    fn resolve<'a>(&'a self, name: &'a str) -> crate::resolve::Resolving<'a> {
        let text = if name == "blocked.example" { "0.0.0.0" } else { name };
        let answer = text.parse().map(|address| vec![address]);
        Box::pin(std::future::ready(answer.map_err(|_| ResolveError::Unknown(name.to_owned()))))
    }
}

/// Every command that takes a target, given by address and by name.
#[tokio::test]
async fn addresses_of_no_host_are_refused_before_any_packet() {
    for (target, why) in [
        ("0.0.0.0", "0.0.0.0 is not the address of one host; name another"),
        ("::", ":: is not the address of one host; name another"),
        ("::ffff:0.0.0.0", "0.0.0.0 is not the address of one host; name another"),
        ("224.0.0.1", "224.0.0.1 is not the address of one host; name another"),
        ("ff02::1", "ff02::1 is not the address of one host; name another"),
        ("255.255.255.255", "255.255.255.255 is not the address of one host; name another"),
        (
            "127.255.255.255",
            "127.255.255.255 stands for the whole network 127.0.0.0/8 on lo, not for one host; name another",
        ),
        (
            "blocked.example",
            "\"blocked.example\" leads nowhere: 0.0.0.0 is not the address of one host; name another",
        ),
        ("fe80::1", "fe80::1 is valid on one link only; name its interface: fe80::1%"),
        ("fe80::1%nosuch0", "fe80::1%nosuch0: no interface nosuch0 is up here; there are lo"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("list");
        std::fs::write(&list, target).unwrap();
        let commands = [
            format!("portscan probe {target} 22"),
            format!("portscan scan -Pn -p 22 {target}"),
            format!("portscan scan -sU -Pn -p 53 {target}"),
            format!("portscan scan -Pn -p 22 -iL {}", list.display()),
        ];
        for command in commands {
            // The world has no prober.
            let prober = Box::new(|| -> io::Result<ProbeEngine> { panic!("a probe would be sent") });
            let world = CommandEnv { resolver: Arc::new(Blocking), prober, ..world() };
            let ran = ran_in(&world, &command, CancellationToken::new()).await;
            assert_eq!((ran.code, ran.out.as_str()), (FAILED, ""), "{command}: {}", ran.err);
            assert!(ran.err.contains(why), "{command}: {}", ran.err);
        }
    }
}

#[tokio::test]
async fn commands_on_a_stopped_appliances_database_start_no_engine() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().display();
    let prober = Box::new(|| -> io::Result<ProbeEngine> { panic!("an engine would be started") });
    let world = CommandEnv { prober, ..world() };
    let copy = format!("backup {dir}/copy.db");
    for command in ["expected set 192.0.2.1 80", "expected list", "hosts", "changes", "diff", &copy] {
        let line = format!("portscan {command} --data-dir {dir}");
        let ran = ran_in(&world, &line, CancellationToken::new()).await;
        assert_eq!(ran.code, DONE, "{line}: {}", ran.err);
    }
}

#[tokio::test]
async fn a_scan_without_a_valid_target_fails_with_the_reason() {
    let ran = ran("portscan scan -p 1 0.0.0.0").await;
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    assert!(ran.err.contains("0.0.0.0") && ran.err.contains("none of the targets"), "{}", ran.err);
}

#[tokio::test]
async fn reports_an_appliance_that_does_not_run() {
    let ran = ran(&format!("portscan status --url http://127.0.0.1:{}", closed_port())).await;
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    assert!(ran.err.contains("portscan serve"), "{}", ran.err);
}

#[tokio::test]
async fn reports_each_fault_of_a_configuration_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("portscan.toml");
    std::fs::write(&file, "listen = [\"127.0.0.1:0\"]\nlissen = 1\ncache_expiry = \"1.5h\"\n").unwrap();
    let faulty = ran(&format!("portscan check-config --config {}", file.display())).await;
    assert_eq!((faulty.code, faulty.out.as_str()), (1, ""));
    assert!(faulty.err.contains(":2") && faulty.err.contains(":3"), "{}", faulty.err);

    let data = folder.path().join("data");
    std::fs::write(&file, format!("listen = [\"127.0.0.1:0\"]\ndata_dir = \"{}\"\n", data.display()))
        .unwrap();
    let valid = ran(&format!("portscan -v check-config --config {}", file.display())).await;
    assert_eq!((valid.code, valid.err.as_str()), (0, ""), "{}", valid.out);
    assert!(valid.out.starts_with("configuration is valid\n") && valid.out.contains("[[scanner]]"));

    let (_listener, taken) = listener();
    let line = format!("portscan check-config --config {} --listen 127.0.0.1:{taken}", file.display());
    let busy = ran(&line).await;
    assert_eq!(busy.code, 1);
    assert!(busy.out.contains(&format!("127.0.0.1:{taken}")), "{}", busy.out);
}

/// A hub is no site: what is written there would be believed to work.
#[tokio::test]
async fn a_hubs_configuration_has_no_fleet() {
    let folder = tempfile::tempdir().unwrap();
    let (file, data) = (folder.path().join("hub.toml"), folder.path().join("data"));
    let text = format!(
        "listen = [\"127.0.0.1:0\"]\ndata_dir = {data:?}\n[fleet]\nsite = \"a\"\nhub = \"tls://hub.example\"\n\
         credentials_dir = \"/run/credentials/none\"\n"
    );
    std::fs::write(&file, text).unwrap();
    let line = format!("portscan check-config --config {}", file.display());
    let appliance = ran(&line).await;
    assert_eq!(appliance.code, 0, "{}", appliance.out);
    let hub = ran(&format!("{line} --hub")).await;
    assert_eq!(hub.code, 1);
    assert!(hub.out.contains("[fleet]") && hub.out.contains("portscan.toml"), "{}", hub.out);
    std::fs::create_dir_all(data.join("sites")).unwrap();
    let unflagged = ran(&line).await;
    assert!(
        unflagged.code == 1 && unflagged.out.contains("[fleet]"),
        "it has copies of sites: {}",
        unflagged.out
    );
}

#[tokio::test]
async fn reports_are_imported_if_no_appliance_runs() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let config = format!("listen = [\"127.0.0.1:0\"]\ndata_dir = \"{}\"\n", at("data"));
    std::fs::write(at("portscan.toml"), config).unwrap();
    std::fs::create_dir(at("data")).unwrap();
    let (_listener, open) = listener();
    assert_eq!(ran(&format!("portscan scan -T4 -p {open} -oX {} 127.0.0.1", at("out.xml"))).await.code, 0);
    let kept = r#"{"host":{"ipv4":"192.0.2.5","mac":"02:00:00:00:00:05"},"time":{"utc":"2022-12-11 21:18:02","total_sec":2.0},"ports":[22],"count":1}"#;
    std::fs::write(at("kept.json"), kept).unwrap();
    std::fs::write(at("other.xml"), "<html/>").unwrap();
    for taken in ["1 host with 1 listed port (1 open)", "has been imported before: nothing is changed"] {
        let files = ["out.xml", "other.xml", "kept.json"].map(at).join(" ");
        let ran = ran(&format!("portscan import --config {} {files}", at("portscan.toml"))).await;
        let lines: Vec<&str> = ran.out.lines().collect();
        assert_eq!((ran.code, lines.len()), (1, 2), "{}{}", ran.out, ran.err);
        assert!(lines.iter().all(|line| line.ends_with(taken)), "{}", ran.out);
        assert!(
            ran.err.lines().count() == 1 && ran.err.contains("other.xml: this is not nmap's"),
            "{}",
            ran.err
        );
    }
    let database =
        rusqlite::Connection::open(folder.path().join("data").join(crate::store::FILE_NAME)).unwrap();
    let scans: i64 = database.query_row("SELECT count(*) FROM scans", [], |row| row.get(0)).unwrap();
    assert_eq!(scans, 2);
}

#[tokio::test]
async fn an_import_lists_what_it_stored_and_what_it_left_out() {
    let (home, options) = at_home();
    let at = |name: &str| home.path().join(name).display().to_string();
    let host = |status: &str, address: &str, ports: &str| {
        format!(
            "<host><status state=\"{status}\"/><address addr=\"{address}\"/><ports>{ports}</ports></host>"
        )
    };
    let open = "<port protocol=\"tcp\" portid=\"22\"><state state=\"open\"/></port>";
    let hosts = [
        host("up", "192.0.2.5", &(open.to_owned() + &open.replace("tcp", "icmp"))),
        host("up", "192.0.2.6", ""),
        host("down", "192.0.2.7", ""),
        host("down", "192.0.2.8", ""),
        host("unknown", "192.0.2.9", ""),
        host("up", "192.0.2.10", open).replace("<host>", "<host timedout=\"true\">"),
    ];
    let end = "<runstats><finished time=\"1772359260\" exit=\"success\"/></runstats></nmaprun>";
    let report = format!("<nmaprun scanner=\"nmap\" start=\"1772359200\">{}{end}", hosts.concat());
    std::fs::write(at("a.xml"), &report).unwrap();
    std::fs::write(at("b.xml"), report.replace("1772359200", "1772359300")).unwrap();
    std::fs::write(at("c.xml"), b"\x1f\x8b\x08").unwrap();
    let summary = ran(&format!("portscan {options} import {}", at("a.xml"))).await;
    let expected = format!(
        "{}: scan 1772359200: 1 host with 1 listed port (1 open), 1 host only seen, 1 host without a result; left out: \
         2 hosts (down), 1 host (not scanned (-sL, or skipped)), 1 port (of a protocol, number or state that is not \
         known here), 1 port (of hosts that nmap gave up)\n",
        at("a.xml")
    );
    assert_eq!((summary.code, summary.out), (0, expected), "{}", summary.err);
    let json = ran(&format!("portscan {options} import --json {} {}", at("b.xml"), at("c.xml"))).await;
    assert_eq!(json.code, 1, "{}", json.err);
    let files: Value = serde_json::from_str(&json.out).unwrap();
    let expected = serde_json::json!({
        "file": at("b.xml"), "id": 1_772_359_300, "known": false,
        "hosts": {"scanned": 1, "seen": 1, "unfinished": 1}, "ports": {"listed": 1, "open": 1},
        "left_out": [
            {"what": "hosts", "count": 2, "reason": "down"},
            {"what": "hosts", "count": 1, "reason": "not scanned (-sL, or skipped)"},
            {"what": "ports", "count": 1, "reason": "of a protocol, number or state that is not known here"},
            {"what": "ports", "count": 1, "reason": "of hosts that nmap gave up"},
        ],
    });
    assert_eq!(files[0], expected);
    assert!(files[1]["error"].as_str().unwrap().contains("gunzip"), "{files}");
}

#[test]
fn a_closed_pipe_is_no_error_and_a_full_disk_is_one() {
    let code = |kind: io::ErrorKind| {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut terminal =
            Terminal { out: &mut out, err: &mut err, input: None, width: None, progress: None };
        exit_code(Err(CliError::Output(kind.into())), &mut terminal)
    };
    assert_eq!(code(io::ErrorKind::BrokenPipe), 0);
    assert_eq!(code(io::ErrorKind::StorageFull), 1);
}

/// A data directory, with the options that select it.
fn at_home() -> (tempfile::TempDir, String) {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("portscan.toml");
    std::fs::write(&file, "[feed]\nurl = []\n").unwrap();
    let options = format!("--config {} --data-dir {}", file.display(), home.path().display());
    (home, options)
}

#[tokio::test]
async fn a_backup_works_if_no_appliance_runs() {
    let (home, options) = at_home();
    let file = home.path().join("copy.db");
    let stored = ran(&format!("portscan {options} expected set 192.0.2.1 22")).await;
    assert_eq!((stored.code, stored.err.as_str()), (0, ""));
    let backup = ran(&format!("portscan {options} backup {}", file.display())).await;
    assert_eq!((backup.code, backup.err.as_str()), (0, ""), "{}", backup.out);
    assert!(std::fs::read(&file).unwrap().starts_with(b"SQLite format 3\0"));
    let nowhere = ran(&format!("portscan {options} backup /nonexistent/copy.db")).await;
    assert_eq!(nowhere.code, 1);
    assert!(nowhere.err.contains("/nonexistent/copy.db"), "{}", nowhere.err);
}

#[tokio::test]
async fn a_failed_connection_names_the_url_option() {
    let (_home, options) = at_home();
    let run = ran(&format!("portscan {options} backup --url http://127.0.0.1:{} x", closed_port())).await;
    assert!(run.code == 1 && run.err.contains("--url"), "{}", run.err);
    let token = ran(&format!("portscan {options} token")).await;
    assert_eq!((token.code, token.out.trim_end().len()), (0, 48));
}

/// Every file and directory below a directory, with the files' contents.
fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let is_dir = path.is_dir();
        found.push((path.clone(), if is_dir { Vec::new() } else { std::fs::read(&path).unwrap() }));
        if is_dir {
            found.extend(contents(&path));
        }
    }
    found.sort();
    found
}

/// The commands that only read, which are run with `--listen` on a closed port.
fn reading_commands(copy: &Path) -> Vec<String> {
    let words =
        ["hosts", "hosts --json", "changes", "diff", "diff --exit-code", "expected list", "run", "status"];
    let backup = format!("backup {}", copy.display());
    words.into_iter().map(str::to_owned).chain([backup]).collect()
}

#[tokio::test]
async fn reading_commands_create_nothing_without_a_database() {
    for missing in [false, true] {
        let home = tempfile::tempdir().unwrap();
        let data = home.path().join("data");
        if !missing {
            std::fs::create_dir(&data).unwrap();
        }
        let file = home.path().join("portscan.toml");
        std::fs::write(&file, "[feed]\nurl = []\n").unwrap();
        let (before, copy) = (contents(home.path()), home.path().join("copy.db"));
        let options = format!(
            "--config {} --data-dir {} --listen 127.0.0.1:{}",
            file.display(),
            data.display(),
            closed_port()
        );
        for command in reading_commands(&copy) {
            let ran = ran(&format!("portscan {options} {command}")).await;
            assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{command}: {}", ran.err);
            // The error names the remedy.
            assert!(ran.err.contains("portscan serve"), "{command}: {}", ran.err);
            assert_eq!(contents(home.path()), before, "{command}");
        }
        let checked = ran(&format!("portscan {options} check-config")).await;
        assert_eq!(checked.code, 0, "{}", checked.out);
        assert_eq!(contents(home.path()), before);
    }
}

#[tokio::test]
async fn reading_commands_leave_a_stopped_appliances_directory_unchanged() {
    let (home, options) = at_home();
    let stored = ran(&format!("portscan {options} expected set 192.0.2.1 22")).await;
    assert_eq!((stored.code, stored.err.as_str()), (0, ""));
    assert!(!home.path().join(crate::http::TOKEN_FILE).exists(), "no client has needed a token yet");
    let elsewhere = tempfile::tempdir().unwrap();
    // A directory restored from a backup has no lock yet.
    for with_lock in [true, false] {
        if !with_lock {
            std::fs::remove_file(home.path().join("portscan.lock")).unwrap();
        }
        let before = contents(home.path());
        for command in reading_commands(&elsewhere.path().join("copy.db")) {
            let ran =
                ran(&format!("portscan {options} --listen 127.0.0.1:{} {command}", closed_port())).await;
            let expected = match command.as_str() {
                "run" | "status" | "diff --exit-code" => 1,
                _ => 0,
            };
            assert_eq!(ran.code, expected, "{command}: {}", ran.err);
            assert_eq!(contents(home.path()), before, "{command}");
        }
    }
}

#[tokio::test]
async fn a_file_or_link_in_place_of_the_data_directory_is_reported() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name).display().to_string();
    std::fs::write(at("portscan.toml"), "[feed]\nurl = []\n").unwrap();
    std::fs::write(at("file"), "").unwrap();
    std::os::unix::fs::symlink(at("nowhere"), at("link")).unwrap();
    for (data, commands, said) in [
        ("file", &["hosts", "expected set 192.0.2.1 22", "token", "check-config"][..], "is not a directory"),
        ("link", &["hosts", "expected set 192.0.2.1 22", "token", "check-config"], "is a symbolic link to"),
        ("missing", &["expected set 192.0.2.1 22", "token"], "there is no directory"),
    ] {
        for command in commands {
            let ran =
                ran(&format!("portscan --config {} --data-dir {} {command}", at("portscan.toml"), at(data)))
                    .await;
            let output = format!("{}{}", ran.out, ran.err);
            assert!(
                ran.code == 1 && output.contains(said) && output.contains(&at(data)),
                "{command}: {output}"
            );
        }
        assert!(!home.path().join("nowhere").exists() && !home.path().join("missing").exists());
    }
}
