//! A real Home Assistant with its MQTT integration (`make home-assistant`).

use std::{
    fs::File,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    Reaped,
    browser::Browser,
    eventually, missing,
    mosquitto::{Mosquitto, PASSWORD, USER},
    site::agent,
};
use crate::repository;

/// From start to its first answer, on a busy machine: it compiles itself when it first runs.
const READY: Duration = Duration::from_secs(300);

/// The time for an answer to a request, on such a machine.
const ANSWER: Duration = Duration::from_secs(60);

/// In the lab's network, where any port is free.
const PORT: &str = "8123";

/// Collects the text of a page of web components, each of which hides its elements from `innerText`.
const TEXT_OF_COMPONENTS: &str = "
    const texts = [];
    const read = (node) => {
        if (node.nodeType === Node.TEXT_NODE) texts.push(node.textContent);
        for (const child of node.shadowRoot?.childNodes ?? []) read(child);
        for (const child of node.childNodes) read(child);
    };
    read(document.body);
    return texts.join(' ');";

/// A running Home Assistant, set up as after its first use and connected to a broker.
pub struct HomeAssistant {
    _child: Reaped,
    token: String,
    agent: ureq::Agent,
    home: TempDir,
}

impl HomeAssistant {
    pub fn start(broker: &Mosquitto) -> Self {
        let home = TempDir::new().expect("a temporary directory");
        let log = File::create(home.path().join("output")).expect("writing a file");
        let mut child = Command::new(repository("target/hass/bin/python"))
            .arg(repository("tests/delivery/home_assistant.py"))
            .arg(home.path().join("config"))
            .args([PORT, &broker.port().to_string(), USER, PASSWORD])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|e| missing("Home Assistant", &e));
        let output = child.stdout.take().expect("a pipe");
        let child = Reaped(child);
        let mut token = String::new();
        BufReader::new(output).read_line(&mut token).expect("a token");
        let token = token.trim().to_owned();
        let server = Self { _child: child, token, agent: agent(ANSWER), home };
        eventually(READY, "Home Assistant runs", || {
            let config = server.get("config")?;
            let has_mqtt = config["components"].as_array()?.iter().any(|name| name == "mqtt");
            (has_mqtt && config["state"] == "RUNNING").then_some(())
        });
        server
    }

    /// The state of an entity with its attributes, if there is such an entity.
    pub fn state(&self, entity: &str) -> Option<Value> {
        self.get(&format!("states/{entity}"))
    }

    /// The entities whose ids contain this.
    pub fn entities(&self, part: &str) -> Vec<String> {
        let all = self.get("states").expect("it answers");
        let ids =
            all.as_array().expect("a list").iter().map(|state| state["entity_id"].as_str().expect("an id"));
        ids.filter(|id| id.contains(part)).map(str::to_owned).collect()
    }

    /// Presses a button.
    pub fn press(&self, entity: &str) {
        let url = format!("http://127.0.0.1:{PORT}/api/services/button/press");
        let body = json!({ "entity_id": entity }).to_string();
        let request = self.agent.post(&url).header("authorization", self.authorization());
        request.header("content-type", "application/json").send(&body).expect("it takes it");
    }

    /// Opens the generated overview as the owner sees it, and waits until it contains all of `wanted`.
    pub fn show_overview(&self, browser: &Browser, wanted: &[&str]) {
        let site = format!("http://127.0.0.1:{PORT}");
        // A page of the same origin that runs nothing: the overview itself would ask for a password at once.
        browser.open(&format!("{site}/manifest.json"));
        let log_in = json!({
            "access_token": self.token, "token_type": "Bearer", "refresh_token": "", "expires_in": 1_000_000,
            "expires": 10_000_000_000_000_u64, "hassUrl": site, "clientId": format!("{site}/"),
        });
        browser.script(&format!("localStorage.setItem('hassTokens', JSON.stringify({log_in}))"));
        browser.open(&site);
        eventually(READY, "Home Assistant shows the overview", || {
            let text = browser.script(TEXT_OF_COMPONENTS);
            let text = text.as_str()?;
            wanted.iter().all(|part| text.contains(part)).then_some(())
        });
    }

    fn authorization(&self) -> String {
        format!("Bearer {}", self.token)
    }

    /// Returns its log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.home.path().join("output")).expect("it is there")
    }

    fn get(&self, path: &str) -> Option<Value> {
        let url = format!("http://127.0.0.1:{PORT}/api/{path}");
        let request = self.agent.get(&url).header("authorization", self.authorization());
        // For an unknown entity it answers with another status.
        let mut answer = request.call().ok().filter(|answer| answer.status() == 200)?;
        let text = answer.body_mut().read_to_string().ok()?;
        serde_json::from_str(&text).ok()
    }
}
