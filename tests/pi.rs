//! The package on a whole machine: what a single process cannot show. A Pi is emulated, with the lab's devices on its
//! network; it takes minutes, so `make pi-test` runs it.

mod documents;
mod image;
mod owner;
mod syn;

use std::{collections::BTreeSet, path::Path, process::Command, time::Duration};

use jiff::Timestamp;
use portscan::clock::{Clock, SystemClock};

use crate::{
    harness::{
        NO_IDENTIFICATION,
        avahi::Avahi,
        eventually, field, is_stored,
        pi::{self, Card, Pi},
        scanner, static_feed,
    },
    lab::{Lab, Switch},
};

/// Actions that take seconds on a Pi take minutes on an emulated one with half a processor.
const LONG: Duration = Duration::from_secs(900);

/// The test's own address on the LAN, and another machine's; both are outside the range that the Pi sweeps.
const TEST: &str = "10.77.255.1/16";
const DESK: &str = "10.77.255.2/16";

/// The clock of a Pi without a battery at its start, until a time server sets it.
const LONG_AGO: Timestamp = Timestamp::constant(946_684_800, 0); // 2000-01-01T00:00:00Z

const CUTS: usize = 10;

/// The package that `make deb` builds for the Pi.
const PACKAGE: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/target/debian/portscan_", env!("CARGO_PKG_VERSION"), "_arm64.deb");

/// A fresh card with the package on it.
fn card() -> Card {
    let card = Card::fresh();
    card.put(Path::new(PACKAGE), "portscan.deb");
    card
}

fn today() -> Timestamp {
    SystemClock::start().wall()
}

/// Installs the package with this configuration.
fn install(pi: &mut Pi<'_>, config: &str) {
    pi.run("dpkg --install /portscan.deb");
    configure(pi, config);
}

fn configure(pi: &mut Pi<'_>, config: &str) {
    pi.run(&format!("cat >/etc/portscan/portscan.toml <<'END'\n{config}\nEND"));
    pi.run("systemctl restart portscan");
    wait_for_answers(pi);
}

fn wait_for_answers(pi: &Pi<'_>) {
    eventually(LONG, "the appliance answers", || pi.site().try_get("/v1/hello").ok());
}

fn property(pi: &mut Pi<'_>, name: &str) -> String {
    pi.run(&format!("systemctl show --property={name} --value portscan"))
}

/// The devices that it lists, with the time since when it knows each.
fn rows(pi: &Pi<'_>) -> Vec<(String, String)> {
    let rows = pi.site().get("/v1/hosts").json();
    let rows = rows.as_array().unwrap_or_else(|| panic!("{rows}")).iter();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    rows.map(|row| (text(&row["mac"]), text(&row["first_seen"]))).collect()
}

/// One or two of every kind of device in a house: as many as an emulated processor has time for.
const HOUSE: &str = r#"
    [[host]]                                    # computers
    address = "10.77.0.10-13"
    mac = "02:00:00:00:00:10+"
    open = "22,80"
    rtt = "300us"
    [[host]]                                    # behind a packet filter that drops
    address = "10.77.0.20-21"
    mac = "02:00:00:00:00:20+"
    open = "53,139"
    default = "filtered"
    [[host]]                                    # behind one that rejects
    address = "10.77.0.30"
    mac = "02:00:00:00:00:30"
    open = "25"
    default = "rejected"
    [[host]]                                    # on WiFi
    address = "10.77.0.40-41"
    mac = "02:00:00:00:00:40+"
    open = "80"
    rtt = "4ms"
    jitter = "25ms"
    [[host]]                                    # asleep between packets
    address = "10.77.0.50"
    mac = "02:00:00:00:00:50"
    open = "80,118"
    wake = { delay = "100ms", jitter = "200ms", idle = "1s" }
    [[host]]                                    # reboots if scanned too fast
    address = "10.77.0.60"
    mac = "02:00:00:00:00:60"
    open = "80"
    rtt = "5ms"
    reboot = { syns = 60, silent = "5s" }
    "#;

