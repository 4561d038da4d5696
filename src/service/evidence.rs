//! What is known of a device that bears on what its open ports are.

use crate::{
    advice::{self, Advice, PortFacts},
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

    /// The maker of its network interface.
    pub fn vendor(&self) -> Option<&str> {
        self.vendor.as_deref()
    }

    /// Returns the advice for one of its open ports; `None` if nothing is known about the port.
    pub fn advise(&self, protocol: Protocol, port: u16) -> Option<Advice> {
        let Self { vendor, host_names } = self;
        advice::advise(&PortFacts { protocol, port, vendor: vendor.as_deref(), host_names })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(source: NameSource) -> [Name; 1] {
        [Name { text: "shelly1-A4CF12.local".to_owned(), source, at: None }]
    }

    #[test]
    fn the_maker_decides_between_uses() {
        for (mac, port, expected) in [
            ("00:11:32:00:00:01", 5000, "probably DSM (Synology's web page)"),
            ("24:5E:BE:00:00:01", 8080, "probably QTS (QNAP's web page)"),
            ("00:1B:A9:00:00:01", 9100, "probably printing (raw)"),
            ("C8:0E:14:00:00:01", 80, "probably the FRITZ!Box's page"),
            ("00:17:88:00:00:01", 80, "probably a Hue bridge"),
            ("FC:EC:DA:00:00:01", 8443, "probably the UniFi controller"),
            ("C0:C1:C0:00:00:01", 5000, "usually a web page, AirPlay or UPnP"),
            // Made up by software.
            ("02:11:32:00:00:01", 5000, "usually a web page, AirPlay or UPnP"),
        ] {
            let evidence = DeviceEvidence::of(mac.parse().ok(), &[]);
            assert_eq!(evidence.advise(Protocol::Tcp, port).unwrap().what.to_string(), expected, "{mac}");
        }
    }

    #[test]
    fn only_names_on_the_network_say_what_a_device_is() {
        for (source, expected) in [
            (NameSource::Mdns, "probably Shelly's page"),
            (NameSource::Dns, "probably Shelly's page"),
            (NameSource::Owner, "usually a web page"),
            (NameSource::Feed, "usually a web page"),
        ] {
            let evidence = DeviceEvidence::of(None, &named(source));
            assert_eq!(evidence.advise(Protocol::Tcp, 80).unwrap().what.to_string(), expected, "{source:?}");
        }
    }
}
