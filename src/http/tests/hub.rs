//! A hub over real stores: each site below a path, and all of them together.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::{Mutex, PoisonError},
};

use futures_util::future::{BoxFuture, ready};
use serde_json::{Value, json};

use super::{
    portscan::{ResolverTable, remember},
    *,
};
use crate::{
    fleet::{FORWARDED_MAX, ForwardedAnswer, ForwardedRequest, SiteName, SiteState, SiteStatus},
    http::{
        Everywhere, ForgetError, ForgetSite, ForwardError, ForwardRequest, HubParts, HubSite, SiteBehind,
        StoredParts, hub_router,
    },
    model::{PortState, Protocol, ScanId, ScanStatus},
    service::runner,
    store::{AnnotationPatch, DiskPace, ExpectationUpdate, Store, WriterThread},
};

/// A MAC that two sites know.
pub(super) const TRAVELLER: &str = "B8:27:EB:AC:14:3E";

/// A MAC that only the first site knows.
pub(super) const AT_HOME: &str = "B8:27:EB:AC:14:3F";

/// A text that would run in a page that took it for HTML, and would end a string or a list.
const HOSTILE: &str = "<img src=x onerror=alert(1)>\"]},{</script>";

/// Records the requests to a site, and gives this answer.
struct Recorder {
    requests: Mutex<Vec<ForwardedRequest>>,
    answer: Mutex<Result<ForwardedAnswer, ForwardError>>,
}

impl Recorder {
    fn taken(&self) -> Vec<ForwardedRequest> {
        std::mem::take(&mut self.requests.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn answer(&self, status: u16, kind: &str, body: &str) {
        let content_type = Some(kind.to_owned());
        *self.answer.lock().unwrap() = Ok(ForwardedAnswer { status, content_type, body: body.into() });
    }
}

impl ForwardRequest for Recorder {
    fn forward(&self, request: ForwardedRequest) -> BoxFuture<'_, Result<ForwardedAnswer, ForwardError>> {
        self.requests.lock().unwrap().push(request);
        let answer = self.answer.lock().unwrap().clone();
        Box::pin(ready(answer))
    }
}

/// Forgets a site of which the hub has anything, unless it reports.
struct Forgetful(watch::Sender<Arc<BTreeMap<SiteName, HubSite>>>);

impl ForgetSite for Forgetful {
    fn forget(&self, site: SiteName) -> BoxFuture<'_, Result<(), ForgetError>> {
        let state = self.0.borrow().get(&site).map(|site| site.status.borrow().state);
        Box::pin(ready(match state {
            None => Err(ForgetError::Unknown),
            Some(SiteState::Current) => Err(ForgetError::Connected),
            Some(_) => {
                self.0.send_modify(|sites| drop(Arc::make_mut(sites).remove(&site)));
                Ok(())
            }
        }))
    }
}

/// A site: its store stands for the hub's copy.
pub(super) struct TestSite {
    pub(super) store: Store,
    recorder: Arc<Recorder>,
    status: watch::Sender<SiteStatus>,
    _threads: WriterThread,
    pub(super) dir: tempfile::TempDir,
}

pub(super) struct TestHub {
    pub(super) served: Served,
    token: Token,
    pub(super) sites: watch::Sender<Arc<BTreeMap<SiteName, HubSite>>>,
    pub(super) house: TestSite,
    pub(super) shop: TestSite,
    /// The hub's own database.
    pub(super) everywhere: TestSite,
    pub(super) behind: watch::Sender<Arc<BTreeMap<SiteName, SiteBehind>>>,
}

pub(super) fn name(text: &str) -> SiteName {
    text.parse().unwrap()
}

/// A site over an empty store, as a hub has it: without a scanner or a runner.
fn site() -> (TestSite, HubSite) {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(SystemClock::start());
    let pace = DiskPace { commit: Duration::ZERO, ..DiskPace::default() };
    let (store, threads) = Store::open_at_pace(&dir.path().join("portscan.db"), clock.clone(), pace).unwrap();
    let (runs, requests) = runner::runs();
    tokio::spawn(requests.refuse_all());
    let parts = StoredParts {
        store: store.clone(),
        config: watch::channel(Arc::new(config())).1,
        token: token(),
        resolver: Arc::new(ResolverTable),
        runs,
        clock,
    };
    let parts = ApplianceParts::of_store(parts, dir.path());
    let answer = ForwardedAnswer { status: 204, content_type: None, body: Vec::new() };
    let recorder = Arc::new(Recorder { requests: Mutex::default(), answer: Mutex::new(Ok(answer)) });
    let (status, seen) = watch::channel(SiteStatus::default());
    let hub_site =
        HubSite { status: seen, router: router(parts), store: store.clone(), forward: recorder.clone() };
    (TestSite { store, recorder, status, _threads: threads, dir }, hub_site)
}