#[test]
#[ignore = "boots an emulated Pi: make pi-test"]
fn the_installed_package_scans_is_found_by_name_and_restarts() {
    let lab = Lab::describe(HOUSE);
    let lan = Switch::around(&lab, TEST);
    let desk = lan.plug(DESK);
    let card = card();
    let mut pi = Pi::boot(&card, &lan, today());
    let discovers = "[feed]\nurl = []\ndiscover = [\"eth0 10.77.0.0/24\"]\n";
    install(&mut pi, &(discovers.to_owned() + NO_IDENTIFICATION + &scanner("lan", "1d", "1-150")));
    assert_eq!(pi.run("systemctl is-active portscan"), "active");

    let avahi = Avahi::start(&desk, "desk");
    for name in ["portscan.local", "lanscan.local", "pi.local"] {
        let address = eventually(LONG, &format!("{name} resolves"), || avahi.resolve(name));
        assert_eq!(address, pi::ADDRESS.to_string());
        let url = format!("http://{name}/portscan/json");
        let known = format!("{name}:80:{address}");
        let output = Command::new("curl").args(["-sf", "--resolve", &known, &url]).output().unwrap();
        assert!(output.stdout.starts_with(b"{\"macs\":["), "{url}: {output:?}");
    }

    for host in lab.hosts() {
        let mac = host.mac().to_string();
        let result = eventually(LONG, &format!("{mac} is scanned"), || pi.site().open_ports(&mac));
        assert_eq!(result, host.open_ports(), "{} {mac}", host.address());
    }
    for host in lab.hosts() {
        let stats = host.stats();
        assert_eq!((stats.payload, stats.left_open, stats.reboots), (0, 0, 0), "{}", host.address());
    }
    let swept = pi.site().get("/lanscan/json").json();
    assert_eq!(swept["count"], lab.hosts().count() + 1, "all devices and the Pi itself: {swept}");

    let before = property(&mut pi, "MainPID");
    pi.run("systemctl kill --signal=SIGKILL portscan");
    eventually(LONG, "systemd restarts it", || {
        let now = property(&mut pi, "MainPID");
        (now != "0" && now != before).then_some(())
    });
    wait_for_answers(&pi);
    assert!(pi.site().macs().len() >= lab.hosts().count());

    pi.run("systemctl stop portscan");
    assert_eq!(property(&mut pi, "ActiveState"), "inactive");
    assert_eq!(property(&mut pi, "Result"), "success");
    let gone = || avahi.resolve("portscan.local").is_none().then_some(());
    eventually(LONG, "its goodbye arrives", gone);
    pi.shut_down();
}

#[test]
#[ignore = "boots an emulated Pi: make pi-test"]
fn ten_power_cuts_lose_no_finished_result() {
    let lab = Lab::describe(
        r#"
        [[host]]
        address = "10.77.0.10-49"
        mac = "02:00:00:00:00:10+"
        open = "22,80"
        rtt = "1ms"
        "#,
    );
    let lan = Switch::around(&lab, TEST);
    let card = card();
    let mut moments = fastrand::Rng::with_seed(7);
    let mut interrupted = 0;
    // Before each run another port opens, so what is served after the cut can be attributed to its run.
    let open_everywhere = |port| lab.hosts().for_each(|host| host.open(port));
    open_everywhere(opened_before(1));
    let mut pi = Pi::boot(&card, &lan, today());
    // Sixteen devices finish every eight seconds, so there is a middle to cut in.
    let slowly = scanner("lan", "1d", "20-24,80-94") + "timing = \"T2\"\n";
    install(&mut pi, &(static_feed(&lab) + &slowly));
    for cut in 1..=CUTS {
        let open = 2 + cut;
        eventually(LONG, "a device is finished", || finished(&pi.log(), open).pop_first());
        std::thread::sleep(Duration::from_millis(moments.u64(0..8_000)));
        let finished = finished(&pi.cut(), open);
        pi = Pi::boot(&card, &lan, today());
        wait_for_answers(&pi);
        let port = opened_before(cut);
        for mac in &finished {
            let ports = pi.site().open_ports(mac).unwrap_or_default();
            assert!(ports.contains(port), "power cut {cut}: {mac} was finished and is at {ports:?}");
        }
        assert_eq!(integrity(&mut pi), "ok", "after power cut {cut}");
        // A lost result would be scanned again; none is. An earlier run may have been incomplete, too.
        let log = pi.log();
        let resumed = log.lines().rfind(|line| line.contains("resuming"));
        let done = resumed.map_or(lab.hosts().count(), |line| field(line, "done").unwrap().parse().unwrap());
        assert!(done >= finished.len(), "power cut {cut}: {} were finished: {resumed:?}", finished.len());
        interrupted += u32::from(done < lab.hosts().count());
        eprintln!("power cut {cut}: {} devices were finished, {done} are kept", finished.len());
        for host in lab.hosts() {
            let mac = host.mac().to_string();
            eventually(LONG, &format!("{mac} is scanned after power cut {cut}"), || {
                pi.site().open_ports(&mac).filter(|ports| *ports == host.open_ports())
            });
        }
        open_everywhere(opened_before(cut + 1));
        pi.run("portscan run");
    }
    assert!(interrupted > 5, "{interrupted} cuts were in the middle of a run");
    pi.shut_down();
}

