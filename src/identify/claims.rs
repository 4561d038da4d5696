//! The claims of a text about its service and device, before they belong to a port.

use jiff::Timestamp;

use super::text::{Versioned, versioned};
use crate::model::{
    DeviceIdentification, EVIDENCE_MAX, Evidence, IdentifyMethod, PortIdentification, one_line,
};

/// The longest text of a claim, in characters. Real names of products end far below.
const TEXT_MAX: usize = 80;

/// What a text says about a service and its device; `None` for what it does not say. The text is untrusted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// The maker of the software: "Oracle".
    pub vendor: Option<String>,
    /// The software: "MySQL".
    pub product: Option<String>,
    /// The software's version as it claims: "8.0.36".
    pub version: Option<String>,
    /// The device that it runs on.
    pub device: DeviceIdentification,
}

impl Claims {
    /// Software by its maker, its name and version; an empty vendor or version is none.
    pub(super) fn software(vendor: &str, product: &str, version: &str) -> Self {
        Self { vendor: some(vendor), product: some(product), version: some(version), ..Self::default() }
    }

    /// A product that no table lists: the first name that a version follows, on any line.
    pub(super) fn unlisted(text: &str) -> Self {
        text.lines().find_map(versioned).map_or_else(Self::default, Self::from)
    }

    /// A device alone.
    pub(super) fn of_device(device: DeviceIdentification) -> Self {
        Self { device, ..Self::default() }
    }

    /// Whether nothing is claimed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Takes the software from `other` unless it is known, and likewise the device. Parts are never mixed: the
    /// version in one text says nothing about the product in the other.
    pub(super) fn or(mut self, other: Self) -> Self {
        if self.product.is_none() && (other.product.is_some() || self.vendor.is_none()) {
            (self.vendor, self.product, self.version) = (other.vendor, other.product, other.version);
        }
        self.device = merge(self.device, other.device);
        self
    }

    /// Returns the claims with texts that are short and safe to store; an empty text becomes `None`.
    pub(super) fn cleaned(self) -> Self {
        Self {
            vendor: clean(self.vendor),
            product: clean(self.product),
            version: clean(self.version),
            device: clean_device(self.device),
        }
    }

    /// Converts the claims to the identification of a port, with the service's name and the evidence.
    pub(super) fn at_port(
        self,
        service: Option<&str>,
        method: IdentifyMethod,
        said: &str,
        time: Timestamp,
    ) -> PortIdentification {
        let Self { vendor, product, version, device } = self.cleaned();
        PortIdentification {
            service: service.map(str::to_owned),
            vendor,
            product,
            version,
            device,
            ..PortIdentification::unnamed(evidence(method, said, time))
        }
    }
}

impl From<Versioned<'_>> for Claims {
    fn from(found: Versioned<'_>) -> Self {
        Self::software("", found.name, found.version)
    }
}

/// Formats the evidence: the text on one line, with single spaces.
pub(super) fn evidence(method: IdentifyMethod, said: &str, time: Timestamp) -> Evidence {
    let line = said.split_whitespace().collect::<Vec<_>>().join(" ");
    Evidence { method, text: one_line(&line, EVIDENCE_MAX), time }
}

/// Makes a device; its own name for itself is the model if no table lists one.
pub(super) fn or_called(device: DeviceIdentification, name: &str) -> DeviceIdentification {
    DeviceIdentification { model: device.model.or_else(|| Some(name.to_owned())), ..device }
}

/// Completes a device from another claim, unless the two name different makers. A model never gets another maker or
/// kind.
pub(super) fn merge(device: DeviceIdentification, other: DeviceIdentification) -> DeviceIdentification {
    let maker = match (&device.maker, &other.maker) {
        (Some(one), Some(two)) => match same_maker(one, two) {
            Some(name) => Some(name.to_owned()),
            None => return device,
        },
        (None, _) if device.model.is_some() => None,
        (one, two) => one.clone().or_else(|| two.clone()),
    };
    if device.model.is_some() {
        return DeviceIdentification { maker, ..device };
    }
    DeviceIdentification { device_type: device.device_type.or(other.device_type), maker, model: other.model }
}

/// Returns the shorter of two names if both belong to one maker: the longer one has further words, as "Sonos, Inc."
/// has.
fn same_maker<'a>(one: &'a str, two: &'a str) -> Option<&'a str> {
    let (short, long) = if one.len() <= two.len() { (one, two) } else { (two, one) };
    let (head, rest) = long.split_at_checked(short.len())?;
    let is_same = head.eq_ignore_ascii_case(short) && !rest.starts_with(char::is_alphanumeric);
    is_same.then_some(short)
}

/// Makes a device with texts that are short and safe to store.
pub(super) fn clean_device(device: DeviceIdentification) -> DeviceIdentification {
    DeviceIdentification {
        device_type: device.device_type,
        maker: clean(device.maker),
        model: clean(device.model),
    }
}

/// Returns the text on one line, shortened; `None` if nothing is left.
pub(super) fn clean(text: Option<String>) -> Option<String> {
    let line = one_line(text?.trim(), TEXT_MAX);
    some(line.trim())
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(maker: &str, model: &str) -> DeviceIdentification {
        DeviceIdentification { device_type: None, maker: some(maker), model: some(model) }
    }

    #[test]
    fn software_and_device_of_two_texts_are_never_mixed() {
        let server = Claims::software("A", "Server", "1");
        let other = Claims { device: device("B", "Box"), ..Claims::software("", "Other", "2") };
        let both = server.or(other);
        assert_eq!(both, Claims { device: device("B", "Box"), ..Claims::software("A", "Server", "1") });
        let camera = Claims::of_device(device("C", ""));
        assert_eq!(camera.or(both).device, device("C", ""), "another maker's model");
        assert_eq!(merge(device("Shed, Inc.", "Box"), device("Shed", "")), device("Shed", "Box"));
        assert_eq!(merge(device("Shed", ""), device("Sheds", "Box")), device("Shed", ""));
    }

    #[test]
    fn texts_are_short_and_safe() {
        let found =
            Claims { device: device(" \t ", "a\u{202e}b"), ..Claims::software("", &"x".repeat(500), "") }
                .cleaned();
        assert_eq!(found.product.unwrap().len(), TEXT_MAX);
        assert_eq!(found.device, device("", "a\u{fffd}b"));
        let time = Timestamp::UNIX_EPOCH;
        assert_eq!(evidence(IdentifyMethod::Http, "a\r\n\r\nb \0c", time).text, "a b \u{fffd}c");
        assert_eq!(evidence(IdentifyMethod::Http, &"é".repeat(999), time).text.chars().count(), EVIDENCE_MAX);
    }
}
