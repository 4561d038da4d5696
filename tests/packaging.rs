//! The package's scripts, run on directories of the test, and the apt repository and the list of components that come
//! with a release. Installing the whole package is `make deb-test`.

mod add_on;

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use nix::mount::{MsFlags, mount};

use serde_json::Value;

use crate::{
    harness::{Reaped, tested_binary},
    lab::Lab,
};

/// Mounts a small file system at this directory, which hides its content, in the test's mount namespace.
fn mount_at(path: &str) {
    let size = Some("size=1m");
    mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), size)
        .unwrap_or_else(|e| panic!("{path}: {e}"));
}

fn purge() -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/debian/postrm");
    let purged = Command::new("sh").args([script, "purge"]).output().expect("a shell");
    let said = String::from_utf8_lossy(&purged.stdout).into_owned();
    assert!(purged.status.success() && purged.stderr.is_empty(), "{purged:?}");
    said
}

fn write_state(directory: &str) {
    for name in ["portscan.db", "token", ".hidden"] {
        fs::write(format!("{directory}/{name}"), "x").unwrap();
    }
}

#[test]
fn a_purge_succeeds_with_a_disk_mounted_at_or_below_the_state_directory() {
    let _lab = Lab::enter("near");
    mount_at("/var/lib");
    let (link, private) = ("/var/lib/portscan", "/var/lib/private/portscan");
    let link_state = || {
        fs::create_dir_all(private).unwrap();
        symlink("private/portscan", link).unwrap();
    };

    link_state();
    write_state(private);
    assert_eq!(purge(), "");
    assert!(!Path::new(private).exists() && !Path::new(link).is_symlink());
    assert_eq!(purge(), "", "nothing is left to remove");

    // The disk is mounted at the directory itself, then at the directory that the link leads to.
    for (place, is_linked) in [(link, false), (private, true)] {
        if is_linked {
            link_state();
        } else {
            fs::create_dir(link).unwrap();
        }
        mount_at(place);
        write_state(place);
        let said = purge();
        assert!(said.contains(&format!("{place} is emptied; a disk is mounted there")), "{said}");
        assert_eq!(fs::read_dir(place).unwrap().count(), 0, "the state is removed");
        assert!(!Path::new(link).is_symlink());
        assert!(purge().contains("is emptied"), "a purge can be repeated");
        nix::mount::umount(place).unwrap();
        fs::remove_dir(place).unwrap();
    }

    // A disk below the directory is the owner's, for example with reports for the spool.
    link_state();
    write_state(private);
    let spool = format!("{private}/spool");
    fs::create_dir(&spool).unwrap();
    mount_at(&spool);
    write_state(&spool);
    let said = purge();
    assert!(said.contains(&format!("{private} cannot be removed as a whole")), "{said}");
    assert_eq!(fs::read_dir(&spool).unwrap().count(), 3);
    assert!(!Path::new(private).join("token").exists());
}

/// Makes a package that has one file, as a stand-in.
fn package(folder: &Path, version: &str) -> PathBuf {
    let (root, deb) = (folder.join("root"), folder.join(format!("portscan_{version}.deb")));
    _ = fs::remove_dir_all(&root);
    fs::create_dir_all(root.join("DEBIAN")).unwrap();
    let control = format!(
        "Package: portscan\nVersion: {version}\nArchitecture: amd64\nMaintainer: x <x@example.invalid>\n\
         Description: a stand-in\n"
    );
    fs::write(root.join("DEBIAN/control"), control).unwrap();
    fs::write(root.join("version"), version).unwrap();
    done(Command::new("dpkg-deb").args(["--root-owner-group", "--build"]).arg(&root).arg(&deb));
    deb
}

fn done(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let said = String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned();
    assert!(status.success(), "{command:?}: {said}");
    said
}

/// gpg with a home of its own, whose agent ends with it.
struct Keys(tempfile::TempDir);

impl Keys {
    fn new() -> Self {
        // A socket's path has at most 108 octets, so not below the test's own directory.
        let keys = Self(tempfile::Builder::new().prefix("gpg").tempdir_in("/tmp").unwrap());
        let make =
            ["--batch", "--quiet", "--passphrase", "", "--quick-gen-key", "test@example.invalid", "ed25519"];
        done(keys.gpg("gpg").args(make));
        keys
    }