/// A hub with two sites in which the same addresses and one device are known.
pub(super) async fn hub() -> TestHub {
    let ((house, of_house), (shop, of_shop)) = (site(), site());
    for (site, mac, open) in
        [(&house, TRAVELLER, &[22, 80][..]), (&house, AT_HOME, &[443]), (&shop, TRAVELLER, &[8080])]
    {
        let scan = remember(&site.store, mac, open).await;
        site.store.end_scan(scan, ScanStatus::Complete).await.unwrap();
    }
    let row = shop.store.host_row(&TRAVELLER.parse().unwrap()).await.unwrap().unwrap();
    let patch = AnnotationPatch { name: Some(Some(HOSTILE.to_owned())), ..AnnotationPatch::default() };
    shop.store.annotate(row, patch).await.unwrap();
    let expected = ExpectationUpdate {
        device: TRAVELLER.parse().unwrap(),
        protocol: Protocol::Tcp,
        port: 23,
        state: Some((PortState::Open, HOSTILE.to_owned())),
    };
    shop.store.expect(vec![expected]).await.unwrap();
    house.status.send_replace(SiteStatus {
        state: SiteState::Current,
        heard: Some("2026-03-01T10:00:00Z".parse().unwrap()),
        version: Some("0.3.0".to_owned()),
        ..SiteStatus::default()
    });
    shop.status.send_replace(SiteStatus {
        state: SiteState::Refused,
        refusal: Some("another appliance has the same database; erase its card".to_owned()),
        host: Some(HOSTILE.to_owned()),
        problems: vec!["the disk is full".to_owned()],
        ..SiteStatus::default()
    });
    let (sites, seen) =
        watch::channel(Arc::new(BTreeMap::from([(name("house"), of_house), (name("shop-2"), of_shop)])));
    let (config, config_seen) = watch::channel(Arc::new(config()));
    let (health, health_seen) = watch::channel(Health::default());
    let allowlist = HostAllowlist::new(None, config_seen.clone());
    let token = token();
    let clock = Arc::new(SystemClock::start());
    let gate = Gate::new(token.clone(), allowlist.clone(), config_seen, clock.clone());
    let limits = unhurried();
    let (everywhere, behind) = (site().0, watch::Sender::new(Arc::default()));
    let for_all =
        Everywhere { store: everywhere.store.clone(), changed: Arc::default(), behind: behind.subscribe() };
    let router = hub_router(HubParts {
        sites: seen,
        everywhere: for_all,
        forget: Arc::new(Forgetful(sites.clone())),
        allowlist,
        gate: gate.clone(),
        health: health_seen,
        clock,
        limits,
    });
    let (address, stop, task) = start(router, gate, limits);
    TestHub {
        served: Served { address, config, health, stop, task },
        token,
        sites,
        house,
        shop,
        everywhere,
        behind,
    }
}

impl TestHub {
    pub(super) async fn rows(&self, path: &str) -> Vec<Value> {
        let answer = self.served.get(path).await;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (200, Some("application/json")),
            "{answer:?}"
        );
        serde_json::from_str(&dechunked(&answer.body)).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
    }

    /// Sends this body as JSON, with the token.
    pub(super) async fn send(&self, method: &str, path: &str, body: &str) -> Answer {
        let token = self.token.reveal();
        let length = body.len();
        self.served
            .ask(&format!(
                "{method} {path} HTTP/1.1\r\nHost: pi\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
                 Content-Length: {length}\r\nContent-Type: application/json\r\n\r\n{body}"
            ))
            .await
    }

    /// Adds a site whose copy answers with this router.
    pub(super) fn add(&self, site: &str, router: Router) {
        let forward = Arc::clone(&self.house.recorder);
        let (status, store) = (self.house.status.subscribe(), self.house.store.clone());
        self.sites.send_modify(|sites| {
            Arc::make_mut(sites).insert(name(site), HubSite { status, router, store, forward });
        });
    }
}

