//! Gathers the facts about a device that determine the advice on its open ports.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{
    device_type::{DeviceKind, TypeFacts, device_kind},
    port_findings::combine,
};
use crate::{
    advice::{self, Advice, PortFacts},
    model::{
        Address, DeviceIdentification, DeviceType, Evidence, Mac, Name, NameSource, PortIdentification,
        Protocol,
    },
    store::{IdentifiedPort, PortKey},
    vendor::vendor,
};

/// The facts about a device that determine the advice on its open ports.
pub struct DeviceEvidence {
    vendor: Option<String>,
    host_names: Vec<String>,
    ports: BTreeMap<PortKey, PortIdentification>,
    now: Timestamp,
}

impl DeviceEvidence {
    /// Gathers what is known of the device with this MAC, these names, and these findings about its ports, at this wall
    /// time. Of a port that is open at several addresses, the findings at the first one count.
    pub fn of<'a>(
        mac: Option<Mac>,
        names: &[Name],
        identified: impl IntoIterator<Item = &'a IdentifiedPort>,
        now: Timestamp,
    ) -> Self {
        let announced = names.iter().filter(|name| matches!(name.source, NameSource::Mdns | NameSource::Dns));
        let mut ports: BTreeMap<PortKey, (&Address, Vec<&PortIdentification>)> = BTreeMap::new();
        for IdentifiedPort { address, protocol, port, found, .. } in identified {
            let (first, all) = ports.entry((*protocol, *port)).or_insert((address, Vec::new()));
            if *first == address {
                all.push(found);
            }
        }
        let ports = ports.into_iter().filter_map(|(port, (_, all))| Some((port, combine(all)?))).collect();
        let host_names = announced.map(|name| name.text.clone()).collect();
        Self { vendor: mac.and_then(vendor), host_names, ports, now }
    }

    /// The maker of its network interface.
    pub fn vendor(&self) -> Option<&str> {
        self.vendor.as_deref()
    }

    /// Returns the advice for one of its open ports; `None` if nothing is known about the port.
    pub fn advise(&self, protocol: Protocol, port: u16) -> Option<Advice> {
        let Self { vendor, host_names, now, .. } = self;
        let (vendor, found) = (vendor.as_deref(), self.found(protocol, port));
        advice::advise(&PortFacts { protocol, port, vendor, host_names, found, now: *now })
    }

    /// What one of its ports was identified as.
    pub fn found(&self, protocol: Protocol, port: u16) -> Option<&PortIdentification> {
        self.ports.get(&(protocol, port))
    }

    /// Decides what the device is, given what its owner says here and in the configuration, and what it was identified
    /// as.
    pub fn kind(
        &self,
        (own, configured): (Option<DeviceType>, Option<DeviceType>),
        announced: &[(DeviceIdentification, Evidence)],
    ) -> DeviceKind {
        let ports: Vec<_> = self.ports.values().collect();
        let (vendor, host_names) = (self.vendor(), self.host_names.as_slice());
        device_kind(&TypeFacts { own, configured, announced, ports: &ports, vendor, host_names })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-03-01T10:00:00Z".parse().unwrap()
    }

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
            let evidence = DeviceEvidence::of(mac.parse().ok(), &[], &[], now());
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
            let evidence = DeviceEvidence::of(None, &named(source), &[], now());
            assert_eq!(evidence.advise(Protocol::Tcp, 80).unwrap().what.to_string(), expected, "{source:?}");
        }
    }
}
