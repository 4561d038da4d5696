//! A receiver of webhooks that records the requests, and fails as configured.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use serde_json::Value;

/// What the receiver does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reception {
    /// Accepts it, and answers with this status; only 2xx means that it was received.
    Answers(u16),
    /// Accepts it, and closes the connection without an answer.
    TakesAndHangsUp,
    /// Closes the connection before it has read anything.
    HangsUp,
}

/// A request.
#[derive(Clone, Debug)]
pub struct ReceivedRequest {
    pub path: String,
    /// By their names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: String,
    /// What the receiver did.
    pub reception: Reception,
}

impl ReceivedRequest {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }

    /// Whether the sender knows that the request arrived; otherwise it must assume that it may not have.
    pub fn is_taken(&self) -> bool {
        matches!(self.reception, Reception::Answers(200..=299) | Reception::TakesAndHangsUp)
    }
}

/// Decides about each request, the first of which is number 0.
type Decide = Box<dyn FnMut(usize) -> Reception + Send>;

/// On the loopback, until the test ends.
pub struct HttpReceiver {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<ReceivedRequest>>>,
}

impl HttpReceiver {
    /// Starts one on a free port.
    pub fn start(decide: impl FnMut(usize) -> Reception + Send + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let requests = Arc::new(Mutex::new(Vec::new()));
        let theirs = Arc::clone(&requests);
        thread::spawn(move || serve(&listener, &theirs, Box::new(decide)));
        Self { address, requests }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// All requests that were read, in their order.
    pub fn requests(&self) -> Vec<ReceivedRequest> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn serve(listener: &TcpListener, requests: &Mutex<Vec<ReceivedRequest>>, mut decide: Decide) {
    for (number, stream) in listener.incoming().enumerate() {
        let Ok(mut stream) = stream else { continue };
        let reception = decide(number);
        if reception == Reception::HangsUp {
            continue;
        }
        // A sender that is killed leaves half a request, which does not count.
        let Some(request) = read(&mut stream, reception) else { continue };
        requests.lock().unwrap_or_else(PoisonError::into_inner).push(request);
        if let Reception::Answers(status) = reception {
            // The sender may be gone.
            let _ = write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
        }
    }
}

fn read(stream: &mut TcpStream, reception: Reception) -> Option<ReceivedRequest> {
    stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    let head_end = loop {
        if let Some(end) = text.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break end;
        }
        let count = stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
        text.extend_from_slice(&buffer[..count]);
    };
    let head = String::from_utf8(text[..head_end].to_vec()).ok()?;
    let mut lines = head.lines();
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let headers: BTreeMap<_, _> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let length: usize = headers.get("content-length")?.parse().ok()?;
    while text.len() < head_end + 4 + length {
        let count = stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
        text.extend_from_slice(&buffer[..count]);
    }
    let body = String::from_utf8(text[head_end + 4..].to_vec()).ok()?;
    Some(ReceivedRequest { path, headers, body, reception })
}
