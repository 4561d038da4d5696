use std::{collections::HashMap, fs};

use super::*;
use crate::model::ProbeMethod;

const SHIPPED: &str = include_str!("../../systemd/portscan.toml");

fn load(file: &str, env: &[(&str, &str)], flags: &Overrides) -> Result<Config, ConfigError> {
    let env: HashMap<_, _> = env.iter().copied().collect();
    let lookup = |name: &str| env.get(name).map(|value| (*value).to_owned());
    Config::load(flags, &lookup, Some(("file.toml".as_ref(), file)))
}

fn file(text: &str) -> Config {
    load(text, &[], &Overrides::default()).unwrap()
}

fn env(env: &[(&str, &str)]) -> Config {
    load("", env, &Overrides::default()).unwrap()
}

fn listen(config: &Config) -> Vec<String> {
    config.listen.iter().map(ToString::to_string).collect()
}

fn device(address: &str, mac: &str) -> Device {
    Device { address: address.parse().unwrap(), mac: mac.parse().ok(), name: None }
}

/// Each file of tests/config lists its faults in leading `#=` comments: line, key, message.
#[test]
fn every_fault_is_reported_with_its_line_and_remedy() {
    let mut seen = 0;
    let mut wrong = String::new();
    for entry in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/config")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let expected: Vec<_> = text.lines().map_while(|line| line.strip_prefix("#= ")).collect();
        let reported = match load(&text, &[], &Overrides::default()) {
            Ok(_) => "no fault found".to_owned(),
            Err(error) => error.to_string().replace("file.toml:", ""),
        };
        if expected.is_empty() || reported != expected.join("\n") {
            wrong += &format!("{}\n{reported}\n\n", path.display());
        }
        seen += 1;
    }
    assert!(wrong.is_empty(), "the faults of these files differ from their first lines:\n{wrong}");
    assert!(seen > 50, "{seen} files");
}

#[test]
fn an_empty_file_is_the_default() {
    assert_eq!(file(""), Config::default());
    assert_eq!(file("\u{feff}"), Config::default(), "an editor's byte order mark is skipped");
    assert_eq!(Config::default().feed.urls, [FeedUrl::from(DEFAULT_FEED.to_owned())]);
    assert_eq!(Config::default().scanners[0].ports, ScannerPorts::Listed(PortSet::all()));
    let none = Config::load(&Overrides::default(), &|_| None, None).unwrap();
    assert_eq!(none, Config::default());
}

#[test]
fn the_shipped_file_has_the_defaults_and_its_examples_load() {
    assert_eq!(file(SHIPPED), Config::default());
    // Prose starts with "# ", an example with "#" alone; an example replaces the same key on the line above it.
    let key = |line: &str| line.split_once(" = ").map(|(key, _)| key.to_owned());
    let mut lines: Vec<&str> = Vec::new();
    for line in SHIPPED.lines() {
        let example = line.strip_prefix('#').filter(|example| !example.starts_with(' '));
        if example
            .and_then(key)
            .is_some_and(|example| lines.last().is_some_and(|last| key(last) == Some(example)))
        {
            lines.pop();
        }
        lines.push(example.unwrap_or(line));
    }
    let config = file(&lines.join("\n"));
    assert_eq!((config.exclude.len(), config.feed.hosts.len(), config.scanners.len()), (3, 1, 3));
    assert_eq!((config.devices.len(), config.ignore.len()), (2, 1));
    assert_eq!(config.scanners[0].at.unwrap().to_string(), "02:30:00");
}

