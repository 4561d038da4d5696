//! Sites, their broker and their hub, as real processes, of which any may be killed: in the end the hub shows what each
//! site shows.

mod across;
mod alerting;
mod everywhere;
mod histories;
mod page;
mod scale;
mod skew;
mod workers;

use std::{fs, path::PathBuf, process::Command, time::Duration};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    harness::{
        LONG, NO_IDENTIFICATION, Portscan, Running,
        disk::SmallDisk,
        eventually,
        nats::{NatsServer, NatsVersion},
        scanner, static_feed,
    },
    lab::Lab,
};

const PORT: u16 = 4222;

/// How long a subcommand may take.
const COMMAND: Duration = Duration::from_secs(60);

const DEVICES: &str = r#"
    [[host]]
    address = "10.77.0.10-15"
    mac = "02:00:00:00:00:10+"
    open = "22,80,443"
    spread = 1
    rtt = "1ms"
    "#;

/// Without what changes by itself: names and identification are looked up at any time.
const STILL: &str = "[mdns]\nenabled = false\n[names]\ndns = false\nmdns = false\n";

/// What a hub and its sites must agree on.
const SAME: [&str; 4] = ["/v1/hosts", "/v1/diff", "/v1/changes", "/v1/expected"];

/// A site: an appliance that runs, or does not.
struct SiteOfFleet {
    name: String,
    appliance: Portscan,
    running: Option<Running>,
}

/// A fleet within a lab.
struct Fleet<'a> {
    lab: &'a Lab,
    home: TempDir,
    hub: Portscan,
    running: Option<Running>,
    broker: Option<NatsServer>,
    version: NatsVersion,
    sites: Vec<SiteOfFleet>,
    /// Whether each site has a time of day of its own, in the file with its name in `home`, as its offset.
    has_clocks: bool,
}

impl<'a> Fleet<'a> {
    /// Starts the newest broker, a hub, and this many sites.
    fn start(lab: &'a Lab, sites: usize) -> Self {
        Self::start_with(lab, sites, NatsVersion::Newest)
    }

    /// The same with a broker of this version.
    fn start_with(lab: &'a Lab, sites: usize, version: NatsVersion) -> Self {
        Self::prepare(lab, version).begin(sites)
    }

    /// A fleet of which nothing runs yet.
    fn prepare(lab: &'a Lab, version: NatsVersion) -> Self {
        let home = tempfile::tempdir().unwrap();
        let hub = Portscan::new(lab, &format!("[feed]\nurl = []\nhosts = []\n{STILL}"));
        Self { lab, home, hub, running: None, broker: None, version, sites: Vec::new(), has_clocks: false }
    }

    /// Starts broker and hub, and this many sites.
    fn begin(mut self, sites: usize) -> Self {
        self.hub_command(&["init", "--name", "localhost", "--bind", "127.0.0.1:4222"]);
        self.start_broker();
        self.start_hub();
        for number in 1..=sites {
            self.enrol(&format!("house-{number}"));
        }
        self
    }

    fn hub_command(&self, arguments: &[&str]) -> String {
        let dir = self.home.path().join("hub");
        let arguments = [&["hub"], arguments, &["--dir", dir.to_str().unwrap()]].concat();
        let ended = self.hub.run(&arguments, COMMAND);
        assert!(ended.status.success(), "{arguments:?}: {}", ended.stderr);
        ended.stdout
    }

    fn start_broker(&mut self) {
        let config = self.home.path().join("hub/nats-server.conf");
        self.broker = Some(NatsServer::start(self.version, &config, PORT, self.lab));
    }

    fn start_hub(&mut self) {
        let (config, dir) = (self.hub.write_config(), self.home.path().join("hub"));
        let (config, dir) = (config.to_str().unwrap(), dir.to_str().unwrap());
        self.running = Some(self.hub.begin(&["hub", "serve", "--dir", dir, "--config", config]).listening());
    }

    /// Makes a site's credentials; returns their directory.
    fn credentials(&self, name: &str) -> PathBuf {
        let out = self.home.path().join("sites");
        self.hub_command(&["enrol", name, "--out", out.to_str().unwrap()]);
        out.join(name)
    }