/// The port that opens before the run that the given cut interrupts.
fn opened_before(cut: usize) -> u16 {
    80 + u16::try_from(cut).unwrap()
}

/// The MACs of the devices that a log reports as finished with so many open ports, in the API's spelling: a scan of an
/// earlier run found fewer, and a second look covers only the ports that it confirms.
fn finished(log: &str, open: usize) -> BTreeSet<String> {
    let open = open.to_string();
    log.lines().filter(|line| field(line, "open") == Some(&open)).filter_map(finished_mac).collect()
}

/// The MAC in a log line about a stored result, in the API's spelling; none if the power cut truncated the line.
fn finished_mac(line: &str) -> Option<String> {
    let mac = is_stored(line).then(|| field(line, "mac")).flatten()?;
    (mac.len() == "02:00:00:00:00:10".len()).then(|| mac.to_uppercase())
}

/// The result of SQLite's check of the database, which the appliance has open.
fn integrity(pi: &mut Pi<'_>) -> String {
    let database = format!("/var/lib/portscan/{}", portscan::store::FILE_NAME);
    pi.run(&format!("sqlite3 -cmd '.timeout 60000' {database} 'PRAGMA integrity_check'"))
}

#[test]
#[ignore = "boots an emulated Pi: make pi-test"]
fn clock_jumps_between_2000_and_today_lose_and_reorder_nothing() {
    let lab = Lab::enter("near");
    let lan = Switch::around(&lab, TEST);
    let card = card();
    let mut pi = Pi::boot(&card, &lan, LONG_AGO);
    assert!(pi.run("date").ends_with("2000"));
    install(&mut pi, &(static_feed(&lab) + &scanner("lan", "1d", "20-90,443,8080")));
    // The appliance waits five minutes for the clock to be set, then starts without.
    pi.site().wait_for_devices(3, LONG);
    let first = scans(&pi);
    // The clock jumps forward and back again, as after a power cut without a time server.
    for (port, clock) in [(33, today()), (34, LONG_AGO)] {
        lab.host("10.77.0.5").open(port);
        pi.run(&format!("date --utc --set=@{} && portscan run --wait", clock.as_second()));
        assert!(
            pi.site().open_ports("02:00:00:00:00:05").is_some_and(|ports| ports.contains(port)),
            "{clock}"
        );
        eventually(LONG, "the opening is confirmed", || opened(&pi).contains(&port).then_some(()));
        assert_eq!(pi.site().get("/healthz").status, 200, "{clock}");
    }
    let all = scans(&pi);
    assert!(all.len() >= 3 && all.starts_with(&first), "{first:?}, then {all:?}");
    assert_eq!(opened(&pi), [33, 34], "in this order");
    pi.shut_down();
}

/// The ids of the stored scans, in the API's order.
fn scans(pi: &Pi<'_>) -> Vec<i64> {
    let scans = pi.site().get("/v1/scans").json();
    scans.as_array().unwrap().iter().map(|scan| scan["id"].as_i64().unwrap()).collect()
}

/// The ports of the change events for openings, in the API's order.
fn opened(pi: &Pi<'_>) -> Vec<u16> {
    let changes = pi.site().get("/v1/changes").json();
    let opened = changes.as_array().unwrap().iter().filter(|change| change["kind"] == "opened");
    opened.map(|change| serde_json::from_value(change["port"].clone()).unwrap()).collect()
}

