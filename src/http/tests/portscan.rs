//! The portscan API with the real store, engine and sockets behind it.

use std::{net::TcpListener, num::NonZeroUsize};

use futures_util::future::join_all;

use super::*;
use crate::{
    clock::{Clock, SystemClock},
    config::Overrides,
    engine::Bounds,
    model::{
        Address, Device, Diagnosis, HostReport, HostStatus, Moment, PortFinding, PortSet, PortState,
        Protocol, Reason, ScanId, ScanKind,
    },
    net::{ConnectProber, mdns::Advertised},
    resolve::{Resolve, ResolveError, Resolving},
    service::{
        alerts::{AlertParts, Alerts},
        feeds::{Inventory, Known, SourceId},
        import::Importer,
        runner::{self, Runner},
        scanner::{Scanner, ScannerThread},
    },
    store::{DiskPace, Observation, Store, WriterThread},
};

/// A resolver that knows `here`, addresses, and a name that it resolves as an ad blocker does.
pub(super) struct ResolverTable;

impl Resolve for ResolverTable {
    fn resolve<'a>(&'a self, name: &'a str) -> Resolving<'a> {
        let known = match name {
            "here" | "münchen.example" => "127.0.0.1",
            "blocked.example" => "0.0.0.0",
            other => other,
        };
        let found = known.parse::<Address>().map(|address| vec![address]);
        Box::pin(std::future::ready(found.map_err(|_| ResolveError::Unknown(name.to_owned()))))
    }
}

/// The appliance's routes over an empty store.
pub(super) struct TestAppliance {
    pub(super) served: Served,
    pub(super) token: Token,
    pub(super) store: Store,
    pub(super) scanner: Scanner,
    pub(super) inventory: watch::Sender<Inventory>,
    pub(super) advertised: watch::Sender<Advertised>,
    runner: Option<Runner>,
    _threads: (ScannerThread, WriterThread),
    pub(super) dir: tempfile::TempDir,
}

pub(super) fn appliance() -> TestAppliance {
    appliance_with(unhurried())
}

pub(super) fn appliance_with(limits: ServerLimits) -> TestAppliance {
    appliance_of(limits, DiskPace { commit: Duration::ZERO, ..DiskPace::default() })
}

pub(super) fn appliance_at_pace(pace: DiskPace) -> TestAppliance {
    appliance_of(unhurried(), pace)
}

fn appliance_of(limits: ServerLimits, pace: DiskPace) -> TestAppliance {
    let dir = tempfile::tempdir().unwrap();
    let clock = SystemClock::start();
    let file = dir.path().join("portscan.db");
    let (store, writer) = Store::open_at_pace(&file, Arc::new(clock), pace).unwrap();
    let prober = ConnectProber::start(NonZeroUsize::MIN, clock).unwrap();
    let watch_links = prober.links().clone();
    let bounds = || Bounds { in_flight: 64, silent: None, full: false };
    let (scanner, thread) = Scanner::start(1, prober, clock, bounds).unwrap();
    let (config, config_seen) = watch::channel(Arc::new(config()));
    let (health, health_seen) = watch::channel(Health::default());
    let (inventory, inventory_seen) = watch::channel(Inventory::default());
    let (advertised, advertised_seen) = watch::channel(Advertised::default());
    let (runs, requests) = runner::runs();
    let runner = Runner {
        store: store.clone(),
        scanner: scanner.clone(),
        watch: watch_links,
        clock: Arc::new(clock),
        resolver: Arc::new(ResolverTable),
        config: config_seen.clone(),
        inventory: inventory_seen.clone(),
        requests,
        leases: crate::service::host_lease::HostLeases::default(),
        recorded: crate::service::identify::recorded().0,
    };
    let allowlist = HostAllowlist::new(None, config_seen.clone());
    let token = Token::load(dir.path(), None).unwrap();
    let gate = Gate::new(token.clone(), allowlist.clone(), config_seen.clone(), Arc::new(clock));
    let alerts = Alerts::new(AlertParts {
        store: store.clone(),
        config: config_seen.clone(),
        resolver: Arc::new(ResolverTable),
        clock: Arc::new(clock),
        hostname: None,
        runs: runs.clone(),
        site: None,
    });
    let site = ApplianceParts {
        alerts,
        gate: gate.clone(),
        allowlist,
        config: config_seen,
        advertised: advertised_seen,
        store: store.clone(),
        scanner: scanner.clone(),
        resolver: Arc::new(ResolverTable),
        inventory: inventory_seen,
        health: health_seen,
        diagnose: Arc::new(|| vec![Diagnosis::ok("clock", "it is right")]),
        importer: Importer::new(store.clone(), Arc::new(clock), dir.path()),
        runs,
        clock: Arc::new(clock),
        limits,
    };
    let (address, stop, task) = start(router(site), gate, limits);
    TestAppliance {
        served: Served { address, config, health, stop, task },
        token,
        store,
        scanner,
        inventory,
        advertised,
        runner: Some(runner),
        _threads: (thread, writer),
        dir,
    }
}