    fn gpg(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("GNUPGHOME", self.0.path());
        command
    }

    fn publish(&self, repository: &Path, packages: &[PathBuf]) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/cross/repository");
        done(self.gpg(script).arg(repository).arg("test@example.invalid").args(packages));
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        _ = self.gpg("gpgconf").args(["--kill", "all"]).status();
    }
}

/// An apt that knows this repository alone, in a directory of its own.
struct Apt(PathBuf);

impl Apt {
    fn new(folder: &Path, repository: &Path) -> Self {
        for name in ["lists/partial", "archives/partial", "etc"] {
            fs::create_dir_all(folder.join(name)).unwrap();
        }
        let trusted = folder.join("etc/portscan.gpg");
        fs::copy(repository.join("portscan.gpg"), &trusted).unwrap();
        let line =
            format!("deb [signed-by={}] file:{} stable main\n", trusted.display(), repository.display());
        fs::write(folder.join("etc/sources.list"), line).unwrap();
        Self(folder.to_owned())
    }

    fn run(&self, words: &[&str]) -> Output {
        let at = |name: &str| self.0.join(name).display().to_string();
        let options = [
            format!("Dir::Etc::sourcelist={}", at("etc/sources.list")),
            "Dir::Etc::sourceparts=-".to_owned(),
            "Dir::Etc::preferencesparts=-".to_owned(),
            format!("Dir::State::lists={}", at("lists")),
            "Dir::State::status=/dev/null".to_owned(),
            format!("Dir::Cache={}", self.0.display()),
            "APT::Architecture=amd64".to_owned(),
            "APT::Architectures=amd64".to_owned(),
            // The user of apt's may not read what belongs to the test.
            "APT::Sandbox::User=root".to_owned(),
        ];
        let mut command = Command::new("apt-get");
        command.args(options.iter().flat_map(|option| ["-o", option])).args(words).current_dir(&self.0);
        command.env("LC_ALL", "C").output().expect("apt-get")
    }

    /// Updates the lists; `Err` with what it says if it does not trust them.
    fn update(&self) -> Result<(), String> {
        let ran = self.run(&["update", "--error-on=any"]);
        let said = String::from_utf8_lossy(&[ran.stdout, ran.stderr].concat()).into_owned();
        if ran.status.success() { Ok(()) } else { Err(said) }
    }

    /// The version that it gets.
    fn download(&self) -> String {
        let ran = self.run(&["download", "portscan"]);
        assert!(ran.status.success(), "{ran:?}");
        let is_package = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "deb");
        let files = fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().path());
        let got: Vec<PathBuf> = files.filter(is_package).collect();
        let version = done(Command::new("dpkg-deb").arg("--field").arg(&got[0]).arg("Version"));
        assert_eq!(got.len(), 1);
        fs::remove_file(&got[0]).unwrap();
        version.trim().to_owned()
    }
}

#[test]
fn apt_takes_the_newest_package_of_the_signed_repository_and_refuses_a_forged_one() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let keys = Keys::new();
    let packages = [package(folder.path(), "0.1.0")];
    keys.publish(&at("repository"), &packages);
    let apt = Apt::new(&at("apt"), &at("repository"));
    apt.update().unwrap();
    assert_eq!(apt.download(), "0.1.0");

    let packages = [packages[0].clone(), package(folder.path(), "0.2.0")];
    keys.publish(&at("repository"), &packages);
    apt.update().unwrap();
    assert_eq!(apt.download(), "0.2.0");

    // A package that was replaced, whose checksum is signed.
    fs::write(at("repository/pool/portscan_0.2.0_amd64.deb"), fs::read(&packages[0]).unwrap()).unwrap();
    let refused = apt.run(&["download", "portscan"]);
    assert!(!refused.status.success(), "{refused:?}");

    // Lists that were signed by somebody else, and lists that were changed after they were signed.
    let other = Keys::new();
    other.publish(&at("repository"), &packages);
    let said = apt.update().unwrap_err();
    assert!(said.contains("NO_PUBKEY"), "{said}");
    keys.publish(&at("repository"), &packages);
    apt.update().unwrap();
    let release = at("repository/dists/stable/InRelease");
    let text = fs::read_to_string(&release).unwrap();
    fs::write(&release, text.replace("Origin: portscan", "Origin: portscam")).unwrap();
    let said = apt.update().unwrap_err();
    assert!(said.contains("BADSIG"), "{said}");
}

