//! Decides what kind of device something is, and says why.
//!
//! The owner's type comes first. Then the most certain claim counts: a description, an announcement, or an identified
//! service. Then the device's names on the network and the maker of its network interface count, if a short table
//! assigns them one type. Otherwise the type is unknown: a wrong type costs more trust than a missing one.

use crate::model::{
    DeviceIdentification, DeviceType, Evidence, IdentifyMethod, PortIdentification,
    strip_prefix_ignoring_case,
};

/// The facts about a device that determine its type.
#[derive(Clone, Copy, Debug, Default)]
pub struct TypeFacts<'a> {
    /// The type that the owner has set here.
    pub own: Option<DeviceType>,
    /// The type in the configuration.
    pub configured: Option<DeviceType>,
    /// What the device was identified as.
    pub announced: &'a [(DeviceIdentification, Evidence)],
    /// What its ports were identified as, in the order of their numbers.
    pub ports: &'a [&'a PortIdentification],
    /// The maker of its network interface.
    pub vendor: Option<&'a str>,
    /// The names that it has on the network.
    pub host_names: &'a [String],
}

/// What a device is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceKind {
    /// Its type, with the reason in words: "announces _ipp._tcp".
    pub device_type: Option<(DeviceType, String)>,
    /// Its maker, as it says itself.
    pub maker: Option<String>,
    /// Its model, as it says itself.
    pub model: Option<String>,
}

/// Decides what a device is.
pub fn device_kind(facts: &TypeFacts<'_>) -> DeviceKind {
    let mut claims: Vec<(&DeviceIdentification, &Evidence)> =
        facts.announced.iter().map(|(device, evidence)| (device, evidence)).collect();
    claims.extend(facts.ports.iter().map(|found| (&found.device, &found.evidence)));
    // The sort is stable: of equal claims, the device's own counts, then that of the lowest port.
    claims.sort_by_key(|(_, evidence)| trust(evidence.method));
    let owners = [(facts.own, "you say so"), (facts.configured, "the configuration says so")];
    let by_owner = || owners.iter().find_map(|(said, why)| Some(((*said)?, (*why).to_owned())));
    let by_claim =
        || claims.iter().find_map(|(device, evidence)| Some((device.device_type?, in_words(evidence))));
    let device_type = by_owner()
        .or_else(by_claim)
        .or_else(|| by_hint(NAMES, facts.host_names.iter().map(String::as_str), "its name is"))
        .or_else(|| by_hint(VENDORS, facts.vendor.into_iter(), "its network interface is made by"));
    let first = |value: fn(&DeviceIdentification) -> Option<&String>| {
        claims.iter().find_map(|(device, _)| value(device)).cloned()
    };
    DeviceKind {
        device_type,
        maker: first(|device| device.maker.as_ref()),
        model: first(|device| device.model.as_ref()),
    }
}

/// The order in which claims about a device count. What the device says of itself as a whole precedes what one of its
/// services says: many services run on any machine.
const fn trust(method: IdentifyMethod) -> u8 {
    match method {
        IdentifyMethod::Upnp => 0,
        IdentifyMethod::DnsSd => 1,
        IdentifyMethod::Greeting => 2,
        IdentifyMethod::Http => 3,
        IdentifyMethod::Tls => 4,
        IdentifyMethod::SshKey => 5,
    }
}

/// The longest text that is quoted, in characters.
const QUOTE_MAX: usize = 80;

/// Returns the reason for a claim, in words.
fn in_words(evidence: &Evidence) -> String {
    let said = match evidence.method {
        IdentifyMethod::DnsSd => "announces",
        IdentifyMethod::Upnp => "its UPnP description says",
        IdentifyMethod::Greeting if evidence.text.starts_with("SSH-") => "its SSH greeting says",
        IdentifyMethod::Greeting => "a greeting of it says",
        IdentifyMethod::Tls => "its certificate says",
        IdentifyMethod::SshKey => "its SSH key says",
        IdentifyMethod::Http => "its web page says",
    };
    let quote: String = evidence.text.chars().take(QUOTE_MAX).collect();
    format!("{said} {quote}")
}