impl TestAppliance {
    /// Lets it scan these addresses, which are in the inventory from now on.
    pub(super) fn start_scanning(&mut self, config: &str, addresses: &[&str]) {
        let file = Some((std::path::Path::new("test.toml"), config));
        let config = Config::load(&Overrides::default(), &|_| None, file).unwrap();
        let trust = Vec::new();
        self.served.config.send_replace(Arc::new(Config { auth_trust: trust, ..config }));
        let known = |address: &&str| Known {
            device: Device { address: address.parse().unwrap(), mac: None, name: None },
            source: SourceId::Hosts,
            fresh: true,
            since: Moment::ZERO,
        };
        self.inventory.send_modify(|inventory| inventory.devices = addresses.iter().map(known).collect());
        let runner = self.runner.take().unwrap();
        tokio::spawn(runner.run(self.served.stop.clone()));
    }

    /// A request with the token.
    pub(super) async fn authorised(&self, method: &str, path: &str) -> Answer {
        let shown = format!("Authorization: Bearer {}", self.token.reveal());
        self.served.request(method, path, &[&shown]).await
    }
}

/// A listener and a port where nothing listens.
fn open_and_closed() -> (TcpListener, u16, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let open = listener.local_addr().unwrap().port();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    (listener, open, closed)
}

/// Stores these open ports of the device, as a scan of its own.
pub(super) async fn remember(store: &Store, mac: &str, open: &[u16]) -> ScanId {
    let clock = SystemClock::start();
    let address: Address = "192.168.1.7".parse().unwrap();
    let ports = PortSet::from_ranges([(1, 1000)]);
    let finding =
        |&port: &u16| PortFinding { port, state: PortState::Open, reason: Reason::SynAck, rtt: None };
    let report = HostReport {
        address: address.clone(),
        status: HostStatus::Up,
        coverage: ports.clone(),
        default_state: PortState::Closed,
        default_reason: Reason::ConnRefused,
        findings: open.iter().map(finding).collect(),
        protocol: Protocol::Tcp,
        probes: 1000,
        preparation: Duration::from_millis(250),
        scanning: Duration::from_millis(1500),
        detail: String::new(),
    };
    let scan = store.begin_scan("lan", ScanKind::Run, &ports).await.unwrap();
    let device = Device { address, mac: mac.parse().ok(), name: None };
    let started = "2022-12-11T21:21:18Z".parse().unwrap();
    let observation = Observation { scan, device, report, started, finished: clock.wall() };
    store.record(observation).await.unwrap();
    scan
}

