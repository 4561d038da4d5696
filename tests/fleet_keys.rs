//! What the keys of a fleet open, and what a stolen one does not: `portscan hub` and a real broker, of Debian's version and
//! of the newest.

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use async_nats::{Client, ConnectError, ConnectErrorKind, ConnectOptions, Event, ServerError, Subscriber};
use futures_util::{FutureExt, StreamExt};
use portscan::{
    fleet::subjects,
    tls::{client_config, client_credentials},
};
use rstest::rstest;
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::{
    harness::{
        nats::{NatsServer, NatsVersion},
        tested_binary,
    },
    lab::Lab,
};

/// The longest wait, on a busy machine.
const LONG: Duration = Duration::from_secs(120);

const PORT: u16 = 4222;

/// A hub with its broker.
struct Hub {
    home: TempDir,
    broker: NatsServer,
}

/// A client of the broker, and what has happened to it.
struct Connected {
    client: Client,
    events: UnboundedReceiver<Event>,
}

/// Runs `portscan hub`; returns what it printed.
fn portscan_hub(home: &Path, arguments: &[&str]) -> Result<String, String> {
    let ran = Command::new(tested_binary())
        .arg("hub")
        .args(arguments)
        .arg("--dir")
        .arg(home.join("hub"))
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if ran.status.success() { Ok(text(&ran.stdout)) } else { Err(text(&ran.stderr)) }
}

impl Hub {
    fn start(version: NatsVersion, lab: &Lab) -> Self {
        let home = tempfile::tempdir().unwrap();
        portscan_hub(home.path(), &["init", "--name", "hub.example", "--bind", "127.0.0.1:4222"]).unwrap();
        let broker = NatsServer::start(version, &home.path().join("hub/nats-server.conf"), PORT, lab);
        Self { home, broker }
    }

    fn run(&self, arguments: &[&str]) -> String {
        portscan_hub(self.home.path(), arguments).unwrap()
    }

    /// Waits until the broker has read its users as often as this.
    fn wait_for_reloads(&self, count: usize) {
        let has = || (self.broker.count("Reloaded: authorization users") >= count).then_some(());
        crate::harness::eventually(LONG, "the broker has read its users again", has);
    }

    fn file(&self, name: &str) -> PathBuf {
        self.home.path().join("hub").join(name)
    }

    /// Enrols a site; returns the folder with its credentials, moved away as an owner would.
    fn enrol(&self, site: &str, name: &str) -> PathBuf {
        self.enrol_by(&["enrol", site], &self.file("sites").join(site), name)
    }

    /// Enrols a worker in the same way.
    fn enrol_worker(&self, worker: &str) -> PathBuf {
        self.enrol_by(&["enrol", "--worker", worker], &self.file("workers").join(worker), worker)
    }

    fn enrol_by(&self, command: &[&str], made: &Path, name: &str) -> PathBuf {
        let reloads = self.broker.count("Reloaded: authorization users");
        let told = self.run(command);
        assert!(told.contains(&format!("process {}", self.broker.id())), "{told}");
        self.wait_for_reloads(reloads + 1);
        let folder = self.home.path().join(name);
        fs::rename(made, &folder).unwrap();
        folder
    }

    async fn connect_hub(&self) -> Connected {
        let options = options(&self.file("ca.crt"), &self.file("hub.crt"), &self.file("hub.key"));
        connect(options.custom_inbox_prefix(subjects::INBOX_OF_HUB)).await.unwrap()
    }
}

/// What a client with these files presents.
fn options(ca: &Path, certificate: &Path, key: &Path) -> ConnectOptions {
    let credentials = client_credentials(ca, certificate, key).unwrap();
    ConnectOptions::new().tls_client_config(Arc::unwrap_or_clone(credentials.config))
}

fn site_options(folder: &Path) -> ConnectOptions {
    options(&folder.join("ca.crt"), &folder.join("site.crt"), &folder.join("site.key"))
}

async fn connect(options: ConnectOptions) -> Result<Connected, ConnectError> {
    let (sender, events) = unbounded_channel();
    let options = options.connection_timeout(LONG).require_tls(true).event_callback(move |event| {
        _ = sender.send(event);
        std::future::ready(())
    });
    let client = options.connect(format!("tls://localhost:{PORT}")).await?;
    Ok(Connected { client, events })
}