/// The content of a body that is chunked, or not.
pub(super) fn dechunked(body: &str) -> String {
    let is_size = |line: &str| !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !body.split_once("\r\n").is_some_and(|(line, _)| is_size(line)) {
        return body.to_owned();
    }
    let (mut rest, mut text) = (body, String::new());
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        text.push_str(&after[..size]);
        rest = &after[(size + 2).min(after.len())..];
    }
    text
}

/// The values of a member of each row.
fn each<'a>(rows: &'a [Value], member: &str) -> Vec<&'a Value> {
    rows.iter().map(|row| &row[member]).collect()
}

#[tokio::test]
async fn a_site_is_served_below_a_path_as_its_appliance_serves_it() {
    let hub = hub().await;
    let hosts = hub.rows("/sites/house/v1/hosts").await;
    assert_eq!(each(&hosts, "mac"), [TRAVELLER, AT_HOME]);
    assert!(hosts[0].get("site").is_none(), "{hosts:?}");
    let device = hub.served.get(&format!("/sites/shop-2/portscan/{TRAVELLER}/json")).await;
    assert!(device.body.contains("\"ports\":[8080]"), "{device:?}");
    let scan = hub.rows("/sites/house/v1/scans").await[0]["id"].as_i64().unwrap();
    assert_eq!(each(&hub.rows(&format!("/sites/house/v1/scan/{scan}")).await, "port"), [22, 80]);
    let xml = hub.served.get(&format!("/sites/house/v1/scan/{scan}?format=xml")).await;
    assert_eq!(xml.header("content-type"), Some("application/xml"));
    assert_eq!(hub.rows("/sites/house/v1/runs").await, Vec::<Value>::new());
    let head = hub.served.request("HEAD", "/sites/house/v1/hosts", &[]).await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    let script = hub.served.get("/sites/house/page/main.js").await;
    assert_eq!((script.status, script.header("content-type")), (200, Some("text/javascript; charset=utf-8")));
    let tag = format!("If-None-Match: {}", script.header("etag").unwrap());
    assert_eq!(hub.served.request("GET", "/sites/house/page/main.js", &[&tag]).await.status, 304);
    // Without the slash the page's relative URLs would leave the site.
    let moved = hub.served.get("/sites/house").await;
    assert_eq!((moved.status, moved.header("location")), (308, Some("house/")));
    for unknown in
        ["/sites/barn/", "/sites/barn", "/sites//", "/sites/../v1/hosts", "/sites/HOUSE/", "/sites/%68ouse/"]
    {
        let answer = hub.served.get(unknown).await;
        assert_eq!(
            (answer.status, answer.error().contains("/v1/sites")),
            (404, true),
            "{unknown}: {answer:?}"
        );
    }
    assert_eq!(hub.served.get("/sites/house/none").await.status, 404);
    assert_eq!(hub.served.request_to("evil.example.com", "GET", "/sites/house/", &[]).await.status, 421);
}

#[tokio::test]
async fn the_methods_of_a_sites_path_are_those_that_the_hub_has() {
    let hub = hub().await;
    let allow = async |method: &str, path: &str| {
        let answer = hub.served.request(method, path, &[]).await;
        (answer.status, answer.header("allow").unwrap_or_default().to_owned(), answer.body)
    };
    for (path, allowed) in [
        ("/sites/house/v1/info", "GET, HEAD, OPTIONS"),
        ("/sites/house/v1/expected", "GET, HEAD, PATCH, DELETE, OPTIONS"),
        ("/sites/house/v1/scans", "GET, HEAD, OPTIONS"),
        ("/sites/house/v1/run", "POST, OPTIONS"),
        ("/sites/house/", "GET, HEAD, OPTIONS"),
    ] {
        let (status, list, body) = allow("TRACE", path).await;
        assert_eq!((status, list.as_str()), (405, allowed), "{path}");
        assert!(body.contains(&format!("use one of {allowed}")), "{body}");
        assert_eq!(allow("OPTIONS", path).await, (204, allowed.to_owned(), String::new()), "{path}");
    }
    // An import takes a POST, at the site alone.
    for method in ["GET", "OPTIONS"] {
        assert_eq!(allow(method, "/sites/house/v1/scan").await.0, 403, "{method}");
    }
}

