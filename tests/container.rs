//! The container image (`cross/image`): the same program makes the same image, and it runs read-only, as its own user,
//! with as few capabilities as it is given.

mod podman;

use std::{
    collections::BTreeSet,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use nix::mount::{MsFlags, mount};
use serde_json::{Value, json};

use crate::{
    harness::{Answer, LONG, Site, eventually, scanner, static_feed, tested_binary},
    lab::Lab,
};

/// The image's user (`cross/image`).
const USER: u32 = 61080;

/// Bits of capabilities(7): `CAP_NET_BIND_SERVICE` and `CAP_NET_RAW`.
const GRANTED: u64 = 1 << 10 | 1 << 13;

/// Waits until a device of the lab is scanned; returns where its ports are served, and what is: the truth.
fn true_answer(site: &Site, lab: &Lab) -> (String, Answer) {
    let host = lab.host("10.77.0.5");
    let path = format!("/portscan/{}/json", host.mac());
    let answer = eventually(LONG, "the device is scanned", || {
        let answer = site.get(&path);
        answer.open_ports().is_some().then_some(answer)
    });
    let wanted: BTreeSet<u16> = host.open_ports().iter().filter(|port| *port <= 1000).collect();
    assert_eq!(answer.open_ports().unwrap().iter().collect::<BTreeSet<u16>>(), wanted);
    (path, answer)
}

/// Packs a program; returns whether that succeeded, and what was said.
fn pack(output: &Path, images: &[String]) -> (bool, String) {
    let mut command = Command::new("python3");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/cross/image")).arg(output);
    command.args(["--version", "1.2.3+4", "--created", "1767225600", "--revision", "abc"]).args(images);
    let packed = command.output().expect("python3");
    let said = [packed.stdout, packed.stderr].concat();
    (packed.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// A static program for this machine, as a stand-in: a release of the appliance takes minutes to build.
fn static_program(folder: &Path) -> PathBuf {
    let (source, program) = (folder.join("program.c"), folder.join("program"));
    fs::write(&source, "int main(void) { return 0; }\n").unwrap();
    let built = Command::new("cc").args(["-static", "-s", "-o"]).arg(&program).arg(&source).status();
    assert!(built.expect("a C compiler").success());
    program
}

/// This machine's processor, as images name it; `None` for one that has no image.
fn arch() -> Option<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Some("amd64"),
        "aarch64" => Some("arm64"),
        "arm" => Some("armv7"),
        _ => None,
    }
}

/// An image archive, unpacked.
struct Image {
    folder: PathBuf,
}

impl Image {
    fn unpack(archive: &Path, folder: &Path) -> Self {
        let image = Self { folder: folder.join("image") };
        fs::create_dir(&image.folder).unwrap();
        tar(&["-xf", archive.to_str().unwrap(), "-C", image.folder.to_str().unwrap()]);
        image
    }

    fn json(&self, path: &str) -> Value {
        serde_json::from_str(&fs::read_to_string(self.folder.join(path)).unwrap()).unwrap()
    }

    fn blob(digest: &Value) -> String {
        digest.as_str().unwrap().replace("sha256:", "blobs/sha256/")
    }

    /// The index of all architectures.
    fn index(&self) -> Value {
        self.json(&Self::blob(&self.json("index.json")["manifests"][0]["digest"]))
    }

    /// The manifest for this machine.
    fn manifest(&self) -> Value {
        let architecture = arch().unwrap().replace("armv7", "arm");
        let index = self.index();
        let all = index["manifests"].as_array().unwrap();
        let own = all.iter().find(|manifest| manifest["platform"]["architecture"] == *architecture);
        self.json(&Self::blob(&own.expect("an image for this machine")["digest"]))
    }

    fn config(&self) -> Value {
        self.json(&Self::blob(&self.manifest()["config"]["digest"]))
    }

    fn layer(&self) -> String {
        let layer = Self::blob(&self.manifest()["layers"][0]["digest"]);
        self.folder.join(layer).to_str().unwrap().to_owned()
    }
}

fn tar(arguments: &[&str]) -> String {
    let run = Command::new("tar").args(arguments).output().expect("tar");
    assert!(run.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&run.stderr));
    String::from_utf8_lossy(&run.stdout).into_owned()
}

