//! The real binary, in networks of the tests' own.

#![allow(unreachable_pub, reason = "an integration crate is a root: nothing in it is reachable")]
#![allow(clippy::unwrap_used, reason = "helpers of tests may fail the test")]

mod floors;
mod harness;
mod lab;
