//! The real binary, started as a user starts it, watched from outside: exit code, log, HTTP, memory, files.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{BufRead, BufReader},
    net::Ipv4Addr,
    ops::Deref,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    Ports,
    clock::Stopwatch,
    lab::{Host, KernelHost, Lab, Node, outputs},
    repository,
};

pub mod avahi;
pub mod browser;
mod certificates;
pub mod disk;
pub mod feed;
pub mod home_assistant;
pub mod http_server;
pub mod liar;
pub mod miniupnpd;
pub mod mosquitto;
pub mod nats;
pub mod nginx;
pub mod pi;
pub mod postfix;
pub mod prometheus;
pub mod publisher;
pub mod receiver;
pub mod relay;
pub mod rsyslog;
pub mod server;
pub mod site;
pub mod tls_front;
pub mod users;

pub use site::{Answer, Site};

/// The longest wait of a test, even on a machine that is slow or stalls; a longer wait is a failure.
pub const LONG: Duration = Duration::from_secs(300);

/// Where `make setup` unpacks programs, in the repository.
const TOOLS: &str = "target/tools";

/// The line on standard error, followed by the address, once the appliance accepts requests.
const LISTENING: &str = "listening on http://";
/// From start to that line, on a machine that may stall.
const START: Duration = Duration::from_secs(60);
/// The time for an answer to a request, on such a machine.
const ANSWER: Duration = Duration::from_secs(60);
/// The time from SIGTERM to the end, for a build without optimisation on a busy machine; a separate test checks the
/// promised time.
const STOP: Duration = Duration::from_secs(20);

/// How to start the binary. Its data outlives the process, so it can be started again.
pub struct Portscan {
    config: String,
    data: PathBuf,
    environment: Vec<(String, String)>,
    /// The limit of open files, soft and hard.
    open_files: Option<u32>,
    /// Without any of root's capabilities, and without a way to get them.
    unprivileged: bool,
    /// As this user, in the group of the same number, with a copy of the binary that it may run.
    user: Option<(u32, PathBuf)>,
    /// Another binary than the tested one.
    binary: Option<PathBuf>,
    home: Arc<TempDir>,
}

impl Portscan {
    /// With this configuration beside `listen` on a free port of the loopback and a `data_dir` of its own.
    ///
    /// Takes a lab, so that no test can run the binary on a real network: by default it asks `lanscan.local` for
    /// devices and scans them.
    pub fn new(within: &Lab, config: &str) -> Self {
        Self::configured(config, within.machine().descriptors)
    }

    /// The same on a machine of a LAN, where others find it: it listens at this address, on port 80. Start it
    /// [`Node::within`] that machine.
    pub fn on(_: &Node, listen: &str, config: &str) -> Self {
        let here = Self::configured(config, None);
        here.env("MY_REST_API_HOST_ADDRESS", listen).env("MY_REST_API_PORT", "80")
    }

    /// The same in a lab with one host that is a real kernel.
    pub fn beside_kernel(_: &KernelHost, config: &str) -> Self {
        Self::configured(config, None)
    }

    fn configured(config: &str, open_files: Option<u32>) -> Self {
        let home = Arc::new(TempDir::new().expect("a temporary directory"));
        let data = home.path().join("data");
        Self {
            config: config.to_owned(),
            data,
            environment: Vec::new(),
            open_files,
            unprivileged: false,
            user: None,
            binary: None,
            home,
        }
    }

    /// With another data directory.
    pub fn data_dir(self, data: &Path) -> Self {
        Self { data: data.to_owned(), ..self }
    }

