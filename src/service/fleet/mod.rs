//! The parts of a fleet: the *uplink* of a site, which sends what its database has gained, and the hub's *copy* of a
//! site, neither of which knows the broker between them ([`HubLink`](crate::fleet::HubLink)); and the *worker*, which
//! scans for others.

mod copied_context;
mod elsewhere;
mod shard_scan;
mod site_copy;
mod skew;
#[cfg(test)]
mod tests;
mod uplink;
mod worker;
mod worker_env;

pub use elsewhere::{Elsewhere, SitePresence, SiteStores};
pub use site_copy::{CopyError, SiteCopy};
pub use uplink::{Uplink, UplinkParts};
pub use worker::{WorkerParts, work};