    fn enrol(&mut self, name: &str) {
        let fleet = format!(
            "[fleet]\nsite = \"{name}\"\nhub = \"tls://localhost:{PORT}\"\ncredentials_dir = {:?}\n",
            self.credentials(name)
        );
        let feed = static_feed(self.lab);
        let config =
            format!("{feed}{NO_IDENTIFICATION}{STILL}{fleet}{}", scanner("lan", "1d", "20-25,80,443"));
        let mut appliance = Portscan::new(self.lab, &config);
        if self.has_clocks {
            self.set_clock(name, 0);
            appliance = appliance.with_clock(&self.home.path().join(name));
        }
        let running = Some(appliance.start());
        self.sites.push(SiteOfFleet { name: name.to_owned(), appliance, running });
    }

    /// Sets the clock of a site, or of the hub, this many seconds before or after the machine's.
    fn set_clock(&self, name: &str, offset: i64) {
        let written = self.home.path().join("clock.new");
        fs::write(&written, format!("{offset:+}")).unwrap();
        fs::rename(written, self.home.path().join(name)).unwrap();
    }

    fn hub_token(&self) -> String {
        let config = self.hub.write_config();
        let ended = self.hub.run(&["token", "--config", config.to_str().unwrap()], COMMAND);
        ended.stdout.trim().to_owned()
    }

    fn at_hub(&self, path: &str) -> Value {
        self.running.as_ref().unwrap().get(path).json()
    }

    fn site(&self, place: usize) -> &Running {
        self.sites[place].running.as_ref().unwrap()
    }

    /// Scans all devices of a site, to the end.
    fn scan(&self, place: usize) {
        let site = self.site(place);
        let answer = site.post("/v1/run");
        assert_eq!(answer.status, 202, "{answer:?}");
        eventually(LONG, "the run ends", || {
            let info = site.get("/v1/scans").json();
            let all = info.as_array().unwrap();
            let ended = |scan: &Value| scan["status"] != "running";
            (!all.is_empty() && all.iter().all(ended)).then_some(())
        });
    }

    /// Waits until the hub shows of each site what the site shows.
    fn wait_until_equal(&self) {
        for (place, SiteOfFleet { name, .. }) in self.sites.iter().enumerate() {
            for path in SAME {
                let mut last = (Value::Null, Value::Null);
                let equal = || {
                    let copy = self.running.as_ref().unwrap().get(&format!("/sites/{name}{path}"));
                    // A site that never reported has no copy yet.
                    let copy = if copy.status == 200 { copy.json() } else { Value::Null };
                    last = (self.site(place).get(path).json(), copy);
                    (last.0 == last.1).then_some(())
                };
                eventually(LONG, &format!("the hub shows {path} of {name} as the site does"), equal);
            }
        }
    }

    /// The devices of all sites together, as the hub shows them: site and MAC.
    fn devices(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let hosts = self.at_hub("/v1/hosts");
        hosts.as_array().unwrap().iter().map(|host| (text(&host["site"]), text(&host["mac"]))).collect()
    }
}

