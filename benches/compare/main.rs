//! `make bench`: portscan beside its peers, in the lab, all ports, every one on the same hosts and in turn.
//!
//! | file | what it holds |
//! |---|---|
//! | `target` | the hosts to scan, and the network that each run gets for itself |
//! | `contestant` | the scanners, how they are started, what they say they found |
//! | `timed` | one command, its time, processor and memory |
//! | `floor` | the least that a scan by connecting costs |
//!
//! Two cores carry the scanner and its LAN, as everywhere in the tests: compare figures of one run with each
//! other, not with those of another machine.

#![allow(unreachable_pub, reason = "a program is a root: nothing in it is reachable")]
#![allow(clippy::unwrap_used, reason = "a measurement that cannot be made fails")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it prints what it measures")]

use std::{path::PathBuf, process::ExitCode, thread};

use clap::{Parser, Subcommand};

mod contestant;
mod floor;
#[allow(unused, reason = "a bench needs only part of what the tests do")]
#[path = "../../tests/lab/mod.rs"]
mod lab;
mod target;
mod timed;

use contestant::Contestant;
use target::Target;

/// Measures portscan beside its peers, in networks of its own; nothing else is ever scanned.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    role: Option<Role>,
    /// What to scan
    #[arg(long, value_delimiter = ',', default_value = "near,wifi,silent,limited,gadget")]
    targets: Vec<Target>,
    /// Who scans [default: all that the target is for]
    #[arg(long, value_delimiter = ',')]
    contestants: Vec<Contestant>,
    /// How often each of them does
    #[arg(long, default_value = "3")]
    runs: usize,
    /// The binary to measure
    #[arg(long, default_value = env!("CARGO_BIN_EXE_portscan"))]
    portscan: PathBuf,
    /// What cargo says to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

/// What it is when it starts itself.
#[derive(Subcommand)]
enum Role {
    #[command(hide = true)]
    Timed(timed::Order),
    #[command(hide = true)]
    Floor(floor::Order),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.role {
        Some(Role::Timed(order)) => return timed::run(&order),
        Some(Role::Floor(order)) => return floor::run(&order),
        None => {}
    }
    for target in arguments.targets {
        let contestants = match &arguments.contestants[..] {
            [] => target.contestants(),
            chosen => chosen,
        };
        for run in 1..=arguments.runs {
            for &contestant in contestants {
                let binary = &arguments.portscan;
                // A thread that has entered a network cannot leave it.
                let measured =
                    thread::scope(|scope| scope.spawn(|| target.measure(contestant, binary)).join());
                match measured {
                    Ok(Some(measured)) => println!("{target} {contestant} {run}: {measured}"),
                    Ok(None) => println!("{target} {contestant} {run}: not installed"),
                    Err(_) => println!("{target} {contestant} {run}: could not be measured, see above"),
                }
            }
        }
    }
    ExitCode::SUCCESS
}