    /// With a variable of the environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a time of day that libfaketime reads from a file, anew each second: an offset such as `+0` or `-2y`, or a
    /// moment at which it stands still, `2000-01-01 00:00:00`. The monotonic clock is left alone.
    pub fn with_clock(self, file: &Path) -> Self {
        self.env("LD_PRELOAD", &library("faketime/libfaketimeMT.so.1").display().to_string())
            .env("FAKETIME_TIMESTAMP_FILE", &file.display().to_string())
            .env("FAKETIME_CACHE_DURATION", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("NO_FAKE_STAT", "1")
    }

    /// Limits the number of open files, soft and hard.
    pub fn open_files(self, limit: u32) -> Self {
        Self { open_files: Some(limit), ..self }
    }

    /// Runs it as an ordinary user: without root's capabilities. Not under another user's number, because a user
    /// namespace (`make test`) may have no other user.
    pub fn unprivileged(self) -> Self {
        Self { unprivileged: true, ..self }
    }

    /// Runs it as the user with this number. There may be no user other than root ([`users::users`]).
    pub fn run_by(self, user: u32) -> Self {
        // Other users may not have access to the directory of the build.
        let binary = self.home.path().join("portscan");
        // A separate process copies it: a child that another test starts in the meantime would inherit the file open
        // for writing, and such a file cannot be executed.
        let copied = Command::new("cp").arg(tested_binary()).arg(&binary).status();
        assert!(copied.is_ok_and(|status| status.success()), "copying the binary");
        for path in [self.home.path(), &binary] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("letting others in");
        }
        Self { user: Some((user, binary)), ..self }
    }

    pub fn database(&self) -> PathBuf {
        self.data.join("portscan.db")
    }

    /// Replaces what the configuration file says from the next start, or SIGHUP and [`Self::write_config`].
    pub fn set_config(&mut self, config: &str) {
        config.clone_into(&mut self.config);
    }

    /// Runs another binary than the tested one from the next start.
    pub fn set_binary(&mut self, binary: &Path) {
        self.binary = Some(binary.to_owned());
    }

    /// Writes the configuration file, as every start does.
    pub fn write_config(&self) -> PathBuf {
        let path = self.home.path().join("portscan.toml");
        fs::create_dir_all(&self.data).expect("creating the data directory");
        let listen = "listen = [\"127.0.0.1:0\"]";
        let text = format!("{listen}\ndata_dir = {:?}\n{}", self.data, self.config);
        fs::write(&path, text).expect("writing the configuration");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("letting others read it");
        path
    }

    /// Starts `portscan serve` and waits until it listens.
    pub fn start(&self) -> Running {
        self.spawn().listening()
    }

    /// Starts `portscan serve` and waits for nothing.
    pub fn spawn(&self) -> Running {
        let config = self.write_config();
        let mut command = self.command();
        command.arg("serve").arg("--config").arg(config);
        Running::spawn(command, Arc::clone(&self.home))
    }

    /// Starts another subcommand, and returns it while it runs.
    pub fn begin(&self, arguments: &[&str]) -> Running {
        let mut command = self.command();
        command.args(arguments);
        Running::spawn(command, Arc::clone(&self.home))
    }

