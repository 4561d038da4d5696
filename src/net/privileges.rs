//! Makes effective what the binary's file capabilities permit.
//!
//! A container image sets them as permitted only (`setcap cap_net_raw,cap_net_bind_service+p`). With the effective bit
//! the kernel would refuse to start the program wherever one of them is withheld (capabilities(7), "Safety checking for
//! capability-dumb binaries"), as in a rootless container; without it, the program has what is left of them.

use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

/// Raises `CAP_NET_RAW` and `CAP_NET_BIND_SERVICE` of the calling thread, and so of those that it starts, where they are
/// permitted. Without them the appliance works as far as it can, so a refusal is no error.
pub fn raise_permitted_capabilities() {
    let Ok(mut sets) = capabilities(None) else { return };
    let wanted = sets.permitted & (CapabilitySet::NET_RAW | CapabilitySet::NET_BIND_SERVICE);
    if !sets.effective.contains(wanted) {
        sets.effective |= wanted;
        _ = set_capabilities(None, sets);
    }
}