const EVERYTHING: &str = r#"
listen = "127.0.0.1:8080"
data_dir = "/data"
base_url = "/ports/"
log = "debug"
exclude = ["192.168.1.9", "AA:BB:CC:*"]
max_in_flight = 8
cache_expiry = "90m"
forget = "36h"
spool = "/srv/reports"
keep = "400d"
[feed]
url = "https://feed.example/json"
discover = ["eth0", "wlan0 10.1.2.3/16"]
grace = "20m"
hosts = [{ address = "192.168.7.2", mac = "02-00-00-00-00-02", name = 'n"as' }, { address = "fe80::1%eth0" }]
allow = ["203.0.113.0/28"]
[mdns]
enabled = false
name = "Scanner-2"
[names]
dns = false
mdns = false
[identify]
level = "requests"
[http]
names = ["Portscan.Example.org.", "Bücher.example"]
probe = ["192.168.0.0/16", "AA:BB:CC:*"]
[auth]
trust = ["192.168.1.0/24", "10.0.0.7"]
token_file = "/run/token"
[fleet]
site = "house-3"
hub = "tls://Bücher.example"
credentials_dir = "/run/fleet"
[worker]
name = "w-1"
hub = "tls://192.0.2.7"
networks = ["10.1.2.3/16", "fd00::/8"]
[[scanner]]
name = "night"
interval = "2d"
at = 02:30:00
targets = ["192.168.1.10-20", "münchen.lan", "2001:db8::/120", "aa:bb:cc:dd:ee:ff"]
ports = [22, "8000-8100", 23]
timing = 4
method = "auto"
[[scanner]]
name = "rest"
[[device]]
match = "B8:27:EB:AC:14:3E"
scan = false
name = "printer"
[[device]]
match = "b8:27:eb:*"
timing = "polite"
ports = 80
identify = "off"
type = "desk-phone"
tags = ["office", "floor-2"]
[[ignore]]
device = "*"
ports = "49152-"
[[channel]]
name = "log"
type = "syslog"
url = "tcp://[2001:db8::5]:601"
format = "rfc3164"
quiet = "22:00 - 07:00"
summary = "Sunday 08:30"
[[channel]]
name = "ha"
type = "mqtt"
url = "mqtts://broker.example:8884"
user = "scan ner"
password_file = "/run/mqtt"
ca_file = "/etc/ca.pem"
version = "3.1.1"
topic = "home/scanner"
discovery = ""
[[channel]]
name = "house"
type = "mqtt"
url = "mqtt://broker"
entities = "devices"
[[alert]]
events = ["unexpected", "appliance"]
devices = ["B8:27:EB:*", "192.168.1.0/24"]
channels = "log"
severity = "low"
"#;

#[test]
fn reads_every_key() {
    let config = file(EVERYTHING);
    assert_eq!(listen(&config), ["127.0.0.1:8080"]);
    assert_eq!(
        (config.base_url.as_str(), config.log, config.max_in_flight),
        ("ports", LevelFilter::DEBUG, 8)
    );
    assert_eq!((config.cache_expiry.as_secs(), config.forget.as_secs()), (5400, 36 * 3600));
    assert_eq!(config.spool, Some("/srv/reports".into()));
    assert_eq!((config.keep.as_secs(), config.http_probe.as_ref().unwrap().len()), (400 * 86_400, 2));
    assert_eq!(config.feed.hosts[0].name.as_deref(), Some("n\"as"));
    assert_eq!((config.feed.hosts[1].address.zone(), config.feed.hosts[1].mac), (Some("eth0"), None));
    assert_eq!(config.mdns, MdnsConfig { enabled: false, name: "scanner-2".to_owned() });
    assert_eq!(config.names, NamesConfig { dns: false, mdns: false });
    let discover: Vec<String> = config.feed.discover.iter().map(ToString::to_string).collect();
    assert_eq!(
        (discover, config.feed.grace.as_secs()),
        (vec!["eth0".into(), "wlan0 10.1.0.0/16".into()], 1200)
    );
    assert_eq!(config.http_names, ["portscan.example.org", "xn--bcher-kva.example"]);
    assert_eq!(
        config.auth_trust.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["192.168.1.0/24", "10.0.0.7/32"]
    );
    let fleet = config.fleet.as_ref().unwrap();
    assert_eq!((fleet.site.as_str(), fleet.access.credentials_dir.to_str()), ("house-3", Some("/run/fleet")));
    let worker = config.worker.as_ref().unwrap();
    assert_eq!(
        (worker.name.as_str(), worker.access.credentials_dir.to_str()),
        ("w-1", Some("/etc/portscan/worker"))
    );
    assert_eq!(worker.networks, ["10.1.0.0/16", "fd00::/8"].map(|text| text.parse().unwrap()));
    assert_eq!((fleet.access.hub.host(), fleet.access.hub.port()), ("xn--bcher-kva.example", 4222));
    let night = &config.scanners[0];
    assert_eq!(night.at.unwrap(), jiff::civil::time(2, 30, 0, 0));
    assert_eq!((night.ports.to_string().as_str(), night.timing), ("22-23,8000-8100", Timing::T4));
    assert_eq!(night.method, ProbeMethod::Auto);
    assert!(matches!(&night.targets, Targets::List(list) if list.len() == 4));
    assert_eq!(config.scanners[1], ScannerConfig::named("rest".to_owned()));
    assert_eq!(config.devices[1].timing, Some(Timing::T2));
    assert_eq!(
        (config.identify, config.devices[1].identify),
        (IdentifyLevel::Requests, Some(IdentifyLevel::Off))
    );
    assert_eq!((&config.ignore[0].device, config.ignore[0].comment.as_str()), (&None, ""));
}

