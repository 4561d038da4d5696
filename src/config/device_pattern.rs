//! The devices of a rule for alerts.

use std::fmt;

use crate::model::{Address, DeviceType, Mac, TargetSpec};

/// One of a rule's `devices`.
#[derive(Clone, Debug, PartialEq)]
pub enum DevicePattern {
    /// By its address or its MAC.
    Target(TargetSpec),
    /// `tag:NAME`: by a tag, of the configuration or of the page.
    Tag(String),
    /// `type:NAME`: by its type.
    Type(DeviceType),
}

/// The properties of an alert's device that rules use.
#[derive(Clone, Copy, Debug)]
pub struct AlertSubject<'a> {
    /// Its MAC, if known.
    pub mac: Option<Mac>,
    /// Its address at that time.
    pub address: &'a Address,
    /// Its tags now.
    pub tags: &'a [String],
    /// Its type, if known now.
    pub device_type: Option<DeviceType>,
}

impl DevicePattern {
    /// Whether the pattern matches the device.
    pub fn matches(&self, subject: &AlertSubject<'_>) -> bool {
        match self {
            Self::Target(spec) => spec.matches(subject.address, subject.mac),
            Self::Tag(tag) => subject.tags.contains(tag),
            Self::Type(device_type) => subject.device_type == Some(*device_type),
        }
    }
}

impl fmt::Display for DevicePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Target(spec) => spec.fmt(f),
            Self::Tag(tag) => write!(f, "tag:{tag}"),
            Self::Type(device_type) => write!(f, "type:{device_type}"),
        }
    }
}
