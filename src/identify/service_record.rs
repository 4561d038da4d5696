//! DNS-SD: a service's type names what is spoken, and its TXT record often the device (RFC 6763 6, 7).

use jiff::Timestamp;

use super::{
    claims::{Claims, merge, or_called},
    device_info,
    table::{MODELS, Preference, Table},
};
use crate::model::{DeviceIdentification, DeviceType, IdentifyMethod, PortIdentification};

/// Its keys are types without underscores and transport: `googlecast`.
const TABLE: Table = Table::new(include_str!("tables/service_type.txt"));

/// The longest name of a service: RFC 6335 5.1 has 15 characters, which some makers do not keep to.
const SERVICE_MAX: usize = 32;

/// The strings of a TXT record that are looked at. Real ones have fewer than forty.
const STRINGS_MAX: usize = 64;

/// The longest value of a string, in bytes: one of DNS has at most 255.
const VALUE_MAX: usize = 255;

/// Keys of a maker's code of the model, the most telling first: `_device-info` and `_airplay`, `_raop`, `_hap` and
/// `_googlecast`, `_hue`.
const MODEL_KEYS: [&str; 4] = ["model", "am", "md", "modelid"];

/// Keys for a printer's or scanner's maker and model in one value: `_ipp` and related types (Bonjour Printing
/// Specification 1.2.1, 9.2), `_uscan`.
const NAME_KEYS: [&str; 2] = ["ty", "product"];

/// Keys for the maker.
const MAKER_KEYS: [&str; 3] = ["manufacturer", "usb_mfg", "mfg"];

pub(super) fn identify(
    service_type: &str,
    txt: &[(String, String)],
    time: Timestamp,
) -> Option<PortIdentification> {
    let service = service_name(service_type)?;
    let value = |wanted: &str| {
        let strings = txt.iter().take(STRINGS_MAX);
        let mut found = strings.filter(|(key, _)| key.eq_ignore_ascii_case(wanted));
        found.next().map(|(_, value)| value.trim()).filter(|value| (1..=VALUE_MAX).contains(&value.len()))
    };
    // Only some entries use the version: Spotify's, for example, is that of its protocol.
    let listed =
        TABLE.find(&format!("{service} {}", value("version").unwrap_or_default()), Preference::Longest);
    let category = value("ci").filter(|_| service == "hap").and_then(category);
    let device = match value("rp") {
        // CUPS announces a printer that is another device, or is attached to this one.
        Some(queue) if queue.starts_with("printers/") => DeviceIdentification::default(),
        _ => merge(device(value), listed.device),
    };
    // The model says more about the kind of device than the service does: a television may have Chromecast.
    let device = DeviceIdentification { device_type: category.or(device.device_type), ..device };
    let found = Claims { device, ..listed };
    let strings = txt.iter().take(STRINGS_MAX).map(|(key, value)| format!(" {key}={value}"));
    let said = strings.fold(service_type.to_owned(), |said, string| said + &string);
    Some(found.at_port(Some(service), IdentifyMethod::DnsSd, &said, time))
}

/// `googlecast` of `_googlecast._tcp.local.`
fn service_name(service_type: &str) -> Option<&str> {
    let name = service_type.strip_prefix('_')?.split('.').next()?;
    let is_name = (1..=SERVICE_MAX).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_'));
    is_name.then_some(name)
}

/// Identifies the device by the strings of a record.
fn device<'a>(value: impl Fn(&str) -> Option<&'a str>) -> DeviceIdentification {
    let maker = MAKER_KEYS.iter().find_map(|key| value(key)).map(str::to_owned);
    let said = DeviceIdentification { maker, ..DeviceIdentification::default() };
    if let Some(code) = MODEL_KEYS.iter().find_map(|key| value(key)) {
        return merge(or_called(device_info::parse(code), code), said);
    }
    let Some(name) = NAME_KEYS.iter().find_map(|key| value(key)) else { return said };
    let name = name.trim_matches(['(', ')']);
    merge(or_called(MODELS.find(name, Preference::Longest).device, name), said)
}