async fn connect_site(folder: &Path, site: &str) -> Result<Connected, ConnectError> {
    let prefix = subjects::inbox_of_site(&site.parse().unwrap());
    connect(site_options(folder).custom_inbox_prefix(prefix)).await
}

/// Waits for an answer that must come.
async fn soon<T>(what: &str, answer: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, answer).await.unwrap_or_else(|_| panic!("waited {LONG:?} until {what}"))
}

impl Connected {
    /// Waits for an event that this recognises; others pass.
    async fn wait_for(&mut self, what: &str, is_it: impl Fn(&Event) -> bool) {
        let events = &mut self.events;
        let seen = async {
            loop {
                if is_it(&events.recv().await.unwrap()) {
                    return;
                }
            }
        };
        soon(what, seen).await;
    }

    /// Waits until the broker has refused this.
    async fn is_refused(&mut self, what: &str, subject: &str) {
        let text = format!("Permissions Violation for {what} to \"{subject}\"").to_lowercase();
        let is_it = |event: &Event| match event {
            Event::ServerError(ServerError::Other(said)) => said.to_lowercase().contains(&text),
            _ => false,
        };
        self.wait_for(&text, is_it).await;
    }

    async fn publish(&self, subject: &str, payload: &'static str) {
        self.client.publish(subject.to_owned(), payload.into()).await.unwrap();
        soon("the client has sent it", self.client.flush()).await.unwrap();
    }

    async fn subscribe(&self, subject: &str) -> Subscriber {
        let subscriber = self.client.subscribe(subject.to_owned()).await.unwrap();
        soon("the client has sent it", self.client.flush()).await.unwrap();
        subscriber
    }

    /// Subscribes to what this certificate may hear, and waits until the broker has the subscription: it takes a client's
    /// commands in turn, so it has once it refuses the next one. To flush empties the client's own buffer alone.
    async fn listen(&mut self, subject: &str) -> Subscriber {
        let subscriber = self.subscribe(subject).await;
        self.publish("nobodys.subject", "").await;
        self.is_refused("Publish", "nobodys.subject").await;
        subscriber
    }

    fn was_disconnected(&mut self) -> bool {
        let mut disconnected = false;
        while let Ok(event) = self.events.try_recv() {
            disconnected |= matches!(event, Event::Disconnected);
        }
        disconnected
    }
}

/// The next message's payload; it must come.
async fn next(subscriber: &mut Subscriber) -> String {
    let message = soon("a message comes", subscriber.next()).await.unwrap();
    String::from_utf8(message.payload.to_vec()).unwrap()
}

