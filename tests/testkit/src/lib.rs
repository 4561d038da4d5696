//! What the tests and the benchmarks share: simulated hosts, a LAN made of them, and the real binary watched from
//! outside.
//!
//! | module | contents |
//! |---|---|
//! | [`scenario`] | the files under `tests/scenarios`, which describe hosts |
//! | [`manners`] | how such a host reacts to packets: no I/O, no clock |
//! | [`lab`] | a LAN of such hosts in a network namespace: real kernel, real packets |
//! | [`harness`] | the real binary, and the programs that it meets: browser, Prometheus, avahi, nginx, a Pi |
//! | [`report`] | the tables of `make bench` |
//! | [`Mac`], [`Moment`], [`Ports`], [`PortState`] | the values in their interfaces |
//! | [`clock`] | the machine's clocks |
//!
//! The engine's simulation (`src/engine/simulation`) uses `scenario` and `manners`; the integration tests and
//! `benches/compare` use the rest too.
//!
//! The crate does not depend on the appliance. The engine's simulation is part of the appliance's unit tests, for
//! which cargo compiles the library a second time: a crate in between would be linked with the first, whose types are
//! not those of the second, and the unit tests would wait until both are compiled. So the crate has a few values of
//! its own, with no more methods than the tests need. They are also a second opinion: what a test expects is not
//! computed by the code that it tests.

#![allow(missing_docs, reason = "in a kit for tests a name that says it all gets no comment")]
#![allow(clippy::unwrap_used, reason = "helpers of tests may fail the test")]
#![allow(clippy::print_stderr, reason = "a failing test shows the binary's log")]

pub mod clock;
pub mod harness;
pub mod lab;
mod mac;
pub mod manners;
mod moment;
mod ports;
pub mod report;
pub mod scenario;

pub use mac::Mac;
pub use moment::Moment;
pub use ports::{PortState, Ports};

use std::path::{Path, PathBuf};

/// A file or a directory of the repository.
pub fn repository(path: impl AsRef<Path>) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join(path)
}
