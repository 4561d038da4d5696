//! Debian's Chromium, as its chromedriver drives it (WebDriver: <https://www.w3.org/TR/webdriver2/>).
//!
//! No client crate is used: the tests need only a dozen requests of the protocol, all JSON over HTTP, and the
//! maintained crate would double the dependencies of the tests. Only Chromium's own protocol
//! (<https://chromedevtools.github.io/devtools-protocol/>), to which chromedriver gives access, reports the role and
//! the name of each element, which are what a screen reader says.

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Reaped, eventually, missing, tool};
use crate::{lab::Lab, repository};

mod element;

pub use element::Scope;

/// The longest wait for something that a user of the page would wait for, on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// The time from the start to the first answer, for large programs on a slow disk.
const READY: Duration = Duration::from_secs(240);
/// chromedriver's, in the lab's network, where any port is free.
const DRIVER: &str = "127.0.0.1:9515";
/// What `make setup` unpacked: axe's rules, all of them.
const AXE: &str = "target/tools/axe/axe_playwright_python/axe.min.js";
/// The key of an element in an answer, by the W3C's protocol.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
/// Where chromedriver takes commands of Chromium's own protocol.
const COMMANDS: &str = "goog/cdp/execute";
/// The browser must not ask or notify a user, and must fetch only what a page requests, as far as flags allow.
const FLAGS: [&str; 11] = [
    "--headless=new",
    // Chromium has no sandbox for root, and the lab's namespaces already isolate it.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    // Its process would outlive the browser.
    "--disable-crash-reporter",
    // During a transition between colours, the contrast is that of neither.
    "--force-prefers-reduced-motion",
    "--disable-features=OptimizationHints,AutofillServerCommunication",
];

/// The Tab key (WebDriver, 17.4.2).
pub const TAB: char = '\u{e004}';
/// Return.
pub const RETURN: char = '\u{e006}';
/// Escape.
pub const ESCAPE: char = '\u{e00c}';

/// How wide and high a page is shown, in CSS pixels.
#[derive(Clone, Copy, Debug)]
pub enum Screen {
    Desktop,
    Phone,
}

impl Screen {
    pub const ALL: [Self; 2] = [Self::Desktop, Self::Phone];

    pub fn name(self) -> &'static str {
        match self {
            Self::Desktop => "desktop",
            Self::Phone => "phone",
        }
    }

    fn size(self) -> (u32, u32) {
        match self {
            Self::Desktop => (1280, 800),
            Self::Phone => (390, 844),
        }
    }
}

/// The value of `prefers-color-scheme`.
pub const SCHEMES: [&str; 2] = ["light", "dark"];

/// A record of what a browser did, once it has ended.
pub struct Seen {
    /// The URLs that pages and their workers requested.
    pub requests: BTreeSet<String>,
}

/// A Chromium with a new profile and one tab, in the lab's network, which leads nowhere else.
pub struct Browser {
    /// `http://DRIVER/session/ID`, until it has ended.
    session: Option<String>,
    chromium: Pid,
    agent: ureq::Agent,
    home: TempDir,
    _driver: Reaped,
}

impl Browser {
    pub fn start(_within: &Lab) -> Self {
        let home = TempDir::new().expect("a temporary directory");
        let log = fs::File::create(home.path().join("driver.log")).expect("a log");
        let driver = Command::new("chromedriver")
            .arg(format!("--port={}", DRIVER.rsplit(':').next().expect("a port")))
            .env("HOME", home.path())
            .env_remove("DBUS_SESSION_BUS_ADDRESS")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn();
        let driver = Reaped(driver.unwrap_or_else(|e| missing("chromedriver", &e)));
        let agent = super::site::agent(READY);
        let status = format!("http://{DRIVER}/status");
        eventually(READY, "chromedriver is ready", || agent.get(&status).call().ok());
        let mut browser = Self { session: None, chromium: Pid::this(), agent, home, _driver: driver };
        browser.open_session();
        browser
    }

