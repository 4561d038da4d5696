//! The words for the subjects of findings.

use crate::{
    doctor::facts::{APPLIANCE, Installation, JudgedProcess, MachineState},
    net::PortHolder,
};

/// Whether this process's privileges say nothing about the service.
pub(super) fn is_of_unit(machine: &MachineState) -> bool {
    machine.place == Installation::Unit && !machine.process.is_appliance
}

/// Whether the appliance is one of these holders.
pub(super) fn has_appliance(holders: &[PortHolder], judged: &JudgedProcess) -> bool {
    let is_judged = |pid| judged.is_appliance && pid == judged.pid;
    let mut processes = holders.iter().filter_map(|holder| holder.process.as_ref());
    processes.any(|(pid, name)| name == APPLIANCE || is_judged(*pid))
}

/// The process that is judged, as the subject of a sentence.
pub(super) fn subject_of(process: &JudgedProcess) -> String {
    match process.is_appliance {
        true => format!("the appliance (process {})", process.pid),
        false => "this user".to_owned(),
    }
}

pub(super) fn listed(holders: &[PortHolder]) -> String {
    holders.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