#[test]
fn a_hub_shows_what_its_sites_show_and_changes_what_they_expect() {
    let lab = Lab::describe(DEVICES);
    let mut fleet = Fleet::start(&lab, 2);
    for place in 0..2 {
        fleet.site(place).wait_for_complete(6, LONG);
    }
    fleet.wait_until_equal();
    assert_eq!(fleet.devices().len(), 12, "each device is at both sites");
    let overview = fleet.at_hub("/v1/sites");
    assert_eq!(overview[0]["state"], "current", "{overview}");
    assert_eq!(overview[0]["devices"], 6);

    // The site that owns the device is the one that changes.
    let rows = json!([{ "address": "10.77.0.10", "port": 22, "protocol": "tcp", "state": "open" }]);
    let answer = fleet.running.as_ref().unwrap().patch("/v1/expected?site=house-1", &rows);
    assert_eq!(answer.status, 204, "{answer:?}");
    assert_eq!(fleet.site(0).get("/v1/expected").json().as_array().unwrap().len(), 1);
    assert_eq!(fleet.site(1).get("/v1/expected").json(), json!([]));
    fleet.wait_until_equal();
    // A hub has no device probed by itself, and imports nothing into a site.
    let refused = fleet.running.as_ref().unwrap().post("/sites/house-1/v1/import");
    assert_eq!(refused.status, 403, "{refused:?}");

    // A site that is cut off is one fact, and its devices stay as they were.
    fleet.hub_command(&["revoke", "house-2"]);
    eventually(LONG, "the hub says that house-2 is silent", || {
        (fleet.at_hub("/v1/sites")[1]["state"] == "silent").then_some(())
    });
    assert_eq!(fleet.devices().len(), 12);
    eventually(LONG, "the site says what is to be done", || {
        fleet.site(1).get("/healthz").body.contains("enrol the site again").then_some(())
    });

    // What is gone for good is forgotten, and what reports is not.
    let (url, token) = (fleet.running.as_ref().unwrap().base().to_owned(), fleet.hub_token());
    let forget =
        |site: &str| fleet.hub.run(&["hub", "forget", site, "--url", &url, "--token", &token], COMMAND);
    let refused = forget("house-1");
    assert_eq!((refused.status.code(), refused.stderr.contains("portscan hub revoke")), (Some(1), true));
    let forgotten = forget("house-2");
    assert!(forgotten.status.success(), "{}", forgotten.stderr);
    assert_eq!(fleet.at_hub("/v1/sites").as_array().unwrap().len(), 1);
    assert_eq!(fleet.devices().len(), 6);
    let copies = fleet.hub.database().with_file_name("sites");
    assert!(copies.join("house-1").exists() && !copies.join("house-2").exists());
    for site in fleet.sites.drain(..) {
        site.running.unwrap().stop();
    }
    fleet.running.take().unwrap().stop();
    fleet.start_hub();
    assert_eq!(fleet.at_hub("/v1/sites").as_array().unwrap().len(), 1);
}

#[test]
fn a_damaged_copy_is_told_and_the_others_are_served() {
    let lab = Lab::describe(DEVICES);
    let mut fleet = Fleet::start(&lab, 2);
    fleet.wait_until_equal();
    fleet.running.take().unwrap().kill();
    let copy = fleet.hub.database().with_file_name("sites").join("house-2");
    fs::remove_dir_all(&copy).unwrap();
    fs::create_dir(&copy).unwrap();
    fs::write(copy.join("portscan.db"), "no database at all".repeat(1000)).unwrap();
    fleet.start_hub();
    let health = eventually(LONG, "the hub says that a copy is damaged", || {
        let health = fleet.running.as_ref().unwrap().get("/healthz");
        (health.status == 503).then_some(health.body)
    });
    assert!(health.contains("house-2") && health.contains("sends all of its data again"), "{health}");
    assert_eq!(fleet.at_hub("/sites/house-1/v1/hosts").as_array().unwrap().len(), 6);

    fleet.running.take().unwrap().stop();
    fs::remove_dir_all(&copy).unwrap();
    fleet.start_hub();
    fleet.wait_until_equal();
    assert_eq!(fleet.running.as_ref().unwrap().get("/healthz").status, 200);
}

/// The broker closes the connection, and TLS is all that says why.
#[test]
fn a_site_whose_certificate_has_ended_says_so_and_goes_on_with_another() {
    let lab = Lab::describe(DEVICES);
    let mut fleet = Fleet::start(&lab, 1);
    fleet.wait_until_equal();
    fleet.sites[0].running.take().unwrap().stop();
    let credentials = fleet.home.path().join("sites/house-1");
    // The same, with an end of yesterday.
    let hub = fleet.home.path().join("hub");
    let [ca, ca_key] = ["ca.crt", "ca.key"].map(|name| hub.join(name).display().to_string());
    let openssl = |arguments: &str| {
        let made = Command::new("openssl").args(arguments.split(' ')).current_dir(&credentials).output();
        let made = made.unwrap();
        assert!(made.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&made.stderr));
    };
    openssl("x509 -x509toreq -in site.crt -signkey site.key -copy_extensions copyall -out request.pem");
    let signing = format!("x509 -req -in request.pem -CA {ca} -CAkey {ca_key} -days -1");
    openssl(&format!("{signing} -copy_extensions copyall -out site.crt"));
    fleet.sites[0].running = Some(fleet.sites[0].appliance.start());
    eventually(LONG, "the site says that its certificate has ended", || {
        let health = fleet.site(0).get("/healthz").body;
        health.contains("site.crt has ended on").then_some(())
    });
    fs::remove_dir_all(&credentials).unwrap();
    fleet.credentials("house-1");
    fleet.sites[0].running.take().unwrap().stop();
    fleet.sites[0].running = Some(fleet.sites[0].appliance.start());
    fleet.scan(0);
    fleet.wait_until_equal();
}

