//! One command, measured by a small process that does nothing else.
//!
//! Linux counts the memory of the process that forks into the peak of the one that is forked (`ru_maxrss` is
//! kept over `execve`), and the lab keeps a record of every SYN: so the lab starts this process, and this
//! process the command. With one child only, `RUSAGE_CHILDREN` is that child, all threads and children of
//! its own included.

use std::{
    fs,
    path::PathBuf,
    process::{Command, ExitCode},
    sync::mpsc,
    thread,
    time::Duration,
};

use nix::{
    sys::{
        resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit},
        signal::{Signal, kill},
        time::TimeVal,
        wait::{Id, WaitPidFlag, waitid},
    },
    unistd::Pid,
};
use portscan::clock::{Clock, SystemClock};
use serde::{Deserialize, Serialize};

/// The limit of open files, enough for every scanner: `RustScan` opens 4500 at once.
const OPEN_FILES: u64 = 8192;

/// What to measure.
#[derive(clap::Args)]
pub struct Order {
    /// Where to write the [`Report`].
    report: PathBuf,
    /// Seconds until the command is killed.
    patience: u64,
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    command: Vec<String>,
}

/// The resources that it took.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Whether it was killed at the time limit.
    pub capped: bool,
    /// Whether it ended by itself and with success.
    pub success: bool,
    /// Seconds from start to end.
    pub wall: f64,
    /// Seconds on a processor, for itself and in the kernel.
    pub cpu: f64,
    /// Most resident memory, in kB.
    pub peak: i64,
}

/// Runs the command to its end, or to the time limit.
pub fn run(order: &Order) -> ExitCode {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("reading the limit of open files");
    setrlimit(Resource::RLIMIT_NOFILE, OPEN_FILES.min(hard), hard).expect("lowering one's own limit");
    let clock = SystemClock::start();
    let mut child = Command::new(&order.command[0])
        .args(&order.command[1..])
        .spawn()
        .unwrap_or_else(|e| panic!("starting {}: {e}", order.command[0]));
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
    let (ended, end) = mpsc::channel::<()>();
    let patience = Duration::from_secs(order.patience);
    let watch = thread::spawn(move || {
        let capped = end.recv_timeout(patience).is_err();
        if capped {
            kill(pid, Signal::SIGKILL).expect("the child is not reaped yet");
        }
        capped
    });
    // Not reaped, so that no other process gets the pid before the watch has ended.
    waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).expect("waiting for the child");
    let wall = clock.now().since_start();
    // The watch may be gone already: then it has killed the child.
    let _ = ended.send(());
    let capped = watch.join().expect("the watch does not panic");
    let status = child.wait().expect("waiting for the child");
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("reading what children used");
    let report = Report {
        capped,
        success: status.success(),
        wall: wall.as_secs_f64(),
        cpu: seconds(usage.user_time()) + seconds(usage.system_time()),
        peak: usage.max_rss(),
    };
    let text = serde_json::to_string(&report).expect("plain numbers");
    fs::write(&order.report, text).unwrap_or_else(|e| panic!("{}: {e}", order.report.display()));
    ExitCode::SUCCESS
}

#[expect(clippy::cast_precision_loss, reason = "a float has 53 bits: microseconds of 285 years")]
fn seconds(time: TimeVal) -> f64 {
    time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6
}
