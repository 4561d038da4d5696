//! Reads this process's memory use, and the memory that the machine has left.

use std::fs;

use crate::model::MemoryFacts;

/// Reads both from `/proc/self/status` and `/proc/meminfo` (proc(5)); `None` if they are missing there.
pub fn memory() -> Option<MemoryFacts> {
    let (status, machine) = (fs::read_to_string("/proc/self/status"), fs::read_to_string("/proc/meminfo"));
    facts(&status.ok()?, &machine.ok()?)
}

fn facts(status: &str, machine: &str) -> Option<MemoryFacts> {
    Some(MemoryFacts {
        resident: bytes(status, "VmRSS")?,
        peak: bytes(status, "VmHWM")?,
        available: bytes(machine, "MemAvailable")?,
        total: bytes(machine, "MemTotal")?,
    })
}

/// Reads a line like `VmRSS: 7012 kB`, where a kB is 1,024 bytes.
fn bytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_kernels_format() {
        let status = "Name:\tportscan\nVmPeak:\t  90000 kB\nVmHWM:\t    9000 kB\nVmRSS:\t    7012 kB\n";
        let machine = "MemTotal:         945364 kB\nMemFree:  1 kB\nMemAvailable:     700000 kB\n";
        let kib = |kib: u64| kib * 1024;
        let expected = MemoryFacts {
            resident: kib(7012),
            peak: kib(9000),
            available: kib(700_000),
            total: kib(945_364),
        };
        assert_eq!(facts(status, machine), Some(expected));
        assert_eq!(facts("VmRSS: many kB\nVmHWM: 1 kB", machine), None);
        assert_eq!(facts("", ""), None);
        let own = memory().expect("this machine tells");
        assert!(0 < own.resident && own.resident <= own.peak && own.peak < own.total, "{own:?}");
    }
}
