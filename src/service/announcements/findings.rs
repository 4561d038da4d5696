//! Turns what devices announce into what the store keeps. Pure.

use jiff::Timestamp;

use crate::{
    identify,
    model::{
        Address, DeviceIdentification, DeviceKey, EVIDENCE_MAX, Evidence, IdentifyMethod, PortIdentification,
        one_line,
    },
    net::{Announced, TxtPairs},
    store::IdentifiedPort,
};

/// What was found about ports and devices.
#[derive(Debug, Default, PartialEq)]
pub(super) struct AnnouncedFindings {
    pub(super) ports: Vec<IdentifiedPort>,
    pub(super) devices: Vec<(DeviceKey, DeviceIdentification, Evidence)>,
}

impl AnnouncedFindings {
    /// Whether there is nothing to keep.
    pub(super) fn is_empty(&self) -> bool {
        self.ports.is_empty() && self.devices.is_empty()
    }

    /// Adds others.
    pub(super) fn append(&mut self, mut others: Self) {
        self.ports.append(&mut others.ports);
        self.devices.append(&mut others.devices);
    }

    /// Converts the services that a device at this address announces. A port has one finding of each method: that of the
    /// first, most telling type, completed by what the other types at the port say of the device.
    pub(super) fn of_services(
        device: &DeviceKey,
        address: &Address,
        announced: &Announced,
        time: Timestamp,
    ) -> Self {
        let mut ports: Vec<IdentifiedPort> = Vec::new();
        for service in &announced.services {
            let Some(found) = identify::from_service_record(&service.service_type, &service.txt, time) else {
                continue;
            };
            let (protocol, port) = (service.protocol, service.port);
            match ports.iter_mut().find(|known| (known.protocol, known.port) == (protocol, port)) {
                Some(known) => complete(&mut known.found, found),
                None => ports.push(IdentifiedPort {
                    device: device.clone(),
                    address: address.clone(),
                    protocol,
                    port,
                    found,
                }),
            }
        }
        let devices = device_info(&announced.device_info, time)
            .map(|(identified, evidence)| (device.clone(), identified, evidence))
            .into_iter()
            .collect();
        Self { ports, devices }
    }

    /// Converts the description that a device gave of itself; `None` if it says nothing of the device.
    pub(super) fn of_description(device: &DeviceKey, description: &[u8], time: Timestamp) -> Option<Self> {
        let (identified, evidence) = identify::from_upnp_description(description, time)?;
        Some(Self { ports: Vec::new(), devices: vec![(device.clone(), identified, evidence)] })
    }
}

fn complete(known: &mut PortIdentification, other: PortIdentification) {
    let DeviceIdentification { device_type, maker, model } = other.device;
    let device = &mut known.device;
    // A maker and a model belong together.
    if device.model.is_none() && model.is_some() {
        (device.maker, device.model) = (maker.or(device.maker.take()), model);
    }
    device.device_type = device.device_type.or(device_type);
}

/// Converts the pairs of a `_device-info._tcp`.
fn device_info(pairs: &TxtPairs, time: Timestamp) -> Option<(DeviceIdentification, Evidence)> {
    let (_, model) = pairs.iter().find(|(key, _)| key.eq_ignore_ascii_case("model"))?;
    let identified = identify::device_info(model)?;
    let text = one_line(&format!("_device-info._tcp model={model}"), EVIDENCE_MAX);
    Some((identified, Evidence { method: IdentifyMethod::DnsSd, text, time }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{DeviceType, Mac, Protocol},
        net::AnnouncedService,
    };

    const TIME: Timestamp = Timestamp::UNIX_EPOCH;

    fn device() -> (DeviceKey, Address) {
        (DeviceKey::Mac(Mac::new([2, 0, 0, 0, 0, 5])), "10.0.0.5".parse().unwrap())
    }

    fn service(service_type: &str, port: u16, txt: &[(&str, &str)]) -> AnnouncedService {
        let txt = txt.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        AnnouncedService { service_type: service_type.to_owned(), protocol: Protocol::Tcp, port, txt }
    }

    fn found(announced: &Announced) -> AnnouncedFindings {
        let (device, address) = device();
        AnnouncedFindings::of_services(&device, &address, announced, TIME)
    }

    #[test]
    fn a_service_explains_its_port() {
        let cast = service("_googlecast._tcp", 8009, &[("md", "Chromecast"), ("fn", "Living Room")]);
        let found = found(&Announced { services: vec![cast], device_info: Vec::new() });
        let [port] = &found.ports[..] else { panic!("{found:?}") };
        assert_eq!((port.port, port.protocol), (8009, Protocol::Tcp));
        assert_eq!(port.found.device.model.as_deref(), Some("Chromecast"));
        assert_eq!(port.found.evidence.method, IdentifyMethod::DnsSd);
        assert!(found.devices.is_empty());
    }

    #[test]
    fn one_port_with_several_types_has_one_finding_with_all_that_they_say_of_the_device() {
        let services = vec![
            service("_airplay._tcp", 7000, &[]),
            service("_raop._tcp", 7000, &[("am", "AppleTV6,2")]),
            service("_http._tcp", 80, &[]),
        ];
        let found = found(&Announced { services, device_info: Vec::new() });
        let ports: Vec<u16> = found.ports.iter().map(|port| port.port).collect();
        assert_eq!(ports, [7000, 80]);
        let airplay = &found.ports[0].found;
        assert_eq!(airplay.service.as_deref(), Some("airplay"));
        assert!(airplay.device.model.is_some(), "{airplay:?}");
    }

    #[test]
    fn device_info_is_about_the_device() {
        let pairs = vec![("Model".to_owned(), "MacBookPro18,3".to_owned())];
        let found = found(&Announced { services: Vec::new(), device_info: pairs });
        let [(_, identified, evidence)] = &found.devices[..] else { panic!("{found:?}") };
        assert_eq!(identified.device_type, Some(DeviceType::Computer));
        assert_eq!(evidence.text, "_device-info._tcp model=MacBookPro18,3");
    }

    #[test]
    fn hostile_texts_stay_short_and_on_one_line() {
        let value = "n\u{1b}[2J\n\u{202e}".repeat(1000);
        let services = vec![service("_ipp._tcp", 631, &[("ty", &value), ("product", &value)])];
        let found = found(&Announced { services, device_info: vec![("model".to_owned(), value.clone())] });
        let texts = format!("{found:?}");
        assert!(texts.len() < 4000 && !texts.contains(['\u{1b}', '\u{202e}', '\n']), "{texts}");
    }

    #[test]
    fn a_description_is_about_the_device() {
        let (device, _) = device();
        let xml =
            b"<root><device><manufacturer>Acme</manufacturer><modelName>Hi-Fi 3</modelName></device></root>";
        let found = AnnouncedFindings::of_description(&device, xml, TIME).unwrap();
        assert_eq!(found.devices[0].1.model.as_deref(), Some("Hi-Fi 3"));
        assert_eq!(found.devices[0].2.method, IdentifyMethod::Upnp);
        assert_eq!(AnnouncedFindings::of_description(&device, b"<html>404</html>", TIME), None);
    }
}
