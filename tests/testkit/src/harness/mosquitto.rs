//! Debian's Mosquitto, an MQTT broker, and its clients.

use std::{
    fs,
    net::TcpStream,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

use super::{Reaped, certificates, complete_lines, eventually, missing, tool};
use crate::lab::Lab;

/// From start to its first answer, on a busy machine.
const READY: Duration = Duration::from_secs(60);

/// In the lab's network, where any port is free.
const PLAIN: u16 = 1883;
const ENCRYPTED: u16 = 8883;

/// The user that may log in.
pub const USER: &str = "portscan";
/// Its password.
pub const PASSWORD: &str = "s3cret-mqtt";

/// A broker that requires a password, on two ports of the loopback: one unencrypted, one with TLS. Its data outlives
/// the process, so it can be started again.
pub struct Mosquitto {
    child: Option<Reaped>,
    home: TempDir,
}

/// A client that records what is published, with a session that outlives the broker.
pub struct Subscriber {
    _child: Reaped,
    received: PathBuf,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    pub topic: String,
    pub is_retained: bool,
    pub payload: String,
}

impl Mosquitto {
    pub fn start(_within: &Lab) -> Self {
        let home = TempDir::new().expect("a temporary directory");
        let path = |name: &str| home.path().join(name);
        certificates::make(home.path());
        let made = tool("mosquitto_passwd")
            .args(["-b", "-c"])
            .arg(path("passwords"))
            .args([USER, PASSWORD])
            .status()
            .unwrap_or_else(|e| missing("mosquitto_passwd", &e));
        assert!(made.success(), "mosquitto_passwd: {made}");
        // Otherwise mosquitto drops root's rights, and could not read its files.
        let text = format!(
            "user root\nper_listener_settings false\nallow_anonymous false\npassword_file {}\npersistence true\n\
             persistence_location {}/\nlistener {PLAIN} 127.0.0.1\nlistener {ENCRYPTED} 127.0.0.1\n\
             certfile {}\nkeyfile {}\nlog_type warning\nlog_type error\nmax_queued_messages 0\n",
            path("passwords").display(),
            home.path().display(),
            path("server.pem").display(),
            path("server.key").display(),
        );
        fs::write(path("mosquitto.conf"), text).expect("writing its configuration");
        let mut broker = Self { child: None, home };
        broker.start_again();
        broker
    }

    /// Kills it, with all connections and what it has not saved.
    pub fn kill(&mut self) {
        self.child = None;
    }

    /// Starts it after it was stopped or killed; one that runs stays.
    pub fn start_again(&mut self) {
        if self.child.is_some() {
            return;
        }
        let child = tool("mosquitto")
            .arg("-c")
            .arg(self.home.path().join("mosquitto.conf"))
            .stdin(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| missing("mosquitto", &e));
        self.child = Some(Reaped(child));
        eventually(READY, "Mosquitto listens", || TcpStream::connect(("127.0.0.1", PLAIN)).ok());
    }

    /// Stops it; it saves what it keeps.
    pub fn stop(&mut self) {
        if let Some(mut running) = self.child.take() {
            let id = i32::try_from(running.0.id()).expect("a process id");
            kill(Pid::from_raw(id), Signal::SIGTERM).expect("it runs");
            running.0.wait().expect("it ends");
        }
    }

    /// The URL without TLS.
    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{PLAIN}")
    }

    /// The port without TLS.
    pub fn port(&self) -> u16 {
        PLAIN
    }

    /// The URL with TLS.
    pub fn encrypted_url(&self) -> String {
        format!("mqtts://127.0.0.1:{ENCRYPTED}")
    }

    /// The certificate of the authority that signed the broker's.
    pub fn ca_file(&self) -> PathBuf {
        self.home.path().join("ca.pem")
    }

    /// A file with the password.
    pub fn password_file(&self) -> PathBuf {
        let file = self.home.path().join("password");
        fs::write(&file, format!("{PASSWORD}\n")).expect("writing a file");
        file
    }

    /// Records what is published below a topic from now on, and the retained messages there.
    pub fn subscribe(&self, filter: &str, id: &str) -> Subscriber {
        let received = self.home.path().join(format!("received-{id}"));
        let file = fs::File::create(&received).expect("writing a file");
        let child = client("mosquitto_sub")
            .args(["-V", "5", "-q", "1", "-c", "-x", "86400", "-i", id, "-t", filter, "-F", "%t %r %p"])
            .stdin(Stdio::null())
            .stdout(file)
            .spawn()
            .unwrap_or_else(|e| missing("mosquitto_sub", &e));
        // Ready once the client has a session: from then on it records what it receives.
        let subscriber = Subscriber { _child: Reaped(child), received };
        eventually(READY, "the subscriber is there", || {
            self.publish(&filter.replace('#', "test-begin"), "begin", false);
            subscriber.all().iter().any(|message| message.payload == "begin").then_some(())
        });
        subscriber
    }

    /// Returns the messages that the broker retains.
    pub fn retained(&self) -> Vec<Published> {
        let subscriber = self.subscribe("#", "retained");
        // A broker sends what it retains before what is published later.
        self.publish("last", "word", false);
        eventually(READY, "all retained messages have come", || subscriber.of("last").pop());
        subscriber.messages().into_iter().filter(|message| message.is_retained).collect()
    }

    /// Publishes a message.
    pub fn publish(&self, topic: &str, payload: &str, retain: bool) {
        let mut command = client("mosquitto_pub");
        command.args(["-q", "1", "-t", topic]);
        match payload {
            "" => command.arg("-n"),
            payload => command.args(["-m", payload]),
        };
        if retain {
            command.arg("-r");
        }
        let status = command.status().unwrap_or_else(|e| missing("mosquitto_pub", &e));
        assert!(status.success(), "mosquitto_pub: {status}");
    }
}

impl Subscriber {
    /// Returns the messages that have arrived, without the client's first line.
    pub fn messages(&self) -> Vec<Published> {
        let mut all = self.all();
        all.retain(|message| message.payload != "begin");
        all
    }

    /// Of one topic.
    pub fn of(&self, topic: &str) -> Vec<Published> {
        let mut messages = self.messages();
        messages.retain(|message| message.topic == topic);
        messages
    }

    fn all(&self) -> Vec<Published> {
        let parse = |line: &str| {
            let mut parts = line.splitn(3, ' ');
            let mut next = || parts.next().unwrap_or_default().to_owned();
            Published { topic: next(), is_retained: next() == "1", payload: next() }
        };
        complete_lines(&self.received).iter().map(|line| parse(line)).collect()
    }
}

/// One of its clients, logged in.
fn client(name: &str) -> Command {
    let mut command = tool(name);
    command.args(["-h", "127.0.0.1", "-p", &PLAIN.to_string(), "-u", USER, "-P", PASSWORD]);
    command
}