#[test]
fn a_hub_does_not_start_as_a_site() {
    let lab = Lab::describe(DEVICES);
    let fleet = "[fleet]\nsite = \"a\"\nhub = \"tls://localhost\"\n";
    let hub = Portscan::new(&lab, &format!("[feed]\nurl = []\nhosts = []\n{STILL}{fleet}"));
    let refused = hub.run(&["hub", "serve", "--config", hub.write_config().to_str().unwrap()], COMMAND);
    assert!(!refused.status.success());
    assert!(refused.stderr.contains("[fleet] makes an appliance a site"), "{}", refused.stderr);
}

/// A card that was replaced: the hub keeps what it has until a person says that the new one is meant.
#[test]
fn a_new_database_takes_a_sites_place_once_a_person_says_so() {
    let lab = Lab::describe(DEVICES);
    let mut fleet = Fleet::start(&lab, 1);
    fleet.site(0).wait_for_complete(6, LONG);
    fleet.wait_until_equal();
    fleet.sites[0].running.take().unwrap().stop();
    fs::remove_file(fleet.sites[0].appliance.database()).unwrap();
    fleet.sites[0].running = Some(fleet.sites[0].appliance.start());
    let refusal = eventually(LONG, "the hub refuses another database", || {
        fleet.at_hub("/v1/sites")[0]["refusal"].as_str().map(str::to_owned)
    });
    assert!(refusal.contains("portscan hub adopt house-1"), "{refusal}");
    assert_eq!(fleet.devices().len(), 6);

    let (url, token) = (fleet.running.as_ref().unwrap().base().to_owned(), fleet.hub_token());
    let adopted = fleet.hub.run(&["hub", "adopt", "house-1", "--url", &url, "--token", &token], COMMAND);
    assert!(adopted.status.success(), "{}", adopted.stderr);
    // It asks again at once, rather than in five minutes.
    fleet.sites[0].running.take().unwrap().stop();
    fleet.sites[0].running = Some(fleet.sites[0].appliance.start());
    fleet.wait_until_equal();
    assert_eq!(fleet.at_hub("/v1/sites")[0]["refusal"], Value::Null);
}

/// The hub refuses what it cannot keep, and the site keeps it.
#[test]
fn a_hub_with_a_full_disk_says_so_and_catches_up_once_there_is_room() {
    let lab = Lab::describe(DEVICES);
    let disk = SmallDisk::new(24 << 20);
    let mut fleet = Fleet::prepare(&lab, NatsVersion::Newest);
    fleet.hub = fleet.hub.data_dir(&disk.path().join("hub"));
    let mut fleet = fleet.begin(1);
    fleet.site(0).wait_for_complete(6, LONG);
    fleet.wait_until_equal();
    let full = disk.fill();
    let expected = |port: u16| {
        let rows = json!([{ "address": "10.77.0.10", "port": port, "protocol": "tcp", "state": "open" }]);
        assert_eq!(fleet.site(0).patch("/v1/expected", &rows).status, 204);
    };
    // A commit may fit into what the database has free, so more follow.
    let mut port = 1;
    let health = eventually(LONG, "the hub says that its disk is full", || {
        expected(port);
        port += 1;
        let health = fleet.running.as_ref().unwrap().get("/healthz");
        (health.status == 503 && health.body.contains("disk is full")).then_some(health.body)
    });
    assert!(health.contains("house-1"), "{health}");
    let shown = fleet.at_hub("/v1/sites");
    assert!(shown[0]["refusal"].as_str().unwrap().contains("disk is full"), "{shown}");
    eventually(LONG, "the site says why it cannot send", || {
        let health = fleet.site(0).get("/healthz").body;
        health.contains("disk is full").then_some(())
    });
    // Neither is it lost if the hub is killed meanwhile.
    fleet.running.take().unwrap().kill();
    drop(full);
    fleet.start_hub();
    fleet.wait_until_equal();
    eventually(LONG, "the hub says that all is well", || {
        (fleet.running.as_ref().unwrap().get("/healthz").status == 200).then_some(())
    });
}
