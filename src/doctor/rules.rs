//! The rules: what is essential, what is merely worse without, and the line that mends it. No I/O.

mod network;
mod privileges;
mod resources;
mod wording;

use super::facts::MachineState;
use crate::model::Diagnosis;

/// Judges the machine. The findings are ordered by importance to an owner whose appliance does not start.
pub(super) fn diagnose(machine: &MachineState) -> Vec<Diagnosis> {
    let mut all = vec![configuration(machine)];
    all.extend(
        machine.listen.iter().map(|listen| network::port(&listen.address, &listen.port, &machine.process)),
    );
    all.extend([privileges::bind_service(machine), resources::disk(&machine.disk)]);
    all.extend(network::interfaces(machine));
    all.extend([
        network::neighbours(machine),
        privileges::net_raw(machine),
        privileges::ping_sockets(machine),
        privileges::net_admin(&machine.process),
        resources::descriptors(machine),
        resources::memory(machine),
        resources::clock(machine.clock),
        network::mdns(&machine.mdns),
        network::local_ports(machine),
        network::conntrack(machine),
    ]);
    all
}

fn configuration(machine: &MachineState) -> Diagnosis {
    const SUBJECT: &str = "configuration";
    match &machine.configuration {
        Ok(()) => Diagnosis::ok(SUBJECT, "it is valid"),
        Err(why) => {
            let detail = format!("{why}; below, the defaults are judged");
            Diagnosis::essential(SUBJECT, detail, "portscan check-config".to_owned())
        }
    }
}

#[cfg(test)]
mod tests;
