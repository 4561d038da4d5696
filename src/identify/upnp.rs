//! UPnP: the description of a device, in XML (UPnP Device Architecture 2.0, 2.3), which names the device directly.

use quick_xml::{escape::resolve_predefined_entity, events::Event, reader::Reader};

use super::{
    claims::merge,
    table::{MODELS, Preference},
    text::decode,
};
use crate::model::{DeviceIdentification, DeviceType};

/// The useful elements of a description's outermost device.
#[derive(Default)]
struct Description {
    urn: Option<String>,
    friendly_name: Option<String>,
    manufacturer: Option<String>,
    model_name: Option<String>,
    model_number: Option<String>,
}

/// Parses a description, which may be truncated. Elements after the first device's own belong to its embedded
/// devices. Also returns the evidence: the device's own words.
pub(super) fn parse(xml: &[u8]) -> (DeviceIdentification, String) {
    let description = read(&decode(xml));
    let quoted = description.quoted();
    let said = DeviceIdentification {
        device_type: description.urn.as_deref().and_then(device_type),
        model: description.model(),
        maker: description.manufacturer,
    };
    // The type in the URN says what a program can do with the device: a television is also a MediaRenderer.
    let text = [said.maker.as_deref(), said.model.as_deref()];
    let text = text.into_iter().flatten().collect::<Vec<_>>().join(" ");
    let listed = MODELS.find(&text, Preference::Longest).device;
    let device_type = listed.device_type.or(said.device_type);
    (merge(DeviceIdentification { device_type, ..said }, listed), quoted)
}

impl Description {
    /// Returns the device's own words, for the evidence.
    fn quoted(&self) -> String {
        let parts =
            [&self.manufacturer, &self.model_name, &self.model_number, &self.friendly_name, &self.urn];
        parts.into_iter().flatten().map(String::as_str).collect::<Vec<_>>().join(", ")
    }

    /// Joins the model's name and number, unless one contains the other.
    fn model(&self) -> Option<String> {
        match (&self.model_name, &self.model_number) {
            (Some(name), Some(number))
                if !super::version::is_version(number) && !name.contains(number.as_str()) =>
            {
                Some(format!("{name} {number}"))
            }
            (name, number) => name.clone().or_else(|| number.clone()),
        }
    }

    fn element(&mut self, name: &str) -> Option<&mut Option<String>> {
        Some(match name {
            "deviceType" => &mut self.urn,
            "friendlyName" => &mut self.friendly_name,
            "manufacturer" => &mut self.manufacturer,
            "modelName" => &mut self.model_name,
            "modelNumber" => &mut self.model_number,
            _ => return None,
        })
    }
}

fn read(text: &str) -> Description {
    let mut reader = Reader::from_str(text);
    let mut found = Description::default();
    let mut value = String::new();
    loop {
        match reader.read_event() {
            // Embedded devices are other devices, or parts of this one.
            Ok(Event::Start(start)) if start.local_name().as_ref() == "deviceList" => break,
            Ok(Event::Start(_)) => value.clear(),
            Ok(Event::Text(part)) => value.push_str(&part),
            // The entities that every XML document has (XML 4.6); a description needs no others.
            Ok(Event::GeneralRef(entity)) => {
                value.push_str(resolve_predefined_entity(&entity).unwrap_or_default())
            }
            Ok(Event::End(end)) => {
                let name = end.local_name();
                if name.as_ref() == "device" {
                    break;
                }
                let said = value.split_whitespace().collect::<Vec<_>>().join(" ");
                if let Some(element) = found.element(name.as_ref())
                    && element.is_none()
                    && !said.is_empty()
                {
                    *element = Some(said);
                }
                value.clear();
            }
            Ok(Event::Eof) | Err(_) => break,
            Ok(_) => {}
        }
    }
    found
}

/// The device for a standardised type, `urn:schemas-upnp-org:device:MediaRenderer:1`. A media server is a NAS, a
/// television or a computer: its type tells nothing.
fn device_type(urn: &str) -> Option<DeviceType> {
    match urn.split(':').nth(3)? {
        "InternetGatewayDevice" | "WANDevice" => Some(DeviceType::Router),
        "MediaRenderer" => Some(DeviceType::MediaPlayer),
        "Printer" => Some(DeviceType::Printer),
        "ZonePlayer" => Some(DeviceType::Speaker),
        "DigitalSecurityCamera" => Some(DeviceType::Camera),
        "WLANAccessPointDevice" => Some(DeviceType::AccessPoint),
        "BinaryLight" | "DimmableLight" => Some(DeviceType::Light),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device_of(xml: &[u8]) -> DeviceIdentification {
        parse(xml).0
    }

    const ROUTER: &str = "<?xml version=\"1.0\"?><root xmlns=\"urn:schemas-upnp-org:device-1-0\"><device>\
        <deviceType>urn:schemas-upnp-org:device:InternetGatewayDevice:1</deviceType>\
        <manufacturer>Tom &amp; Co</manufacturer><modelName> Shed 3 </modelName><modelNumber>3</modelNumber>\
        <deviceList><device><modelName>inner</modelName></device></deviceList></device></root>";

    #[test]
    fn reads_the_outer_device() {
        let found = device_of(ROUTER.as_bytes());
        assert_eq!((found.maker.as_deref(), found.model.as_deref()), (Some("Tom & Co"), Some("Shed 3")));
        assert_eq!(found.device_type, Some(DeviceType::Router));
    }

    #[test]
    fn takes_what_came_before_the_cut() {
        let cut = &ROUTER.as_bytes()[..ROUTER.find("<modelName>").unwrap() + 14];
        let found = device_of(cut);
        assert_eq!((found.maker.as_deref(), found.model), (Some("Tom & Co"), None));
    }

    #[test]
    fn expands_no_entity_of_the_document() {
        let found =
            device_of(b"<!DOCTYPE r [<!ENTITY a \"bomb\">]><device><modelName>&a;&a;x</modelName></device>");
        assert_eq!(found.model.as_deref(), Some("x"));
        assert!(
            device_of(b"").is_empty() && device_of(b"<<<>").is_empty() && device_of(b"<a></b>").is_empty()
        );
    }
}