#[test]
#[ignore = "boots an emulated Pi: make pi-test"]
fn a_full_card_pauses_scanning_until_there_is_room() {
    let lab = Lab::enter("near");
    let lan = Switch::around(&lab, TEST);
    let card = card();
    let mut pi = Pi::boot(&card, &lan, today());
    install(&mut pi, &(static_feed(&lab) + &scanner("lan", "1s", "20-90,443,8080")));
    pi.site().wait_for_devices(3, LONG);
    assert_eq!(pi.site().get("/healthz").status, 200);

    // The blocks that ext4 reserves for root are filled, too.
    pi.run("fallocate --length=$(df --output=avail --block-size=1 / | tail -n 1) /ballast; ! cat /dev/zero >/filler");
    lab.host("10.77.0.5").open(33);
    let ill = eventually(LONG, "the health reports the full card", || {
        Some(pi.site().get("/healthz")).filter(|answer| answer.status == 503)
    });
    assert!(ill.body.contains("full") || ill.body.contains("space"), "{ill:?}");
    assert!(pi.site().open_ports("02:00:00:00:00:06").is_some(), "results are still served");

    pi.run("rm /ballast /filler");
    eventually(LONG, "the appliance recovers by itself", || {
        (pi.site().get("/healthz").status == 200).then_some(())
    });
    eventually(LONG, "the change made in between is recorded", || {
        pi.site().open_ports("02:00:00:00:00:05").filter(|ports| ports.contains(33))
    });
    assert_eq!(integrity(&mut pi), "ok");
    pi.shut_down();
}

/// Octets written to the card in a day, at most, for a hundred unchanged devices that are scanned every hour.
const WRITTEN: u64 = 20_000_000;
/// Resident memory on the Pi, in octets, as docs/performance.md promises.
const IDLE: u64 = 13 << 20;
const IDLE_WITH_CHANNELS: u64 = 14 << 20;
const SCANNING: u64 = 32 << 20;

#[test]
#[ignore = "boots an emulated Pi: make pi-test"]
fn memory_at_rest_stays_within_its_limits_with_and_without_channels() {
    let lab = Lab::enter("near");
    let lan = Switch::around(&lab, TEST);
    // This machine's kernel refuses what the channels try.
    let plug = lan.plug(DESK);
    let desk = plug.address();
    let card = card();
    let mut pi = Pi::boot(&card, &lan, today());
    install(&mut pi, "[feed]\nurl = []\n");
    let [idle, idle_own] = memory_at_rest(&mut pi);
    let channel = |kind: &str, url: String, more: &str| {
        format!("[[channel]]\nname = \"{kind}\"\ntype = \"{kind}\"\nurl = \"{url}\"\n{more}")
    };
    let channels = [
        channel("ntfy", format!("https://{desk}/topic"), ""),
        channel("webhook", format!("https://{desk}/hook"), ""),
        channel(
            "email",
            format!("smtps://{desk}"),
            "from = \"pi@example.test\"\nto = [\"me@example.test\"]\n",
        ),
        channel("syslog", format!("tcp://{desk}"), ""),
        channel("mqtt", format!("mqtts://{desk}"), ""),
    ];
    configure(&mut pi, &format!("[feed]\nurl = []\n{}", channels.concat()));
    let tried = pi.run("portscan alert test 2>&1 || true");
    let [with_channels, with_channels_own] = memory_at_rest(&mut pi);
    pi.shut_down();
    eprintln!(
        "| resident memory, idle | {} KB, of them {} KB besides the program's and the libraries' pages |\n\
         | with a channel of each type | {} KB, of them {} KB |\n{tried}",
        idle >> 10,
        idle_own >> 10,
        with_channels >> 10,
        with_channels_own >> 10,
    );
    assert_eq!(tried.matches("refused").count(), channels.len(), "each channel has tried: {tried}");
    assert!(
        idle <= IDLE && with_channels <= IDLE_WITH_CHANNELS,
        "{idle} octets, {with_channels} with channels"
    );
}

/// Resident memory after a while without work, because a start takes memory that it gives back: all of it, and what is
/// neither the program's nor its libraries' pages.
fn memory_at_rest(pi: &mut Pi<'_>) -> [u64; 2] {
    pi.run("sleep 15");
    ["VmRSS:", "RssAnon:"].map(|key| memory(pi, key))
}

