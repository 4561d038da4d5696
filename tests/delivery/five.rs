//! One channel of each type, with the real servers that they lead to.

use std::fs;

use tempfile::TempDir;

use super::LONG;
use crate::{
    harness::{
        Portscan, Running, eventually,
        http_server::HttpServer,
        mosquitto::{Mosquitto, USER},
        postfix::{PASSWORD, Postfix, TLS},
        rsyslog::Rsyslog,
        tls_front::TlsFront,
    },
    lab::Lab,
};

/// How many channels these are.
pub(crate) const FIVE: usize = 5;

/// ntfy and a webhook over HTTPS, mail and MQTT over TLS, and syslog over TCP.
pub(crate) struct FiveChannels {
    _http: HttpServer,
    front: TlsFront,
    mail: Postfix,
    collector: Rsyslog,
    broker: Mosquitto,
    home: TempDir,
}

impl FiveChannels {
    /// Starts the servers; `None` where no mail server can run ([`Postfix::start`]).
    pub(crate) fn start(lab: &Lab) -> Option<Self> {
        let mail = Postfix::start(lab)?;
        let http = HttpServer::start(lab, None);
        let front = TlsFront::before(lab, http.address());
        let home = tempfile::tempdir().unwrap();
        // The machine's authorities, as most owners have them, and those of the test.
        let machine = fs::read_to_string("/etc/ssl/certs/ca-certificates.crt").unwrap_or_default();
        let own = fs::read_to_string(front.ca_file()).unwrap();
        fs::write(home.path().join("authorities.pem"), machine + &own).unwrap();
        fs::write(home.path().join("mail"), PASSWORD).unwrap();
        let (collector, broker) = (Rsyslog::start(lab), Mosquitto::start(lab));
        Some(Self { _http: http, front, mail, collector, broker, home })
    }

    /// Lets the appliance trust the servers of HTTPS.
    pub(crate) fn trusted(&self, portscan: Portscan) -> Portscan {
        portscan.env("SSL_CERT_FILE", &self.home.path().join("authorities.pem").display().to_string())
    }

    /// The channels.
    pub(crate) fn config(&self) -> String {
        let https = self.front.url("server");
        let channel = |name: &str, url: &str, more: &str| {
            format!(
                "[[channel]]\nname = \"{name}\"\ntype = \"{name}\"\nurl = \"{url}\"\ngroup = \"1s\"\n\
                 burst = 1000\n{more}\n"
            )
        };
        let mail = format!(
            "from = \"portscan@example.test\"\nto = [\"me@example.test\"]\nuser = \"me\"\npassword_file = {:?}\n\
             ca_file = {:?}",
            self.home.path().join("mail"),
            self.mail.ca_file()
        );
        let broker = format!(
            "user = \"{USER}\"\npassword_file = {:?}\nca_file = {:?}",
            self.broker.password_file(),
            self.broker.ca_file()
        );
        channel("ntfy", &format!("{https}/topic"), "")
            + &channel("webhook", &format!("{https}/hook"), "")
            + &channel("email", &format!("smtps://127.0.0.1:{TLS}"), &mail)
            + &channel("syslog", &format!("tcp://{}", self.collector.address()), "")
            + &channel("mqtt", &self.broker.encrypted_url(), &broker)
    }
}

/// Waits until each channel has delivered so many messages since the start, and none waits.
pub(crate) fn delivered(running: &Running, messages: u64) {
    eventually(LONG, &format!("each channel has delivered {messages} messages"), || {
        let alerts = running.get("/v1/alerts").json();
        let channels = alerts["channels"].as_array().unwrap();
        let is_done = channels
            .iter()
            .all(|channel| channel["delivered"].as_u64().is_some_and(|count| count >= messages));
        (channels.len() == FIVE && is_done && alerts["pending"] == 0).then_some(())
    });
}