fn block_on(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

#[rstest]
#[case::debian(NatsVersion::Debian)]
#[case::newest(NatsVersion::Newest)]
fn a_site_exchanges_messages_with_the_hub_and_nothing_else(#[case] version: NatsVersion) {
    let lab = Lab::enter("near");
    let hub_keys = Hub::start(version, &lab);
    let (stolen, other) = (hub_keys.enrol("house-3", "three"), hub_keys.enrol("house-4", "four"));
    block_on(async {
        let mut hub = hub_keys.connect_hub().await;
        let mut from_sites = hub.listen(subjects::FROM_SITES).await;
        let mut thief = connect_site(&stolen, "house-3").await.unwrap();
        let mut victim = connect_site(&other, "house-4").await.unwrap();
        let mut to_victim = victim.listen("ps.down.house-4").await;
        let mut to_thief = thief.listen("ps.down.house-3").await;

        // Its own: a request and the hub's answer, the hub's request and one answer.
        let asked = thief.client.clone();
        let request = tokio::spawn(async move { asked.request("ps.up.house-3", "greeting".into()).await });
        let message = soon("the request comes", from_sites.next()).await.unwrap();
        assert_eq!(message.subject.as_str(), "ps.up.house-3");
        let reply = message.reply.unwrap();
        assert!(subjects::is_inbox_of_site(&reply, &"house-3".parse().unwrap()), "{reply}");
        hub.publish(&reply, "answer").await;
        assert_eq!(&request.await.unwrap().unwrap().payload[..], b"answer");
        let asked = hub.client.clone();
        let request = tokio::spawn(async move { asked.request("ps.down.house-3", "run".into()).await });
        let reply = soon("the request comes", to_thief.next()).await.unwrap().reply.unwrap();
        thief.publish(&reply, "done").await;
        assert_eq!(&request.await.unwrap().unwrap().payload[..], b"done");
        thief.publish(&reply, "done again").await;
        thief.is_refused("Publish", &reply).await;

        for subject in [
            "ps.up.house-4",
            "ps.up",
            "ps.up.house-3.more",
            "ps.down.house-3",
            "ps.down.house-4",
            "_INBOX.hub.guessed",
            "_INBOX.site.house-3.own",
            "_INBOX.site.house-4.guessed",
            "$JS.API.INFO",
            "$SYS.REQ.SERVER.PING",
        ] {
            thief.publish(subject, "forged").await;
            thief.is_refused("Publish", subject).await;
        }
        let mut heard = Vec::new();
        for subject in [
            ">",
            "*.*.*",
            "ps.>",
            "ps.up.*",
            "ps.up.house-3",
            "ps.up.house-4",
            "ps.down.*",
            "ps.down.house-4",
            "_INBOX.>",
            "_INBOX.hub.>",
            "_INBOX.site.>",
            "_INBOX.site.*.>",
            "_INBOX.site.house-4.>",
            "$SYS.>",
        ] {
            heard.push((subject, thief.subscribe(subject).await));
            thief.is_refused("Subscription", subject).await;
        }
        // A group that shares messages would take them from the victim.
        let grouped = thief.client.queue_subscribe("ps.down.house-4", "group".to_owned()).await.unwrap();
        heard.push(("the group", grouped));
        thief.is_refused("Subscription", "ps.down.house-4").await;

        // All that the thief was not to hear.
        hub.publish("ps.down.house-4", "for the victim").await;
        assert_eq!(next(&mut to_victim).await, "for the victim");
        victim.publish("ps.up.house-4", "from the victim").await;
        assert_eq!(next(&mut from_sites).await, "from the victim");
        let mut answers = hub.listen("_INBOX.hub.q").await;
        hub.client.publish_with_reply("ps.down.house-4", "_INBOX.hub.q", "asked".into()).await.unwrap();
        let reply = soon("it comes", to_victim.next()).await.unwrap().reply.unwrap();
        victim.publish(&reply, "answered").await;
        assert_eq!(next(&mut answers).await, "answered");
        // Nothing forged has come: the broker delivers to a client in turn, so it would have come before the last message.
        hub.publish("ps.down.house-3", "last").await;
        assert_eq!(next(&mut to_thief).await, "last");
        for (subject, subscriber) in &mut heard {
            assert!(subscriber.next().now_or_never().is_none(), "{subject}");
        }
        hub.publish("ps.down.house-4", "last").await;
        assert_eq!(next(&mut to_victim).await, "last");
        thief.publish("ps.up.house-3", "last").await;
        assert_eq!(next(&mut from_sites).await, "last");
        assert!(answers.next().now_or_never().is_none());

        // What a broker does not check, and the hub has to: where the answer is to go.
        let forged = thief.client.publish_with_reply("ps.up.house-3", "ps.down.house-4", "ask".into());
        forged.await.unwrap();
        let reply = soon("it comes", from_sites.next()).await.unwrap().reply.unwrap();
        assert!(!subjects::is_inbox_of_site(&reply, &"house-3".parse().unwrap()), "{reply}");
    });
}

#[rstest]
#[case::debian(NatsVersion::Debian)]
#[case::newest(NatsVersion::Newest)]
fn a_worker_takes_shards_and_reports_as_itself_and_nothing_else(#[case] version: NatsVersion) {
    let lab = Lab::enter("near");
    let hub_keys = Hub::start(version, &lab);
    let folder = hub_keys.enrol_worker("w-1");
    block_on(async {
        let mut hub = hub_keys.connect_hub().await;
        let (mut announced, mut reported) =
            (hub.listen(subjects::ANNOUNCEMENTS).await, hub.listen(subjects::REPORTS).await);
        let keys = options(&folder.join("ca.crt"), &folder.join("worker.crt"), &folder.join("worker.key"));
        let worker = "w-1".parse().unwrap();
        let mut thief = connect(keys.custom_inbox_prefix(subjects::inbox_of_worker(&worker))).await.unwrap();
        let mut called = thief.listen(subjects::CALL).await;

        hub.publish(subjects::CALL, "who is there").await;
        assert_eq!(next(&mut called).await, "who is there");
        thief.publish("ps.worker.w-1", "here").await;
        assert_eq!(next(&mut announced).await, "here");
        thief.publish("ps.job.0123456789abcdef.w-1", "report").await;
        assert_eq!(next(&mut reported).await, "report");

        for subject in [
            "ps.worker.w-2",
            "ps.job.0123456789abcdef.w-2",
            "ps.call",
            "ps.busy",
            "ps.work.10-0-0-0=8.0123456789abcdef",
            "ps.up.w-1",
            "ps.up.house-3",
            "ps.down.house-3",
            "_INBOX.hub.guessed",
            "_INBOX.worker.w-1.own",
            "_INBOX.worker.w-2.guessed",
            "_INBOX.site.house-3.guessed",
            "$JS.API.INFO",
            "$JS.API.STREAM.CREATE.PS_WORK",
            "$JS.API.STREAM.PURGE.PS_WORK",
            "$JS.API.STREAM.DELETE.PS_WORK",
            "$JS.API.STREAM.MSG.GET.PS_WORK",
            "$JS.API.CONSUMER.CREATE.PS_WORK",
            "$JS.API.CONSUMER.DELETE.PS_WORK.10-0-0-0=8",
            "$JS.API.CONSUMER.MSG.NEXT.OTHER.queue",
            "$JS.ACK.OTHER.queue.1.1.1.1.0",
            "$SYS.REQ.SERVER.PING",
        ] {
            thief.publish(subject, "forged").await;
            thief.is_refused("Publish", subject).await;
        }
        for subject in [
            ">",
            "ps.>",
            "ps.work.>",
            "ps.worker.*",
            "ps.job.*.*",
            "ps.up.*",
            "ps.down.*",
            "_INBOX.>",
            "_INBOX.worker.*.>",
            "_INBOX.worker.w-2.>",
            "_INBOX.hub.>",
            "$JS.>",
            "$SYS.>",
        ] {
            let _heard = thief.subscribe(subject).await;
            thief.is_refused("Subscription", subject).await;
        }
        thief.publish("ps.worker.w-1", "last").await;
        assert_eq!(next(&mut announced).await, "last");
        assert!(reported.next().now_or_never().is_none());
    });
    hub_keys.run(&["revoke", "--worker", "w-1"]);
    let told = portscan_hub(hub_keys.home.path(), &["revoke", "w-1"]).unwrap_err();
    assert!(told.contains("no certificate of w-1 may connect"), "{told}");
}

/// What a client that speaks in the clear gets from the broker.
fn speak_in_the_clear() -> String {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, PORT)).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.write_all(b"CONNECT {\"verbose\":true}\r\nPUB ps.up.house-3 2\r\nhi\r\nPING\r\n").unwrap();
    let mut said = Vec::new();
    // The broker may reset the connection, for there is more than it has read.
    _ = stream.read_to_end(&mut said);
    String::from_utf8_lossy(&said).into_owned()
}

