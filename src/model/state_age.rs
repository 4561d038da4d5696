//! The age of what is known of an endpoint's ports.

use jiff::Timestamp;

use super::{Device, PortSet};

/// The age of an endpoint's current state, and the ports that it covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateAge {
    /// The device at the endpoint's address.
    pub device: Device,
    /// When the oldest observation began that still supplies a port, by the wall clock of then. A later, narrower
    /// observation does not make the other ports younger; ports that are no longer scanned stay, and so does their age.
    pub oldest: Timestamp,
    /// The ports that have a state.
    pub coverage: PortSet,
}
