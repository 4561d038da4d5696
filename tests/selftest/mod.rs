//! The test kit itself, before anything is blamed on the appliance.

mod harness;
mod lab;
