//! The image by podman, as `compose.yaml` starts it: control groups, limits, the volume and the health check are real.

use std::{
    fs, io,
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use serde_json::Value;

use super::{GRANTED, USER, true_answer};
use crate::{
    harness::{LONG, NO_IDENTIFICATION, Site, eventually, scanner, static_feed},
    lab::Lab,
};

const PROJECT: &str = "portscan-test";
const CONTAINER: &str = "portscan-test_portscan_1";

/// A podman that has all of its files below a folder of the test, and what was started by it.
struct Podman<'a> {
    folder: &'a Path,
}

impl<'a> Podman<'a> {
    fn new(folder: &'a Path) -> Self {
        let at = |name: &str| folder.join(name).display().to_string();
        let storage = format!(
            "[storage]\ndriver = \"overlay\"\nrunroot = \"{}\"\ngraphroot = \"{}\"\n",
            at("run"),
            at("graph")
        );
        fs::write(folder.join("storage.conf"), storage).unwrap();
        // runc, because crun refuses a machine on which both versions of control groups are mounted.
        let engine =
            "[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\nruntime = \"runc\"\n";
        fs::write(folder.join("containers.conf"), engine).unwrap();
        Self { folder }
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.folder)
            .env("CONTAINERS_STORAGE_CONF", self.folder.join("storage.conf"))
            .env("CONTAINERS_CONF", self.folder.join("containers.conf"))
            // Health checks are run by the test, not by a timer of systemd's.
            .env("DISABLE_HC_SYSTEMD", "true");
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command("podman").args(words).output().expect("podman; `make image-setup` installs it")
    }

    /// What it prints.
    fn done(&self, words: &[&str]) -> String {
        let Output { status, stdout, stderr } = self.run(words);
        let said = String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned();
        assert!(status.success(), "podman {words:?}: {said}\n{}", self.log());
        said
    }

    fn log(&self) -> String {
        let Output { stdout, stderr, .. } = self.run(&["logs", CONTAINER]);
        String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned()
    }

    /// podman-compose, with these variables of its user's shell.
    fn compose(&self, words: &[&str], variables: &[(&str, &str)]) {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv/bin/podman-compose");
        let mut command = self.command(program);
        command
            .args(["--project-name", PROJECT, "--file", "compose.yaml", "--file", "limits.yaml"])
            .args(words);
        let ran = command
            .envs(variables.iter().copied())
            .output()
            .expect("podman-compose; `make setup` installs it");
        let said = String::from_utf8_lossy(&[ran.stdout, ran.stderr].concat()).into_owned();
        assert!(ran.status.success(), "{words:?}: {said}");
    }

    fn inspect(&self) -> Value {
        serde_json::from_str::<Value>(&self.done(&["inspect", CONTAINER])).unwrap()[0].clone()
    }

    /// The appliance there, once it answers.
    fn site(&self, port: u16) -> Site {
        let site = Site::new(format!("http://127.0.0.1:{port}"), Duration::from_secs(10));
        eventually(LONG, "the container answers", || {
            let state = self.inspect()["State"]["Status"].clone();
            assert_eq!(state, "running", "{}", self.log());
            site.try_get("/healthz").ok()
        });
        site
    }
}

impl Drop for Podman<'_> {
    fn drop(&mut self) {
        // An error means that there is none. Its mounts would keep the folder.
        _ = self.run(&["rm", "--all", "--force", "--time", "5"]);
        _ = self.run(&["pod", "rm", "--all", "--force"]);
        _ = self.run(&["volume", "rm", "--all", "--force"]);
        _ = self.run(&["rmi", "--all", "--force"]);
        _ = nix::mount::umount(&self.folder.join("graph/overlay"));
    }
}

/// `make image-test`, which sets the variable to the image.
#[test]
#[ignore = "needs an image of this machine's architecture: make image-test"]
fn compose_runs_the_image_under_control_groups_and_a_restart_keeps_the_data() {
    let archive =
        std::env::var("PORTSCAN_TEST_IMAGE").expect("PORTSCAN_TEST_IMAGE: run this by make image-test");
    let lab = Lab::enter("near");
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let podman = Podman::new(folder.path());
    fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/compose.yaml"), folder.path().join("compose.yaml"))
        .unwrap();
    // Root may not raise its limits on every machine.
    let limits = "services:\n  portscan:\n    ulimits:\n      nofile: 4096\n      nproc: 500\n";
    fs::write(folder.path().join("limits.yaml"), limits).unwrap();
    let config = format!(
        "{}{}{NO_IDENTIFICATION}[mdns]\nenabled = false\n",
        static_feed(&lab),
        scanner("lan", "1d", "1-1000")
    );
    fs::write(folder.path().join("portscan.toml"), config).unwrap();

    podman.done(&["load", "--input", &archive]);
    let tag = env!("CARGO_PKG_VERSION").replace('+', "-");
    podman.compose(&["up", "--detach"], &[("PORTSCAN_TAG", &tag)]);
    let site = podman.site(80);

    // What the kernel says of it.
    let state = podman.inspect();
    let pid = state["State"]["Pid"].as_u64().unwrap();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).unwrap().trim().to_owned();
    assert_eq!(field("Uid:"), format!("{USER}\t{USER}\t{USER}\t{USER}"));
    assert_eq!(u64::from_str_radix(&field("CapEff:"), 16), Ok(GRANTED));
    let refused = fs::write(format!("/proc/{pid}/root/etc/new"), "x").unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ReadOnlyFilesystem);
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert!(groups.contains("libpod"), "it has a control group of its own: {groups}");
    assert_eq!(state["HostConfig"]["Memory"], 128 << 20);

    let (path, first) = true_answer(&site, &lab);
    assert!(podman.done(&["exec", CONTAINER, "/portscan", "status"]).contains("healthy"));
    podman.done(&["healthcheck", "run", CONTAINER]);
    assert_eq!(podman.inspect()["State"]["Health"]["Status"], "healthy");
    assert!(
        podman.done(&["exec", CONTAINER, "/portscan", "doctor"]).contains("the appliance (process 1) has it")
    );

    podman.done(&["restart", CONTAINER]);
    let site = podman.site(80);
    assert_eq!(site.get(&path).json(), first.json(), "a restart keeps what was found");

    // A container of the original's variables, on the same volume.
    podman.compose(&["down"], &[("PORTSCAN_TAG", &tag)]);
    let variables = [
        ("PORTSCAN_TAG", tag.as_str()),
        ("MY_REST_API_HOST_PORT", "8080"),
        ("MY_REST_API_BASE_URL", "ports"),
    ];
    podman.compose(&["up", "--detach"], &variables);
    let site = podman.site(8080);
    assert_eq!(site.get(&path.replace("/portscan/", "/ports/")).json(), first.json());
    assert_eq!(
        Site::new("http://127.0.0.1:80".to_owned(), Duration::from_secs(5))
            .try_get("/healthz")
            .ok()
            .map(drop),
        None
    );
    podman.done(&["exec", CONTAINER, "/portscan", "status"]);
    podman.compose(&["down"], &variables);
}