#[tokio::test]
async fn the_path_above_all_sites_leads_to_the_page_of_sites() {
    let hub = hub().await;
    for (path, target) in [("/sites", "./"), ("/sites/", "../")] {
        let moved = hub.served.get(path).await;
        assert_eq!((moved.status, moved.header("location")), (308, Some(target)), "{path}");
    }
}

#[tokio::test]
async fn a_sites_page_has_a_link_to_all_sites_and_an_appliances_has_none() {
    let hub = hub().await;
    let page = hub.served.get("/sites/shop-2/").await;
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(page.header("content-security-policy").unwrap().starts_with("default-src 'none'"), "{page:?}");
    let link = "<header class=\"top\" id=\"top\"><a class=\"brand\" href=\"../../\">← Sites</a>\
                <span class=\"brand\">shop-2</span></header>";
    assert!(page.body.contains(link), "{page:?}");
    assert!(!super::portscan::appliance().served.get("/").await.body.contains("../../"));
}

#[tokio::test]
async fn the_events_of_a_site_arrive_through_the_hub() {
    let hub = hub().await;
    let mut stream = hub.served.connect().await;
    let ask = "GET /sites/house/v1/events HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: 0\r\n\r\n";
    stream.write_all(ask.as_bytes()).await.unwrap();
    let mut text = Vec::new();
    let heard = async {
        while !String::from_utf8_lossy(&text).contains("event: change") {
            assert!(stream.read_buf(&mut text).await.unwrap() > 0, "it has ended");
        }
    };
    timeout(AT_MOST, heard).await.expect("a change");
}

#[tokio::test]
async fn nothing_is_probed_or_judged_from_the_hub() {
    let hub = hub().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    for path in [
        format!("portscan/127.0.0.1/{port}/json"),
        format!("portscan/127.0.0.1/000{port}/json"),
        format!("portscan/127.0.0.1/%3{port}/json"),
        "lanscan/json".to_owned(),
        "lanscan/status".to_owned(),
        "v1/doctor".to_owned(),
        "v1/backup".to_owned(),
    ] {
        let answer = hub.send("GET", &format!("/sites/house/{path}"), "").await;
        assert_eq!(
            (answer.status, answer.error().contains("at the site house")),
            (403, true),
            "{path}: {answer:?}"
        );
    }
    assert_eq!(hub.served.get(&format!("/portscan/127.0.0.1/{port}/json")).await.status, 404);
    assert_eq!(hub.send("GET", "/v1/doctor?site=house", "").await.status, 403);
    assert!(listener.accept().is_err(), "a connection was made");
}

#[tokio::test]
async fn a_sites_health_shows_nothing_of_the_hubs_process() {
    let hub = hub().await;
    let health = hub.served.get("/sites/shop-2/v1/health").await.json();
    assert_eq!((&health["memory"], &health["limits"]), (&Value::Null, &Value::Null));
    let problems = json!(["another appliance has the same database; erase its card", "the disk is full"]);
    assert_eq!(health["problems"], problems);
    assert!(health["notices"][0].as_str().unwrap().contains("not been heard yet"), "{health}");
    let health = hub.served.get("/sites/house/v1/health").await.json();
    assert_eq!((&health["version"], &health["notices"]), (&json!("0.3.0"), &json!([])));
}

