//! `make bench-micro`: what the parts cost that every probe and every finished host go through.

#![allow(clippy::unwrap_used, reason = "a measurement that cannot be made fails")]
#![allow(clippy::print_stdout, reason = "it prints what it measures")]

mod differences;
mod engine;
mod store;

criterion::criterion_main!(engine::all, store::all, differences::all);