#[test]
fn the_list_of_components_has_what_is_linked_and_nothing_else() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/cross/sbom");
    let mut command = Command::new(script);
    command
        .arg("x86_64-unknown-linux-gnu")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("CARGO_NET_OFFLINE", "true");
    let text = done(&mut command);
    assert_eq!(done(&mut command), text, "it is the same each time");
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&document["bomFormat"], &document["specVersion"]), (&"CycloneDX".into(), &"1.5".into()));
    let components = document["components"].as_array().unwrap();
    let names: BTreeSet<&str> =
        components.iter().map(|component| component["name"].as_str().unwrap()).collect();
    for linked in ["rusqlite", "libsqlite3-sys", "tokio", "rustls", "ring"] {
        assert!(names.contains(linked), "{linked} is missing");
    }
    for other in ["testkit", "proptest", "insta", "serde_derive", "cc", "windows-sys", "base64ct"] {
        assert!(!names.contains(other), "{other} is not linked");
    }
    // What the document refers to is in it.
    let refs: BTreeSet<&str> =
        components.iter().map(|component| component["bom-ref"].as_str().unwrap()).collect();
    for dependency in document["dependencies"].as_array().unwrap() {
        assert!(
            dependency["dependsOn"]
                .as_array()
                .unwrap()
                .iter()
                .all(|used| refs.contains(used.as_str().unwrap())),
            "{dependency}"
        );
    }
    for component in components {
        assert!(component["hashes"][0]["content"].as_str().is_some_and(|sum| sum.len() == 64), "{component}");
        assert!(component["licenses"][0]["expression"].is_string(), "{component}");
    }
}

/// A folder with what `make dist` finds there, and its collector.
struct Release(tempfile::TempDir);

impl Release {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (root, at) = (Path::new(env!("CARGO_MANIFEST_DIR")), |name: &str| folder.path().join(name));
        for name in ["systemd", "target/manual", "target/debian", "target/image"] {
            fs::create_dir_all(at(name)).unwrap();
        }
        let documents = ["README.md", "CHANGELOG.md", "LICENSE-MIT", "LICENSE-APACHE"];
        for name in documents.into_iter().chain(["systemd/portscan.service", "systemd/portscan.toml"]) {
            fs::copy(root.join(name), at(name)).unwrap();
        }
        let built = ["portscan.1", "portscan.bash", "_portscan", "portscan.fish"]
            .map(|name| format!("target/manual/{name}"));
        let others = ["target/debian/portscan_1.0_arm64.deb", "target/portscan.cdx.json", "binary"];
        for name in built.iter().map(String::as_str).chain(others) {
            fs::write(at(name), name).unwrap();
        }
        Self(folder)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Collects a release with these programs, as `ARCH=BINARY`, in `out`.
    fn collect(&self, programs: &[&str]) -> Output {
        let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/cross/dist"));
        command.args(["out", "1.0", "1700000000"]).args(programs).current_dir(self.0.path());
        command.output().unwrap()
    }
}

#[test]
fn a_release_is_the_same_each_time_and_its_checksums_hold() {
    let release = Release::new();
    let collect = || release.collect(&["arm64=binary"]);
    let refused = collect();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && said.contains("portscan_1.0.tar is missing; run: make dist"),
        "{said}"
    );
    fs::write(release.at("target/image/portscan_1.0.tar"), "image").unwrap();
    let first = collect();
    assert!(first.status.success(), "{first:?}");
    assert_eq!(first.stdout, fs::read(release.at("out/SHA256SUMS")).unwrap());
    let touched = fs::File::open(release.at("README.md")).unwrap();
    touched.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(collect().stdout, first.stdout, "a file's time changes it");
    done(
        Command::new("sha256sum").args(["--check", "--strict", "SHA256SUMS"]).current_dir(release.at("out")),
    );
    let sums = String::from_utf8_lossy(&first.stdout).into_owned();
    let listed: Vec<&str> = sums.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
    let expected = [
        "CHANGELOG.md",
        "install.sh",
        "portscan-1.0-image.tar.gz",
        "portscan-1.0-linux-arm64.tar.gz",
        "portscan-1.0.cdx.json",
        "portscan_1.0_arm64.deb",
    ];
    assert_eq!(listed, expected);
}

