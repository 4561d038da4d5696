//! The commands before anything is known, while they wait, and when they set up the appliance.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use portscan::clock::{Clock, SystemClock};

use crate::{
    harness::{Portscan, eventually, scanner, static_feed, tested_binary},
    lab::Lab,
};

const LONG: Duration = Duration::from_secs(180);

/// Ends with the test.
struct Reaped(Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

#[test]
fn a_run_that_is_waited_for_prints_each_open_port_while_it_goes_on() {
    let lab = Lab::enter("near");
    // Two and a half ports a second.
    let slow = scanner("lan", "1d", "22,80,443,8080-8100") + "timing = \"T2\"\n";
    let portscan = Portscan::new(&lab, &(static_feed(&lab) + &slow));
    let running = portscan.start();
    running.wait_for_devices(3, LONG);
    let host = lab.host("10.77.0.5");
    // Closed until now, so that the first SYN-ACK from there is this run's.
    host.open(8090);
    let clock = SystemClock::start();
    let mut command = Command::new(tested_binary());
    command.args(["run", "--host", "10.77.0.5", "--wait", "--url", running.base()]);
    let mut waiting = Reaped(command.stdout(Stdio::piped()).spawn().unwrap());
    let lines = BufReader::new(waiting.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let reader = thread::spawn(move || lines.map(|line| (line, clock.now())).collect::<Vec<_>>());
    let verdict = eventually(LONG, "the opened port answers", || {
        host.stats().accepted.contains(8090).then(|| clock.now())
    });
    assert!(waiting.0.wait().unwrap().success());
    let ended = clock.now();
    let mut printed = reader.join().unwrap();
    let (end, _) = printed.pop().unwrap();
    assert!(end.starts_with("lan: complete, 1 of 1 device; /v1/runs/"), "{end}");
    let open = ["22", "443", "80", "8080", "8090"].map(|port| format!("10.77.0.5  {port}/tcp  open"));
    let (_, seen) = printed.iter().find(|(line, _)| line.starts_with(&open[4])).unwrap();
    let delay = seen.since(verdict);
    eprintln!("an open port is printed after {delay:?}, {:?} before the end of the run", ended.since(*seen));
    // A second is promised; a busy machine gets the double.
    assert!(delay < Duration::from_secs(2), "{delay:?}");
    let mut unmarked: Vec<&str> =
        printed.iter().map(|(line, _)| line.trim_end_matches(" (unconfirmed)")).collect();
    unmarked.sort_unstable();
    assert_eq!(unmarked, open);

    // Everything that was asked for is known now.
    let hosts = portscan.run(&["hosts", "10.77.0.5", "--url", running.base()], LONG);
    assert!(hosts.stdout.contains("22, 80, 443, 8080, 8090"), "{}", hosts.stdout);
    let status = portscan.run(&["status", "--url", running.base()], LONG);
    assert!(status.stdout.contains("\n3 devices known; 3 scanned, "), "{}", status.stdout);
    let status = portscan.run(&["status", "--json", "--url", running.base()], LONG);
    let document: serde_json::Value = serde_json::from_str(&status.stdout).unwrap();
    assert_eq!(
        document["counts"],
        serde_json::json!({ "known": 3, "scanned": 3, "complete": 3 }),
        "{document}"
    );
    let diff = portscan.run(&["diff", "--exit-code", "--url", running.base()], LONG);
    assert!(diff.status.success() && diff.stdout.starts_with("no baseline yet"), "{diff:?}");
    let changes = portscan.run(&["changes", "--since", "0s", "--url", running.base()], LONG);
    assert!(changes.stdout.starts_with("no changes since "), "{}", changes.stdout);
    running.stop();
}

#[test]
fn setup_writes_a_configuration_that_fits_the_machine() {
    let lab = Lab::enter("near");
    let portscan = Portscan::new(&lab, "");
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let (file, data) = (at("portscan.toml"), at("data"));
    let options = ["--config", &file, "--data-dir", &data, "--listen", "127.0.0.1:0"];
    let ask = |words: &[&str]| portscan.run(&[words, &options].concat(), LONG);

    let refused = ask(&["setup"]);
    assert!(refused.status.code() == Some(1) && refused.stderr.contains("--yes"), "{refused:?}");
    assert!(!Path::new(&file).exists());
    let written = ask(&["setup", "--yes"]);
    assert!(written.status.success(), "{written:?}");
    assert!(written.stdout.contains(&format!("next: portscan serve --config {file}")), "{written:?}");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("discover = [\"lan0 10.77.0.0/16\"]"), "{text}");
    let checked = portscan.run(&["check-config", "--config", &file], LONG);
    assert!(checked.status.success() && checked.stdout.ends_with("configuration is valid\n"), "{checked:?}");

    let again = ask(&["setup", "--yes"]);
    assert!(again.status.code() == Some(1) && again.stderr.contains("--force"), "{again:?}");
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
}

#[test]
fn serve_tells_a_terminal_what_it_watches_and_others_nothing() {
    let lab = Lab::enter("near");
    let portscan = Portscan::new(&lab, &static_feed(&lab));
    let running = portscan.start();
    assert!(!running.log().contains("Not watched"), "{}", running.log());
    running.stop();

    let (folder, file) = (tempfile::tempdir().unwrap(), portscan.write_config());
    let seen = folder.path().join("seen");
    // A pseudo-terminal, with what appears there in a file. A shell that stayed between would end by Ctrl-C, too.
    let serve = format!("exec {} serve --config {}", tested_binary().display(), file.display());
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--flush", "--command", &serve]).arg(&seen);
    let mut script =
        Reaped(script.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let text = eventually(LONG, "it says how to stop it", || {
        fs::read_to_string(&seen).ok().filter(|text| text.contains("Stop with Ctrl-C."))
    });
    assert!(text.contains("http://127.0.0.1:"), "{text}");
    assert!(text.contains("3 devices named under [feed] hosts"), "{text}");
    assert!(text.contains("lan0 10.77.0.0/16: not under [feed] discover"), "{text}");
    let mut keys = script.0.stdin.take().unwrap();
    keys.write_all(b"\x03").unwrap();
    let status = eventually(LONG, "it stops", || script.0.try_wait().unwrap());
    assert!(status.success(), "{status}");
}
