//! What the machine has enough of: disk, descriptors, memory and a right clock.

use super::wording::{is_of_unit, subject_of};
use crate::{
    clock::EARLIEST_SANE,
    doctor::facts::{ClockState, DiskState, FileSystemKind, Installation, MachineState},
    model::Diagnosis,
};

/// The descriptors with which the appliance runs at its full speed, as its unit grants them.
pub(super) const DESCRIPTORS: u64 = 70_000;
/// 4,096 probes, 256 clients and 64 others: more gain nothing to one scan.
const ENOUGH_DESCRIPTORS: u64 = 4_416;
/// Some 25 are always open.
const LEAST_DESCRIPTORS: u64 = 64;

pub(super) const MIB: u64 = 1 << 20;
/// Below this the store refuses to write: SQLite's log alone grows to some MiB before it is written back.
const LEAST_DISK: u64 = 16 * MIB;
/// Beside a copy of the database, which a new version makes before it changes it.
const SPARE_DISK: u64 = 64 * MIB;
/// The appliance uses 32 MB at most; the kernel's buffers of its connections need as much.
const LEAST_MEMORY: u64 = 32 * MIB;
const ENOUGH_MEMORY: u64 = 64 * MIB;

pub(super) fn disk(disk: &DiskState) -> Diagnosis {
    const SUBJECT: &str = "disk";
    let (directory, available, database, kind) = match disk {
        DiskState::Closed(why) => {
            return Diagnosis::not_checked(SUBJECT, why, "sudo portscan doctor".to_owned());
        }
        DiskState::Unwritable(why) => return Diagnosis::essential(SUBJECT, why, None),
        DiskState::Writable { directory, available, database, kind } => {
            (directory, *available, *database, *kind)
        }
    };
    let detail = format!("{directory} has {} left", mib(available));
    let needed = database.saturating_add(SPARE_DISK);
    if available < LEAST_DISK {
        let mend = format!("make room: df -h {directory}");
        return Diagnosis::essential(SUBJECT, format!("{detail}; nothing can be stored"), mend);
    }
    match kind {
        FileSystemKind::Memory => {
            let detail = format!("{directory} is kept in memory: all results are lost at the next start");
            Diagnosis::lacking(SUBJECT, detail, "mount a disk there, or set another data_dir".to_owned())
        }
        FileSystemKind::ContainerLayer => {
            let detail = format!("{directory} is the container's own: all results are lost with it");
            Diagnosis::lacking(SUBJECT, detail, format!("mount a volume: --volume portscan:{directory}"))
        }
        FileSystemKind::Disk if available < needed => {
            let detail = format!("{detail}; an upgrade copies the database and needs {}", mib(needed));
            Diagnosis::lacking(SUBJECT, detail, format!("make room: df -h {directory}"))
        }
        FileSystemKind::Disk => Diagnosis::ok(SUBJECT, format!("{detail} and can be written to")),
    }
}

pub(super) fn descriptors(machine: &MachineState) -> Diagnosis {
    const SUBJECT: &str = "descriptors";
    let Some(limit) = machine.process.descriptors else {
        let detail = "the limit of another user's process cannot be read";
        return Diagnosis::not_checked(SUBJECT, detail, "sudo portscan doctor".to_owned());
    };
    let detail = format!("{} may open {limit}", subject_of(&machine.process));
    if limit >= ENOUGH_DESCRIPTORS {
        return Diagnosis::ok(SUBJECT, detail);
    }
    if is_of_unit(machine) {
        let detail = format!("the service does not run; its unit grants {DESCRIPTORS}");
        return Diagnosis::not_checked(SUBJECT, detail, "sudo systemctl start portscan".to_owned());
    }
    let mend = match machine.place {
        Installation::Unit => {
            format!("LimitNOFILE={DESCRIPTORS} under [Service]: sudo systemctl edit portscan")
        }
        Installation::Container => format!("add --ulimit nofile={DESCRIPTORS} to the container"),
        Installation::Binary => format!("ulimit -n {DESCRIPTORS}"),
    };
    match limit < LEAST_DESCRIPTORS {
        true => Diagnosis::essential(SUBJECT, format!("{detail}, too few to work"), mend),
        false => Diagnosis::lacking(SUBJECT, format!("{detail}: scans are slower"), mend),
    }
}

pub(super) fn memory(machine: &MachineState) -> Diagnosis {
    const SUBJECT: &str = "memory";
    let Some(memory) = machine.memory else {
        return Diagnosis::not_checked(SUBJECT, "/proc/meminfo cannot be read", None);
    };
    let limit = machine.memory_limit.unwrap_or(u64::MAX);
    let detail = format!("{} of {} are available", mib(memory.available), mib(memory.total));
    match memory.available.min(limit) {
        enough if enough >= ENOUGH_MEMORY => Diagnosis::ok(SUBJECT, detail),
        _ if limit < ENOUGH_MEMORY => {
            let detail = format!("this control group may use {}", mib(limit));
            let mend = match machine.place {
                Installation::Container => "start the container with --memory 128m",
                Installation::Unit | Installation::Binary => "raise MemoryMax= to 128M",
            };
            match limit < LEAST_MEMORY {
                true => Diagnosis::essential(SUBJECT, detail, mend.to_owned()),
                false => Diagnosis::lacking(SUBJECT, detail, mend.to_owned()),
            }
        }
        few => {
            let mend = "stop what uses most: ps -eo rss,comm --sort=-rss | head".to_owned();
            match few < LEAST_MEMORY {
                true => Diagnosis::essential(SUBJECT, detail, mend),
                false => Diagnosis::lacking(SUBJECT, detail, mend),
            }
        }
    }
}

pub(super) fn clock(clock: ClockState) -> Diagnosis {
    const SUBJECT: &str = "clock";
    let time = clock.time.strftime("%Y-%m-%d %H:%M UTC");
    let mend = || "sudo timedatectl set-ntp true".to_owned();
    if clock.time < EARLIEST_SANE {
        let detail =
            format!("it says {time}, which is past: scheduled scans wait for five minutes after the start");
        return Diagnosis::lacking(SUBJECT, detail, mend());
    }
    match clock.is_synchronised {
        true => Diagnosis::ok(SUBJECT, format!("it says {time}")),
        false => {
            let detail = format!("it says {time}, and was not synchronised since the machine was started");
            Diagnosis::lacking(SUBJECT, detail, mend())
        }
    }
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes / MIB)
}
