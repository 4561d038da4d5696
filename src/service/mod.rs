//! F3: the tasks of the appliance.

pub mod scanner;