#[test]
fn a_shown_configuration_loads_to_the_same() {
    for text in ["", EVERYTHING] {
        let config = file(text);
        assert_eq!(file(&config.to_string()), config);
    }
}

#[test]
fn a_key_in_a_url_is_sent_and_never_shown() {
    let url = "http://nas.lan/lanscan/json?key=s3cret";
    let config = file(&format!("[feed]\nurl = [\"{url}\"]"));
    assert_eq!(config.feed.urls[0].reveal(), url);
    for shown in [config.to_string(), format!("{config:?}")] {
        assert!(shown.contains("http://nas.lan/lanscan/json?...") && !shown.contains("s3cret"), "{shown}");
    }
    for url in [
        "ftp://me:s3cret@nas.lan/",
        "http://me:s3cret@nas.lan/",
        "nas.lan/json?s3cret",
        "http://nas.lan/ ?s3cret",
    ] {
        let error =
            load(&format!("[feed]\nurl = [\"{url}\"]"), &[("MY_LANSCAN_URL", url)], &Overrides::default());
        let error = error.unwrap_err();
        assert_eq!(error.faults.len(), 2, "{error}");
        assert!(!error.to_string().contains("s3cret"), "{error}");
    }
}

#[test]
fn the_default_feed_applies_only_if_no_source_is_configured() {
    for (text, urls) in [
        ("[feed]\nallow = [\"203.0.113.1\"]", 1),
        ("[feed]\nhosts = []", 0),
        ("[feed]\ndiscover = [\"eth0\"]", 0),
        ("[feed]\nurl = []", 0),
    ] {
        assert_eq!(file(text).feed.urls.len(), urls, "{text}");
    }
}

#[test]
fn environment_variables_mean_the_same_as_to_the_original() {
    let config = env(&[
        ("MY_LANSCAN_URL", "http://10.0.0.1:8000/lanscan/json"),
        ("MY_REST_API_BASE_URL", "ports"),
        ("MY_REST_API_HOST_ADDRESS", "127.0.0.1"),
        ("MY_REST_API_PORT", "8080"),
        ("MY_CONTAINER_BIND_PORT", "8081"),
        ("MY_NUM_THREADS", "8"),
        ("MY_CACHE_DIRECTORY", "/cache"),
    ]);
    assert_eq!(config.feed.urls, [FeedUrl::from("http://10.0.0.1:8000/lanscan/json".to_owned())]);
    assert_eq!((config.base_url.as_str(), config.max_in_flight), ("ports", 8));
    assert_eq!((listen(&config), config.data_dir), (vec!["127.0.0.1:8080".to_owned()], "/cache".into()));
}