    fn open_session(&mut self) {
        let under_home =
            |flag: &str, name: &str| format!("--{flag}={}", self.home.path().join(name).display());
        let mut flags: Vec<String> = FLAGS.map(str::to_owned).to_vec();
        flags.push(under_home("user-data-dir", "profile"));
        flags.push(under_home("log-net-log", "network.json"));
        flags.push("about:blank".to_owned());
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": {"args": flags},
            "goog:loggingPrefs": {"browser": "ALL"},
            // An open dialog makes the next request fail; the appliance's page never opens one.
            "unhandledPromptBehavior": "ignore",
            "timeouts": {"script": PATIENCE.as_millis(), "pageLoad": READY.as_millis()},
        }}});
        let session = self.call("POST", &format!("http://{DRIVER}/session"), &wanted);
        let pid = session["capabilities"]["goog:processID"].as_i64().expect("chromedriver names it");
        self.chromium = Pid::from_raw(i32::try_from(pid).expect("a process id"));
        let id = session["sessionId"].as_str().expect("an id");
        self.session = Some(format!("http://{DRIVER}/session/{id}"));
    }

    /// Sends a WebDriver request and returns the value of the answer; panics with the error.
    fn call(&self, method: &str, url: &str, body: &Value) -> Value {
        self.try_call(method, url, body).unwrap_or_else(|why| panic!("{method} {url}: {why}"))
    }

    fn try_call(&self, method: &str, url: &str, body: &Value) -> Result<Value, String> {
        let answered = match method {
            "POST" => self.agent.post(url).content_type("application/json").send(body.to_string()),
            "DELETE" => self.agent.delete(url).call(),
            _ => self.agent.get(url).call(),
        };
        let mut answer = answered.map_err(|error| error.to_string())?;
        let text = answer.body_mut().with_config().limit(super::site::LONGEST).read_to_string();
        let text = text.map_err(|error| error.to_string())?;
        let value: Value = serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
        match (&value["value"]["error"], &value["value"]["message"]) {
            (Value::String(error), message) => Err(format!("{error}: {message}")),
            _ => Ok(value["value"].clone()),
        }
    }

    /// Of the session.
    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let session = self.session.as_deref().expect("it has not ended");
        self.call(method, &format!("{session}/{path}"), body)
    }

    /// A command of Chromium's own protocol.
    fn tell(&self, command: &str, parameters: &Value) -> Value {
        self.ask("POST", COMMANDS, &json!({"cmd": command, "params": parameters}))
    }

    /// The same for an element that may be gone by now.
    fn try_tell(&self, command: &str, parameters: &Value) -> Option<Value> {
        let url = format!("{}/{COMMANDS}", self.session.as_deref()?);
        self.try_call("POST", &url, &json!({"cmd": command, "params": parameters})).ok()
    }

    /// Goes there, and returns when all that the page names has been loaded.
    pub fn open(&self, url: &str) {
        self.ask("POST", "url", &json!({"url": url}));
    }

    /// Runs a function with this body and returns its result; the page's CSP does not apply to it.
    pub fn script(&self, body: &str) -> Value {
        self.ask("POST", "execute/sync", &json!({"script": body, "args": []}))
    }

    /// Runs a function that returns a promise, and returns its result.
    pub fn promised(&self, expression: &str) -> Value {
        let script =
            format!("const done = arguments[0]; ({expression}).then(done, (why) => done(String(why)))");
        self.ask("POST", "execute/async", &json!({"script": script, "args": []}))
    }

    /// Runs before any script of every page that is opened from now on.
    pub fn before_each_page(&self, script: &str) {
        self.tell("Page.addScriptToEvaluateOnNewDocument", &json!({"source": script}));
    }

    /// Returns the visible text of the page.
    pub fn text(&self) -> String {
        let text = self.script("return document.body.innerText");
        text.as_str().unwrap_or_else(|| panic!("{text}")).to_owned()
    }

    /// Waits until the page shows this text.
    pub fn wait_for_text(&self, wanted: &str) {
        self.wait_until(&format!("the page says {wanted:?}"), || self.text().contains(wanted).then_some(()));
    }

    /// Waits until a condition holds. A test that waits in vain prints the page.
    pub fn wait_until<T>(&self, what: &str, look: impl FnMut() -> Option<T>) -> T {
        eventually(PATIENCE, what, look)
    }

    /// Types on the keyboard into the focused element.
    pub fn press(&self, keys: impl IntoIterator<Item = char>) {
        let strokes = keys
            .into_iter()
            .flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({"type": kind, "value": key})));
        let strokes: Vec<Value> = strokes.collect();
        self.ask(
            "POST",
            "actions",
            &json!({"actions": [{"type": "key", "id": "keyboard", "actions": strokes}]}),
        );
    }

    /// Returns the role and the name of the focused element.
    pub fn focused(&self) -> (String, String) {
        let active = self.ask("GET", "element/active", &Value::Null);
        let id = active[ELEMENT].as_str().unwrap_or_else(|| panic!("nothing has the focus: {active}"));
        let computed = |what: &str| {
            let value = self.ask("GET", &format!("element/{id}/computed{what}"), &Value::Null);
            value.as_str().unwrap_or_default().to_owned()
        };
        (computed("role"), computed("label"))
    }

    /// Changes the window's size and colour scheme from now on.
    pub fn show(&self, screen: Screen, scheme: &str) {
        let (width, height) = screen.size();
        let phone = matches!(screen, Screen::Phone);
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone});
        self.tell("Emulation.setDeviceMetricsOverride", &metrics);
        let scheme = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.tell("Emulation.setEmulatedMedia", &scheme);
    }

    /// Returns the console's messages since the last call: errors, and violations of the page's policy.
    pub fn complaints(&self) -> Vec<String> {
        let log = self.ask("POST", "se/log", &json!({"type": "browser"}));
        let told = log.as_array().expect("a log").iter();
        // The browser's own pages complain, too.
        let ours =
            told.filter(|entry| !entry["message"].as_str().is_some_and(|text| text.starts_with("chrome://")));
        ours.map(Value::to_string).collect()
    }

    /// Returns the violations that axe finds on the present page.
    pub fn axe(&self) -> Vec<String> {
        if self.script("return window.axe === undefined") == true {
            let file = repository(AXE);
            let rules = fs::read_to_string(&file);
            let rules = rules.unwrap_or_else(|error| panic!("{AXE}: {error}; `make setup` gets it"));
            self.script(&rules);
        }
        let found = self.promised("axe.run(document, { resultTypes: ['violations'] })");
        let violations = found["violations"].as_array().unwrap_or_else(|| panic!("axe: {found}"));
        assert!(found["passes"].as_array().is_some_and(|passes| passes.len() > 5), "axe has looked: {found}");
        let told = |violation: &Value| {
            let nodes = violation["nodes"].as_array().expect("nodes").iter();
            let nodes: Vec<String> =
                nodes.map(|node| format!("{} {}", node["html"], node["failureSummary"])).collect();
            format!("{}: {}\n  {}", violation["id"], violation["help"], nodes.join("\n  "))
        };
        violations.iter().map(told).collect()
    }

    /// Writes a screenshot with 64 colours to a file.
    pub fn screenshot(&self, file: &Path) {
        let picture = self.ask("GET", "screenshot", &Value::Null);
        let mut decoder = Command::new("base64")
            .arg("-d")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("coreutils");
        let smaller = tool("pngquant")
            .args(["--strip", "64", "-"])
            .stdin(decoder.stdout.take().expect("piped"))
            .stdout(fs::File::create(file).expect("a file"))
            .spawn();
        let mut smaller = smaller.unwrap_or_else(|e| missing("pngquant", &e));
        let text = picture.as_str().expect("a picture");
        decoder.stdin.take().expect("piped").write_all(text.as_bytes()).expect("it reads");
        assert!(decoder.wait().expect("it ends").success() && smaller.wait().expect("it ends").success());
    }

    /// Ends it.
    pub fn end(mut self) -> Seen {
        self.close();
        let log = fs::read_to_string(self.home.path().join("network.json")).expect("it keeps a log");
        Seen { requests: requests(&log) }
    }

    fn close(&mut self) {
        let Some(session) = self.session.take() else { return };
        if self.try_call("DELETE", &session, &Value::Null).is_err() {
            // chromedriver no longer listens; its other processes end with it.
            let _ = kill(self.chromium, Signal::SIGKILL);
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(session) = &self.session
        {
            let body =
                json!({"script": "return location.href + '\\n' + document.body.innerText", "args": []});
            let page = self.try_call("POST", &format!("{session}/execute/sync"), &body);
            eprintln!("--- the page ---\n{}\n---", page.unwrap_or_default().as_str().unwrap_or_default());
        }
        self.close();
    }
}

/// Returns the URLs that pages requested, from a log of the network service: one event on each line, with its origin.
/// The browser's own requests have no origin, and neither has a typed address.
fn requests(log: &str) -> BTreeSet<String> {
    let events =
        log.lines().filter_map(|line| serde_json::from_str::<Value>(line.trim_end_matches(',')).ok());
    let asked = events.filter_map(|event| {
        let parameters = &event["params"];
        let initiator = parameters["initiator"].as_str()?;
        (initiator != "not an origin").then(|| parameters["url"].as_str().map(str::to_owned))?
    });
    asked.collect()
}
