//! Identifies what listens on open ports.

mod due;
mod manner;
mod plan;
