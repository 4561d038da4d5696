//! Writes what the command line says of itself: man pages, and completions for bash, zsh and fish.
//!
//! `make deb` runs it; its argument is where to write them instead of `target/manual`. No command of the binary's, for a Pi has no use for the generators: it gets what they wrote.

use std::{fs, io, path::PathBuf};

use clap::CommandFactory;
use clap_complete::{Shell, generate_to};
use portscan::cli::Arguments;

fn main() -> io::Result<()> {
    let folder = std::env::args_os().nth(1).map_or_else(|| PathBuf::from("target/manual"), PathBuf::from);
    fs::create_dir_all(&folder)?;
    clap_mangen::generate_to(Arguments::command(), &folder)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        generate_to(shell, &mut Arguments::command(), "portscan", &folder)?;
    }
    Ok(())
}