/// Returns the type of the first of these texts that begins with a hint, in any case.
fn by_hint<'a>(
    table: &[(&str, DeviceType)],
    texts: impl Iterator<Item = &'a str>,
    why: &str,
) -> Option<(DeviceType, String)> {
    texts.into_iter().find_map(|text| {
        let (_, device_type) =
            table.iter().find(|(hint, _)| strip_prefix_ignoring_case(text, hint).is_some())?;
        Some((*device_type, format!("{why} {text}")))
    })
}

/// The beginnings of names that makers give to devices of one type.
const NAMES: &[(&str, DeviceType)] = &[
    ("android-", DeviceType::Phone),
    ("apple-tv", DeviceType::MediaPlayer),
    ("appletv", DeviceType::MediaPlayer),
    ("brn", DeviceType::Printer),
    ("brw", DeviceType::Printer),
    ("chromecast", DeviceType::MediaPlayer),
    ("desktop-", DeviceType::Computer),
    ("diskstation", DeviceType::Nas),
    ("esp-", DeviceType::Microcontroller),
    ("esp32", DeviceType::Microcontroller),
    ("esp_", DeviceType::Microcontroller),
    ("fritz.box", DeviceType::Router),
    ("homepod", DeviceType::Speaker),
    ("imac", DeviceType::Computer),
    ("ipad", DeviceType::Tablet),
    ("iphone", DeviceType::Phone),
    ("laptop-", DeviceType::Computer),
    ("macbook", DeviceType::Computer),
    ("nintendo", DeviceType::Console),
    ("openwrt", DeviceType::Router),
    ("philips-hue", DeviceType::Hub),
    ("playstation", DeviceType::Console),
    ("ps4-", DeviceType::Console),
    ("ps5-", DeviceType::Console),
    ("rackstation", DeviceType::Nas),
    ("roborock", DeviceType::Appliance),
    ("shelly", DeviceType::Power),
    ("tasmota", DeviceType::Power),
    ("xbox", DeviceType::Console),
];

/// The beginnings of names, as [`crate::vendor::vendor`] spells them, of firms that put their own network interfaces
/// only into devices of one type. Firms that make several types, such as Canon and Samsung, do not belong here.
const VENDORS: &[(&str, DeviceType)] = &[
    ("American Power Conversion", DeviceType::Ups),
    ("ASUSTOR", DeviceType::Nas),
    ("Axis Communications", DeviceType::Camera),
    ("Brother", DeviceType::Printer),
    ("Espressif", DeviceType::Microcontroller),
    ("Ezviz", DeviceType::Camera),
    ("Fronius", DeviceType::Power),
    ("Hangzhou Hikvision", DeviceType::Camera),
    ("iRobot", DeviceType::Appliance),
    ("Kyocera", DeviceType::Printer),
    ("Lexmark", DeviceType::Printer),
    ("Nintendo", DeviceType::Console),
    ("Philips Lighting", DeviceType::Hub),
    ("QNAP", DeviceType::Nas),
    ("Reolink", DeviceType::Camera),
    ("Roku", DeviceType::MediaPlayer),
    ("Seiko Epson", DeviceType::Printer),
    ("Shelly", DeviceType::Power),
    ("Signify", DeviceType::Hub),
    ("SMA Solar", DeviceType::Power),
    ("SNOM", DeviceType::DeskPhone),
    ("SolarEdge", DeviceType::Power),
    ("Sonos", DeviceType::Speaker),
    ("Synology", DeviceType::Nas),
    ("TerraMaster", DeviceType::Nas),
    ("Xiamen Yealink", DeviceType::DeskPhone),
];

#[cfg(test)]
mod tests {
    use super::{super::port_findings::tests::found, *};

    fn claim(
        device_type: DeviceType,
        method: IdentifyMethod,
        text: &str,
    ) -> (DeviceIdentification, Evidence) {
        let device =
            DeviceIdentification { device_type: Some(device_type), ..DeviceIdentification::default() };
        (device, found(method, text).evidence)
    }

    fn kind(facts: &TypeFacts<'_>) -> Option<(DeviceType, String)> {
        device_kind(facts).device_type
    }