#[test]
fn the_same_program_makes_the_same_image() {
    let Some(arch) = arch() else { return };
    let folder = tempfile::tempdir().unwrap();
    let program = static_program(folder.path());
    let at = |name: &str| folder.path().join(name);
    let (is_made, said) = pack(&at("one.tar"), &[format!("{arch}={}", program.display())]);
    assert!(is_made, "{said}");
    // Elsewhere, later, and with another mode.
    fs::create_dir(at("elsewhere")).unwrap();
    fs::copy(&program, at("elsewhere/other")).unwrap();
    File::open(at("elsewhere/other")).unwrap().set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    let (is_made, said) = pack(&at("two.tar"), &[format!("{arch}={}", at("elsewhere/other").display())]);
    assert!(is_made, "{said}");
    assert!(fs::read(at("one.tar")).unwrap() == fs::read(at("two.tar")).unwrap(), "the archives differ");

    let image = Image::unpack(&at("one.tar"), folder.path());
    let config = &image.config()["config"];
    assert_eq!(config["User"], format!("{USER}:{USER}"));
    assert_eq!((&config["Entrypoint"], &config["Cmd"]), (&json!(["/portscan"]), &json!(["serve"])));
    assert_eq!(config["Healthcheck"]["Test"], json!(["CMD", "/portscan", "status"]));
    assert_eq!(config["Volumes"], json!({"/var/lib/portscan": {}}));
    assert_eq!(config["Labels"]["org.opencontainers.image.version"], "1.2.3+4");
    assert_eq!(image.json("manifest.json")[0]["RepoTags"], json!([format!("portscan:1.2.3-4-{arch}")]));
    let files = tar(&["--numeric-owner", "-tvzf", &image.layer()]);
    let of_the_program: Vec<&str> = files.lines().filter(|line| line.starts_with('-')).collect();
    assert!(matches!(of_the_program[..], [line] if line.ends_with(" portscan")), "{files}");
    assert!(files.contains(&format!("drwx------ {USER}/{USER}")), "{files}");
}

#[test]
fn refuses_a_program_that_could_not_run_in_an_empty_image() {
    let Some(arch) = arch() else { return };
    let folder = tempfile::tempdir().unwrap();
    let program = static_program(folder.path());
    let output = folder.path().join("image.tar");
    let refused = |image: String| {
        let (is_made, said) = pack(&output, std::slice::from_ref(&image));
        assert!(!is_made && !output.exists(), "{image}: {said}");
        said
    };
    let dynamic = tested_binary();
    assert!(refused(format!("{arch}={}", dynamic.display())).contains("shared libraries"));
    let other = if arch == "amd64" { "arm64" } else { "amd64" };
    assert!(refused(format!("{other}={}", program.display())).contains(&format!("is not for {other}")));
    let source = folder.path().join("program.c");
    assert!(refused(format!("{arch}={}", source.display())).contains("is not a Linux program"));
    assert!(refused("riscv64=x".to_owned()).contains("is not ARCH=BINARY"));
    let large = folder.path().join("large");
    fs::copy(&program, &large).unwrap();
    File::options().write(true).open(&large).unwrap().set_len(15_000_001).unwrap();
    let large = format!("{arch}={}", large.display());
    assert!(refused(large.clone()).contains("the limit is 15000000"));
    let (packed, said) = pack(&folder.path().join("trial.tar"), &["--trial".to_owned(), large]);
    assert!(packed, "{said}");
}

/// A container in the lab's network, as `--network host --read-only --cap-drop all` makes it.
struct Container {
    bundle: PathBuf,
    child: Child,
}

