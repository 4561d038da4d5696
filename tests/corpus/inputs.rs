//! Inputs from untrusted sources, and the properties that must hold for any of them. A plain test checks the stored
//! inputs; `make fuzz` searches for others.

#![allow(clippy::unwrap_used, reason = "what cannot be is what it looks for")]

use std::{
    collections::HashSet,
    fmt::{Debug, Display},
    io::Write,
    path::Path,
    str::{FromStr, from_utf8},
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    task::{Wake, Waker},
    time::Duration,
};

use axum::{Router, body::Body};
use http_body_util::BodyExt;
use hyper::{Method, Request, StatusCode, header};
use portscan::{
    clock::SystemClock,
    config::{Config, Overrides},
    engine::{Bounds, Probe, Prober, Reply},
    feed,
    http::{ApplianceParts, StoredParts, Token, router},
    identify as identification,
    model::{
        Address, Device, DeviceIdentification, DeviceKey, EVIDENCE_MAX, Evidence, Mac, Moment,
        PortIdentification, PortSet, PortState, Protocol, TargetSpec, Timing, is_unseen,
    },
    nmap::{Report, gather},
    resolve::{Resolve, ResolveError, Resolving},
    service::{import::Importer, runner, scanner::Scanner},
    store::{DiskPace, ExpectationUpdate, FILE_NAME, Store},
};
use tokio::{runtime::Runtime, sync::watch};
use tower::ServiceExt;

/// lanscan's JSON: no more devices than the limit, each address of a single host, none twice.
pub fn feed(data: &[u8]) {
    let Ok(feed) = feed::parse(data) else { return };
    assert!(feed.devices.len() <= feed::MAX_DEVICES && feed.rejected.reasons.len() <= 8);
    let addresses: HashSet<&Address> = feed.devices.iter().map(|device| &device.address).collect();
    assert_eq!(addresses.len(), feed.devices.len());
    for Device { address, mac, .. } in &feed.devices {
        assert!(address.is_host() && mac.is_none_or(|mac| mac.is_unicast()));
    }
    let told = feed.rejected.reasons.iter().chain(&feed.stamp);
    told.for_each(|text| assert!(!text.chars().any(char::is_control), "{text:?}"));
}

/// nmap's XML: each host once, no port named that was not covered.
pub fn nmap(data: &[u8]) {
    let Ok(mut report) = Report::open(data) else { return };
    let Ok(hosts) = gather(&mut report, tempfile::tempfile().unwrap()) else { return };
    let mut addresses = HashSet::new();
    for host in hosts.map(Result::unwrap) {
        assert!(addresses.insert(host.address.clone()));
        assert!(host.address.is_host() && host.started <= host.finished);
        assert!(host.name.is_none_or(|name| !name.chars().any(char::is_control)));
        for report in &host.reports {
            assert_eq!(report.address, host.address);
            assert!(report.findings.iter().all(|found| report.coverage.contains(found.port)));
        }
    }
    assert!(report.summary().finished >= report.started());
}

/// Targets, ports and devices: a parsed text is printed so that it parses to the same value.
pub fn words(data: &[u8]) {
    let Ok(text) = from_utf8(data) else { return };
    if let Some(ports) = read::<PortSet>(text) {
        assert!((1..=65_536).contains(&ports.len()) && ports.iter().count() == ports.len() as usize);
        assert!(ports.minus(&ports).is_empty() && ports.union(&ports) == ports);
    }
    if let Some(spec) = read::<TargetSpec>(text)
        && let TargetSpec::Address(address) = &spec
    {
        assert!(spec.matches(address, None));
    }
    read::<Address>(text);
    read::<Mac>(text);
    read::<DeviceKey>(text);
    read::<Timing>(text);
    read::<PortState>(text);
    read::<Protocol>(text);
}

fn read<T: FromStr + Display + PartialEq + Debug>(text: &str) -> Option<T> {
    let read: T = text.parse().ok()?;
    assert_eq!(read.to_string().parse().ok().as_ref(), Some(&read), "{text:?}");
    Some(read)
}

