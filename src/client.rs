//! Layer 2: a small HTTP client for feeds and for the command line: one request, bounded in time and size.
//!
//! No redirects: a feed's URL is configuration, and only its owner may change it. No pool: a connection that
//! idles for a minute between two polls is memory on both sides. No proxy: feeds are on the LAN.

use std::{
    error::Error,
    future::Future,
    io,
    net::{SocketAddr, SocketAddrV6},
    path::Path,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{
    Method, Request, Response, StatusCode, Uri,
    body::{Body, Incoming},
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, LOCATION, USER_AGENT},
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{
        self,
        connect::{Connect, HttpConnector, dns::Name},
    },
    rt::TokioExecutor,
};

use tokio_rustls::rustls::ClientConfig;

use crate::{
    model::{Address, one_line, without_secrets},
    resolve::{Resolve, ResolveError},
    tls,
};

/// The longest head of a response, in bytes: fifty times lanscan's.
const MAX_HEAD: usize = 16 * 1024;

/// The most header lines of a response.
const MAX_HEADERS: usize = 64;

/// The most bytes that are read of a body with another status than 200: more than the report of an unhealthy
/// appliance.
const MAX_EXCERPT: usize = 16 * 1024;

/// The most characters of an answer's text that an error quotes.
const MAX_TEXT: usize = 200;

const AGENT: &str = concat!("portscan/", env!("CARGO_PKG_VERSION"));

/// Bounds of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseLimits {
    /// The time limit, from the name look-up to the last byte.
    pub timeout: Duration,
    /// The longest body, in bytes.
    pub max_bytes: usize,
}

impl Default for ResponseLimits {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(10), max_bytes: 8 << 20 }
    }
}

/// Why a request got no usable answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// Not an http or https URL.
    #[error("\"{0}\" is not a URL; write it as http://192.0.2.1/path")]
    BadUrl(String),
    /// No connection: no address, listener, route or valid certificate.
    #[error("no connection: {0}")]
    Unreachable(String),
    /// Too slow.
    #[error("no complete answer within {0:?}")]
    TimedOut(Duration),
    /// A status other than 200 or, after a command, other than a success.
    #[error("the answer is {status}; is the path right?")]
    Status {
        /// The status.
        status: StatusCode,
        /// The beginning of the body, at most 16 KB, unchanged: it may contain the reason.
        body: Bytes,
    },
    /// A redirection, with its target.
    #[error("it redirects to \"{0}\"; if that is right, write that URL")]
    Redirected(String),
    /// A body longer than the limit.
    #[error("the answer is longer than {0} bytes")]
    TooLarge(usize),
    /// The connection ended early, or it is not HTTP.
    #[error("the answer is cut short or not HTTP: {0}")]
    Broken(String),
    /// The receiver of the answer failed.
    #[error("the answer cannot be written: {0}")]
    Unwritten(String),
}

/// A request's body: whole, or in pieces as the peer accepts them.
pub type RequestBody = UnsyncBoxBody<Bytes, io::Error>;

/// A request that is more than a plain GET.
#[derive(Debug)]
pub struct HttpRequest<'a> {
    /// The method.
    pub method: Method,
    /// http or https.
    pub url: &'a str,
    /// Bearer token (RFC 6750).
    pub token: Option<&'a str>,
    /// Further headers, by their lower-case names.
    pub headers: &'a [(&'static str, String)],
    /// The media type and the body.
    pub body: Option<(&'static str, RequestBody)>,
    /// What the answer may be: [`JSON`] or [`ANYTHING`].
    pub accept: &'static str,
}

/// The media type of what feeds and the appliance answer.
pub const JSON: &str = "application/json";

/// Every media type.
pub const ANYTHING: &str = "*/*";

/// Makes a body from bytes in memory.
pub fn whole(body: Bytes) -> RequestBody {
    Full::new(body).map_err(|never| match never {}).boxed_unsync()
}

/// An HTTP client; cheap to clone.
#[derive(Clone)]
pub struct HttpClient(Arc<Connectors>);

struct Connectors {
    connector: HttpConnector<Lookup>,
    plain: legacy::Client<HttpConnector<Lookup>, RequestBody>,
    /// Made when first needed: the certificates of the authorities take memory that http never uses.
    tls: OnceLock<SecureClient>,
}

type SecureClient = legacy::Client<HttpsConnector<HttpConnector<Lookup>>, RequestBody>;

impl HttpClient {
    /// A client that looks names up with this resolver.
    pub fn new(resolver: Arc<dyn Resolve>) -> Self {
        let mut connector = HttpConnector::new_with_resolver(Lookup(resolver));
        // https, too, goes through it.
        connector.enforce_http(false);
        connector.set_nodelay(true);
        Self(Arc::new(Connectors { plain: build(connector.clone()), connector, tls: OnceLock::new() }))
    }