#[test]
fn the_first_port_variable_that_is_not_empty_counts() {
    let all = [
        ("MY_REST_API_HOST_PORT", "1001"),
        ("MY_REST_API_CONTAINER_PORT", "1002"),
        ("MY_REST_API_PORT", "1003"),
        ("MY_CONTAINER_BIND_PORT", "1004"),
    ];
    for first in 0..all.len() {
        assert_eq!(env(&all[first..]).listen[0].port(), 1001 + u16::try_from(first).unwrap());
    }
    let config = env(&[("MY_REST_API_HOST_PORT", " "), ("MY_REST_API_PORT", "1003"), ("MY_NUM_THREADS", "")]);
    assert_eq!(
        (listen(&config), config.max_in_flight),
        (vec!["0.0.0.0:1003".to_owned(), "[::]:1003".to_owned()], 50)
    );
    assert_eq!(listen(&env(&[("MY_REST_API_HOST_ADDRESS", "::1")])), ["[::1]:80"]);
    let apart = "listen = [\"0.0.0.0:80\", \"127.0.0.1:81\"]";
    let error = load(apart, &[("MY_REST_API_HOST_PORT", "82")], &Overrides::default()).unwrap_err();
    assert_eq!(error.faults[0].place, Place::Variable("MY_REST_API_HOST_PORT"));
}

#[test]
fn the_feed_in_the_environment_replaces_the_files_sources_but_not_its_permissions() {
    let config = load(EVERYTHING, &[("MY_LANSCAN_URL", DEFAULT_FEED)], &Overrides::default()).unwrap();
    assert_eq!(
        config.feed,
        FeedConfig { allow: config.feed.allow.clone(), grace: config.feed.grace, ..FeedConfig::default() }
    );
    assert_eq!(config.feed.allow.len(), 1);
}

#[test]
fn flags_override_the_environment_and_the_file() {
    let flags = Overrides {
        config: None,
        listen: vec!["127.0.0.1:0".to_owned(), "[::1]:0".to_owned()],
        data_dir: Some("/flag".into()),
    };
    let env = [("MY_REST_API_HOST_PORT", "1001"), ("MY_CACHE_DIRECTORY", "/cache")];
    let config = load("data_dir = \"/file\"", &env, &flags).unwrap();
    assert_eq!(
        (listen(&config), config.data_dir.to_str().unwrap()),
        (vec!["127.0.0.1:0".into(), "[::1]:0".into()], "/flag")
    );
}

