//! Debian's rsyslog as the log collector of a network.

use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tempfile::TempDir;

use super::{Reaped, complete_lines, eventually, missing, tool};
use crate::{lab::Lab, repository};

/// From start to its first answer, on a busy machine.
const READY: Duration = Duration::from_secs(60);
/// In the lab's network, where any port is free.
const LISTEN: &str = "127.0.0.1:5514";

/// A server that receives lines by UDP and TCP, and writes them as it has parsed them.
pub struct Rsyslog {
    child: Option<Reaped>,
    received: PathBuf,
    home: TempDir,
}

impl Rsyslog {
    pub fn start(_within: &Lab) -> Self {
        let home = TempDir::new().expect("a temporary directory");
        let received = home.path().join("received");
        fs::write(&received, "").expect("writing a file");
        let port = LISTEN.split_once(':').expect("a port").1;
        // Without the queue that it has in memory by default: a line is in the file before its connection is closed.
        let text = format!(
            "global(workDirectory={:?})\nmain_queue(queue.type=\"Direct\")\nmodule(load=\"imudp\")\n\
             module(load=\"imtcp\")\n\
             input(type=\"imudp\" address=\"127.0.0.1\" port=\"{port}\")\n\
             input(type=\"imtcp\" address=\"127.0.0.1\" port=\"{port}\")\n\
             template(name=\"parts\" type=\"string\" \
             string=\"%pri-text%|%hostname%|%app-name%|%structured-data%|%msg%\\n\")\n\
             action(type=\"omfile\" file={received:?} template=\"parts\")\n",
            home.path()
        );
        fs::write(home.path().join("rsyslog.conf"), text).expect("writing its configuration");
        let mut server = Self { child: None, received, home };
        server.start_again();
        server
    }

    /// Starts it after it was killed.
    pub fn start_again(&mut self) {
        let modules = format!("usr/lib/{}-linux-gnu/rsyslog", std::env::consts::ARCH);
        let unpacked = repository("target/tools").join(&modules);
        let modules = if unpacked.exists() { unpacked } else { Path::new("/").join(modules) };
        // A killed rsyslog leaves this file; its process id may belong to another process by now.
        let pid = self.home.path().join("pid");
        let _ = fs::remove_file(&pid);
        let child = tool("rsyslogd")
            .arg("-n")
            .arg("-f")
            .arg(self.home.path().join("rsyslog.conf"))
            .arg("-i")
            .arg(pid)
            .arg("-M")
            .arg(modules)
            .stdin(Stdio::null())
            .spawn();
        self.child = Some(Reaped(child.unwrap_or_else(|e| missing("rsyslogd", &e))));
        eventually(READY, "rsyslog listens", || TcpStream::connect(LISTEN).ok());
    }

    /// Kills it, with all connections and what it has not written.
    pub fn kill(&mut self) {
        self.child = None;
    }

    /// Its address and port.
    pub fn address(&self) -> &'static str {
        LISTEN
    }

    /// The lines, each as `PRIORITY|HOST|PROGRAM|STRUCTURED DATA|TEXT`.
    pub fn lines(&self) -> Vec<String> {
        complete_lines(&self.received)
    }
}