#[test]
fn the_installer_installs_what_its_release_contains_and_nothing_else() {
    let _lab = Lab::enter("near");
    let release = Release::new();
    fs::write(release.at("target/image/portscan_1.0.tar"), "image").unwrap();
    // Without what only a debugger needs, it is compressed in a fifth of the time.
    let binary = release.at("binary");
    done(Command::new("strip").arg("-o").arg(&binary).arg(tested_binary()));
    let here = done(Command::new("dpkg").arg("--print-architecture"));
    let other = if here.trim() == "arm64" { "amd64" } else { "arm64" };
    let of_here = format!("{}=binary", here.trim());
    let collected = release.collect(&[&of_here, &format!("{other}=README.md")]);
    assert!(collected.status.success(), "{collected:?}");

    let server = FileServer::start(&release.at("out"));
    let prefix = release.at("prefix");
    let run = |shell: &[&str], arguments: &[&str]| {
        let mut command = Command::new(shell[0]);
        command
            .args(&shell[1..])
            .arg(release.at("out/install.sh"))
            .arg("--prefix")
            .arg(&prefix)
            .args(arguments);
        command.output().unwrap()
    };
    let installed = prefix.join("bin/portscan");

    // From a server and from a folder, by the shells that may be `sh`.
    let place = release.at("out").display().to_string();
    for (shell, place) in
        [(&["dash"][..], &server.url), (&["bash", "--posix"], &place), (&["busybox", "sh"], &place)]
    {
        let told = run(shell, &[place]);
        assert!(told.status.success(), "{shell:?}: {told:?}");
        let version = done(Command::new(&installed).arg("--version"));
        assert_eq!(version.trim(), concat!("portscan ", env!("CARGO_PKG_VERSION")), "{shell:?}");
        for name in ["man/man1/portscan.1", "zsh/site-functions/_portscan"] {
            assert!(prefix.join("share").join(name).is_file(), "{shell:?}: {name}");
        }
        fs::remove_dir_all(&prefix).unwrap();
    }

    // A file that was changed, a server that has none, a broken download of the installer itself, and wrong use.
    let tarball = release.at(&format!("out/portscan-1.0-linux-{}.tar.gz", here.trim()));
    let whole = fs::read(&tarball).unwrap();
    fs::write(&tarball, [&whole[..], b"x"].concat()).unwrap();
    let installer = fs::read_to_string(release.at("out/install.sh")).unwrap();
    let failing = |arguments: &[&str], part: &str| {
        let told = run(&["dash"], arguments);
        let said = String::from_utf8_lossy(&told.stderr).into_owned();
        assert!(!told.status.success() && said.contains(part), "{arguments:?}: {said}");
        assert!(!installed.exists(), "{arguments:?}");
    };
    failing(&[&server.url], "is not the file of this release: its SHA-256 is ");
    fs::remove_file(&tarball).unwrap();
    failing(&[&server.url], "cannot be read");
    failing(&[&place], "cannot be read");
    failing(&[], "it must know where the release's files are");
    failing(&["--prefix", "opt", &place], "must begin at the root");
    failing(&["--now", &place], "--now is no option");
    fs::write(&tarball, whole).unwrap();
    let lines: Vec<&str> = installer.lines().collect();
    for kept in (0..lines.len()).step_by(7) {
        let mut command = Command::new("dash");
        let half = lines[..kept].join("\n");
        command.args(["-c", &half, "install.sh", "--prefix"]).arg(&prefix).arg(&place);
        command.output().unwrap();
        assert!(!prefix.exists(), "its first {kept} lines install something");
    }
}

/// A real web server, on this namespace's loopback.
struct FileServer {
    url: String,
    _child: Reaped,
}

impl FileServer {
    fn start(folder: &Path) -> Self {
        let mut command = Command::new("python3");
        command.args(["-u", "-m", "http.server", "--bind", "127.0.0.1", "0", "--directory"]).arg(folder);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("python3");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let port: u16 = line.split_whitespace().nth(5).and_then(|port| port.parse().ok()).expect(&line);
        Self { url: format!("http://127.0.0.1:{port}"), _child: Reaped(child) }
    }
}
