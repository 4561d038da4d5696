//! The tasks around the feeds' states, with a real server on the loopback.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener},
    sync::mpsc::{Receiver, channel},
    thread,
};

use tokio::task::JoinHandle;

use super::*;
use crate::{
    clock::SystemClock,
    resolve::{Resolve, ResolveError, Resolving},
    store::FILE_NAME,
};

/// A resolver that knows no name.
struct NoNames;

impl Resolve for NoNames {
    fn resolve<'a>(&'a self, name: &'a str) -> Resolving<'a> {
        Box::pin(async move { Err(ResolveError::Unknown(name.to_owned())) })
    }
}

/// Serves this body to every client; the channel gets a message for each request.
fn serve(body: &'static str) -> (String, Receiver<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}/lanscan/json", listener.local_addr().unwrap());
    let (received, requests) = channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            assert!(stream.read(&mut [0; 2048]).unwrap() > 0);
            // Sent before the response, so that a client that has the response finds the message.
            if received.send(()).is_err() {
                return;
            }
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all((head + body).as_bytes()).unwrap();
        }
    });
    (url, requests)
}

fn config(feed: FeedConfig) -> Arc<Config> {
    Arc::new(Config { feed, ..Config::default() })
}

fn urls(urls: impl IntoIterator<Item = String>) -> Vec<FeedUrl> {
    urls.into_iter().map(FeedUrl::from).collect()
}

fn nothing() -> FeedConfig {
    FeedConfig { urls: vec![], ..FeedConfig::default() }
}

type Started = (watch::Sender<Arc<Config>>, watch::Receiver<Inventory>, JoinHandle<()>);

fn start(feed: FeedConfig) -> Started {
    let (sender, receiver) = watch::channel(config(feed));
    let clock = Arc::new(SystemClock::start());
    let client = HttpClient::new(Arc::new(NoNames));
    let directory = tempfile::tempdir().unwrap();
    let (store, writer) = Store::open(&directory.path().join(FILE_NAME), clock.clone()).unwrap();
    let (inventory, task) = super::start(client, store, clock, receiver, || Ok(Links::default()), "");
    let keeping = async move {
        task.await;
        drop((writer, directory));
    };
    (sender, inventory, tokio::spawn(keeping))
}

/// Returns the inventory as soon as it satisfies the condition.
async fn until(
    inventory: &mut watch::Receiver<Inventory>,
    wanted: impl FnMut(&Inventory) -> bool,
) -> Inventory {
    let wait = inventory.wait_for(wanted);
    tokio::time::timeout(Duration::from_secs(30), wait).await.expect("in time").unwrap().clone()
}

fn addresses(inventory: &Inventory) -> Vec<String> {
    inventory.devices.iter().map(|known| known.device.address.to_string()).collect()
}

fn host(address: &str) -> Device {
    Device { address: address.parse().unwrap(), mac: None, name: None }
}

#[tokio::test]
async fn a_feed_is_polled_at_once_and_combined_with_configured_hosts() {
    let (url, _requests) =
        serve(r#"{"scan":[{"ipv4":"10.0.0.1","mac":"02:00:00:00:00:01"},{"ipv4":"203.0.113.7"}]}"#);
    let hosts = vec![host("203.0.113.9")];
    let (_config, mut inventory, _task) = start(FeedConfig { urls: urls([url]), hosts, ..nothing() });
    let inventory = until(&mut inventory, |inventory| inventory.devices.len() == 2).await;
    assert_eq!(addresses(&inventory), ["10.0.0.1", "203.0.113.9"]);
    let refusing = &inventory.sources[1];
    assert!(refusing.up && refusing.rejected == 1 && refusing.detail.contains("feed.allow"), "{refusing:?}");
}

#[tokio::test]
async fn a_failing_source_does_not_affect_others() {
    let (good, _requests) = serve(r#"{"scan":[{"ipv4":"10.0.0.1"}]}"#);
    let (empty, _requests) = serve("{}");
    let (wrong, _requests) = serve("<html>");
    let urls = vec![good, empty, wrong, "http://unknown.test/".to_owned()];
    let (_config, mut inventory, _task) = start(FeedConfig { urls: self::urls(urls.clone()), ..nothing() });
    let polled =
        |inventory: &Inventory| inventory.sources.iter().all(|source| source.detail != "not asked yet");
    let inventory =
        until(&mut inventory, |inventory| inventory.sources.len() == 4 && polled(inventory)).await;
    assert_eq!(addresses(&inventory), ["10.0.0.1"]);
    for (url, detail) in urls.iter().zip(["", "names no device", "not lanscan's JSON", "Unable to resolve"]) {
        let status = inventory.sources.iter().find(|source| source.name == *url).unwrap();
        assert!(status.up == detail.is_empty() && status.detail.contains(detail), "{status:?}");
    }
}

#[tokio::test]
async fn a_reload_does_not_poll_unchanged_sources_again() {
    let (stays, requests) = serve(r#"{"scan":[{"ipv4":"10.0.0.1"}]}"#);
    let (goes, _requests) = serve(r#"{"scan":[{"ipv4":"10.0.0.2"}]}"#);
    let both = FeedConfig { urls: urls([stays.clone(), goes]), hosts: vec![host("10.0.0.3")], ..nothing() };
    let (sender, mut inventory, task) = start(both);
    until(&mut inventory, |inventory| inventory.devices.len() == 3).await;
    sender
        .send(config(FeedConfig { urls: urls([stays]), hosts: vec![host("10.0.0.4")], ..nothing() }))
        .unwrap();
    let inventory = until(&mut inventory, |inventory| inventory.sources.len() == 2).await;
    assert_eq!(addresses(&inventory), ["10.0.0.1", "10.0.0.4"]);
    assert_eq!(requests.try_iter().count(), 1, "the source is not polled again");
    drop(sender);
    task.await.unwrap();
}

#[tokio::test]
async fn devices_no_longer_allowed_are_removed_at_once() {
    let (url, requests) = serve(r#"{"scan":[{"ipv4":"10.0.0.1"},{"ipv4":"203.0.113.7"}]}"#);
    let hosts = vec![host("203.0.113.9")];
    let allowing = |allow: &[&str]| FeedConfig {
        urls: urls([url.clone()]),
        hosts: hosts.clone(),
        allow: allow.iter().map(|spec| spec.parse().unwrap()).collect(),
        ..nothing()
    };
    let (sender, mut inventory, _task) = start(allowing(&["203.0.113.0/24"]));
    until(&mut inventory, |inventory| inventory.devices.len() == 3).await;
    sender.send(config(allowing(&[]))).unwrap();
    let left = until(&mut inventory, |inventory| inventory.devices.len() == 2).await;
    assert_eq!(addresses(&left), ["10.0.0.1", "203.0.113.9"], "configured hosts need no permission");
    assert_eq!(requests.try_iter().count(), 1, "the source is not polled again");
}
