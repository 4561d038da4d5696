//! The `portscan` binary; [`portscan::app`] does the work.

use std::process::ExitCode;

fn main() -> ExitCode {
    portscan::app::run()
}