    /// Runs another subcommand to its end, in the same environment.
    pub fn run(&self, arguments: &[&str], within: Duration) -> Finished {
        let mut command = self.command();
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = Reaped(command.spawn().expect("starting the binary"));
        // Both pipes are drained while it runs: a full one would stop it.
        let drain = |pipe: Box<dyn std::io::Read + Send>| {
            thread::spawn(move || std::io::read_to_string(pipe).unwrap_or_default())
        };
        let stdout = drain(Box::new(child.0.stdout.take().expect("piped")));
        let stderr = drain(Box::new(child.0.stderr.take().expect("piped")));
        let status = eventually(within, "the command ends", || child.0.try_wait().expect("waiting"));
        Finished { status, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
    }

    pub fn command(&self) -> Command {
        let binary = self.binary.clone().unwrap_or_else(tested_binary);
        let mut command = match self.open_files {
            _ if self.user.is_some() => {
                let (user, binary) = self.user.as_ref().expect("just seen");
                let mut command = Command::new(binary);
                command.uid(*user).gid(*user);
                command
            }
            // The shell's own limit is inherited; setting a child's from here would need unsafe code.
            Some(limit) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", &format!("ulimit -n {limit} && exec \"$0\" \"$@\"")]).arg(binary);
                shell
            }
            None if self.unprivileged => {
                let mut stripped = Command::new("setpriv");
                stripped.args(["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]).arg(binary);
                stripped
            }
            None => Command::new(binary),
        };
        for (name, _) in env::vars().filter(|(name, _)| name.starts_with("MY_") || name == "RUST_LOG") {
            command.env_remove(name);
        }
        command.env("NO_COLOR", "1").envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// The variable that names another binary to test than the one that cargo built with the tests.
const BINARY: &str = "PORTSCAN_TEST_BINARY";

/// The binary that is tested: the one that the environment names, such as a release that is built anyway and needs a
/// fraction of the processor time, else the one that cargo built. Cargo names that to the tests alone while it compiles
/// them, not to this crate, and puts it into the directory above theirs.
pub fn tested_binary() -> PathBuf {
    if let Some(named) = env::var_os(BINARY) {
        return repository(named);
    }
    let tests = env::current_exe().expect("this program has a path");
    let directory = tests.parent().and_then(Path::parent).expect("target/PROFILE/deps");
    directory.join("portscan")
}

/// A subcommand that has ended.
#[derive(Debug)]
pub struct Finished {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    /// What it printed, after an exit with code 0.
    pub fn json(&self) -> Value {
        assert!(self.status.success(), "{}: {}", self.status, self.stderr);
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {}", self.stdout))
    }
}

/// Returns a Debian program with libraries that few machines have: the one that `make setup` unpacked, else the
/// installed one.
fn tool(name: &str) -> Command {
    let tools = repository(TOOLS);
    let unpacked = ["usr/bin", "usr/sbin"].map(|folder| tools.join(folder).join(name));
    let unpacked = unpacked.iter().find(|path| path.exists());
    let mut command = Command::new(unpacked.map_or(Path::new(name), PathBuf::as_path));
    let libraries = format!("{}-linux-gnu", env::consts::ARCH);
    let libraries =
        ["usr/lib", "lib"].map(|folder| tools.join(folder).join(&libraries).display().to_string());
    command.env("LD_LIBRARY_PATH", libraries.join(":"));
    command
}

/// A library of Debian's for programs to load first, from where `make setup` unpacked it or where it is installed.
pub fn library(name: &str) -> PathBuf {
    let below = format!("usr/lib/{}-linux-gnu/{name}", env::consts::ARCH);
    let unpacked = repository(TOOLS).join(&below);
    let found = [unpacked, Path::new("/").join(&below)].into_iter().find(|path| path.exists());
    found.unwrap_or_else(|| panic!("{name} is missing; `make setup` gets it"))
}

/// Panics for a program that does not start.
fn missing(name: &str, error: &std::io::Error) -> ! {
    panic!("{name}: {error}; `make setup` gets it")
}

/// The lines that a program has written to this file so far; one that it is writing is left out.
fn complete_lines(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).expect("it is there");
    let complete = text.rfind('\n').map_or("", |end| &text[..end]);
    complete.lines().map(str::to_owned).collect()
}

