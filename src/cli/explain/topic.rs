//! The subject that the user asks about: a port or a device.

use std::str::FromStr;

use crate::model::{DeviceKey, DeviceKeyError, PortSet, Protocol, TargetSpec};

/// The subject to explain.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Topic {
    /// A port; without a protocol over TCP and UDP.
    Port(u16, Option<Protocol>),
    /// A device that the appliance knows.
    Device(DeviceName),
}

/// How the user names a device.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum DeviceName {
    /// By its MAC or an address.
    Key(DeviceKey),
    /// By one of its names.
    Text(String),
}

impl FromStr for Topic {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (number, protocol) =
            text.split_once('/').map_or((text, None), |(number, rest)| (number, Some(rest)));
        if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) {
            let port = number.parse().ok().filter(|port| *port > 0);
            let port =
                port.ok_or_else(|| format!("{number} is not one: a port is a number from 1 to 65535"))?;
            let protocol = protocol.map(|word| {
                let unknown = |_| format!("\"{word}\" is not a protocol; write {port}/tcp or {port}/udp");
                word.to_ascii_lowercase().parse::<Protocol>().map_err(unknown)
            });
            return Ok(Self::Port(port, protocol.transpose()?));
        }
        if let Ok(TargetSpec::Net(net)) = text.parse() {
            return Err(format!("{net} is a network; name one device, by its MAC, address or name"));
        }
        if text.parse::<PortSet>().is_ok() {
            return Err(format!("{text} are several ports; name one port"));
        }
        match text.parse::<DeviceKey>() {
            Ok(key) => Ok(Self::Device(DeviceName::Key(key))),
            Err(DeviceKeyError::Neither(_)) if !text.is_empty() => {
                Ok(Self::Device(DeviceName::Text(text.to_owned())))
            }
            Err(error) => Err(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_a_port_and_everything_else_is_a_device() {
        let read = |text: &str| text.parse::<Topic>().unwrap();
        assert_eq!(read("7000"), Topic::Port(7000, None));
        assert_eq!(read("161/UDP"), Topic::Port(161, Some(Protocol::Udp)));
        for device in ["192.168.1.7", "fe80::1%eth0", "b8-27-eb-ac-14-3e", "2001:db8::1"] {
            let key = DeviceName::Key(device.parse().unwrap());
            assert_eq!(read(device), Topic::Device(key), "{device}");
        }
        for name in ["nas", "nas.local", "living room", "7-up.lan"] {
            assert_eq!(read(name), Topic::Device(DeviceName::Text(name.to_owned())), "{name}");
        }
    }
}
