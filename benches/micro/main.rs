//! `make bench-micro`: the cost of the code that every probe and every finished host passes through.

#![allow(clippy::unwrap_used, reason = "a measurement that cannot be made fails")]
#![allow(clippy::print_stdout, reason = "it prints what it measures")]

mod differences;
mod engine;
mod store;

criterion::criterion_main!(engine::all, store::all, differences::all);
