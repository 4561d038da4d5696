//! The log lines for a host, once its result is on the disk.

use crate::{
    model::{Address, HostStatus, phantoms},
    store::Observation,
};

/// The log line for a host.
pub(super) struct Finished {
    pub(super) address: Address,
    mac: String,
    open: usize,
    probes: u64,
    seconds: f32,
    status: HostStatus,
    detail: String,
    too_many_open: bool,
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
            too_many_open: phantoms::too_many_open(report).is_some(),
        }
    }

    pub(super) fn log(&self) {
        let Self { address, mac, open, probes, seconds, status, detail, too_many_open } = self;
        match status {
            HostStatus::Up => {
                tracing::info!(%address, mac, open, probes, seconds = format_args!("{seconds:.1}"), "finished");
                if *too_many_open {
                    tracing::warn!(%address, mac, open, "implausibly many open ports: a tarpit or a firewall may answer");
                }
            }
            // The end of its scan logs how many those were.
            HostStatus::Down => tracing::debug!(%address, mac, detail, "host down"),
            HostStatus::Partial => {
                tracing::warn!(%address, mac, detail, "scan incomplete, keeping the previous result");
            }
        }
    }
}