#[tokio::test]
async fn the_lists_of_all_sites_name_the_site_of_each_element() {
    let hub = hub().await;
    let hosts = hub.rows("/v1/hosts").await;
    assert_eq!(each(&hosts, "site"), ["house", "house", "shop-2"]);
    assert_eq!(each(&hosts, "address"), ["192.168.1.7"; 3]);
    assert_eq!(hosts[2]["name"], HOSTILE);
    for (path, lists) in
        [("/v1/diff", 3), ("/v1/changes", 3), ("/v1/scans", 3), ("/v1/expected", 1), ("/v1/runs?last=9", 3)]
    {
        let all = hub.rows(path).await;
        assert!(all.len() >= lists, "{path}: {all:?}");
        let mut parts = Vec::new();
        for site in ["house", "shop-2"] {
            let mut own = hub.rows(&format!("/sites/{site}{path}")).await;
            own.iter_mut().for_each(|row| row["site"] = json!(site));
            parts.extend(own);
        }
        assert_eq!(all, parts, "{path}");
        assert_eq!(hub.served.request("HEAD", path, &[]).await.status, 200, "{path}");
    }
    assert_eq!(hub.rows("/v1/expected").await[0]["comment"], HOSTILE);
    let one = hub.rows("/v1/diff?by=device&site=shop-2").await;
    assert_eq!(each(&one, "site"), ["shop-2"; 2]);
    assert_eq!(one[0]["address"], TRAVELLER, "the other parameters are passed on");
    assert_eq!(hub.rows("/v1/hosts?site=shop-2&site=house").await.len(), 3);
    assert_eq!(hub.rows("/v1/hosts?s%69te=shop-2").await.len(), 1);
    for unknown in ["/v1/hosts?site=barn", "/v1/hosts?site=", "/v1/hosts?site=house&site=%22"] {
        assert_eq!(hub.served.get(unknown).await.status, 404, "{unknown}");
    }
    hub.sites.send_replace(Arc::default());
    assert_eq!(hub.rows("/v1/hosts").await, Vec::<Value>::new());
}

#[tokio::test]
async fn the_id_of_a_change_is_for_one_site_and_a_time_for_all() {
    let hub = hub().await;
    let all = hub.rows("/v1/changes").await;
    assert_eq!(hub.rows("/v1/changes?since=0").await, all);
    assert_eq!(hub.rows("/v1/changes?since=2020-01-01T00:00:00Z").await, all);
    assert_eq!(hub.rows("/v1/changes?since=2000000000").await, Vec::<Value>::new());
    let refused = hub.served.get("/v1/changes?since=1").await;
    assert_eq!((refused.status, refused.error().contains("?site=NAME")), (400, true), "{refused:?}");
    let of_house: Vec<_> =
        all.iter().filter(|row| row["site"] == "house" && row["id"].as_i64() > Some(1)).cloned().collect();
    assert_eq!(hub.rows("/v1/changes?since=1&site=house").await, of_house);
    // What is wrong with the other parameters is the site's own sentence.
    let malformed = hub.served.get("/v1/changes?since=yesterday").await;
    assert_eq!((malformed.status, malformed.error().contains("`since`")), (400, true), "{malformed:?}");
}

