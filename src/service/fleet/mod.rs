//! The two ends of a fleet: the *uplink* of a site, which sends what its database has gained, and the hub's *copy* of a
//! site. Neither knows the broker between them ([`HubLink`](crate::fleet::HubLink)).

mod copied_context;
mod site_copy;
#[cfg(test)]
mod tests;
mod uplink;

pub use site_copy::{CopyError, SiteCopy};
pub use uplink::{Uplink, UplinkParts};