#[test]
#[ignore = "boots an emulated Pi: make pi-test"]
fn memory_processor_time_and_card_writes_stay_within_their_limits() {
    let lab = Lab::describe(
        r#"
        [[host]]
        address = "10.77.0.10-109"
        mac = "02:00:00:00:00:10+"
        open = "22,80"
        rtt = "1ms"
        "#,
    );
    let lan = Switch::around(&lab, TEST);
    // The kernel of this machine refuses connections as fast as they arrive.
    let desk = lan.plug(DESK);
    let card = card();
    let mut pi = Pi::boot(&card, &lan, today());
    install(&mut pi, "[feed]\nurl = []\n");
    let address = desk.address();
    let options = format!("-p- -T4 -Pn -n {address}");
    let ours = processor(&mut pi, &format!("portscan scan {options}"));
    let theirs = processor(&mut pi, &format!("nmap -sT {options}"));

    let [to_card, by_itself] = written_a_day(&mut pi, &lab);
    let scanning = memory(&mut pi, "VmHWM:");
    pi.shut_down();
    eprintln!(
        "| the most memory, scanning 100 devices | {} MB |\n\
         | processor for 65,535 refused probes (`-T4`) | {ours:.1} s; nmap -sT {theirs:.1} s: {:.2} of it |\n\
         | written to the card a day, 100 unchanged devices every hour | {:.1} MB, of them {:.1} MB its own |",
        scanning >> 20,
        ours / theirs,
        to_card as f64 / 1e6,
        by_itself as f64 / 1e6,
    );
    assert!(scanning <= SCANNING, "{scanning} octets");
    assert!(ours < theirs, "{ours} s of a processor, nmap {theirs} s");
    assert!(to_card <= WRITTEN, "{to_card} octets a day");
}

/// Octets written to the card in a day of scanning the lab's devices every hour: by the whole machine, and by the
/// appliance alone.
fn written_a_day(pi: &mut Pi<'_>, lab: &Lab) -> [u64; 2] {
    // Sixteen devices are in progress at a time, and so slowly that each sixteen have a commit of their own, as when
    // all 65,535 ports take four minutes.
    let config = static_feed(lab) + &scanner("lan", "1d", "20-47") + "timing = \"T2\"\n";
    configure(pi, &config);
    pi.site().wait_for_devices(lab.hosts().count(), LONG);
    let hour = "portscan run --wait && sync";
    // By then the write-ahead log has its size, 1 MB, and is overwritten from then on: a file that grows costs more.
    (0..4).for_each(|_| drop(pi.run(hour)));
    let before = [written(pi), own_writes(pi)];
    let hours = 3;
    (0..hours).for_each(|_| drop(pi.run(hour)));
    let after = [written(pi), own_writes(pi)];
    [0, 1].map(|which| (after[which] - before[which]) * 24 / hours)
}

/// A value from the status of the appliance's process (proc(5)), in octets.
fn memory(pi: &mut Pi<'_>, key: &str) -> u64 {
    let pid = property(pi, "MainPID");
    let line = pi.run(&format!("grep {key} /proc/{pid}/status"));
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// Seconds of processor time that a command takes, user and system. It gets one of the four cores: they are threads of
/// the emulator, and if those outnumber this machine's cores, a command that uses several is charged for its waits.
fn processor(pi: &mut Pi<'_>, command: &str) -> f64 {
    // The shell prints its own times, then those of its children: `0m1.250000s 0m0.340000s`.
    let said = pi.run(&format!("taskset --cpu-list 0 sh -c '{command} >/dev/null && times'"));
    let seconds = |text: &str| -> f64 {
        let (minutes, seconds) = text.trim_end_matches('s').split_once('m').unwrap();
        minutes.parse::<f64>().unwrap() * 60.0 + seconds.parse::<f64>().unwrap()
    };
    said.lines().last().unwrap().split(' ').map(seconds).sum()
}

/// Octets that all programs have written to the card so far: sectors of 512 (Linux, Documentation/block/stat.rst).
fn written(pi: &mut Pi<'_>) -> u64 {
    let fields = pi.run("cat /sys/block/vda/stat");
    fields.split_whitespace().nth(6).unwrap().parse::<u64>().unwrap() * 512
}

/// Octets that the appliance has written so far (proc(5), io).
fn own_writes(pi: &mut Pi<'_>) -> u64 {
    let pid = property(pi, "MainPID");
    let line = pi.run(&format!("grep '^write_bytes:' /proc/{pid}/io"));
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