/// Ends its process when dropped; a test that fails leaves none behind.
#[derive(Debug)]
pub struct Reaped(pub Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        // An error means that the process has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The lines of standard error so far, and whether it has ended.
#[derive(Default)]
struct Log {
    lines: Mutex<(Vec<String>, bool)>,
    grown: Condvar,
}

impl Log {
    /// A test that fails while it holds the lock leaves the lines consistent.
    fn lines(&self) -> MutexGuard<'_, (Vec<String>, bool)> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A `portscan serve`, or another subcommand, that runs.
pub struct Running {
    child: Reaped,
    log: Arc<Log>,
    site: Site,
    /// Keeps the directory alive even if the value that started the process is dropped.
    _home: Arc<TempDir>,
}

/// The running appliance offers all requests of a [`Site`].
impl Deref for Running {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}

impl Running {
    fn spawn(mut command: Command, home: Arc<TempDir>) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = Reaped(command.spawn().expect("starting the binary"));
        let stderr = BufReader::new(child.0.stderr.take().expect("piped"));
        let log = Arc::new(Log::default());
        let theirs = Arc::clone(&log);
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                theirs.lines().0.push(line);
                theirs.grown.notify_all();
            }
            theirs.lines().1 = true;
            theirs.grown.notify_all();
        });
        Self { child, log, site: Site::new(String::new(), ANSWER), _home: home }
    }

    /// Waits until it listens.
    pub fn listening(mut self) -> Self {
        let line = self.wait_for_line(START, |line| line.contains(LISTENING));
        let address = line.split(LISTENING).nth(1).and_then(|rest| rest.split('/').next());
        self.site = Site::new(format!("http://{}", address.expect("an address follows")), ANSWER);
        self
    }

    /// Sends requests to this address, because it may listen on an unspecified one.
    pub fn reached_at(mut self, address: Ipv4Addr) -> Self {
        self.site = Site::new(format!("http://{address}"), ANSWER);
        self
    }

    /// Waits for the first log line, past or future, that satisfies the condition.
    pub fn wait_for_line(&self, within: Duration, wanted: impl Fn(&str) -> bool) -> String {
        let watch = Stopwatch::start();
        let mut guard = self.log.lines();
        loop {
            let (lines, ended) = &*guard;
            if let Some(line) = lines.iter().find(|line| wanted(line)) {
                return line.clone();
            }
            let left = within.saturating_sub(watch.elapsed());
            let why = if *ended { "the binary ended".to_owned() } else { format!("not in {within:?}") };
            assert!(!ended && !left.is_zero(), "a line of the log did not come: {why}\n{}", lines.join("\n"));
            guard = self.log.grown.wait_timeout(guard, left).unwrap().0;
        }
    }

    /// Returns the log so far.
    pub fn log(&self) -> String {
        self.lines().join("\n")
    }

    pub fn lines(&self) -> Vec<String> {
        self.log.lines().0.clone()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.0.id()).expect("a pid"));
        kill(pid, signal).expect("signalling the binary");
    }

    /// Sends SIGTERM; the process must end with success.
    pub fn stop(self) {
        self.stop_within(STOP);
    }

    /// Sends SIGTERM; the process must end in time and with success.
    pub fn stop_within(mut self, longest: Duration) {
        self.signal(Signal::SIGTERM);
        let what = format!("it stops\n{}", self.log());
        let status = eventually(longest, &what, || self.child.0.try_wait().expect("waiting"));
        assert!(status.success(), "{status}\n{}", self.log());
    }

    /// Waits until it ends by itself; returns its exit status.
    pub fn wait(mut self, within: Duration) -> ExitStatus {
        let what = format!("it ends\n{}", self.log());
        eventually(within, &what, || self.child.0.try_wait().expect("waiting"))
    }

    /// Sends SIGKILL; returns the complete log.
    pub fn kill(mut self) -> Vec<String> {
        self.signal(Signal::SIGKILL);
        self.child.0.wait().expect("waiting");
        let ended = |lines: &mut (Vec<String>, bool)| !lines.1;
        let lines = self.log.grown.wait_while(self.log.lines(), ended).unwrap();
        lines.0.clone()
    }

    /// Resident memory now, in octets.
    pub fn rss(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// The most resident memory it ever had, in octets.
    pub fn peak_rss(&self) -> u64 {
        self.memory("VmHWM:")
    }

    /// Memory of its own now, in octets: as [`peak_own_memory`](Self::peak_own_memory).
    pub fn own_memory(&self) -> u64 {
        self.rss().saturating_sub(self.memory("RssFile:"))
    }

    /// The most memory of its own that it ever had, in octets: resident memory without the pages of its program, of which
    /// an unoptimised one has three times as many. The package's test bounds the program.
    pub fn peak_own_memory(&self) -> u64 {
        self.peak_rss().saturating_sub(self.memory("RssFile:"))
    }

    /// Returns the octets that it has written so far (proc(5), io): to files on a disk, in whole pages; if its files
    /// are in memory, to all open files.
    pub fn written(&self) -> u64 {
        self.written_to_disk().max(self.io("wchar:"))
    }

    /// Returns the octets that it has written to files on a disk so far, in whole pages (proc(5), io); 0 if its files
    /// are in memory.
    pub fn written_to_disk(&self) -> u64 {
        self.io("write_bytes:")
    }

    fn io(&self, key: &str) -> u64 {
        let io = fs::read_to_string(format!("/proc/{}/io", self.child.0.id())).expect("it runs");
        let value = io.lines().find_map(|line| line.strip_prefix(key)?.trim().parse().ok());
        value.expect("proc(5) names it")
    }

    /// Returns the processor time of its threads so far (proc(5), schedstat), without that of other programs.
    pub fn cpu(&self) -> Duration {
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.0.id())).expect("it runs");
        let of_thread = |thread: std::io::Result<fs::DirEntry>| {
            // A thread that has just ended has no entry any more.
            let schedstat = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
            schedstat.split(' ').next()?.parse::<u64>().ok()
        };
        Duration::from_nanos(threads.filter_map(of_thread).sum())
    }

    /// Whether it has installed a handler for the signal.
    pub fn catches(&self, signal: Signal) -> bool {
        let caught = u64::from_str_radix(&self.proc_status("SigCgt:"), 16).expect("a mask");
        caught >> (signal as u32 - 1) & 1 == 1
    }

    fn memory(&self, key: &str) -> u64 {
        memory_of(self.child.0.id(), key).expect("it runs")
    }

    fn proc_status(&self, key: &str) -> String {
        proc_status(self.child.0.id(), key).expect("it runs, and proc(5) names it")
    }
}