/// The category of a HomeKit accessory (HomeKit Accessory Protocol Specification R2, 13.2), where it is a device's
/// kind.
fn category(number: &str) -> Option<DeviceType> {
    Some(match number.parse::<u8>().ok()? {
        2 => DeviceType::Hub,
        3 | 9 | 19..=23 => DeviceType::Appliance,
        5 => DeviceType::Light,
        7 | 8 => DeviceType::Power,
        17 | 18 => DeviceType::Camera,
        26 => DeviceType::Speaker,
        31 => DeviceType::Television,
        33 => DeviceType::Router,
        35 | 36 => DeviceType::MediaPlayer,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identified(service_type: &str, txt: &[(&str, &str)]) -> PortIdentification {
        let txt: Vec<_> = txt.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        identify(service_type, &txt, Timestamp::UNIX_EPOCH).unwrap()
    }

    #[test]
    fn names_the_service_by_its_type() {
        let found = identified("_googlecast._tcp.local.", &[("md", "Chromecast Ultra"), ("fn", "TV")]);
        assert_eq!(found.service.as_deref(), Some("googlecast"));
        assert_eq!(found.device.model.as_deref(), Some("Chromecast Ultra"));
        assert_eq!(found.device.device_type, Some(DeviceType::MediaPlayer));
        assert_eq!(found.evidence.text, "_googlecast._tcp.local. md=Chromecast Ultra fn=TV");
        for service_type in ["", "_", "_._tcp", "_A b._tcp", "http", "_a\n._tcp"] {
            assert!(identify(service_type, &[], Timestamp::UNIX_EPOCH).is_none(), "{service_type:?}");
        }
    }

    #[test]
    fn tells_the_version_of_a_product_but_not_of_a_protocol() {
        let found = identified("_home-assistant._tcp", &[("version", "2025.1.2")]);
        assert_eq!(
            (found.product.as_deref(), found.version.as_deref()),
            (Some("Home Assistant"), Some("2025.1.2"))
        );
        let found = identified("_spotify-connect._tcp", &[("VERSION", "1.0")]);
        assert_eq!((found.product.as_deref(), found.version), (Some("Spotify Connect"), None));
    }

    #[test]
    fn names_printers_by_what_they_say_of_themselves() {
        let txt = [("rp", "ipp/print"), ("ty", "Brother HL-L2350DW series"), ("usb_MFG", "Brother")];
        let device = identified("_ipp._tcp", &txt).device;
        assert_eq!(device.maker.as_deref(), Some("Brother"));
        assert_eq!(device.model.as_deref(), Some("HL-L2350DW"));
        assert_eq!(device.device_type, Some(DeviceType::Printer));
        let device = identified("_ipp._tcp", &[("product", "(Shed 3)")]).device;
        assert_eq!((device.maker, device.model.as_deref()), (None, Some("Shed 3")));
    }

    #[test]
    fn a_computer_that_shares_a_printer_is_none() {
        let txt = [("rp", "printers/Office"), ("ty", "Brother HL-L2350DW series"), ("usb_MFG", "Brother")];
        let found = identified("_ipp._tcp", &txt);
        assert!(found.device.is_empty() && found.service.as_deref() == Some("ipp"));
    }

    #[test]
    fn names_apples_models_and_homekits_categories() {
        let device = identified("_airplay._tcp", &[("model", "AppleTV6,2")]).device;
        assert_eq!(device.model.as_deref(), Some("Apple TV 4K"));
        let device = identified("_hap._tcp", &[("md", "Shed Lamp"), ("ci", "5")]).device;
        assert_eq!(
            (device.model.as_deref(), device.device_type),
            (Some("Shed Lamp"), Some(DeviceType::Light))
        );
    }
}