impl Container {
    /// Runs the image's command by crun, with these capabilities and variables.
    fn start(
        image: &Image,
        bundle: &Path,
        capabilities: &[&str],
        environment: &[&str],
        listens: u16,
    ) -> (Self, Site) {
        let config = image.config()["config"].clone();
        let words = |key: &str| config[key].as_array().unwrap().clone();
        let environment: Vec<Value> =
            words("Env").into_iter().chain(environment.iter().map(|pair| json!(pair))).collect();
        let command_line = [words("Entrypoint"), words("Cmd")].concat();
        let mount = |to: &str, kind: &str, from: &str, options: Value| json!({"destination": to, "type": kind, "source": from, "options": options});
        let document = json!({
            "ociVersion": "1.0.2",
            "root": {"path": "rootfs", "readonly": true},
            "process": {
                "cwd": config["WorkingDir"],
                "args": command_line,
                "env": environment,
                "user": {"uid": USER, "gid": USER},
                "capabilities": {"bounding": capabilities},
            },
            "mounts": [
                mount("/proc", "proc", "proc", json!([])),
                // Engines give every container one; the image has none.
                mount("/dev", "tmpfs", "tmpfs", json!(["nosuid", "mode=755", "size=64k"])),
                mount("/tmp", "tmpfs", "tmpfs", json!(["nosuid", "nodev"])),
                mount("/var/lib/portscan", "bind", "data", json!(["rbind", "rw"])),
                mount("/etc/portscan", "bind", "etc", json!(["rbind", "ro"])),
            ],
            // The network is that of the process that starts it.
            "linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}]},
        });
        fs::write(bundle.join("config.json"), document.to_string()).unwrap();
        let log = File::create(bundle.join("log")).unwrap();
        let mut command = crun(bundle);
        command.args(["run", "--pid-file", "pid", "portscan"]).current_dir(bundle);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let child = command.spawn().expect("crun; `make image-setup` installs it");
        let site = Site::new(format!("http://127.0.0.1:{listens}"), Duration::from_secs(10));
        let mut container = Self { bundle: bundle.to_owned(), child };
        eventually(LONG, "the container answers", || {
            assert!(container.child.try_wait().unwrap().is_none(), "it ended: {}", container.log());
            site.try_get("/healthz").ok()
        });
        (container, site)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.bundle.join("log")).unwrap_or_default()
    }

    fn pid(&self) -> u32 {
        fs::read_to_string(self.bundle.join("pid")).unwrap().trim().parse().unwrap()
    }

    /// A field of its first process's status.
    fn status(&self, key: &str) -> String {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        line.expect(key).trim().to_owned()
    }

    /// Runs a command in it, as docker does for the health check; the command ends by itself.
    fn exec(&self, words: &[&str]) -> (bool, String) {
        let run = crun(&self.bundle).args(["exec", "portscan"]).args(words).output().unwrap();
        (run.status.success(), String::from_utf8_lossy(&[run.stdout, run.stderr].concat()).into_owned())
    }

    fn stop(mut self) {
        let killed = crun(&self.bundle).args(["kill", "portscan", "TERM"]).status().unwrap();
        assert!(killed.success());
        let status = eventually(LONG, "it stops", || self.child.try_wait().unwrap());
        assert!(status.success(), "{status}: {}", self.log());
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // An error means that it has ended already.
        _ = crun(&self.bundle).args(["delete", "--force", "portscan"]).stderr(Stdio::null()).status();
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn crun(bundle: &Path) -> Command {
    let mut command = Command::new("crun");
    command.args(["--cgroup-manager=disabled", "--root"]).arg(bundle.join("state"));
    command
}

/// `make image-test`, which sets the variable to the image.
#[test]
#[allow(clippy::too_many_lines, reason = "one container after the other, as its owner runs them")]
#[ignore = "needs an image of this machine's architecture: make image-test"]
fn the_image_runs_read_only_as_its_user() {
    let archive =
        std::env::var("PORTSCAN_TEST_IMAGE").expect("PORTSCAN_TEST_IMAGE: run this by make image-test");
    let lab = Lab::enter("near");
    // crun refuses a machine on which both versions of control groups are mounted, even where it uses none. In the
    // test's own mount namespace there is only the second.
    if Path::new("/sys/fs/cgroup/unified").exists() {
        let none = None::<&str>;
        mount(Some("/sys/fs/cgroup/unified"), "/sys/fs/cgroup", none, MsFlags::MS_BIND, none).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let image = Image::unpack(Path::new(&archive), folder.path());
    let bundle = folder.path().join("bundle");
    for name in ["rootfs", "data", "etc"] {
        fs::create_dir_all(bundle.join(name)).unwrap();
    }
    let root = bundle.join("rootfs");
    tar(&[
        "--xattrs",
        "--xattrs-include=*",
        "--numeric-owner",
        "-xpzf",
        &image.layer(),
        "-C",
        root.to_str().unwrap(),
    ]);
    std::os::unix::fs::chown(bundle.join("data"), Some(USER), Some(USER)).unwrap();
    let config = format!("{}{}[mdns]\nenabled = false\n", static_feed(&lab), scanner("lan", "1d", "1-1000"));
    fs::write(bundle.join("etc/portscan.toml"), config).unwrap();

    let both = ["CAP_NET_BIND_SERVICE", "CAP_NET_RAW"];
    let (container, site) = Container::start(&image, &bundle, &both, &[], 80);
    assert_eq!(container.status("Uid"), format!("{USER}\t{USER}\t{USER}\t{USER}"));
    assert_eq!(u64::from_str_radix(&container.status("CapEff"), 16), Ok(GRANTED));
    let inside = format!("/proc/{}/root", container.pid());
    let refused = fs::write(format!("{inside}/etc/new"), "x").unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);

    let (path, first) = true_answer(&site, &lab);
    let (is_healthy, said) = container.exec(&["/portscan", "status"]);
    assert!(is_healthy && said.contains("healthy"), "{said}");
    let (works, said) = container.exec(&["/portscan", "doctor"]);
    assert!(works && said.contains("capability NET_RAW: the appliance (process 1) has it"), "{said}");
    container.stop();

    // A restart keeps what was found; nothing is scanned for it.
    let (container, site) = Container::start(&image, &bundle, &both, &[], 80);
    assert_eq!(site.get(&path).json(), first.json());
    container.stop();

    // Without any capability it starts all the same, on a port that needs none.
    let (container, site) = Container::start(&image, &bundle, &[], &["MY_REST_API_HOST_PORT=8080"], 8080);
    assert_eq!(container.status("CapEff"), "0000000000000000");
    assert_eq!(site.get(&path).json(), first.json());
    container.stop();

    let size = fs::metadata(image.layer()).unwrap().len();
    eprintln!("the image's layer has {size} bytes");
}