#[tokio::test]
async fn a_site_that_cannot_be_read_is_never_left_out_silently() {
    let hub = hub().await;
    let fails = || {
        Router::new().fallback(async || (StatusCode::SERVICE_UNAVAILABLE, "{\"error\":\"the disk fails\"}"))
    };
    hub.add("attic", fails());
    let hosts = hub.rows("/v1/hosts").await;
    assert_eq!(each(&hosts, "site"), ["attic", "house", "house", "shop-2"]);
    let error = hosts[0]["error"].as_str().unwrap();
    assert!(error.contains("attic") && error.contains("the disk fails"), "{error}");
    let alone = hub.served.get("/v1/hosts?site=attic").await;
    assert_eq!((alone.status, alone.error().contains("the disk fails")), (503, true), "{alone:?}");
    assert_eq!(hub.rows("/v1/hosts?site=house").await.len(), 2);
    // A list that ends too early, after more than the first piece has been sent: between two elements, and within one.
    let begun = "{\"id\":1},".repeat(5000);
    let rows = format!("[{begun}");
    hub.add("attic", Router::new().fallback(async move || rows.clone()));
    let hosts = hub.rows("/v1/hosts").await;
    assert_eq!(hosts.len(), 5000 + 1 + 3);
    assert_eq!(hosts.iter().position(|host| host["error"].is_string()), Some(5000));
    let rows = format!("[{begun}{{");
    hub.add("attic", Router::new().fallback(async move || rows.clone()));
    let mut stream = hub.served.connect().await;
    stream
        .write_all(b"GET /v1/hosts HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let answer = read_to_end(&mut stream).await;
    assert_eq!(answer.status, 200);
    assert!(!answer.body.ends_with("0\r\n\r\n"), "the client must notice that the end is missing");
    hub.add("attic", fails());
    let attic = &hub.rows("/v1/sites").await[0];
    assert_eq!((&attic["name"], &attic["devices"]), (&json!("attic"), &Value::Null));
    assert!(attic["error"].is_string(), "{attic}");
    let metrics = hub.served.get("/metrics").await;
    assert!(dechunked(&metrics.body).contains("\nportscan_site_readable{site=\"attic\"} 0\n"), "{metrics:?}");
}

#[tokio::test]
async fn the_sites_are_listed_with_their_states_and_counts() {
    let hub = hub().await;
    let sites = hub.rows("/v1/sites").await;
    assert_eq!(
        sites[0],
        json!({
            "name": "house", "state": "current", "heard": "2026-03-01T10:00:00Z", "version": "0.3.0", "host": null,
            "refusal": null, "problems": [], "notices": [], "expected_behind": 0, "expected_behind_why": null, "devices": 2, "open": 3, "rogue": 3, "missing": 0,
            "baseline": false, "last_scan": sites[0]["last_scan"], "worst_advice": sites[0]["worst_advice"],
        })
    );
    assert!(sites[0]["last_scan"].is_string() && sites[0]["worst_advice"].is_string(), "{sites:?}");
    assert_eq!((&sites[1]["state"], &sites[1]["missing"]), (&json!("refused"), &json!(1)));
    assert_eq!(sites[1]["host"], HOSTILE);
    // The state is the present one, although counts are kept for a while.
    hub.house.status.send_modify(|status| status.state = SiteState::Silent);
    assert_eq!(hub.rows("/v1/sites?site=house").await[0]["state"], "silent");
}

#[tokio::test]
async fn what_changes_something_is_done_by_the_site() {
    let hub = hub().await;
    hub.house.recorder.answer(202, "application/json", "{\"id\":7}\n");
    let answer = hub.send("POST", "/sites/house/v1/run?host=10.0.0.1", "").await;
    assert_eq!((answer.status, answer.body.as_str()), (202, "{\"id\":7}\n"));
    let requests = hub.house.recorder.taken();
    assert_eq!((requests.len(), requests[0].method.as_str()), (1, "POST"));
    assert_eq!(requests[0].path, "/v1/run?host=10.0.0.1");
    // At the root, `site` chooses it, and is left out of what the site gets.
    let answer = hub.send("PATCH", "/v1/expected?site=shop-2&x=%26", "[]").await;
    assert_eq!((answer.status, answer.body.as_str()), (204, ""));
    let request = hub.shop.recorder.taken().pop().unwrap();
    assert_eq!((request.path.as_str(), request.body.as_slice()), ("/v1/expected?x=%26", &b"[]"[..]));
    assert_eq!(request.content_type.as_deref(), Some("application/json"));
    // A device that only one site knows needs no name of a site.
    assert_eq!(hub.send("PATCH", &format!("/v1/hosts/{AT_HOME}"), "{}").await.status, 202);
    assert_eq!(hub.send("POST", &format!("/v1/run?host={AT_HOME}"), "").await.status, 202);
    assert_eq!(hub.house.recorder.taken().len(), 2);
    let both = hub.send("PATCH", &format!("/v1/hosts/{TRAVELLER}"), "{}").await;
    assert!(both.status == 400 && both.error().contains("house and shop-2"), "{both:?}");
    assert_eq!(hub.send("PATCH", "/v1/hosts/10.9.9.9", "{}").await.status, 404);
    for (method, path) in [("PATCH", "/v1/hosts/nonsense"), ("GET", "/v1/hosts/%ff%fe")] {
        let malformed = hub.send(method, path, "{}").await;
        assert!(malformed.status == 400 && malformed.body.contains("neither a MAC"), "{malformed:?}");
    }
    for unnamed in ["/v1/run", "/v1/expected", "/v1/run?site=house&site=shop-2"] {
        let method = if unnamed.contains("run") { "POST" } else { "PATCH" };
        assert_eq!(hub.send(method, unnamed, "[]").await.status, 400, "{unnamed}");
    }
    assert_eq!(hub.send("POST", "/v1/run?site=barn", "").await.status, 404);
    assert_eq!((hub.house.recorder.taken().len(), hub.shop.recorder.taken().len()), (0, 0));
}

#[tokio::test]
async fn what_is_not_the_hubs_to_change_is_refused_and_the_token_is_needed_for_the_rest() {
    let hub = hub().await;
    for (method, path) in [
        ("POST", "/v1/import"),
        ("POST", "/v1/scan"),
        ("POST", "/v1/alerts/test"),
        ("DELETE", "/v1/scans"),
        ("POST", "/v1/expected/../import"),
        ("PUT", "/"),
    ] {
        let answer = hub.send(method, &format!("/sites/house{path}"), "").await;
        assert_eq!(
            (answer.status, answer.error().contains("the site house itself")),
            (403, true),
            "{path}: {answer:?}"
        );
    }
    let unknown = hub.served.request("POST", "/sites/house/v1/run", &[]).await;
    assert_eq!((unknown.status, unknown.error().contains("portscan token")), (401, true));
    let wrong = hub.served.request("POST", "/v1/run?site=house", &["Authorization: Bearer nothing"]).await;
    assert_eq!(wrong.status, 401);
    let token = format!("Authorization: Bearer {}", hub.token.reveal());
    let elsewhere = ["Origin: http://evil.example", &token];
    assert_eq!(hub.served.request("POST", "/sites/house/v1/run", &elsewhere).await.status, 403);
    let large = hub.send("PATCH", "/sites/house/v1/expected", &"x".repeat(FORWARDED_MAX + 1)).await;
    assert_eq!(large.status, 413, "{large:?}");
    assert_eq!(hub.house.recorder.taken(), []);
    assert_eq!(hub.send("PATCH", "/sites/house/v1/expected", &"x".repeat(FORWARDED_MAX)).await.status, 204);
    assert_eq!(hub.house.recorder.taken()[0].body.len(), FORWARDED_MAX);
    assert_eq!(hub.send("POST", "/metrics", "").await.status, 405);
}

#[tokio::test]
async fn a_site_that_does_not_answer_or_answers_nonsense_is_reported() {
    let hub = hub().await;
    for (error, status) in [(ForwardError::Unreachable, 503), (ForwardError::TimedOut, 504)] {
        *hub.house.recorder.answer.lock().unwrap() = Err(error);
        let answer = hub.send("POST", "/sites/house/v1/run", "").await;
        assert_eq!((answer.status, answer.error().contains("site house")), (status, true), "{answer:?}");
    }
    for status in [0, 99, 101, 302, 401, 600, u16::MAX] {
        hub.house.recorder.answer(status, "application/json", "{}");
        assert_eq!(hub.send("POST", "/sites/house/v1/run", "").await.status, 502, "{status}");
    }
    // What a site sends never runs as a page of the hub.
    hub.house.recorder.answer(200, "text/html", HOSTILE);
    let answer = hub.send("POST", "/sites/house/v1/run", "").await;
    assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
}

#[tokio::test]
async fn a_site_that_does_not_report_is_forgotten_by_who_has_the_token() {
    let hub = hub().await;
    let ask = "DELETE /v1/sites/shop-2 HTTP/1.1\r\nHost: pi\r\nConnection: close\r\n\r\n";
    assert_eq!(hub.served.ask(ask).await.status, 401);
    let connected = hub.send("DELETE", "/v1/sites/house", "").await;
    assert_eq!(
        (connected.status, connected.error().contains("portscan hub revoke")),
        (409, true),
        "{connected:?}"
    );
    assert_eq!(hub.rows("/v1/sites").await.len(), 2);
    assert_eq!(hub.send("DELETE", "/v1/sites/shop-2", "").await.status, 204);
    assert_eq!(each(&hub.rows("/v1/sites").await, "name"), ["house"]);
    for unknown in ["shop-2", "barn", "..", "%2e%2e", "HOUSE"] {
        assert_eq!(hub.send("DELETE", &format!("/v1/sites/{unknown}"), "").await.status, 404, "{unknown}");
    }
}

/// Parses a page of metrics as strictly as the format demands: returns all samples, without their values.
fn samples(page: &str) -> BTreeSet<String> {
    let (mut helped, mut typed, mut all) = (HashSet::new(), HashSet::new(), BTreeSet::new());
    let mut family = String::new();
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            rest.split_once(' ').unwrap().0.clone_into(&mut family);
            assert!(helped.insert(family.clone()), "two HELP: {line}");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(name == family && typed.insert(family.clone()), "{line}");
            assert!(matches!(kind, "gauge" | "counter" | "histogram"), "{line}");
        } else {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok(), "{line}");
            let name = sample.split('{').next().unwrap();
            let suffixes = ["", "_bucket", "_sum", "_count"];
            assert!(suffixes.iter().any(|suffix| name == format!("{family}{suffix}")), "{line} in {family}");
            assert!(all.insert(sample.to_owned()), "twice: {line}");
        }
    }
    assert_eq!(helped, typed);
    all
}