    /// The same client, which trusts the authorities of this file (PEM) in place of the machine's.
    ///
    /// # Errors
    /// Fails if the file cannot be used.
    pub fn trusting(&self, ca_file: &Path) -> io::Result<Self> {
        let connector = self.0.connector.clone();
        let tls = build(secured(connector.clone(), &*tls::client_config(Some(ca_file))?));
        Ok(Self(Arc::new(Connectors { plain: build(connector.clone()), connector, tls: tls.into() })))
    }

    /// Returns the body of a resource.
    ///
    /// # Errors
    /// Fails on a status other than 200, and if a limit is exceeded.
    pub async fn get(&self, url: &str, limits: ResponseLimits) -> Result<Bytes, ClientError> {
        let request =
            HttpRequest { method: Method::GET, url, token: None, headers: &[], body: None, accept: JSON };
        let answer = async {
            let response = self.exchange(request).await?;
            match response.status() {
                StatusCode::OK => read(response.into_body(), limits.max_bytes).await,
                _ => Err(refusal(response, limits.max_bytes.min(MAX_EXCERPT)).await),
            }
        };
        within(limits.timeout, answer).await
    }

    /// Sends the request, and passes the body to `take` piece by piece if the status is a success.
    ///
    /// # Errors
    /// Fails on another status, if a limit is exceeded, and if `take` fails.
    pub async fn send(
        &self,
        request: HttpRequest<'_>,
        limits: ResponseLimits,
        mut take: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), ClientError> {
        let answer = async {
            let response = self.exchange(request).await?;
            if !response.status().is_success() {
                return Err(refusal(response, limits.max_bytes.min(MAX_EXCERPT)).await);
            }
            let mut left = limits.max_bytes;
            let mut body = response.into_body();
            while let Some(frame) = body.frame().await {
                let data = frame.map_err(|error| ClientError::Broken(innermost(&error)))?;
                let data = data.into_data().unwrap_or_default();
                left = left.checked_sub(data.len()).ok_or(ClientError::TooLarge(limits.max_bytes))?;
                take(&data).map_err(|error| ClientError::Unwritten(error.to_string()))?;
            }
            Ok(())
        };
        within(limits.timeout, answer).await
    }

    async fn exchange(&self, request: HttpRequest<'_>) -> Result<Response<Incoming>, ClientError> {
        let bad = || ClientError::BadUrl(one_line(&without_secrets(request.url), MAX_TEXT));
        let uri: Uri = request.url.parse().map_err(|_| bad())?;
        let secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(bad()),
        };
        let mut builder = Request::builder()
            .method(request.method)
            .uri(uri)
            .header(USER_AGENT, AGENT)
            .header(ACCEPT, request.accept);
        if let Some(token) = request.token {
            builder = builder.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        for (name, value) in request.headers {
            builder = builder.header(*name, value);
        }
        let mut sent = None;
        if let Some((kind, body)) = request.body {
            builder = builder.header(CONTENT_TYPE, kind);
            sent = Some(body);
        }
        let request = builder.body(sent.unwrap_or_else(|| whole(Bytes::new()))).map_err(|_| bad())?;
        let response =
            if secure { self.secure()?.request(request).await } else { self.0.plain.request(request).await };
        response.map_err(|error| failure(&error))
    }
}

impl HttpClient {
    /// The client for https, made when it is first needed.
    fn secure(&self) -> Result<&SecureClient, ClientError> {
        if let Some(client) = self.0.tls.get() {
            return Ok(client);
        }
        let failed = |error: io::Error| ClientError::Unreachable(one_line(&error.to_string(), MAX_TEXT));
        let config = tls::client_config(None).map_err(failed)?;
        Ok(self.0.tls.get_or_init(|| build(secured(self.0.connector.clone(), &config))))
    }
}

async fn within<T>(
    timeout: Duration,
    answer: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    tokio::time::timeout(timeout, answer).await.unwrap_or(Err(ClientError::TimedOut(timeout)))
}

fn build<C: Connect + Clone>(connector: C) -> legacy::Client<C, RequestBody> {
    legacy::Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(0)
        .http1_max_buf_size(MAX_HEAD)
        .http1_max_headers(MAX_HEADERS)
        .build(connector)
}

fn secured(connector: HttpConnector<Lookup>, config: &ClientConfig) -> HttpsConnector<HttpConnector<Lookup>> {
    let builder = HttpsConnectorBuilder::new().with_tls_config(config.clone());
    builder.https_only().enable_http1().wrap_connector(connector)
}

async fn read(body: Incoming, max: usize) -> Result<Bytes, ClientError> {
    let announced = body.size_hint().lower();
    if announced > max as u64 {
        return Err(ClientError::TooLarge(max));
    }
    let mut read = Vec::with_capacity(usize::try_from(announced).unwrap_or(0));
    match append(body, max, &mut read).await {
        Ok(true) => Ok(read.into()),
        Ok(false) => Err(ClientError::TooLarge(max)),
        Err(error) => Err(ClientError::Broken(innermost(&error))),
    }
}

