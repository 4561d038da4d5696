//! `make bench`: compares portscan with other scanners in the lab. Each scans all ports of the same hosts, in turn.
//!
//! | file | what it holds |
//! |---|---|
//! | `target` | the hosts to scan, and the network that each run gets for itself |
//! | `contestant` | the scanners, how they are started, what they report |
//! | `timed` | one command, its time, processor and memory |
//! | `floor` | the least that a scan by connecting costs |
//! | `syn_floor` | the least that a scan by SYNs costs |
//! | `files` | where the tables are kept |
//! | `machine` | the machine of the measurements |
//!
//! Two cores carry the scanner and its LAN, as everywhere in the tests: compare figures of one run with each
//! other, not with those of another machine.

#![allow(unreachable_pub, reason = "a program is a root: nothing in it is reachable")]
#![allow(clippy::unwrap_used, reason = "a measurement that cannot be made fails")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it prints what it measures")]

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode, thread};

use clap::{Parser, Subcommand};
use testkit::report::{Results, Section};

mod contestant;
mod files;
mod floor;
mod machine;
mod syn_floor;
mod target;
mod timed;

use contestant::Contestant;
use target::Target;

/// Compares portscan with other scanners, in networks of its own; nothing else is scanned.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    role: Option<Role>,
    /// What to scan
    #[arg(long, value_delimiter = ',', default_value = "near,wifi,silent,limited,gadget")]
    targets: Vec<Target>,
    /// The scanners [default: all that the target is for]
    #[arg(long, value_delimiter = ',')]
    contestants: Vec<Contestant>,
    /// The number of runs of each
    #[arg(long, default_value = "3")]
    runs: usize,
    /// The binary to measure
    #[arg(long, default_value = env!("CARGO_BIN_EXE_portscan"))]
    portscan: PathBuf,
    /// Renew benches/results.json, benches/RESULTS.md and docs/performance.md; otherwise only print
    #[arg(long, conflicts_with = "contestants")]
    write: bool,
    /// What cargo passes to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

/// The internal subcommands, with which it starts itself.
#[derive(Subcommand)]
enum Role {
    #[command(hide = true)]
    Timed(timed::Order),
    #[command(hide = true)]
    Floor(floor::Order),
    #[command(hide = true)]
    SynFloor(syn_floor::Order),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match &arguments.role {
        Some(Role::Timed(order)) => return timed::run(order),
        Some(Role::Floor(order)) => return floor::run(order),
        Some(Role::SynFloor(order)) => return syn_floor::run(order),
        None => {}
    }
    let mut results = if arguments.write { files::read() } else { Results::default() };
    for &target in &arguments.targets {
        results.0.insert(target.to_string(), measure(target, &arguments));
        // After every target, because the runs take hours and must not be lost in a power cut.
        if arguments.write {
            files::write(&results);
        }
    }
    if !arguments.write {
        print!("\n{}", results.document());
    }
    ExitCode::SUCCESS
}

/// Runs every scanner in turn, and repeats that.
fn measure(target: Target, arguments: &Arguments) -> Section {
    let contestants = match &arguments.contestants[..] {
        [] => target.contestants(),
        chosen => chosen,
    };
    let mut section = Section {
        about: target.about(),
        machine: machine::describe(),
        there: 0,
        patience: target.patience(),
        runs: Vec::new(),
        absent: BTreeMap::new(),
    };
    for run in 1..=arguments.runs {
        for &contestant in contestants {
            let name = contestant.to_string();
            if section.absent.contains_key(&name) {
                continue;
            }
            let scan = || target.measure(contestant, &arguments.portscan);
            // A thread that has entered a network cannot leave it.
            let why = match thread::scope(|scope| scope.spawn(scan).join()) {
                Ok(Some(measured)) => {
                    println!("{target} {run}: {measured}");
                    section.there = measured.there;
                    section.runs.push(measured.run);
                    continue;
                }
                Ok(None) => "not installed",
                // The process has reported why.
                Err(_) => "could not be measured",
            };
            println!("{target} {run}: {name} {why}");
            section.absent.insert(name, why.to_owned());
        }
    }
    section
}