#[test]
fn faults_of_all_layers_are_reported_at_once() {
    let flags = Overrides { listen: vec!["80".to_owned()], ..Overrides::default() };
    let env =
        [("MY_NUM_THREADS", "0"), ("MY_REST_API_HOST_PORT", "http"), ("MY_LANSCAN_URL", "lanscan.local")];
    let error = load("lisen = 1\n[feed]\nurls = 1", &env, &flags).unwrap_err();
    insta::assert_snapshot!(error, @r#"
    file.toml:1: lisen: unknown key; did you mean `listen`?
    file.toml:3: feed.urls: unknown key; did you mean `url`?
    MY_NUM_THREADS: "0" is not a number of probes from 1 to 4096; the default is 50
    MY_LANSCAN_URL: "lanscan.local" does not start with http:// or https://; write it as http://lanscan.local/lanscan/json
    MY_REST_API_HOST_PORT: "http" is not a port; write a number from 1 to 65535
    --listen: "80" has no address; write "0.0.0.0:80" for IPv4 and "[::]:80" for IPv6
    "#);
}

#[test]
fn a_missing_file_is_an_error_only_if_named() {
    let missing = tempfile::tempdir().unwrap().path().join("portscan.toml");
    let flags = Overrides { config: Some(missing.clone()), ..Overrides::default() };
    let error = Config::read(&flags).unwrap_err();
    assert_eq!(error.faults[0].place, Place::File(missing));
    let there = tempfile::NamedTempFile::new().unwrap();
    fs::write(there.path(), "max_in_flight = 7").unwrap();
    let flags = Overrides { config: Some(there.path().to_owned()), ..Overrides::default() };
    assert_eq!(Config::read(&flags).unwrap().max_in_flight, 7);
    fs::write(there.path(), "#".repeat(2 << 20)).unwrap();
    assert!(Config::read(&flags).unwrap_err().to_string().contains("larger than 1 MB"));
}

#[test]
fn the_first_matching_rule_counts_and_exclusion_overrides_all() {
    let config = file(EVERYTHING);
    assert_eq!(
        config.rule_for(&device("10.0.0.1", "b8:27:eb:ac:14:3e")).unwrap().name.as_deref(),
        Some("printer")
    );
    assert_eq!(config.rule_for(&device("10.0.0.1", "b8:27:eb:00:00:00")).unwrap().timing, Some(Timing::T2));
    assert_eq!(config.rule_for(&device("10.0.0.1", "")), None);
    assert!(config.is_excluded(&device("192.168.1.9", "")));
    assert!(config.is_excluded(&device("10.0.0.1", "AA:BB:CC:00:00:01")));
    assert!(!config.is_excluded(&device("10.0.0.1", "")));
}

#[test]
fn a_device_is_identified_as_its_rule_says_and_never_if_it_must_not_be_scanned() {
    let config = file(
        "exclude = [\"10.0.0.9\"]\n[[device]]\nmatch = \"10.0.0.1\"\nidentify = \"requests\"\n\
         [[device]]\nmatch = \"10.0.0.2\"\nscan = false\n\
         [[device]]\nmatch = \"10.0.0.3\"\ntiming = \"T2\"\n",
    );
    let level = |last: u8| config.identify_level(&device(&format!("10.0.0.{last}"), "b8:27:eb:00:00:00"));
    let levels = [1, 2, 3, 4, 9].map(level);
    use IdentifyLevel::{Greetings, Off, Requests};
    assert_eq!(levels, [Requests, Off, Greetings, Greetings, Off]);
}

#[test]
fn prefixes_and_ranges_may_be_of_any_size() {
    let config = file(
        r#"
exclude = ["fd00::/64", "10.0.0.0/8", "172.16.0.0-172.31.255.255"]
[feed]
allow = ["0.0.0.0/0", "::/0"]
[http]
probe = ["fd00::/8", "192.168.0.0-192.170.0.0"]
[auth]
trust = ["::/0", "0.0.0.0/0", "::ffff:192.0.2.0/120", "::ffff:192.0.2.9"]
[[device]]
match = "2001:db8::/32"
scan = false
[[ignore]]
device = "172.0.0.0/8"
ports = 80
"#,
    );
    for (address, excluded) in [
        ("fd00::1:2", true),
        ("10.9.8.7", true),
        ("172.20.0.1", true),
        ("fd00:1::", false),
        ("11.0.0.1", false),
    ] {
        assert_eq!(config.is_excluded(&device(address, "")), excluded, "{address}");
    }
    assert!(!config.rule_for(&device("2001:db8:ffff::1", "")).unwrap().scan);
    assert!(config.ignored_ports(None, Some(&"172.99.0.1".parse().unwrap())).contains(80));
    assert_eq!((config.feed.allow.len(), config.http_probe.as_ref().unwrap().len()), (2, 2));
    let trust: Vec<String> = config.auth_trust.iter().map(ToString::to_string).collect();
    assert_eq!(trust, ["::/0", "0.0.0.0/0", "192.0.2.0/24", "192.0.2.9/32"]);
    assert_eq!(file(&config.to_string()), config);
}

#[test]
fn check_reports_what_the_machine_lacks() {
    let config = file(concat!(
        "exclude = [\"10.0.0.0/24\"]\nspool = \"/srv/reports\"\n[feed]\ndiscover = []\n[[scanner]]\nname = \"a\"\n[[scanner]]\nname = \"b\"\n",
        "targets = [\"10.0.0.1-9\", \"10.0.0.77\"]\n[[scanner]]\nname = \"c\"\ntargets = [\"fe80::1%eth7\"]",
    ));
    let machine = Machine {
        is_hub: false,
        data_dir: Some("Permission denied".to_owned()),
        obstacle: Some("/var/lib/portscan belongs to alice (uid 1000)".to_owned()),
        strangers: Some("/var/lib/portscan/token belongs to root (uid 0)".to_owned()),
        spool: Some("Read-only file system".to_owned()),
        token: Some("/run/token holds no token".to_owned()),
        secrets: vec!["channel phone: token_file /run/ntfy: No such file or directory".to_owned()],
        credentials: vec!["fleet.credentials_dir: site.key: No such file or directory".to_owned()],
        ending_credentials: vec!["worker.credentials_dir: the certificate ends on 2026-12-24".to_owned()],
        closed: vec!["spool /srv/reports is closed to portscan (uid 998)".to_owned()],
        maybe_closed: vec!["the configuration file may be closed".to_owned()],
        open_token: Some("the token is open to every user".to_owned()),
        unbound: vec!["cannot listen on 0.0.0.0:80: something else does".to_owned()],
        left_out: vec![config.listen[1]],
        interfaces: vec!["lo".to_owned(), "eth0".to_owned()],
    };
    let findings: Vec<String> = check(&config, &machine).iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(findings.join("\n"), @r"
    error: data_dir /var/lib/portscan cannot be written to (Permission denied); make it and give it to the user that portscan runs as
    error: data_dir: /var/lib/portscan belongs to alice (uid 1000)
    warning: data_dir: /var/lib/portscan/token belongs to root (uid 0)
    error: spool /srv/reports cannot be written to (Read-only file system): what was imported is moved within it; give it to the user that portscan runs as
    error: auth.token_file: /run/token holds no token
    error: channel phone: token_file /run/ntfy: No such file or directory
    error: fleet.credentials_dir: site.key: No such file or directory
    warning: worker.credentials_dir: the certificate ends on 2026-12-24
    error: spool /srv/reports is closed to portscan (uid 998)
    warning: the configuration file may be closed
    warning: the token is open to every user
    error: cannot listen on 0.0.0.0:80: something else does
    warning: listen [::]:80 is left out: this machine has no IPv6
    warning: an address names the interface eth7, which is not here
    warning: scanner a scans the feed, which has no source; give [feed] a url, discover or hosts
    warning: scanner b scans no host: all of its targets are excluded
    ");
    let fits = Machine { interfaces: vec!["eth0".to_owned(), "wlan0".to_owned()], ..Machine::default() };
    assert_eq!(check(&file(EVERYTHING), &fits), []);
    assert_eq!(check(&file("[feed]\ndiscover = [\"eth9\"]"), &fits)[0].severity, Severity::Error);
}

#[test]
fn trusting_hosts_anywhere_causes_a_warning() {
    let warned = |trust: &str| {
        let config = file(&format!("[auth]\ntrust = [{trust:?}]"));
        let findings = check(&config, &Machine::default());
        findings.iter().any(|finding| {
            finding.severity == Severity::Warning
                && finding.text.contains(&format!("auth.trust {trust} means"))
        })
    };
    for anywhere in ["0.0.0.0/0", "::/0", "0.0.0.0/1", "128.0.0.0/1", "64.0.0.0/7", "2000::/3", "::/1"] {
        assert!(warned(anywhere), "{anywhere}");
    }
    for own in [
        "10.0.0.0/8",
        "192.168.0.0/16",
        "192.0.2.9/32",
        "fc00::/7",
        "fe80::/10",
        "2001:db8::/32",
        "127.0.0.0/8",
    ] {
        assert!(!warned(own), "{own}");
    }
}

#[test]
fn a_channel_shows_neither_path_nor_query_of_its_url() {
    let config = file(
        "[[channel]]\nname = \"chat\"\ntype = \"webhook\"\nurl = \"https://hooks.example:8443/T0/s3cret?k=s3cret\"\n",
    );
    assert_eq!(config.channels[0].url.to_string(), "https://hooks.example:8443/...");
    assert_eq!(config.channels[0].url.reveal(), "https://hooks.example:8443/T0/s3cret?k=s3cret");
    assert!(!format!("{config:?} {config}").contains("s3cret"));
}

#[test]
fn without_a_rule_every_alert_goes_to_every_channel_and_rules_choose() {
    let channels = "[[channel]]\nname = \"a\"\ntype = \"syslog\"\nurl = \"udp://192.0.2.1:514\"\n\
        [[channel]]\nname = \"b\"\ntype = \"ntfy\"\nurl = \"https://ntfy.sh/topic\"\n";
    let known = device("192.0.2.7", "B8:27:EB:AC:14:3E");
    let severity = |config: &Config, channel: &str, kind| {
        let tags = ["critical".to_owned()];
        let device_type = Some(crate::model::DeviceType::Nas);
        let subject = AlertSubject { mac: known.mac, address: &known.address, tags: &tags, device_type };
        config.alert_severity(channel, kind, Some(&subject)).map(AlertSeverity::as_str)
    };
    let plain = file(channels);
    for &kind in AlertKind::ALL {
        assert_eq!(severity(&plain, "a", kind), Some(kind.severity().as_str()));
    }
    let chosen = file(&format!(
        "{channels}[[alert]]\nevents = \"missing\"\ndevices = \"B8:27:EB:*\"\nchannels = \"b\"\nseverity = \"low\"\n\
         [[alert]]\nevents = [\"missing\", \"appliance\"]\nchannels = \"b\"\n"
    ));
    assert_eq!(severity(&chosen, "b", AlertKind::Missing), Some("normal"), "the highest of both");
    assert_eq!(severity(&chosen, "a", AlertKind::Missing), None);
    assert_eq!(severity(&chosen, "b", AlertKind::Unexpected), None);
    assert!(!chosen.alerts_ask_for_traits());
    for (devices, is_chosen) in
        [("tag:critical", true), ("tag:office", false), ("type:nas", true), ("type:printer", false)]
    {
        let by_trait = file(&format!("{channels}[[alert]]\ndevices = [\"{devices}\", \"192.0.2.99\"]\n"));
        assert!(by_trait.alerts_ask_for_traits());
        assert_eq!(severity(&by_trait, "a", AlertKind::Missing).is_some(), is_chosen, "{devices}");
        assert!(by_trait.to_string().contains(devices));
        assert_eq!(by_trait.alert_severity("a", AlertKind::Appliance, None), None);
    }
}

#[test]
fn quiet_hours_may_pass_midnight() {
    let hours = |text| parse::quiet_hours(text).unwrap();
    let at = |hour, minute| jiff::civil::time(hour, minute, 0, 0);
    let night = hours("22:00-07:00");
    assert!(
        night.contains(at(22, 0))
            && night.contains(at(3, 0))
            && !night.contains(at(7, 0))
            && !night.contains(at(12, 0))
    );
    let noon = hours("12:00-13:30");
    assert!(noon.contains(at(13, 29)) && !noon.contains(at(13, 30)) && !noon.contains(at(2, 0)));
}

#[test]
fn a_mail_channel_is_shown_as_it_is_written() {
    let config = file(concat!(
        "[[channel]]\nname = \"mail\"\ntype = \"email\"\nurl = \"smtp+starttls://mail.example.org\"\n",
        "from = \"portscan@example.org\"\nto = [\"me@example.org\", \"you@example.org\"]\nuser = \"me\"\n",
        "password_file = \"/run/p\"\nca_file = \"/etc/ca.pem\"\ntitle = \"{{ title }} \\\"x\\\"\"\n",
        "text = \"\"\"\n{{ text }}\n{{ url }}\"\"\"\n",
    ));
    assert_eq!(file(&config.to_string()), config);
    let ChannelKind::Email(mail) = &config.channels[0].kind else { panic!("{config}") };
    assert_eq!((mail.security, mail.to.len()), (MailSecurity::StartTls, 2));
    assert_eq!(config.channels[0].templates.text.as_deref(), Some("{{ text }}\n{{ url }}"));
}
