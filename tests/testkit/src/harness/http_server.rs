//! Python's HTTP server as a receiver of alerts: a process of its own, which can be killed.

use std::{
    fs,
    net::TcpStream,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use super::{Reaped, complete_lines, eventually, missing};
use crate::{lab::Lab, repository};

/// From start to its first answer, on a busy machine.
const READY: Duration = Duration::from_secs(60);

/// In the lab's network, where any port is free.
const LISTEN: &str = "127.0.0.1:8480";

/// A receiver that writes each request to a file before it answers. The file outlives a kill.
pub struct HttpServer {
    child: Option<Reaped>,
    token: Option<String>,
    home: TempDir,
}

/// A recorded request.
#[derive(Clone, Debug)]
pub struct WrittenRequest {
    pub path: String,
    /// By their names in lower case.
    pub headers: Value,
    pub body: Value,
    /// The status of the answer.
    pub status: u64,
}

impl HttpServer {
    /// Starts it. With a token it answers 401 to whatever has another.
    pub fn start(_within: &Lab, token: Option<&str>) -> Self {
        let home = TempDir::new().expect("a temporary directory");
        fs::write(home.path().join("requests"), "").expect("writing a file");
        let mut server = Self { child: None, token: token.map(str::to_owned), home };
        server.start_again();
        server
    }

    /// Starts it after it was killed.
    pub fn start_again(&mut self) {
        let child = Command::new("python3")
            .arg(repository("tests/delivery/http_receiver.py"))
            .arg(LISTEN.split_once(':').expect("a port").1)
            .arg(self.home.path().join("requests"))
            .args(&self.token)
            .stdin(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| missing("python3", &e));
        self.child = Some(Reaped(child));
        eventually(READY, "the receiver listens", || TcpStream::connect(LISTEN).ok());
    }

    /// Kills it, with all connections.
    pub fn kill(&mut self) {
        self.child = None;
    }

    /// Its address and port.
    pub fn address(&self) -> &'static str {
        LISTEN
    }

    /// All requests so far, in their order.
    pub fn requests(&self) -> Vec<WrittenRequest> {
        let parse = |line: &str| {
            let mut request: Value = serde_json::from_str(line).expect("JSON");
            WrittenRequest {
                path: request["path"].as_str().expect("a path").to_owned(),
                headers: request["headers"].take(),
                body: request["body"].take(),
                status: request["status"].as_u64().expect("a status"),
            }
        };
        complete_lines(&self.home.path().join("requests")).iter().map(|line| parse(line)).collect()
    }
}