/// The most resident memory that a process ever had, in octets; `None`: it has ended.
pub fn peak_rss_of(process: u32) -> Option<u64> {
    memory_of(process, "VmHWM:")
}

fn memory_of(process: u32, key: &str) -> Option<u64> {
    Some(proc_status(process, key)?.trim_end_matches(" kB").parse::<u64>().ok()? * 1024)
}

fn proc_status(process: u32, key: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix(key)).map(|value| value.trim().to_owned())
}

impl Drop for Running {
    fn drop(&mut self) {
        if thread::panicking() {
            let lines = self.lines();
            let last = &lines[lines.len().saturating_sub(60)..];
            eprintln!("--- the binary's log ends with ---\n{}\n---", last.join("\n"));
        }
    }
}

/// Polls until the closure returns a value; panics after too long a time.
pub fn eventually<T>(within: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let watch = Stopwatch::start();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(watch.elapsed() < within, "waited {within:?} until {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// The `[feed]` of a configuration that names all devices of the lab itself, and nothing else.
pub fn static_feed(lab: &Lab) -> String {
    feed_of(lab.hosts())
}

/// A `[feed]` that names these hosts.
pub fn feed_of<'a>(hosts: impl Iterator<Item = Host<'a>>) -> String {
    let entry = |host: Host<'_>| format!("{{ address = \"{}\", mac = \"{}\" }}", host.address(), host.mac());
    let hosts: Vec<String> = hosts.map(entry).collect();
    format!("[feed]\nurl = []\nhosts = [{}]\n", hosts.join(", "))
}

/// A `[[scanner]]` over the feed.
pub fn scanner(name: &str, interval: &str, ports: &str) -> String {
    format!("[[scanner]]\nname = \"{name}\"\ninterval = \"{interval}\"\nports = \"{ports}\"\n")
}

/// What a test adds to a configuration that counts the scans' own SYNs and connections: nothing else connects.
pub const NO_IDENTIFICATION: &str = "[identify]\nlevel = \"off\"\n";

/// The value of `key=value` in a log line, without quotes.
pub fn field<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(&format!(" {key}="))?;
    Some(rest.split(' ').next()?.trim_matches('"'))
}

/// Whether a log line says that a host's result is stored, complete or not.
pub fn is_stored(line: &str) -> bool {
    line.contains("finished") || line.contains("scan incomplete")
}

/// The open ports of every host of a `portscan scan --json` document that is up, or as far as it is known,
/// when these ports were asked for.
pub fn found(document: &Value, asked: &Ports) -> BTreeMap<Ipv4Addr, Ports> {
    let among = |open: Ports| open.iter().filter(|&port| asked.contains(port)).collect();
    outputs::portscan(document).into_iter().map(|(address, open)| (address, among(open))).collect()
}
