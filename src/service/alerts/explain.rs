//! What is known of the ports that an alert tells of, as the page and `portscan explain` say it.

use crate::{
    messages::{AlertChange, PortExplanation},
    model::{AdviceLevel, ChangeKind},
    service::evidence::DeviceEvidence,
};

/// The changes of a message that are explained: those that its text lists.
pub(super) const EXPLAINED: usize = 20;

/// The most ports of a change that are explained: of a device that opens hundreds, the number is the news.
const MOST_PORTS: usize = 5;

/// The most ports of a change that are looked up for that.
const MOST_LOOKED_UP: usize = 64;

/// Explains the ports of a change. Advice is for open ports that are not fine; of others there is only what they are.
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
