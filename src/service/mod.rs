//! F3: the tasks of the appliance.

pub mod feeds;
pub mod scanner;