#[rstest]
#[case::debian(NatsVersion::Debian)]
#[case::newest(NatsVersion::Newest)]
fn only_a_certificate_that_was_enrolled_connects_and_only_as_itself(#[case] version: NatsVersion) {
    let lab = Lab::enter("near");
    let hub_keys = Hub::start(version, &lab);
    let site = hub_keys.enrol("house-3", "three");
    let elsewhere = tempfile::tempdir().unwrap();
    portscan_hub(elsewhere.path(), &["init", "--name", "hub.example"]).unwrap();
    portscan_hub(elsewhere.path(), &["enrol", "house-3"]).unwrap();
    let strange = elsewhere.path().join("hub/sites/house-3");
    let users = fs::read_to_string(hub_keys.file("users.conf")).unwrap();
    let hub_user = users.lines().find_map(|line| line.strip_prefix("  { user: \"")).unwrap();
    let hub_user = hub_user.split_once('"').unwrap().0.to_owned();
    assert!(hub_user.ends_with(".hub.portscan"), "{hub_user}");
    block_on(async {
        let ca = hub_keys.file("ca.crt");
        // Another fleet's, whose authority has the same name.
        let other_ca = options(&ca, &strange.join("site.crt"), &strange.join("site.key"));
        assert!(connect(other_ca).await.is_err());
        // The broker's own, which is not for clients.
        let not_for_clients = options(&ca, &hub_keys.file("broker.crt"), &hub_keys.file("broker.key"));
        assert!(connect(not_for_clients).await.is_err());
        let none = || {
            ConnectOptions::new().tls_client_config(Arc::unwrap_or_clone(client_config(Some(&ca)).unwrap()))
        };
        assert!(connect(none()).await.is_err());
        assert!(connect(none().user_and_password(hub_user.clone(), String::new())).await.is_err());
        let said = tokio::task::spawn_blocking(speak_in_the_clear).await.unwrap();
        assert!(said.starts_with("INFO ") && !said.contains("PONG") && !said.contains("+OK"), "{said}");

        // A site's that says that it is the hub.
        let liar = site_options(&site).user_and_password(hub_user.clone(), String::new());
        if let Ok(mut liar) = connect(liar).await {
            for subject in ["ps.down.house-4", "_INBOX.site.house-4.a"] {
                liar.publish(subject, "forged").await;
                liar.is_refused("Publish", subject).await;
            }
        }
        // A site does not send its data to another fleet's broker.
        let trusting = options(&strange.join("ca.crt"), &site.join("site.crt"), &site.join("site.key"));
        assert_eq!(connect(trusting).await.map(|_| ()).unwrap_err().kind(), ConnectErrorKind::Io);

        // Connected only now: the broker cuts a client off that does not answer its pings while the runtime waits above.
        let mut hub = hub_keys.connect_hub().await;
        let mut from_sites = hub.listen(subjects::FROM_SITES).await;
        let honest = connect_site(&site, "house-3").await.unwrap();
        honest.publish("ps.up.house-3", "only this").await;
        assert_eq!(next(&mut from_sites).await, "only this");
    });
}

