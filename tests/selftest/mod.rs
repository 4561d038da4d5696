//! Tests of the test kit itself, so that its faults are not blamed on the appliance.

mod harness;
mod lab;
