//! What is known of a device that bears on what its open ports are.

use crate::{
    advice::{self, Advice, Evidence},
    model::{Mac, Name, NameSource, Protocol},
    vendor::vendor,
};

/// What is known of a device, for the advice on its open ports.
pub struct DeviceEvidence {
    vendor: Option<String>,
    host_names: Vec<String>,
}

impl DeviceEvidence {
    /// Gathers what is known of the device with this MAC and these names.
    pub fn of(mac: Option<Mac>, names: &[Name]) -> Self {
        let announced = names.iter().filter(|name| matches!(name.source, NameSource::Mdns | NameSource::Dns));
        Self { vendor: mac.and_then(vendor), host_names: announced.map(|name| name.text.clone()).collect() }
    }

    /// Returns the advice for one of its open ports; `None` if nothing is known about the port.
    pub fn advise(&self, protocol: Protocol, port: u16) -> Option<Advice> {
        let Self { vendor, host_names } = self;
        advice::advise(&Evidence { protocol, port, vendor: vendor.as_deref(), host_names })
    }
}