#[tokio::test]
async fn returns_stored_results() {
    let appliance = appliance();
    let served = &appliance.served;
    assert_eq!(served.get("/portscan/json").await.body, "{\"macs\":[]}\n");
    remember(&appliance.store, "b8:27:eb:ac:14:3e", &[22, 80]).await;
    let answer = served.get("/portscan/json").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "{\"macs\":[\"B8:27:EB:AC:14:3E\"]}\n"));
    for mac in ["B8:27:EB:AC:14:3E", "b8-27-eb-ac-14-3e", "b827.ebac.143e", "b8%3A27%3Aeb%3Aac%3A14%3A3e"] {
        let answer = served.get(&format!("/portscan/{mac}/json")).await;
        assert_eq!(
            answer.body,
            "{\"host\":{\"ipv4\":\"192.168.1.7\",\"mac\":\"B8:27:EB:AC:14:3E\"},\
             \"time\":{\"utc\":\"2022-12-11 21:21:19\",\"prep_sec\":0.25,\"scan_sec\":1.5,\"total_sec\":1.75},\"scanned_ports\":1000,\
             \"ports\":[22,80],\"count\":2}\n",
            "{mac}"
        );
    }
    let unknown = served.get("/portscan/B8:27:EB:AC:14:3F/json").await;
    assert_eq!((unknown.status, unknown.error().as_str()), (200, "host not found"));
    let malformed = served.get("/portscan/B8:27/json").await;
    assert_eq!(malformed.status, 400);
    assert!(malformed.error().contains("write it as"), "{malformed:?}");
}

#[tokio::test]
async fn probes_a_port_on_request() {
    let appliance = appliance();
    let served = &appliance.served;
    let (_listener, open, closed) = open_and_closed();
    for (host, spelling) in [
        ("127.0.0.1", "127.0.0.1"),
        ("here", "here"),
        ("::ffff:127.0.0.1", "::ffff:127.0.0.1"),
        ("[::ffff:127.0.0.1]", "[::ffff:127.0.0.1]"),
        ("münchen.example", "m%C3%BCnchen.example"),
    ] {
        let answer = served.get(&format!("/portscan/{spelling}/{open}/json")).await;
        let start = format!(
            "{{\"ip\":\"{host}\",\"ipv4\":\"{host}\",\"port\":\"{open}\",\"address\":\"127.0.0.1\",\
             \"state\":\"open\",\"reason\":\"syn-ack\",\"rtt_ms\":"
        );
        assert_eq!(answer.status, 200);
        let rtt = answer.body.strip_prefix(&start).and_then(|rest| rest.strip_suffix("}\n"));
        let rtt: f64 = rtt.unwrap_or_else(|| panic!("{answer:?}")).parse().unwrap();
        assert!(rtt > 0.0 && rtt < 5_000.0, "{answer:?}");
    }
    let answer = served.get(&format!("/portscan/127.0.0.1/{closed}/json")).await;
    assert_eq!(
        (answer.status, answer.error().as_str()),
        (200, "Connection refused (no listener or too busy).")
    );
    let answer = served.get("/portscan/nowhere.lan/80/json").await;
    assert_eq!((answer.status, answer.error().as_str()), (200, "Unable to resolve host \"nowhere.lan\"."));
}

#[tokio::test]
async fn ipv6_hosts_are_accepted_in_every_spelling() {
    let appliance = appliance();
    let listener = TcpListener::bind("[::1]:0").unwrap();
    let open = listener.local_addr().unwrap().port();
    for host in ["::1", "[::1]", "%5B::1%5D", "0:0:0:0:0:0:0:1"] {
        let answer = appliance.served.get(&format!("/portscan/{host}/{open}/json")).await;
        assert!(answer.body.contains("\"address\":\"::1\",\"state\":\"open\""), "{host}: {answer:?}");
    }
    // A zone, escaped or not; that interface does not exist, which is no error of the request.
    for host in ["fe80::1%25none0", "fe80::1%none0", "[fe80::1%25none0]"] {
        let answer = appliance.served.get(&format!("/portscan/{host}/80/json")).await;
        assert_eq!(answer.status, 200, "{host}: {answer:?}");
        assert!(answer.error().starts_with("Unable to connect"), "{host}: {answer:?}");
    }
}

