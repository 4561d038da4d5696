//! A lanscan service for one test: serves its JSON, or fails in one of the ways that feeds fail.

use std::{
    fmt::Write as _,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// The behaviour of the feed.
#[derive(Clone, Debug)]
pub enum Says {
    /// These devices, address and MAC, swept just now.
    Devices(Vec<(String, String)>),
    /// The same, with a time stamp that never changes.
    Stale(Vec<(String, String)>),
    /// This many invented devices, others at each request.
    Inventing(u32),
    /// This body.
    Body(String),
    /// This status, e.g. `500 Internal Server Error`.
    Status(&'static str),
    /// Hangs up without an answer, as a port that a proxy holds open.
    Down,
    /// Sends an octet a second.
    Slow,
    /// Never ends.
    Huge,
}

#[derive(Default)]
struct Shared {
    says: Mutex<Option<Says>>,
    served: Mutex<u32>,
    more: Condvar,
    stop: AtomicBool,
    /// Its port, a different one for each feed of a test.
    number: u16,
}

/// The server.
pub struct FeedServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl FeedServer {
    /// Starts it on a free port of the loopback in the test's network.
    pub fn start(says: Says) -> Self {
        Self::listening(says, TcpListener::bind("127.0.0.1:0").expect("a free port"))
    }

    /// Starts it on this listener, which another machine may have made.
    pub fn listening(says: Says, listener: TcpListener) -> Self {
        let address = listener.local_addr().expect("it is bound");
        let shared = Shared { says: Mutex::new(Some(says)), number: address.port(), ..Shared::default() };
        let shared = Arc::new(shared);
        let theirs = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if theirs.stop.load(Ordering::Relaxed) {
                    return;
                }
                let shared = Arc::clone(&theirs);
                // One thread for each request: a slow answer must not delay the next.
                thread::spawn(move || shared.serve(&stream));
            }
        });
        Self { address, shared, thread: Some(thread) }
    }

    pub fn url(&self) -> String {
        format!("http://{}/lanscan/json", self.address)
    }

    /// Changes the behaviour from now on.
    pub fn set(&self, says: Says) {
        *self.shared.says.lock().unwrap() = Some(says);
    }

    /// Waits until it has had this many requests in total.
    pub fn wait_for_requests(&self, count: u32, within: Duration) {
        let served = self.shared.served.lock().unwrap();
        let (served, timeout) =
            self.shared.more.wait_timeout_while(served, within, |served| *served < count).unwrap();
        assert!(!timeout.timed_out(), "the feed was asked {served} times in {within:?}, not {count}");
    }
}

impl Shared {
    fn serve(&self, stream: &TcpStream) {
        // The client may hang up at any time; the test judges that.
        let head_ended = BufReader::new(stream).lines().map_while(Result::ok).any(|line| line.is_empty());
        if !head_ended {
            return;
        }
        let asked = {
            let mut served = self.served.lock().unwrap();
            *served += 1;
            *served
        };
        self.more.notify_all();
        let says = self.says.lock().unwrap().clone();
        if let Some(says) = says {
            let _ = self.answer(stream, &says, asked);
        }
    }

    fn answer(&self, mut stream: &TcpStream, says: &Says, asked: u32) -> std::io::Result<()> {
        match says {
            Says::Devices(devices) => respond(stream, "200 OK", &lanscan(devices, asked)),
            Says::Stale(devices) => respond(stream, "200 OK", &lanscan(devices, 0)),
            Says::Inventing(count) => {
                respond(stream, "200 OK", &lanscan(&invented(self.number, asked, *count), asked))
            }
            Says::Body(body) => respond(stream, "200 OK", body),
            Says::Status(status) => respond(stream, status, "{}"),
            Says::Down => Ok(()),
            Says::Slow => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")?;
                while !self.stop.load(Ordering::Relaxed) {
                    stream.write_all(b" ")?;
                    thread::sleep(Duration::from_secs(1));
                }
                Ok(())
            }
            Says::Huge => {
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n{\"scan\":[")?;
                while !self.stop.load(Ordering::Relaxed) {
                    stream.write_all(&[b' '; 65_536])?;
                }
                Ok(())
            }
        }
    }
}

/// Returns the invented devices of one answer of one feed; hardly any two answers share a device.
fn invented(feed: u16, answer: u32, count: u32) -> Vec<(String, String)> {
    let [high, low] = feed.to_be_bytes();
    let device = |index: u32| {
        let [_, b, c, d] = (answer * count + index).to_be_bytes();
        (
            format!("10.{}.{c}.{d}", 100 + feed % 100),
            format!("02:{high:02x}:{low:02x}:{b:02x}:{c:02x}:{d:02x}"),
        )
    };
    (1..=count).map(device).collect()
}

fn respond(mut stream: &TcpStream, status: &str, body: &str) -> std::io::Result<()> {
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// Writes lanscan's JSON; the time of the sweep is a number of seconds after a midnight.
fn lanscan(devices: &[(String, String)], second: u32) -> String {
    let mut scan = String::new();
    for (ipv4, mac) in devices {
        let comma = if scan.is_empty() { "" } else { "," };
        let _ = write!(scan, r#"{comma}{{"ipv4":"{ipv4}","mac":"{mac}"}}"#);
    }
    let utc = format!("2026-02-01 {:02}:{:02}:{:02}", second / 3600 % 24, second / 60 % 60, second % 60);
    let time = format!(r#"{{"utc":"{utc}","prep_sec":1,"scan_sec":2,"total_sec":3}}"#);
    format!(r#"{{"time":{time},"scan":[{scan}],"count":{}}}"#, devices.len())
}

impl Drop for FeedServer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        // This connection wakes the thread, which waits for one. The thread may have ended already if the listener
        // failed.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
