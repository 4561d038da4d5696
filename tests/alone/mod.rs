//! Tests that have the cores to themselves, because they measure or keep the cores busy.
//!
//! Each of them waits until all others rest, and makes them wait. The test runner starts tests in the order of their
//! names, so those of this module come first, one right after another. Among the others, each would leave most of the
//! cores idle until the slowest test that runs beside it ends.

mod channel_memory;
mod http_bounds;
mod mdns_flood;
mod memory;
mod outage_cpu;
mod page_speed;
mod scan_memory;
mod size;
mod start;
