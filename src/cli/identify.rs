//! `scan -sV`: identifies what listens on a host's open ports, one after another.

use std::{collections::BTreeMap, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::{
    clock::Clock,
    model::{Address, IdentifyLevel, PortIdentification},
    net::dialogue::NoConnection,
    service::{
        identify::{PORTS_MAX, identify_port, manner_of},
        port_findings::combine,
    },
};

/// What was learned of a host's open ports.
#[derive(Clone, Debug, Default)]
pub(super) struct IdentifiedPorts {
    /// The TCP ports of which something was learned.
    pub(super) ports: BTreeMap<u16, PortIdentification>,
    /// Whether the host has fallen silent meanwhile; the rest was left out.
    pub(super) fell_silent: bool,
}

/// Identifies these ports of a host, with a pause of this length between two connections, until `interrupted` is
/// cancelled.
pub(super) async fn identify(
    address: Address,
    open: Vec<u16>,
    pause: Duration,
    clock: &dyn Clock,
    interrupted: CancellationToken,
) -> IdentifiedPorts {
    let mut identified = IdentifiedPorts::default();
    let manner = |port| Some((port, manner_of(IdentifyLevel::Requests, port, None)?));
    for (number, (port, manner)) in open.into_iter().filter_map(manner).take(PORTS_MAX).enumerate() {
        let dialogue = async {
            if number > 0 {
                tokio::time::sleep(pause).await;
            }
            identify_port(&address, port, manner, clock.wall()).await
        };
        let Some(learned) = interrupted.run_until_cancelled(dialogue).await else { break };
        match learned {
            Ok(learned) => identified.ports.extend(combine(&learned).map(|found| (port, found))),
            Err(NoConnection::Silent) => {
                identified.fell_silent = true;
                break;
            }
            Err(NoConnection::Refused | NoConnection::Local(_)) => {}
        }
    }
    identified
}