#[rstest]
#[case::debian(NatsVersion::Debian)]
#[case::newest(NatsVersion::Newest)]
fn a_certificate_is_replaced_without_a_gap_and_revoked_at_once(#[case] version: NatsVersion) {
    let lab = Lab::enter("near");
    let hub_keys = Hub::start(version, &lab);
    let first = hub_keys.enrol("house-3", "first");
    let other = hub_keys.enrol("house-4", "other");
    let is_refused = |refused: Result<Connected, ConnectError>| {
        refused.map(|_| ()).unwrap_err().kind() == ConnectErrorKind::AuthorizationViolation
    };
    block_on(async {
        let mut hub = hub_keys.connect_hub().await;
        let mut from_sites = hub.listen(subjects::FROM_SITES).await;
        let mut older = connect_site(&first, "house-3").await.unwrap();
        let mut bystander = connect_site(&other, "house-4").await.unwrap();
        let second = hub_keys.enrol("house-3", "second");
        let mut newer = connect_site(&second, "house-3").await.unwrap();
        for connection in [&older, &newer, &connect_site(&first, "house-3").await.unwrap()] {
            connection.publish("ps.up.house-3", "both work").await;
            assert_eq!(next(&mut from_sites).await, "both work");
        }
        assert!(!older.was_disconnected());

        let told = hub_keys.run(&["revoke", "house-3", "--older"]);
        assert!(told.starts_with("revoked of house-3: certificate "), "{told}");
        older.wait_for("it is cut off", |event| matches!(event, Event::Disconnected)).await;
        assert!(is_refused(connect_site(&first, "house-3").await));
        newer.publish("ps.up.house-3", "the newer stays").await;
        assert_eq!(next(&mut from_sites).await, "the newer stays");
        assert!(!newer.was_disconnected());

        hub_keys.run(&["revoke", "house-3"]);
        newer.wait_for("it is cut off", |event| matches!(event, Event::Disconnected)).await;
        assert!(is_refused(connect_site(&second, "house-3").await));
        let again = portscan_hub(hub_keys.home.path(), &["revoke", "house-3"]).unwrap_err();
        assert!(again.contains("no certificate of house-3 may connect; sites are house-4"), "{again}");

        bystander.publish("ps.up.house-4", "undisturbed").await;
        assert_eq!(next(&mut from_sites).await, "undisturbed");
        assert!(!bystander.was_disconnected() && !hub.was_disconnected());
        // Enrolled again, it is a site as before.
        let third = hub_keys.enrol("house-3", "third");
        connect_site(&third, "house-3").await.unwrap().publish("ps.up.house-3", "again").await;
        assert_eq!(next(&mut from_sites).await, "again");
        assert!(is_refused(connect_site(&second, "house-3").await));
    });
}