    #[test]
    fn the_owners_word_is_above_all() {
        let announced = [claim(DeviceType::Printer, IdentifyMethod::DnsSd, "_ipp._tcp")];
        let mut facts = TypeFacts { announced: &announced, vendor: Some("Synology"), ..TypeFacts::default() };
        assert_eq!(kind(&facts), Some((DeviceType::Printer, "announces _ipp._tcp".to_owned())));
        facts.configured = Some(DeviceType::Server);
        assert_eq!(kind(&facts), Some((DeviceType::Server, "the configuration says so".to_owned())));
        facts.own = Some(DeviceType::Nas);
        assert_eq!(kind(&facts), Some((DeviceType::Nas, "you say so".to_owned())));
    }

    #[test]
    fn the_device_itself_precedes_its_services_and_those_its_name_and_maker() {
        let names = ["FRITZ.box".to_owned()];
        let mut facts = TypeFacts { vendor: Some("Synology"), ..TypeFacts::default() };
        assert_eq!(
            kind(&facts),
            Some((DeviceType::Nas, "its network interface is made by Synology".to_owned()))
        );
        facts.host_names = &names;
        assert_eq!(kind(&facts), Some((DeviceType::Router, "its name is FRITZ.box".to_owned())));
        let mut greeting = found(IdentifyMethod::Greeting, "SSH-2.0-ROSSSH");
        greeting.device.device_type = Some(DeviceType::Switch);
        let ports = [&greeting];
        facts.ports = &ports;
        let said = "its SSH greeting says SSH-2.0-ROSSSH".to_owned();
        assert_eq!(kind(&facts), Some((DeviceType::Switch, said)));
        let announced = [
            claim(DeviceType::Speaker, IdentifyMethod::DnsSd, "_raop._tcp"),
            claim(DeviceType::Television, IdentifyMethod::Upnp, "a TV"),
        ];
        facts.announced = &announced;
        assert_eq!(kind(&facts).unwrap().1, "its UPnP description says a TV");
    }

    #[test]
    fn what_nothing_says_is_not_known() {
        let names = ["my-iphone".to_owned(), "fr\u{f6}sch".to_owned()];
        let facts = TypeFacts { vendor: Some("Samsung"), host_names: &names, ..TypeFacts::default() };
        assert_eq!(device_kind(&facts), DeviceKind::default());
    }

    /// Otherwise a hint would never apply.
    #[test]
    fn makers_are_spelled_as_in_the_registry() {
        for (mac, device_type) in [
            ("00:C0:B7:00:00:01", DeviceType::Ups),
            ("00:40:8C:00:00:01", DeviceType::Camera),
            ("00:1B:A9:00:00:01", DeviceType::Printer),
            ("18:FE:34:00:00:01", DeviceType::Microcontroller),
            ("00:03:AC:00:00:01", DeviceType::Power),
            ("28:57:BE:00:00:01", DeviceType::Camera),
            ("50:14:79:00:00:01", DeviceType::Appliance),
            ("00:C0:EE:00:00:01", DeviceType::Printer),
            ("00:04:00:00:00:01", DeviceType::Printer),
            ("00:1B:EA:00:00:01", DeviceType::Console),
            ("00:17:88:00:00:01", DeviceType::Hub),
            ("24:5E:BE:00:00:01", DeviceType::Nas),
            ("EC:71:DB:00:00:01", DeviceType::Camera),
            ("B0:A7:37:00:00:01", DeviceType::MediaPlayer),
            ("00:26:AB:00:00:01", DeviceType::Printer),
            ("00:15:BB:00:00:01", DeviceType::Power),
            ("00:04:13:00:00:01", DeviceType::DeskPhone),
            ("00:0E:58:00:00:01", DeviceType::Speaker),
            ("00:11:32:00:00:01", DeviceType::Nas),
            ("00:15:65:00:00:01", DeviceType::DeskPhone),
        ] {
            let vendor = crate::vendor::vendor(mac.parse().unwrap());
            let facts = TypeFacts { vendor: vendor.as_deref(), ..TypeFacts::default() };
            assert_eq!(kind(&facts).map(|(known, _)| known), Some(device_type), "{mac} {vendor:?}");
        }
    }

    #[test]
    fn the_tables_are_sorted_and_have_each_hint_once() {
        for table in [NAMES, VENDORS] {
            let hints: Vec<String> = table.iter().map(|(hint, _)| hint.to_ascii_lowercase()).collect();
            assert!(hints.windows(2).all(|pair| pair[0] < pair[1]), "{hints:?}");
        }
    }
}