/// Texts of devices, parsed as each kind: the output is short and on one line.
pub fn identify(data: &[u8]) {
    let time = jiff::Timestamp::UNIX_EPOCH;
    let text = String::from_utf8_lossy(data);
    let mut lines = text.lines();
    let service_type = lines.next().unwrap_or_default();
    let txt: Vec<_> = lines
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    let found = [
        identification::from_greeting(21, data, time),
        identification::from_greeting(23, data, time),
        identification::from_greeting(25, data, time),
        identification::from_http(data, true, time),
        identification::from_certificate(data, time),
        identification::from_service_record(service_type, &txt, time),
        Some(identification::from_ssh_key(data, time)),
    ];
    found.into_iter().flatten().for_each(check_port);
    if let Some((device, evidence)) = identification::from_upnp_description(data, time) {
        assert!(!device.is_empty());
        check_device(device);
        check_evidence(&evidence);
    }
    identification::device_info(&text).into_iter().for_each(check_device);
}

fn check_port(found: PortIdentification) {
    let PortIdentification {
        service, tls: _, vendor, product, version, title, certificate, host_key, ..
    } = found;
    check_texts([service, vendor, product, version, title, host_key], 120);
    check_device(found.device);
    check_evidence(&found.evidence);
    if let Some(certificate) = certificate {
        assert!(certificate.fingerprint.len() == 64 && certificate.sans.len() <= 16);
        let names = certificate.sans.into_iter().filter(|name| !name.is_empty()).map(Some);
        check_texts(names, 253);
        let (subject, issuer) = (certificate.subject, certificate.issuer);
        check_texts([subject, issuer].into_iter().filter(|name| !name.is_empty()).map(Some), 253);
    }
}

fn check_device(device: DeviceIdentification) {
    check_texts([device.maker, device.model], 80);
}

fn check_evidence(evidence: &Evidence) {
    assert!(evidence.text.chars().count() <= EVIDENCE_MAX && !evidence.text.chars().any(is_unseen));
}

fn check_texts(texts: impl IntoIterator<Item = Option<String>>, max: usize) {
    for text in texts.into_iter().flatten() {
        assert!(!text.trim().is_empty() && text.chars().count() <= max, "{text:?}");
        assert!(!text.chars().any(is_unseen), "{text:?}");
    }
}

/// The configuration: every fault has a message, and a valid configuration is printed so that it loads to the same
/// value.
pub fn config(data: &[u8]) {
    let Ok(text) = from_utf8(data) else { return };
    let load = |text: &str| Config::load(&Overrides::default(), &|_| None, Some((Path::new("f"), text)));
    match load(text) {
        Ok(config) => {
            let shown = config.to_string();
            let again = load(&shown).unwrap();
            // Parts of a URL that may be secret are printed as "...".
            assert!(again == config || shown.contains("..."), "{shown}");
            assert_eq!(again.to_string(), shown);
        }
        Err(error) => assert!(error.faults.iter().all(|fault| !fault.text.is_empty())),
    }
}

/// The appliance's paths, over a database with some content, without a resolver or a prober that could reach
/// anything.
pub struct Paths {
    runtime: Runtime,
    router: Router,
    _home: tempfile::TempDir,
}

/// The parts of a request: method and target on its first line, then its body.
const METHODS: [Method; 7] =
    [Method::GET, Method::HEAD, Method::OPTIONS, Method::POST, Method::PATCH, Method::DELETE, Method::PUT];

impl Paths {
    /// Makes the database, and the router that answers from it.
    pub fn open() -> Self {
        let home = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let router = runtime.block_on(site(home.path()));
        Self { runtime, router, _home: home }
    }

