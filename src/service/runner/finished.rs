//! What the log says of a host whose result is on the disk.

use crate::{
    model::{Address, HostStatus},
    store::Observation,
};

/// The line that a host gets in the log.
pub(super) struct Finished {
    pub(super) address: Address,
    mac: String,
    open: usize,
    probes: u64,
    seconds: f32,
    status: HostStatus,
    detail: String,
}

impl Finished {
    pub(super) fn of(observation: &Observation) -> Self {
        let Observation { device, report, .. } = observation;
        Self {
            address: device.address.clone(),
            mac: device.mac.map(|mac| mac.to_string()).unwrap_or_default(),
            open: report.open_ports().count(),
            probes: report.probes,
            seconds: (report.preparation + report.scanning).as_secs_f32(),
            status: report.status,
            detail: report.detail.clone(),
        }
    }

    pub(super) fn log(&self) {
        let Self { address, mac, open, probes, seconds, status, detail } = self;
        match status {
            HostStatus::Up => {
                tracing::info!(%address, mac, open, probes, seconds = format_args!("{seconds:.1}"), "finished");
            }
            HostStatus::Down => tracing::info!(%address, mac, detail, "nobody there"),
            HostStatus::Partial => {
                tracing::warn!(%address, mac, detail, "left unfinished; its last result stands");
            }
        }
    }
}
