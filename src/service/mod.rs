//! F3: the tasks of the appliance.

pub mod health;
pub mod queries;
pub mod scanner;