    /// Sends the request. Without a token nothing changes, a refusal has a reason, and no request causes an internal
    /// error.
    pub fn ask(&self, data: &[u8]) {
        let Ok(text) = from_utf8(data) else { return };
        let (line, body) = text.split_once('\n').unwrap_or((text, ""));
        let (method, target) = line.split_once(' ').unwrap_or(("GET", line));
        let Some(method) = METHODS.into_iter().find(|known| known.as_str() == method) else { return };
        // Events have no end.
        if target.starts_with("/v1/events") {
            return;
        }
        let request = Request::builder().method(&method).uri(target).header(header::HOST, "localhost");
        let request = request.header(header::CONTENT_TYPE, "application/json");
        let Ok(request) = request.body(Body::from(body.to_owned())) else { return };
        let greets = request.uri().path() == "/v1/hello";
        let (status, kind, body) = self.runtime.block_on(async {
            let answer = self.router.clone().oneshot(request).await.unwrap();
            let kind = answer.headers().get(header::CONTENT_TYPE).cloned();
            (answer.status(), kind, answer.into_body().collect().await.unwrap().to_bytes())
        });
        assert!(!status.is_server_error() || status == StatusCode::SERVICE_UNAVAILABLE, "{line:?}: {status}");
        let reads = [Method::GET, Method::HEAD, Method::OPTIONS].contains(&method);
        assert!(reads || greets || !status.is_success(), "{line:?}: {status}");
        if method != Method::HEAD && kind.is_some_and(|kind| kind == "application/json") {
            let document: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert!(status.is_success() || document["error"].is_string(), "{line:?}: {document}");
        }
    }
}

/// A printer with two open ports.
const SEEN: &str = r#"<nmaprun start="1772359200"><scaninfo protocol="tcp" services="1-100"/><host>
<status state="up"/><address addr="192.0.2.1" addrtype="ipv4"/><address addr="B8:27:EB:00:00:01" addrtype="mac"/>
<hostnames><hostname name="printer"/></hostnames><ports><extraports state="closed" count="98"/>
<port protocol="tcp" portid="22"><state state="open"/></port><port protocol="tcp" portid="80"><state state="open"/></port>
</ports></host><runstats><finished time="1772359260" exit="success"/></runstats></nmaprun>"#;

/// The appliance's router over a database that contains the printer, with one expected port.
async fn site(home: &Path) -> Router {
    let clock = SystemClock::start();
    let pace = DiskPace { commit: Duration::ZERO, ..DiskPace::default() };
    let (store, _threads) = Store::open_at_pace(&home.join(FILE_NAME), Arc::new(clock), pace).unwrap();
    let importer = Importer::new(store.clone(), Arc::new(clock), home);
    let mut seen = importer.room().unwrap();
    seen.write_all(SEEN.as_bytes()).unwrap();
    importer.import(seen).await.unwrap();
    let state = Some((PortState::Open, "web".to_owned()));
    let device = DeviceKey::Mac(Mac::new([0xb8, 0x27, 0xeb, 0, 0, 1]));
    store.expect(vec![ExpectationUpdate { device, protocol: Protocol::Tcp, port: 80, state }]).await.unwrap();

    let bounds = || Bounds { in_flight: 1, silent: None, full: false };
    let (scanner, _thread) = Scanner::start(1, DeafProber::new(), clock, bounds).unwrap();
    let parts = StoredParts {
        store,
        config: watch::channel(Arc::new(Config { auth_trust: Vec::new(), ..Config::default() })).1,
        token: Token::load(home, None).unwrap(),
        resolver: Arc::new(NoNames),
        runs: runner::runs().0,
        clock: Arc::new(clock),
    };
    router(ApplianceParts { scanner, ..ApplianceParts::of_store(parts, home) })
}

/// Knows no name.
struct NoNames;

impl Resolve for NoNames {
    fn resolve<'a>(&'a self, name: &'a str) -> Resolving<'a> {
        Box::pin(std::future::ready(Err(ResolveError::Unknown(name.to_owned()))))
    }
}

/// A prober that makes no connect, and only reacts to its waker.
struct DeafProber {
    woken: Receiver<()>,
    waker: Waker,
}

impl DeafProber {
    fn new() -> Self {
        let (wake, woken) = channel();
        Self { woken, waker: Waker::from(Arc::new(ChannelWaker(wake))) }
    }
}

impl Prober for DeafProber {
    fn launch(&mut self, probes: &mut Vec<Probe>) {
        probes.clear();
    }

    fn wait(&mut self, _: Option<Moment>, _: &mut Vec<Reply>) {
        // It does not wait for that moment: no answer to a request depends on the driver.
        let _ = self.woken.recv();
    }

    fn waker(&self) -> Waker {
        self.waker.clone()
    }
}

struct ChannelWaker(Sender<()>);

impl Wake for ChannelWaker {
    fn wake(self: Arc<Self>) {
        let _ = self.0.send(());
    }
}
