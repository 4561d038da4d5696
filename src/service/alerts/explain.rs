//! Explains the ports of an alert, as the page and `portscan explain` do.

use crate::{
    messages::{AlertChange, PortExplanation},
    model::{AdviceLevel, ChangeKind},
    service::evidence::DeviceEvidence,
};

/// The number of a message's changes that are explained: as many as its text lists.
pub(super) const EXPLAINED: usize = 20;

/// The most ports of a change that are explained: if a device opens hundreds, their number matters more than each
/// port.
const MOST_PORTS: usize = 5;

/// The most ports of a change that are looked up for an explanation.
const MOST_LOOKED_UP: usize = 64;

/// Explains the ports of a change. Only open ports of the levels look and act get advice; the others get only their
/// name.
pub(super) fn explain(change: &AlertChange, evidence: &DeviceEvidence) -> Vec<PortExplanation> {
    let Some((protocol, ports)) = change.event.kind.ports() else { return Vec::new() };
    let is_open = matches!(change.event.kind, ChangeKind::Opened(..)) && change.resolves.is_none();
    let known = ports.iter().take(MOST_LOOKED_UP).filter_map(|port| {
        let known = evidence.advise(protocol, port)?;
        let advice = match is_open && known.level != AdviceLevel::Fine {
            true => format!("{} {}", known.why, known.remedy),
            false => String::new(),
        };
        let what = known.what.to_string();
        Some(PortExplanation { protocol, port, level: known.level, what, advice: advice.trim().to_owned() })
    });
    known.take(MOST_PORTS).collect()
}
