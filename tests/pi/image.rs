//! The container image on a Pi: podman runs it as `compose.yaml` says, with the control groups of a kernel of its own.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{HOUSE, LONG, TEST, today, wait_for_answers};
use crate::{
    harness::{
        NO_IDENTIFICATION, eventually,
        pi::{Card, Pi},
        scanner,
    },
    lab::{Lab, Switch},
};

/// What `make pi-image-test` builds: the image for arm64 alone.
const IMAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/image/pi.tar");
const COMPOSE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/compose.yaml");

/// As podman-compose calls it.
const CONTAINER: &str = "portscan_portscan_1";

/// It is one file, which the card's Python runs.
const PODMAN_COMPOSE: &str = "python3 /podman_compose.py";

/// The file that `make setup` installs.
fn podman_compose() -> PathBuf {
    let folder = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/target/venv/lib")).expect("`make setup`");
    let mut found = folder
        .flatten()
        .map(|python| python.path().join("site-packages/podman_compose.py"))
        .filter(|file| file.exists());
    found.next().expect("podman-compose; `make setup` installs it")
}

#[test]
#[ignore = "boots an emulated Pi: make pi-image-test"]
fn compose_runs_the_image_healthy_and_a_restart_keeps_the_data() {
    let lab = Lab::describe(HOUSE);
    let lan = Switch::around(&lab, TEST);
    let card = Card::fresh();
    card.put(Path::new(IMAGE), "image.tar");
    card.put(Path::new(COMPOSE), "compose.yaml");
    card.put(&podman_compose(), "podman_compose.py");
    let mut pi = Pi::boot(&card, &lan, today());
    let config = "[feed]\nurl = []\ndiscover = [\"eth0 10.77.0.0/24\"]\n".to_owned()
        + NO_IDENTIFICATION
        + &scanner("lan", "1d", "1-150");
    pi.run(&format!(
        "mkdir /srv/portscan && mv /compose.yaml /srv/portscan && cat >/srv/portscan/portscan.toml <<'END'\n{config}\nEND"
    ));
    pi.run("podman load --quiet --input /image.tar && rm /image.tar");
    let version = env!("CARGO_PKG_VERSION");
    pi.run(&format!("cd /srv/portscan && PORTSCAN_TAG={version} {PODMAN_COMPOSE} up --detach"));
    wait_for_answers(&pi);

    let inspect = |pi: &mut Pi<'_>, field: &str| {
        pi.run(&format!("podman inspect --format '{{{{{field}}}}}' {CONTAINER}"))
    };
    assert_eq!(inspect(&mut pi, ".HostConfig.ReadonlyRootfs"), "true");
    let process = inspect(&mut pi, ".State.Pid");
    let privileges = pi.run(&format!("grep -E '^(Uid|CapEff):' /proc/{process}/status"));
    let words: Vec<&str> = privileges.split_whitespace().collect();
    assert_eq!(words, ["Uid:", "61080", "61080", "61080", "61080", "CapEff:", "0000000000002400"]);
    let group = pi.run(&format!("cut -d : -f 3 /proc/{process}/cgroup"));
    assert_eq!(pi.run(&format!("cat /sys/fs/cgroup{group}/memory.max")), (128 << 20).to_string());
    let written = pi.ask(&format!("touch /proc/{process}/root/etc/new"), LONG);
    assert!(written.code != 0 && written.text.contains("Read-only file system"), "{written:?}");

    for host in lab.hosts() {
        let mac = host.mac().to_string();
        let result = eventually(LONG, &format!("{mac} is scanned"), || pi.site().open_ports(&mac));
        assert_eq!(result, host.open_ports(), "{} {mac}", host.address());
        let stats = host.stats();
        assert_eq!((stats.payload, stats.left_open, stats.reboots), (0, 0, 0), "{}", host.address());
    }
    pi.run(&format!("podman healthcheck run {CONTAINER}"));
    assert_eq!(inspect(&mut pi, ".State.Health.Status"), "healthy");
    let used = pi.run(&format!("cat /sys/fs/cgroup{group}/memory.peak /sys/fs/cgroup{group}/memory.current"));
    eprintln!("memory of the container, peak and present: {}", used.replace('\n', ", "));

    let first_seen = |pi: &Pi<'_>| -> Vec<(String, String)> {
        let rows = pi.site().get("/v1/hosts").json();
        let rows = rows.as_array().unwrap_or_else(|| panic!("{rows}")).iter();
        rows.map(|row| (row["mac"].to_string(), row["first_seen"].to_string())).collect()
    };
    let before = first_seen(&pi);
    pi.run(&format!("podman restart {CONTAINER}"));
    wait_for_answers(&pi);
    assert_eq!(first_seen(&pi), before, "a restart keeps what was found");
    pi.run(&format!("cd /srv/portscan && {PODMAN_COMPOSE} down"));
    pi.shut_down();
}