#[tokio::test]
async fn refuses_malformed_and_excluded_hosts() {
    let appliance = appliance();
    let served = &appliance.served;
    for path in [
        "127.0.0.1/0",
        "127.0.0.1/65536",
        "127.0.0.1/ssh",
        "127.0.0.1/+80",
        "1.2.3/80",
        "a%20b/80",
        "a%2Fb/80",
        "%FF/80",
        "0.0.0.0/80",
        "224.0.0.1/80",
        "10.0.0.0%2F8/80",
    ] {
        let answer = served.get(&format!("/portscan/{path}/json")).await;
        assert_eq!(answer.status, 400, "{path}: {answer:?}");
        assert!(!answer.error().is_empty(), "{path}");
    }
    for host in
        ["0.0.0.0", "blocked.example", "%3A%3A", "::ffff:0.0.0.0", "ff02::1", "255.255.255.255", "fe80::1"]
    {
        let answer = served.get(&format!("/portscan/{host}/80/json")).await;
        assert_eq!(answer.status, 400, "{host}: {answer:?}");
        let why =
            if host == "fe80::1" { "name its interface: fe80::1%" } else { "is not the address of one host" };
        assert!(answer.error().contains(why), "{host}: {answer:?}");
    }
    let (_listener, open, _) = open_and_closed();
    served.config.send_modify(|config| Arc::make_mut(config).exclude = vec!["127.0.0.0/16".parse().unwrap()]);
    for host in ["127.0.0.1", "here", "::ffff:127.0.0.1"] {
        let answer = served.get(&format!("/portscan/{host}/{open}/json")).await;
        assert_eq!(answer.status, 403, "{host}: {answer:?}");
        assert!(answer.error().contains("`exclude`"), "{answer:?}");
    }
}

#[tokio::test]
async fn the_configuration_may_limit_which_hosts_are_probed() {
    let appliance = appliance();
    let (_listener, open, _) = open_and_closed();
    for (allowed, status) in [("192.168.0.0/16", 403), ("127.0.0.1", 200), ("02:00:00:*", 403)] {
        appliance.served.config.send_modify(|config| {
            Arc::make_mut(config).http_probe = Some(vec![allowed.parse().unwrap()]);
        });
        let answer = appliance.served.get(&format!("/portscan/here/{open}/json")).await;
        assert_eq!(answer.status, status, "{allowed}: {answer:?}");
    }
    appliance.served.config.send_modify(|config| Arc::make_mut(config).http_probe = Some(Vec::new()));
    let answer = appliance.served.get(&format!("/portscan/127.0.0.1/{open}/json")).await;
    assert_eq!(answer.status, 403);
    assert!(answer.error().contains("`probe` under [http]"), "{answer:?}");
}

#[tokio::test]
async fn ports_of_this_machine_are_probed_for_its_own_programs_only() {
    let appliance = appliance();
    let (_listener, open, _) = open_and_closed();
    for host in ["127.0.0.1", "127.9.9.9", "here", "::ffff:127.0.0.1", "[::ffff:7f00:1]", "::1"] {
        let path = format!("/portscan/{host}/{open}/json");
        // A forwarder's clients are not on this machine.
        let answer = appliance.served.request_to("192.168.1.2:8080", "GET", &path, &[]).await;
        assert_eq!(answer.status, 403, "{host}: {answer:?}");
        assert!(answer.error().contains("the appliance's own address"), "{host}: {answer:?}");
        let proxied = appliance.served.request("GET", &path, &["X-Forwarded-For: 192.168.1.7"]).await;
        assert_eq!(proxied.status, 403, "{host}: {proxied:?}");
        assert_eq!(appliance.served.get(&path).await.status, 200, "{host}");
    }
    for host in ["169.254.169.254", "fd00:ec2::254", "::ffff:169.254.169.254"] {
        let answer = appliance.served.get(&format!("/portscan/{host}/80/json")).await;
        assert_eq!(answer.status, 403, "{host}: {answer:?}");
    }
}

