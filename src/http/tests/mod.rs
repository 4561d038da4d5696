//! The server on real sockets, byte by byte.

mod alerts;
mod authority;
mod bounds;
mod dashboard;
mod elsewhere;
mod everywhere;
mod expected;
mod hostile_rows;
mod hub;
mod identified;
mod import;
mod lanscan;
mod metrics;
mod openapi;
mod portscan;
mod requests;
mod v1;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, middleware::from_fn_with_state, routing::post};
use hyper::StatusCode;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::watch,
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{
    ApplianceParts, Gate, HostAllowlist, LeastRate, Server, ServerLimits, Token,
    appliance::{common, with_layers},
    auth, bind, body, router, serve,
};
use crate::{clock::SystemClock, config::Config, service::health::Health};

/// No response of a healthy server takes this long, however busy the machine.
const AT_MOST: Duration = Duration::from_secs(60);

/// A server on a free port, with its configuration and health.
struct Served {
    address: SocketAddr,
    config: watch::Sender<Arc<Config>>,
    health: watch::Sender<Health>,
    stop: CancellationToken,
    task: JoinHandle<std::io::Result<()>>,
}

fn config() -> Config {
    Config { http_names: vec!["scan.example.org".into()], auth_trust: Vec::new(), ..Config::default() }
}

/// Serves the appliance's routes, these, and `/write`, which changes nothing but is behind the gate.
/// The bounds for tests that are about something else: an emulated processor may take a minute for a long list.
fn unhurried() -> ServerLimits {
    let long = Duration::from_secs(600);
    let defaults = ServerLimits::default();
    let reading = LeastRate { within: long, ..defaults.reading };
    ServerLimits { header: long, request: long, reading, queue: long, ..defaults }
}

fn serve_with(limits: ServerLimits, reads: Router, token: Token) -> Served {
    let (config, config_seen) = watch::channel(Arc::new(config()));
    let (health, health_seen) = watch::channel(Health::default());
    let allowlist = HostAllowlist::new(Some("pi.home.example.net"), config_seen.clone());
    let gate = Gate::new(token, allowlist.clone(), config_seen, Arc::new(SystemClock::start()));
    let writes = Router::new()
        .route("/write", post(async || StatusCode::NO_CONTENT))
        .route_layer(from_fn_with_state(gate.clone(), auth::require));
    let more = body::bounded(reads.merge(writes), limits);
    let own = body::bounded(common("a\"<b", move || health_seen.borrow().clone()), limits);
    let router = with_layers(own.merge(more), allowlist);
    let (address, stop, task) = start(router, gate, limits);
    Served { address, config, health, stop, task }
}

/// Starts the server on a free port; returns its address and how to stop it.
fn start(
    router: Router,
    gate: Gate,
    limits: ServerLimits,
) -> (SocketAddr, CancellationToken, JoinHandle<std::io::Result<()>>) {
    let stop = CancellationToken::new();
    let listeners = bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
    let address = listeners[0].local_addr().unwrap();
    let server = Server { router, gate, clock: Arc::new(SystemClock::start()), limits };
    (address, stop.clone(), tokio::spawn(serve(listeners, server, stop)))
}

fn serve_routes(limits: ServerLimits, reads: Router) -> Served {
    serve_with(limits, reads, token())
}

fn token() -> Token {
    Token::load(tempfile::tempdir().unwrap().path(), None).unwrap()
}

impl Served {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends these bytes and reads until the server closes the connection.
    async fn ask(&self, request: &str) -> Answer {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        read_to_end(&mut stream).await
    }

    /// A request of a program on this machine, with the usual headers and these.
    async fn request(&self, method: &str, path: &str, headers: &[&str]) -> Answer {
        self.request_to("localhost", method, path, headers).await
    }

    /// The same with another host name, as a forwarder on this machine passes on its clients' requests.
    async fn request_to(&self, host: &str, method: &str, path: &str, headers: &[&str]) -> Answer {
        let headers: String = headers.iter().flat_map(|line| [*line, "\r\n"]).collect();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n");
        self.ask(&head).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[]).await
    }
}

/// The response.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    /// The sentence of a JSON error.
    fn error(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        let body: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        body["error"].as_str().unwrap().to_owned()
    }
}

async fn read_to_end(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    timeout(AT_MOST, stream.read_to_end(&mut bytes)).await.expect("the server ends the connection").unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no whole head in {text:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

/// Whether the server closes the connection without another byte.
async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut byte = [0];
    match timeout(AT_MOST, stream.read(&mut byte)).await {
        Ok(Ok(read)) => read == 0,
        Ok(Err(_)) => true,
        Err(_) => false,
    }
}