#[tokio::test]
async fn the_metrics_of_all_sites_are_one_page() {
    let hub = hub().await;
    let answer = hub.served.get("/metrics").await;
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let page = dechunked(&answer.body);
    let all = samples(&page);
    for line in [
        "portscan_site_up{site=\"house\"} 1",
        "portscan_site_up{site=\"shop-2\"} 0",
        "portscan_site_heard_timestamp_seconds{site=\"house\"} 1772359200",
        "portscan_site_readable{site=\"shop-2\"} 1",
        "portscan_devices_scanned{site=\"house\"} 2",
        "portscan_devices_scanned{site=\"shop-2\"} 1",
        "portscan_port_open{site=\"shop-2\",mac=\"B8:27:EB:AC:14:3E\",host=\"192.168.1.7\",port=\"8080\",protocol=\"tcp\"} 1",
    ] {
        assert!(page.lines().any(|found| found == line), "{line} in {page}");
    }
    // A new family is of the site's data, or has to be named among those that are not.
    let without: BTreeSet<&str> = all
        .iter()
        .filter(|sample| !sample.contains("site=\""))
        .filter_map(|sample| sample.split('{').next())
        .collect();
    assert_eq!(without, BTreeSet::from(["portscan_build_info", "process_resident_memory_bytes"]));
    let families: BTreeSet<&str> =
        page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    for foreign in
        ["portscan_probes_total", "portscan_sockets_limit", "portscan_feed_up", "portscan_store_up"]
    {
        assert!(!families.contains(foreign), "{foreign}");
    }
    let own = dechunked(&hub.served.get("/sites/shop-2/metrics").await.body);
    let of_shop = samples(&own);
    assert!(of_shop.iter().all(|sample| all.contains(sample) && !sample.contains("house")), "{own}");
    assert_eq!(samples(&dechunked(&hub.served.get("/metrics?site=shop-2").await.body)), of_shop);
    hub.sites.send_replace(Arc::default());
    samples(&dechunked(&hub.served.get("/metrics").await.body));
}

