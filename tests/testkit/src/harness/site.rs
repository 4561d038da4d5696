//! The appliance as a client on the network sees it, wherever it runs.

use std::time::Duration;

use serde_json::Value;

use super::eventually;
use crate::Ports;

/// How long a connection may be idle and be used again.
const MOST_IDLE: Duration = Duration::from_secs(1);

/// The longest answer, in octets: ten thousand devices take 20 MB.
pub const LONGEST: u64 = 64 << 20;

/// An answer of the server.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// Returns the open ports of a device in the answer; `None` if the answer has none.
    pub fn open_ports(&self) -> Option<Ports> {
        Some(ports(self.json().get("ports")?))
    }
}

/// A running `portscan serve`, as a client on the network sees it.
pub struct Site {
    base: String,
    agent: ureq::Agent,
}

impl Site {
    /// Makes the client for `http://ADDRESS[:PORT]`, with this time limit for an answer.
    pub fn new(base: String, patience: Duration) -> Self {
        Self { base, agent: agent(patience) }
    }

    /// `http://ADDRESS:PORT`, without a slash.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Asks for a path.
    pub fn get(&self, path: &str) -> Answer {
        self.try_get(path).unwrap_or_else(|e| panic!("GET {}{path}: {e}", self.base))
    }

    /// Sends a PATCH, as a client on the appliance's machine may without a token.
    pub fn patch(&self, path: &str, body: &Value) -> Answer {
        self.answered(self.agent.patch(format!("{}{path}", self.base)), body)
    }

    /// The same with POST, which starts something.
    pub fn post(&self, path: &str) -> Answer {
        self.answered(self.agent.post(format!("{}{path}", self.base)), &Value::Null)
    }

    /// The same with DELETE; returns the status.
    /// DELETE with a body, which names what is deleted.
    pub fn delete_among(&self, path: &str, body: &Value) -> Answer {
        self.answered(self.agent.delete(format!("{}{path}", self.base)).force_send_body(), body)
    }

    pub fn delete(&self, path: &str) -> u16 {
        let sent = self.agent.delete(format!("{}{path}", self.base)).call();
        sent.unwrap_or_else(|error| panic!("DELETE {}{path}: {error}", self.base)).status().as_u16()
    }

    fn answered(&self, request: ureq::RequestBuilder<ureq::typestate::WithBody>, body: &Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let sent = request.content_type("application/json").send(body);
        let mut response = sent.unwrap_or_else(|error| panic!("{}: {error}", self.base));
        let body = response.body_mut().read_to_string().expect("a text");
        Answer { status: response.status().as_u16(), body }
    }

    /// The same for an appliance that may be off.
    pub fn try_patch(&self, path: &str, body: &Value) -> Result<Answer, ureq::Error> {
        let request = self.agent.patch(format!("{}{path}", self.base)).content_type("application/json");
        let mut response = request.send(body.to_string())?;
        Ok(Answer { status: response.status().as_u16(), body: response.body_mut().read_to_string()? })
    }

    /// Requests a path of an appliance that may be off.
    pub fn try_get(&self, path: &str) -> Result<Answer, ureq::Error> {
        let mut response = self.agent.get(format!("{}{path}", self.base)).call()?;
        let body = response.body_mut().with_config().limit(LONGEST).read_to_string()?;
        Ok(Answer { status: response.status().as_u16(), body })
    }

    /// Returns the served open ports of a device; `None` before it has a result.
    pub fn open_ports(&self, mac: &str) -> Option<Ports> {
        self.get(&format!("/portscan/{mac}/json")).open_ports()
    }

    /// The devices that it serves a result for.
    pub fn macs(&self) -> Vec<String> {
        serde_json::from_value(self.get("/portscan/json").json()["macs"].clone()).expect("a list of texts")
    }

    /// Returns the devices with a complete result.
    pub fn complete_macs(&self) -> Vec<String> {
        let hosts: Vec<Value> = serde_json::from_value(self.get("/v1/hosts").json()).expect("a list");
        let complete = hosts.iter().filter(|host| host["scanned"]["complete"] == Value::Bool(true));
        complete.filter_map(|host| host["mac"].as_str().map(str::to_owned)).collect()
    }

    /// Waits until the results of so many devices are served. With more than 1,000 ports to scan these may be those of
    /// quick scans, which [`wait_for_complete`](Self::wait_for_complete) does not count.
    pub fn wait_for_devices(&self, count: usize, within: Duration) {
        eventually(within, &format!("{count} devices are served"), || {
            (self.macs().len() >= count).then_some(())
        });
    }

    /// Waits until the results of so many devices are complete.
    pub fn wait_for_complete(&self, count: usize, within: Duration) {
        eventually(within, &format!("{count} devices are completely scanned"), || {
            (self.complete_macs().len() >= count).then_some(())
        });
    }
}

/// An HTTP client that treats no status as an error.
pub fn agent(patience: Duration) -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .timeout_global(Some(patience))
        // The appliance closes a connection after five idle seconds, perhaps while the next request is on its way.
        .max_idle_age(MOST_IDLE)
        .build()
        .into()
}

/// A JSON array of port numbers.
fn ports(numbers: &Value) -> Ports {
    serde_json::from_value::<Vec<u16>>(numbers.clone()).expect("port numbers").into_iter().collect()
}
