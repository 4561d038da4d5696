//! What kind of device something is.

use serde::{Deserialize, Serialize};

use super::state::words;

/// What kind of device something is. There is a type for each kind that needs its own advice or that an owner tells
/// apart at a glance. A device with several roles has the type that it was sold as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceType {
    /// Connects the network to the internet or to another network: modems and firewalls too.
    Router,
    /// Connects devices by WiFi: repeaters and mesh nodes too.
    AccessPoint,
    /// Connects devices by cable.
    Switch,
    /// Stores files for other devices.
    Nas,
    /// Prints, and may scan and fax.
    Printer,
    /// Shows pictures of a place: network video recorders and door stations too.
    Camera,
    /// Has a screen for films.
    Television,
    /// Plays films on another device's screen: set-top boxes and streaming sticks.
    MediaPlayer,
    /// Plays sound: amplifiers and radios too.
    Speaker,
    /// Is made for games.
    Console,
    /// Controls other devices of a home: bridges of Zigbee and the like too.
    Hub,
    /// Gives light.
    Light,
    /// Switches or measures electricity: sockets, meters, inverters and chargers.
    Power,
    /// Does housework or regulates the climate: vacuum cleaners, thermostats, washing machines.
    Appliance,
    /// A telephone on a desk, or its exchange.
    DeskPhone,
    /// A telephone in a pocket.
    Phone,
    /// A screen to carry.
    Tablet,
    /// Worked at by a person.
    Computer,
    /// Serves other machines: virtual machines and single-board computers that do so too.
    Server,
    /// A small board with few resources and one task, which is not known more exactly.
    Microcontroller,
    /// Controls machines or buildings.
    Controller,
    /// Keeps others powered when the mains fail.
    Ups,
}

words!(
    DeviceType,
    "router, access-point, switch, nas, printer, camera, television, media-player, speaker, console, hub, light, \
     power, appliance, desk-phone, phone, tablet, computer, server, microcontroller, controller, ups",
    Router = "router",
    AccessPoint = "access-point",
    Switch = "switch",
    Nas = "nas",
    Printer = "printer",
    Camera = "camera",
    Television = "television",
    MediaPlayer = "media-player",
    Speaker = "speaker",
    Console = "console",
    Hub = "hub",
    Light = "light",
    Power = "power",
    Appliance = "appliance",
    DeskPhone = "desk-phone",
    Phone = "phone",
    Tablet = "tablet",
    Computer = "computer",
    Server = "server",
    Microcontroller = "microcontroller",
    Controller = "controller",
    Ups = "ups",
);
