//! The `portscan` binary. What it does is [`portscan::app`]'s to say.

use std::process::ExitCode;

fn main() -> ExitCode {
    portscan::app::run()
}
