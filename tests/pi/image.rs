//! The container image on a Pi: podman runs it as docs/container.md and `compose.yaml` say, with the control groups of
//! a kernel of its own.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    HOUSE, LONG, TEST,
    owner::{Chapter, Owner, Place},
    rows, today, wait_for_answers,
};
use crate::{
    harness::{
        eventually,
        pi::{Card, Pi},
    },
    lab::{Lab, Switch},
};

/// What `make pi-image-test` builds: the image for arm64 alone.
const IMAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/image/pi.tar");
/// What is copied to the Pi besides.
const COMPOSE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/compose.yaml");
const CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/systemd/portscan.toml");

/// As podman-compose calls it in the home of `pi`.
const CONTAINER: &str = "pi_portscan_1";

/// `docker` for the Pi's owner, who may use it without sudo, as members of the group docker may. It is podman and
/// podman-compose: docker's own service needs modules of the kernel that the emulated Pi does not have, and Debian 12
/// has no `docker compose`. podman-compose is one file, which the card's Python runs.
const DOCKER: &str = "#!/bin/sh\n[ \"$1\" = compose ] || exec sudo podman \"$@\"\nshift\n\
    exec sudo python3 /podman_compose.py \"$@\"\n";

/// What the owner changes in the configuration, as the document says; fewer ports, and no identification, keep the test
/// short and the devices' records exact.
const EDIT: &str = "sed -i -e 's#^discover = .*#discover = [\"eth0 10.77.0.0/24\"]#' -e 's#^url = .*#url = []#' \
    -e 's#^ports = .*#ports = \"1-150\"#' -e 's#^level = .*#level = \"off\"#' portscan.toml";

/// The file that `make setup` installs.
fn podman_compose() -> PathBuf {
    let folder = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/target/venv/lib")).expect("`make setup`");
    let mut found = folder
        .flatten()
        .map(|python| python.path().join("site-packages/podman_compose.py"))
        .filter(|file| file.exists());
    found.next().expect("podman-compose; `make setup` installs it")
}

/// Types what docs/container.md says up to a running container; returns what it says for those without compose.
fn follow_container(owner: &mut Owner<'_>) -> String {
    eprintln!("| seconds | docs/container.md: run it |\n|---|---|");
    let version = env!("CARGO_PKG_VERSION");
    let archive = format!("portscan_{version}.tar");
    let chapter = Chapter::of("docs/container.md", "Run it");
    let copied =
        format!("scp target/image/{archive} compose.yaml systemd/portscan.toml pi@raspberrypi.local:");
    assert_eq!(
        chapter.at(Place::Computer),
        ["make image".to_owned(), copied],
        "the test does what these lines do"
    );
    owner.pi.run(&format!("mv /image.tar /home/pi/{archive} && mv /compose.yaml /portscan.toml /home/pi"));
    owner.pi.run("chown pi:pi /home/pi/*");
    // "`podman load` takes the one for its own machine": its tag has no architecture.
    let lines =
        chapter.at(Place::Pi).into_iter().map(|line| line.replace(&format!("{version}-arm64"), version));
    let (without_compose, with_compose): (Vec<String>, Vec<String>) =
        lines.partition(|line| line.starts_with("docker run "));
    for line in &with_compose {
        owner.types(if line == "nano portscan.toml" { EDIT } else { line });
        if line.contains(" up ") {
            owner.takes("until the appliance answers", |owner| wait_for_answers(&owner.pi));
        }
    }
    let [without_compose] = &without_compose[..] else { panic!("one line: {without_compose:?}") };
    without_compose.clone()
}

fn inspect(pi: &mut Pi<'_>, field: &str) -> String {
    pi.run(&format!("podman inspect --format '{{{{{field}}}}}' {CONTAINER}"))
}

/// The container has what `compose.yaml` gives it, and no more; returns its control group.
fn assert_confined(pi: &mut Pi<'_>) -> String {
    assert_eq!(inspect(pi, ".HostConfig.ReadonlyRootfs"), "true");
    let process = inspect(pi, ".State.Pid");
    let privileges = pi.run(&format!("grep -E '^(Uid|CapEff):' /proc/{process}/status"));
    let words: Vec<&str> = privileges.split_whitespace().collect();
    assert_eq!(words, ["Uid:", "61080", "61080", "61080", "61080", "CapEff:", "0000000000002400"]);
    let group = pi.run(&format!("cut -d : -f 3 /proc/{process}/cgroup"));
    assert_eq!(pi.run(&format!("cat /sys/fs/cgroup{group}/memory.max")), (128 << 20).to_string());
    let written = pi.ask(&format!("touch /proc/{process}/root/etc/new"), LONG);
    assert!(written.code != 0 && written.text.contains("Read-only file system"), "{written:?}");
    group
}

#[test]
#[ignore = "boots an emulated Pi: make pi-image-test"]
fn compose_runs_the_image_healthy_and_a_restart_keeps_the_data() {
    let lab = Lab::describe(HOUSE);
    let lan = Switch::around(&lab, TEST);
    let card = Card::fresh();
    card.put(Path::new(IMAGE), "image.tar");
    card.put(Path::new(COMPOSE), "compose.yaml");
    card.put(Path::new(CONFIG), "portscan.toml");
    card.put(&podman_compose(), "podman_compose.py");
    let mut pi = Pi::boot(&card, &lan, today());
    pi.run(&format!("printf '%s' '{DOCKER}' >/usr/local/bin/docker && chmod 755 /usr/local/bin/docker"));
    let mut owner = Owner { pi };
    let without_compose = follow_container(&mut owner);
    let group = assert_confined(&mut owner.pi);

    for host in lab.hosts() {
        let mac = host.mac().to_string();
        let result = eventually(LONG, &format!("{mac} is scanned"), || owner.pi.site().open_ports(&mac));
        assert_eq!(result, host.open_ports(), "{} {mac}", host.address());
        let stats = host.stats();
        assert_eq!((stats.payload, stats.left_open, stats.reboots), (0, 0, 0), "{}", host.address());
    }
    owner.pi.run(&format!("podman healthcheck run {CONTAINER}"));
    assert_eq!(inspect(&mut owner.pi, ".State.Health.Status"), "healthy");
    let used =
        owner.pi.run(&format!("cat /sys/fs/cgroup{group}/memory.peak /sys/fs/cgroup{group}/memory.current"));
    eprintln!("memory of the container, peak and present: {}", used.replace('\n', ", "));

    let before = rows(&owner.pi);
    owner.types("docker compose restart");
    wait_for_answers(&owner.pi);
    assert_eq!(rows(&owner.pi), before, "a restart keeps what was found");
    owner.types("docker compose down");
    owner.types(&without_compose);
    owner.takes("until the appliance answers", |owner| wait_for_answers(&owner.pi));
    owner.types("docker rm --force portscan");
    owner.pi.shut_down();
}
