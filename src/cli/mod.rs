//! F5: the command line.

mod args;
mod nmap;
mod ports;

pub use args::{Arguments, Command, ProbeArgs, ScanArgs, StatusArgs, parse};
