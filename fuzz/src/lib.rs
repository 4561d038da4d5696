//! What afl++ hands to the appliance: the same functions that a plain test hands the kept inputs to.

#[path = "../../tests/corpus/inputs.rs"]
pub mod inputs;
