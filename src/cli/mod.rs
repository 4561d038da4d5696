//! F5: the command line.

mod args;
mod found;
mod json;
mod nmap;
mod ports;
mod table;
mod targets;

pub use args::{Arguments, Command, ProbeArgs, ScanArgs, StatusArgs, parse};
