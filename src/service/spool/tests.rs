//! Files that arrive, that are still being written, that are no reports, and that are found again after a crash.

use super::*;
use crate::{
    clock::SystemClock,
    service::import::tests::{Bench, NAS, START, report},
};

/// Creates a spool in the bench's directory, which the test polls.
fn spool(bench: &Bench) -> (Spool, PathBuf, watch::Sender<Arc<Config>>) {
    let directory = bench.dir.path().join("spool");
    fs::create_dir(&directory).unwrap();
    let config = Config { spool: Some(directory.clone()), ..Config::default() };
    let (keep, config) = watch::channel(Arc::new(config));
    (Spool::new(bench.importer.clone(), Arc::clone(&bench.clock), config), directory, keep)
}

fn names(directory: &Path) -> Vec<String> {
    let entries =
        fs::read_dir(directory).map(|entries| entries.map(|entry| entry.unwrap().file_name()).collect());
    let mut names: Vec<_> = entries.unwrap_or_else(|_| Vec::new());
    names.sort();
    names.into_iter().map(|name| name.into_string().unwrap()).collect()
}

#[tokio::test]
async fn imports_a_file_that_has_not_changed_between_two_polls() {
    let bench = Bench::at("2026-03-01T12:00:00Z");
    let (mut spool, directory, _keep) = spool(&bench);
    fs::write(directory.join("a.xml"), report(START, 22)).unwrap();
    fs::write(directory.join(".hidden.xml"), report(START + 1, 22)).unwrap();
    fs::write(directory.join("b.xml.partial"), report(START + 2, 22)).unwrap();
    fs::write(directory.join("notes.txt"), "a user's").unwrap();
    spool.look(&directory).await.unwrap();
    assert_eq!(bench.open_ports(NAS).await, None, "the file may still grow");
    spool.look(&directory).await.unwrap();
    assert_eq!(bench.open_ports(NAS).await, Some(vec![22]));
    assert_eq!(names(&directory), [".hidden.xml", "archive", "b.xml.partial", "notes.txt"]);
    assert_eq!(names(&directory.join("archive")), ["a.xml"]);
}

#[tokio::test]
async fn moves_a_malformed_report_to_failed_with_the_reason() {
    let bench = Bench::at("2026-03-01T12:00:00Z");
    let (mut spool, directory, _keep) = spool(&bench);
    fs::write(directory.join("b.xml"), report(START, 22)).unwrap();
    for _ in 0..2 {
        fs::write(directory.join("a.xml"), "<html/>").unwrap();
        spool.look(&directory).await.unwrap();
        spool.look(&directory).await.unwrap();
    }
    assert_eq!(names(&directory.join("failed")), ["a.xml", "a.xml.1", "a.xml.1.reason", "a.xml.reason"]);
    let reason = fs::read_to_string(directory.join("failed/a.xml.reason")).unwrap();
    assert!(reason.contains("not nmap's XML"), "{reason}");
    assert_eq!(bench.importer.facts().failed, 2);
    assert_eq!(names(&directory.join("archive")), ["b.xml"], "other files are imported all the same");
}

#[tokio::test]
async fn waits_for_the_rest_of_a_truncated_report() {
    // File times come from the machine's clock.
    let now = SystemClock::start().wall();
    let bench = Bench::at(&now.to_string());
    let (mut spool, directory, _keep) = spool(&bench);
    let (path, whole) = (directory.join("a.xml"), report(START, 22));
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    for _ in 0..3 {
        spool.look(&directory).await.unwrap();
    }
    assert_eq!(names(&directory), ["a.xml"]);
    fs::write(&path, &whole).unwrap();
    spool.look(&directory).await.unwrap();
    spool.look(&directory).await.unwrap();
    assert_eq!(names(&directory.join("archive")), ["a.xml"]);

    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let old = SystemTime::from(now) - HALF_KEPT - Duration::from_secs(60);
    File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
    spool.look(&directory).await.unwrap();
    spool.look(&directory).await.unwrap();
    assert_eq!(names(&directory.join("failed")), ["a.xml", "a.xml.reason"]);
}

#[tokio::test]
async fn a_crash_before_the_move_imports_nothing_twice() {
    let bench = Bench::at("2026-03-01T12:00:00Z");
    let (mut spool, directory, _keep) = spool(&bench);
    let path = directory.join("a.xml");
    fs::write(&path, report(START, 22)).unwrap();
    // The state that the earlier process left: committed, not moved.
    bench.importer.import(File::open(&path).unwrap()).await.unwrap();
    spool.look(&directory).await.unwrap();
    spool.look(&directory).await.unwrap();
    assert_eq!(names(&directory.join("archive")), ["a.xml"]);
    assert_eq!(bench.count("scans"), 1);
}

#[tokio::test]
async fn creates_the_missing_directory_if_possible() {
    let bench = Bench::at("2026-03-01T12:00:00Z");
    let (mut spool, directory, _keep) = spool(&bench);
    spool.look(&directory.join("new")).await.unwrap();
    assert_eq!(names(&directory), ["new"]);
    fs::write(directory.join("file"), "").unwrap();
    assert!(spool.look(&directory.join("file").join("below")).await.is_err());
}