/// Reads to the end, or up to `max` bytes; returns whether it reached the end.
async fn append(mut body: Incoming, max: usize, read: &mut Vec<u8>) -> hyper::Result<bool> {
    while let Some(frame) = body.frame().await {
        // Trailers have no meaning here.
        let data = frame?.into_data().unwrap_or_default();
        let room = max - read.len();
        if data.len() > room {
            read.extend_from_slice(&data[..room]);
            return Ok(false);
        }
        read.extend_from_slice(&data);
    }
    Ok(true)
}

/// Makes the error for an answer with another status than 200.
async fn refusal(response: Response<Incoming>, max: usize) -> ClientError {
    let status = response.status();
    let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
    if let Some(location) = location.filter(|_| status.is_redirection()) {
        return ClientError::Redirected(one_line(&without_secrets(location), MAX_TEXT));
    }
    let mut excerpt = Vec::new();
    // A body that is cut short is an excerpt as well.
    _ = append(response.into_body(), max, &mut excerpt).await;
    ClientError::Status { status, body: excerpt.into() }
}

fn failure(error: &legacy::Error) -> ClientError {
    let reason = innermost(error);
    if error.is_connect() { ClientError::Unreachable(reason) } else { ClientError::Broken(reason) }
}

/// hyper's errors wrap what happened in what was attempted ("client error (Connect)"); users need the former.
fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    one_line(&innermost.to_string(), MAX_TEXT)
}

/// Our resolver in hyper's terms.
#[derive(Clone)]
struct Lookup(Arc<dyn Resolve>);

impl tower_service::Service<Name> for Lookup {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = ResolveError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ResolveError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ResolveError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let resolver = Arc::clone(&self.0);
        Box::pin(async move {
            let addresses = resolver.resolve(name.as_str()).await?;
            Ok(addresses.iter().map(|address| socket_address(address, 0)).collect::<Vec<_>>().into_iter())
        })
    }
}

