//! The message broker of a fleet: Debian's nats-server, and the newest.

use std::{
    fs::{self, File},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{Reaped, complete_lines, eventually, missing, peak_rss_of, tool};
use crate::{lab::Lab, repository};

/// From start to its first answer, on a busy machine.
const READY: Duration = Duration::from_secs(60);

/// Which nats-server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NatsVersion {
    /// Debian 12's, 2.9.
    Debian,
    /// The newest, from `tests/requirements.txt`.
    Newest,
}

/// A broker that runs.
pub struct NatsServer {
    child: Reaped,
    log: PathBuf,
}

impl NatsServer {
    /// Starts one with this configuration, which must have it listen on this port of the loopback, in the lab's network,
    /// where any port is free.
    pub fn start(version: NatsVersion, config: &Path, port: u16, _within: &Lab) -> Self {
        let log = config.with_extension("log");
        let mut command = match version {
            NatsVersion::Debian => tool("nats-server"),
            NatsVersion::Newest => Command::new(repository("target/venv/bin/nats-server")),
        };
        let child = command
            .arg("-c")
            .arg(config)
            .stdin(Stdio::null())
            .stderr(File::create(&log).expect("writing a file"))
            .spawn()
            .unwrap_or_else(|e| missing("nats-server", &e));
        let broker = Self { child: Reaped(child), log };
        eventually(READY, "nats-server listens", || TcpStream::connect(("127.0.0.1", port)).ok());
        broker
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.0.id()
    }

    /// The most memory that it has had so far, in bytes.
    pub fn peak_rss(&self) -> u64 {
        peak_rss_of(self.id()).expect("it runs")
    }

    /// Sends it a signal, such as SIGSTOP: its clients wait as they would for a network that is gone.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.id()).expect("a pid"));
        kill(pid, signal).expect("signalling the broker");
    }

    /// Waits until it has logged a line with this text; returns the line.
    pub fn logged(&self, text: &str) -> String {
        eventually(READY, &format!("nats-server logs {text:?}"), || {
            complete_lines(&self.log).into_iter().find(|line| line.contains(text))
        })
    }

    /// How many of its lines have this text.
    pub fn count(&self, text: &str) -> usize {
        fs::read_to_string(&self.log).expect("it is there").matches(text).count()
    }
}
