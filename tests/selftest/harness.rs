//! Tests of the harness itself: it gives the binary the environment that it promises.

use std::{fs, time::Duration};

use testkit::{
    harness::{Portscan, disk::SmallDisk, feed, field, site},
    lab::Lab,
};

fn fetch(url: &str) -> Result<(u16, String), ureq::Error> {
    fetch_within(url, Duration::from_secs(60))
}

fn fetch_within(url: &str, patience: Duration) -> Result<(u16, String), ureq::Error> {
    let mut response = site::agent(patience).get(url).call()?;
    let body = response.body_mut().with_config().limit(1 << 20).read_to_string()?;
    Ok((response.status().as_u16(), body))
}

#[test]
fn the_feed_says_what_it_is_told() {
    use feed::{FeedServer, Says};
    let devices = vec![("10.77.0.5".to_owned(), "02:00:00:00:00:05".to_owned())];
    let feed = FeedServer::start(Says::Devices(devices.clone()));
    let (status, first) = fetch(&feed.url()).unwrap();
    assert_eq!(status, 200);
    assert_eq!(
        first,
        r#"{"time":{"utc":"2026-02-01 00:00:01","prep_sec":1,"scan_sec":2,"total_sec":3},"scan":[{"ipv4":"10.77.0.5","mac":"02:00:00:00:00:05"}],"count":1}"#
    );
    assert_ne!(fetch(&feed.url()).unwrap().1, first, "swept again");
    feed.set(Says::Stale(devices));
    assert_eq!(fetch(&feed.url()).unwrap(), fetch(&feed.url()).unwrap());
    feed.set(Says::Body("{}".to_owned()));
    assert_eq!(fetch(&feed.url()).unwrap(), (200, "{}".to_owned()));
    feed.set(Says::Status("500 Internal Server Error"));
    assert_eq!(fetch(&feed.url()).unwrap().0, 500);
    for trouble in [Says::Down, Says::Slow, Says::Huge] {
        feed.set(trouble.clone());
        assert!(fetch_within(&feed.url(), Duration::from_millis(1500)).is_err(), "{trouble:?}");
    }
    feed.wait_for_requests(9, Duration::from_secs(60));
}

#[test]
fn a_small_disk_is_full_and_then_not() {
    let _lab = Lab::enter("near");
    let disk = SmallDisk::new(1 << 20);
    let file = disk.path().join("file");
    let ballast = disk.fill();
    assert_eq!(fs::write(&file, [1; 4096]).unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    drop(ballast);
    fs::write(&file, [1; 4096]).unwrap();
}

#[test]
fn limits_and_variables_reach_the_command() {
    let lab = Lab::enter("near");
    let portscan = Portscan::new(&lab, "").open_files(64).env("MY_NUM_THREADS", "7");
    let command = portscan.command();
    let arguments: Vec<_> = command.get_args().map(|argument| argument.to_str().unwrap()).collect();
    assert_eq!(arguments[..2], ["-c", "ulimit -n 64 && exec \"$0\" \"$@\""]);
    let set = command.get_envs().any(|(name, value)| name == "MY_NUM_THREADS" && value == Some("7".as_ref()));
    assert!(set);
    let text = fs::read_to_string(portscan.write_config()).unwrap();
    assert!(text.starts_with("listen = [\"127.0.0.1:0\"]\ndata_dir = \"/"), "{text}");
}

#[test]
fn fields_of_log_lines() {
    let line = "2026-02-01T00:00:00Z  INFO finished mac=02:00:00:00:00:05 address=\"10.77.0.5\" open=3";
    assert_eq!(field(line, "mac"), Some("02:00:00:00:00:05"));
    assert_eq!(field(line, "address"), Some("10.77.0.5"));
    assert_eq!(field(line, "name"), None);
}

/// The test runner starts tests in the order of their names.
#[test]
fn tests_that_need_all_cores_come_first() {
    let main = include_str!("../main.rs");
    let first = main.lines().filter_map(|line| line.strip_prefix("mod ")).min();
    assert_eq!(first, Some("alone;"), "rename the module that comes before it (tests/alone/mod.rs)");
}
