//! What the appliance may do: its capabilities, and ping sockets.

use super::wording::{has_appliance, is_of_unit, subject_of};
use crate::{
    doctor::{
        facts::{Installation, JudgedProcess, ListenState, MachineState, PortAvailability},
        package::ARP_GRANT,
    },
    model::Diagnosis,
};

/// Bits of capabilities(7).
pub(super) const CAP_NET_BIND_SERVICE: u8 = 10;
const CAP_NET_ADMIN: u8 = 12;
pub(super) const CAP_NET_RAW: u8 = 13;

pub(super) fn bind_service(machine: &MachineState) -> Diagnosis {
    const SUBJECT: &str = "capability NET_BIND_SERVICE";
    let limit = machine.first_unprivileged;
    let privileged = |port: &u16| *port != 0 && *port < limit;
    let Some(port) = machine.listen.iter().map(|listen| listen.address.port()).find(privileged) else {
        return Diagnosis::ok(SUBJECT, format!("not needed: every port of `listen` is from {limit} on"));
    };
    match has(&machine.process, CAP_NET_BIND_SERVICE) {
        Some(true) => {
            Diagnosis::ok(SUBJECT, format!("{} has it, for port {port}", subject_of(&machine.process)))
        }
        None => Diagnosis::not_checked(SUBJECT, "the capabilities cannot be read", None),
        Some(false) if is_of_unit(machine) => Diagnosis::not_checked(
            SUBJECT,
            "the service does not run; its unit grants it",
            "sudo systemctl start portscan".to_owned(),
        ),
        Some(false) => {
            let detail = format!("{} lacks it, and port {port} needs it", subject_of(&machine.process));
            let mend = match machine.place {
                Installation::Unit => {
                    "sudo systemctl restart portscan, with the unit's own capabilities".to_owned()
                }
                Installation::Container => "add --cap-add NET_BIND_SERVICE to the container".to_owned(),
                Installation::Binary => setcap("cap_net_bind_service"),
            };
            // The appliance listens already, so it had the capability in time, or needed none.
            let listens = |listen: &ListenState| matches!(&listen.port, PortAvailability::Held(by) if has_appliance(by, &machine.process));
            match machine.listen.iter().any(listens) {
                true => Diagnosis::ok(SUBJECT, format!("not needed: the appliance listens on port {port}")),
                false => Diagnosis::essential(SUBJECT, detail, mend),
            }
        }
    }
}

pub(super) fn net_raw(machine: &MachineState) -> Diagnosis {
    const SUBJECT: &str = "capability NET_RAW";
    match has(&machine.process, CAP_NET_RAW) {
        Some(true) => {
            Diagnosis::ok(SUBJECT, format!("{} has it: ARP is sent directly", subject_of(&machine.process)))
        }
        None => Diagnosis::not_checked(SUBJECT, "the capabilities cannot be read", None),
        Some(false) if !machine.asks_macs => {
            Diagnosis::ok(SUBJECT, "not needed: no MAC is asked for (feed.discover, exclude)")
        }
        Some(false) if is_of_unit(machine) => Diagnosis::not_checked(
            SUBJECT,
            "the service does not run; ask-by-arp.conf grants it",
            "sudo systemctl start portscan".to_owned(),
        ),
        Some(false) => {
            let detail =
                format!("{} lacks it: finding devices takes twice as long", subject_of(&machine.process));
            let mend = match machine.place {
                Installation::Unit => ARP_GRANT.split("; without").next().unwrap_or(ARP_GRANT).to_owned(),
                Installation::Container => "add --cap-add NET_RAW to the container".to_owned(),
                Installation::Binary => setcap("cap_net_raw"),
            };
            Diagnosis::lacking(SUBJECT, detail, mend)
        }
    }
}

pub(super) fn ping_sockets(machine: &MachineState) -> Diagnosis {
    const SUBJECT: &str = "ping sockets";
    let Some(range) = &machine.ping_groups else {
        return Diagnosis::not_checked(SUBJECT, "net.ipv4.ping_group_range cannot be read", None);
    };
    let may = machine.process.groups.iter().any(|group| range.contains(group));
    match may {
        true => Diagnosis::ok(SUBJECT, format!("{} may open them", subject_of(&machine.process))),
        false if has(&machine.process, CAP_NET_RAW) == Some(true) => {
            Diagnosis::ok(SUBJECT, "not needed: the capability NET_RAW does more")
        }
        false if !machine.asks_macs => Diagnosis::ok(SUBJECT, "not needed: no MAC is asked for"),
        false if is_of_unit(machine) => Diagnosis::not_checked(
            SUBJECT,
            "the service does not run, and has a group of its own",
            "sudo systemctl start portscan".to_owned(),
        ),
        false => Diagnosis::lacking(
            SUBJECT,
            format!(
                "{} may not open them: empty datagrams make the kernel ask instead",
                subject_of(&machine.process)
            ),
            "sudo sysctl -w net.ipv4.ping_group_range=\"0 2147483647\"".to_owned(),
        ),
    }
}

pub(super) fn net_admin(process: &JudgedProcess) -> Diagnosis {
    const SUBJECT: &str = "capability NET_ADMIN";
    Diagnosis::ok(
        SUBJECT,
        match has(process, CAP_NET_ADMIN) {
            Some(true) if process.is_appliance => {
                "the appliance has it and does not need it; it can be dropped"
            }
            _ => "not needed",
        },
    )
}

fn has(process: &JudgedProcess, capability: u8) -> Option<bool> {
    process.capabilities.map(|all| all & (1 << capability) != 0)
}

fn setcap(capability: &str) -> String {
    format!("sudo setcap {capability}+ep $(command -v portscan)")
}
