//! The machine of the measurements.

use std::{fs, num::NonZeroUsize, thread};

use portscan::clock::{Clock, SystemClock};

/// Cores, processor, kernel and day.
pub fn describe() -> String {
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let day = SystemClock::start().wall().strftime("%Y-%m-%d").to_string();
    format!("{cores} cores ({}), Linux {}, {day}", processor(), kernel.trim())
}

/// proc(5) calls it "model name" on PCs; a Pi's kernel names the board, at the end.
fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let value = |key: &str| text.lines().find(|line| line.starts_with(key))?.split_once(": ");
    let named = value("Model").or_else(|| value("model name"));
    named.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
}