#[tokio::test]
async fn the_page_of_sites_loads_from_its_own_site_only() {
    let hub = hub().await;
    let page = hub.served.get("/").await;
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(
        page.header("content-security-policy").unwrap().starts_with("default-src 'none'; script-src 'self'")
    );
    for (path, kind) in [
        ("/hub/main.js", "text/javascript; charset=utf-8"),
        ("/hub/sites.js", "text/javascript; charset=utf-8"),
        ("/page/style.css", "text/css; charset=utf-8"),
        ("/page/parts/table.js", "text/javascript; charset=utf-8"),
    ] {
        let file = hub.served.get(path).await;
        assert_eq!((file.status, file.header("content-type")), (200, Some(kind)), "{path}");
    }
    assert_eq!(super::portscan::appliance().served.get("/hub/main.js").await.status, 404);
    hub.served.health.send_modify(|health| health.problems.push("the disk is full".to_owned()));
    assert_eq!(hub.served.get("/healthz").await.status, 503);
    for path in ["/portscan/json", "/v1", "/lanscan/json", "/site", "/hub/", "/hub/../Cargo.toml"] {
        assert_eq!(hub.served.get(path).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn lists_of_many_devices_arrive_complete() {
    let hub = hub().await;
    let ports: Vec<u16> = (1..=1000).collect();
    for store in [&hub.house.store, &hub.shop.store] {
        for last in 0..20 {
            let _: ScanId = remember(store, &format!("B8:27:EB:00:00:{last:02X}"), &ports).await;
        }
    }
    let hosts = hub.rows("/v1/hosts").await;
    assert_eq!(hosts.len(), 43);
    let open: usize = hosts.iter().map(|host| host["ports"].as_array().unwrap().len()).sum();
    assert_eq!(open, 40_004);
    samples(&dechunked(&hub.served.get("/metrics").await.body));
}
