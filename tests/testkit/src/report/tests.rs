use super::*;

fn run(scanner: &str, wall: f64, found: Option<(u32, u32)>) -> Run {
    Run { scanner: scanner.into(), wall, cpu: wall / 2.0, peak: 10_240, syns: 65_535, found, reboots: 0 }
}

fn results() -> Results {
    let section = Section {
        about: "One host that refuses; 8 open".into(),
        machine: "2 cores".into(),
        there: 8,
        patience: 600,
        runs: vec![
            run("portscan-T4", 1.5, Some((8, 0))),
            run("nmap-sT", 9.0, Some((8, 0))),
            run("portscan-T4", 1.0, Some((8, 0))),
            run("nmap-sT", 600.0, None),
            run("portscan-T4", 9.5, Some((7, 1))),
            run("nmap-sT", 3.0, Some((8, 0))),
        ],
        absent: [("masscan".to_owned(), "not installed".to_owned())].into(),
    };
    Results([("near".to_owned(), section)].into())
}

#[test]
fn a_table_shows_the_median_time_and_the_worst_findings() {
    let document = results().document();
    let rows: Vec<&str> = document.lines().filter(|line| line.starts_with("| ")).collect();
    assert_eq!(rows[1], "| portscan-T4 | 1.50 | 0.75 | 10 | 65535 | 7/8 | 1 | 0 | 1.00 | 1.00 |");
    assert_eq!(rows[2], "| nmap-sT | > 600 | 4.50 | 10 | 65535 | 8/8 | 0 | 0 | > 6.00 | > 6.00 |");
    assert_eq!(rows[3], "| masscan | not installed | | | | | | | | |");
    assert!(document.contains("2 cores; 3 runs each, stopped after 600 s."), "{document}");
}

#[test]
fn a_summary_shows_missed_and_false_ports() {
    let summary = results().summary();
    assert!(summary.contains("| portscan-T4 | 1.50 s, 7 of 8 found, 1 false (0.8 CPU) |"), "{summary}");
    assert!(summary.contains("| nmap-sT | > 600 s (4.5 CPU) |"), "{summary}");
    assert!(summary.contains("masscan: not installed."), "{summary}");
}

#[test]
fn results_survive_serialization() {
    let text = serde_json::to_string(&results()).unwrap();
    assert_eq!(serde_json::from_str::<Results>(&text).unwrap(), results());
}

#[test]
fn splice_replaces_what_is_between_the_documents_markers() {
    let document = include_str!("../../../../docs/performance.md");
    let once = splice(document, "new\n").expect("the document has the markers");
    assert!(once.contains("-->\nnew\n<!--"));
    assert_eq!(splice(&once, "new\n"), Some(once.clone()), "the markers are kept");
    assert_eq!(splice("no markers", "new"), None);
}