#[tokio::test]
async fn the_configured_list_narrows_and_never_widens() {
    let appliance = appliance();
    let (_listener, open, _) = open_and_closed();
    appliance.served.config.send_modify(|config| {
        Arc::make_mut(config).http_probe = Some(vec!["127.0.0.1".parse().unwrap()]);
    });
    let path = format!("/portscan/127.0.0.1/{open}/json");
    assert_eq!(appliance.served.request_to("pi", "GET", &path, &[]).await.status, 403);
    assert_eq!(appliance.served.get(&path).await.status, 200);
}

#[tokio::test]
async fn another_sites_page_cannot_have_a_port_probed() {
    let appliance = appliance();
    let (listener, open, _) = open_and_closed();
    listener.set_nonblocking(true).unwrap();
    let path = format!("/portscan/127.0.0.1/{open}/json");
    let shown = format!("Authorization: Bearer {}", appliance.token.reveal());
    for header in
        ["Sec-Fetch-Site: cross-site", "Origin: http://evil.example", "Referer: http://evil.example/a"]
    {
        for method in ["GET", "HEAD"] {
            let answer = appliance.served.request(method, &path, &[header, &shown]).await;
            assert_eq!(answer.status, 403, "{method} {header}: {answer:?}");
        }
    }
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "a SYN was sent");
    for header in
        ["Sec-Fetch-Site: none", "Sec-Fetch-Site: same-origin", "Referer: http://localhost/", "Accept: */*"]
    {
        assert_eq!(appliance.served.request("GET", &path, &[header]).await.status, 200, "{header}");
    }
}

#[tokio::test]
async fn an_excluded_mac_is_excluded_at_its_address_in_the_feed() {
    let appliance = appliance();
    let served = &appliance.served;
    let (_listener, open, _) = open_and_closed();
    served.config.send_modify(|config| Arc::make_mut(config).exclude = vec!["AA:BB:CC:*".parse().unwrap()]);
    let path = format!("/portscan/127.0.0.1/{open}/json");
    assert_eq!(served.get(&path).await.status, 200);
    let address = "127.0.0.1".parse().unwrap();
    let device = Device { address, mac: "AA:BB:CC:00:00:01".parse().ok(), name: None };
    let known = Known { device, source: SourceId::Hosts, fresh: false, since: Moment::ZERO };
    appliance.inventory.send_modify(|inventory| inventory.devices.push(known));
    assert_eq!(served.get(&path).await.status, 403);
}

#[tokio::test]
async fn a_flood_of_probes_is_refused_for_a_while() {
    let appliance = appliance();
    let mut refused = 0;
    // Unresolvable, so that only the bound takes time.
    let at_once = join_all((0..60).map(|_| appliance.served.get("/portscan/nowhere/80/json"))).await;
    for answer in at_once {
        if answer.status == 503 {
            refused += 1;
            assert_eq!(answer.header("retry-after"), Some("1"));
            assert!(answer.error().contains("a second"), "{answer:?}");
        }
    }
    assert!(refused > 0, "60 at once are more than the burst of 40");
    assert_eq!(appliance.served.get("/portscan/json").await.status, 200, "other paths are served");
}

#[tokio::test]
async fn reports_that_the_scanner_has_stopped() {
    let appliance = appliance();
    appliance.scanner.stop();
    let answer = appliance.served.get("/portscan/127.0.0.1/80/json").await;
    assert_eq!(answer.status, 503);
    assert!(answer.error().contains("stopping"), "{answer:?}");
}

#[tokio::test]
async fn other_methods_and_paths_get_json_errors() {
    let appliance = appliance();
    let served = &appliance.served;
    for path in ["/portscan/json", "/portscan/B8:27:EB:AC:14:3E/json", "/portscan/here/80/json"] {
        let answer = served.request("POST", path, &[]).await;
        assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD, OPTIONS")), "{path}");
        assert_eq!(served.request("OPTIONS", path, &[]).await.status, 204, "{path}");
        assert_eq!(served.request("HEAD", path, &[]).await.body, "", "{path}");
    }
    for path in ["/portscan", "/portscan/", "/portscan/a/b/c/json", "/other/json"] {
        assert_eq!(served.get(path).await.status, 404, "{path}");
    }
}