/// Where a socket connects to: with the zone as the number that the kernel wants; a zone that is not here becomes 0, and
/// the connect fails with "Invalid argument".
pub fn socket_address(address: &Address, port: u16) -> SocketAddr {
    let scope = address.zone().and_then(|zone| nix::net::if_::if_nametoindex(zone).ok());
    match (address.ip(), scope) {
        (std::net::IpAddr::V6(ip), Some(scope)) => SocketAddrV6::new(ip, port, 0, scope).into(),
        (ip, _) => SocketAddr::new(ip, port),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::{Ipv4Addr, TcpListener, TcpStream},
        sync::mpsc,
        thread,
    };

    use super::*;
    use crate::resolve::Resolving;

    /// `feed.test` resolves to this machine, every other name to nothing.
    struct Table;

    impl Resolve for Table {
        fn resolve<'a>(&'a self, name: &'a str) -> Resolving<'a> {
            Box::pin(async move {
                match name {
                    "feed.test" => Ok(vec![Ipv4Addr::LOCALHOST.into()]),
                    name => Err(ResolveError::Unknown(name.to_owned())),
                }
            })
        }
    }

    /// Answers one connection with what `answer` writes; returns the request's head.
    fn serve(answer: impl FnOnce(&mut TcpStream) + Send + 'static) -> (u16, mpsc::Receiver<String>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = Vec::new();
            let mut buffer = [0; 1024];
            // A TLS client's first byte is no letter, and it waits for an answer.
            while !head.ends_with(b"\r\n\r\n") && head.first().is_none_or(u8::is_ascii_alphabetic) {
                match stream.read(&mut buffer) {
                    Ok(0) | Err(_) => break,
                    Ok(count) => head.extend_from_slice(&buffer[..count]),
                }
            }
            sender.send(String::from_utf8_lossy(&head).into_owned()).ok();
            answer(&mut stream);
        });
        (port, receiver)
    }

    fn answering(text: &'static str) -> u16 {
        serve(move |stream| stream.write_all(text.as_bytes()).unwrap()).0
    }

    fn get_within(url: &str, limits: ResponseLimits) -> Result<Bytes, ClientError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(HttpClient::new(Arc::new(Table)).get(url, limits))
    }

    fn get(url: &str) -> Result<Bytes, ClientError> {
        get_within(url, ResponseLimits { max_bytes: 1000, ..ResponseLimits::default() })
    }

    fn get_from(port: u16) -> Result<Bytes, ClientError> {
        get(&format!("http://127.0.0.1:{port}/lanscan/json"))
    }

    #[test]
    fn sends_a_proper_request_and_reads_the_body() {
        for answer in [
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
            "HTTP/1.0 200 OK\r\n\r\n{}",
        ] {
            let (port, head) = serve(move |stream| stream.write_all(answer.as_bytes()).unwrap());
            let url = format!("http://feed.test:{port}/lanscan/json?a=b");
            assert_eq!(get(&url), Ok(Bytes::from_static(b"{}")), "{answer}");
            let head = head.recv().unwrap().to_lowercase();
            assert!(head.starts_with("get /lanscan/json?a=b http/1.1\r\n"), "{head}");
            assert!(head.contains(&format!("\r\nhost: feed.test:{port}\r\n")), "{head}");
        }
    }

    #[test]
    fn another_status_is_an_error_that_names_it() {
        let refused = |status, body| Err(ClientError::Status { status, body: Bytes::from_static(body) });
        let port = answering("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\n{}");
        assert_eq!(get_from(port), refused(StatusCode::SERVICE_UNAVAILABLE, b"{}"));
        let port =
            answering("HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1/\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(get_from(port), Err(ClientError::Redirected("http://192.0.2.1/".to_owned())));
        let port = answering("HTTP/1.1 204 No Content\r\n\r\n");
        assert_eq!(get_from(port), refused(StatusCode::NO_CONTENT, b""));
        let port = answering("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 9\r\n\r\ncut");
        assert_eq!(get_from(port), refused(StatusCode::INTERNAL_SERVER_ERROR, b"cut"));
    }

    #[test]
    fn only_the_beginning_of_an_errors_body_is_read() {
        let (done, ended) = mpsc::channel();
        let (port, _) = serve(move |stream| {
            stream.write_all(b"HTTP/1.1 404 Not Found\r\n\r\n").unwrap();
            while stream.write_all(&[b'x'; 4096]).is_ok() {}
            done.send(()).unwrap();
        });
        let body = Bytes::from(vec![b'x'; 1000]);
        assert_eq!(get_from(port), Err(ClientError::Status { status: StatusCode::NOT_FOUND, body }));
        ended.recv_timeout(Duration::from_secs(20)).unwrap();
    }

    #[test]
    fn a_body_that_is_too_long_is_not_read() {
        let port = answering("HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n");
        assert_eq!(get_from(port), Err(ClientError::TooLarge(1000)));
        // Without an announced length it is cut off on the way: the server sees its writes fail.
        let (done, ended) = mpsc::channel();
        let (port, _) = serve(move |stream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            while stream.write_all(&[b' '; 4096]).is_ok() {}
            done.send(()).unwrap();
        });
        assert_eq!(get_from(port), Err(ClientError::TooLarge(1000)));
        ended.recv_timeout(Duration::from_secs(20)).unwrap();
    }

    #[test]
    fn a_head_that_never_ends_is_refused() {
        let (port, _) = serve(|stream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\nX: ").unwrap();
            while stream.write_all(&[b'x'; 4096]).is_ok() {}
        });
        assert!(matches!(get_from(port), Err(ClientError::Broken(_))));
    }

    #[test]
    fn a_slow_answer_ends_in_time() {
        for sent in ["", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"] {
            let (port, _) = serve(move |stream| {
                stream.write_all(sent.as_bytes()).unwrap();
                // Until the client has had enough.
                stream.read_exact(&mut [0]).ok();
            });
            let limits = ResponseLimits { timeout: Duration::from_millis(100), max_bytes: 1000 };
            let url = format!("http://127.0.0.1:{port}/");
            assert_eq!(get_within(&url, limits), Err(ClientError::TimedOut(limits.timeout)), "{sent}");
        }
    }

    #[test]
    fn a_cut_answer_and_one_that_is_not_http_are_distinguished() {
        for answer in ["HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", "", "SSH-2.0-OpenSSH_9.6\r\n"] {
            let outcome = get_from(answering(answer));
            assert!(matches!(outcome, Err(ClientError::Broken(_))), "{answer}: {outcome:?}");
        }
    }

    #[test]
    fn reports_the_reason_when_no_connection_is_made() {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        for (url, reason) in [
            (format!("http://127.0.0.1:{free}/"), "refused"),
            ("http://unknown.test/".to_owned(), "Unable to resolve host \"unknown.test\""),
            ("ftp://feed.test/".to_owned(), "is not a URL"),
            ("lanscan".to_owned(), "is not a URL"),
        ] {
            let error = get(&url).unwrap_err().to_string();
            assert!(error.contains(reason), "{url}: {error}");
        }
    }

    #[test]
    fn https_to_a_plain_server_fails_instead_of_falling_back() {
        let (port, head) = serve(|stream| {
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").ok();
        });
        let outcome = get(&format!("https://127.0.0.1:{port}/"));
        assert!(matches!(outcome, Err(ClientError::Unreachable(_))), "{outcome:?}");
        assert!(!head.recv().unwrap().contains("GET"));
    }
}
