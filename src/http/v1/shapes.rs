//! The patterns of texts that represent values: for programs that generate requests from the description, or validate
//! requests by it.

use serde::Serialize;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        RefOr,
        schema::{ObjectBuilder, Schema, Type},
    },
};

use crate::{
    advice::{Advice, AdviceText},
    model::{AdviceLevel, DeviceType, IdentifyMethod, NameSource, PortState, Protocol},
    store::Presence,
};

/// The advice on an open port.
#[derive(Serialize, ToSchema)]
pub(super) struct AdviceBody {
    /// How much it matters.
    #[schema(value_type = AdviceLevelText)]
    level: AdviceLevel,
    /// What listens there, after a word for its certainty: `usually`, by the port's number alone; `probably`, if that
    /// fits the device's maker or name, or the device announces it; `is`, if the service has said so itself.
    #[schema(example = "usually AirPlay")]
    what: String,
    /// What can go wrong, or why nothing does.
    why: String,
    /// How to close or to secure it.
    #[schema(value_type = String)]
    remedy: AdviceText,
}

impl From<Advice> for AdviceBody {
    fn from(advice: Advice) -> Self {
        let Advice { level, what, why, remedy } = advice;
        Self { level, what: what.to_string(), why, remedy }
    }
}

/// One of the words of [`AdviceLevel`].
pub(super) struct AdviceLevelText;

/// A MAC or an address, in these spellings and others.
pub(super) struct DeviceText;

/// One of the words of [`DeviceType`].
pub(super) struct DeviceTypeText;

/// One of the words of [`IdentifyMethod`].
pub(super) struct IdentifyMethodText;

/// One of the words of [`NameSource`].
pub(super) struct NameSourceText;

/// `null`, and nothing else.
pub(super) struct NullValue;

/// `online`, `offline` or `unknown`.
pub(super) struct PresenceText;

/// One of the words of [`Protocol`].
pub(super) struct ProtocolText;

/// One of the words of [`PortState`].
pub(super) struct StateText;

/// What [`crate::model::parse_tag`] reads.
pub(super) struct TagText;

/// A MAC, an IPv4 address, or an IPv6 address written out, with its zeroes left out, or with an interface.
const DEVICE: &str = "^(([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}\
    |((25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])\\.){3}(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])\
    |([0-9a-f]{1,4}:){7}[0-9a-f]{1,4}\
    |([0-9a-f]{1,4}:){1,6}:[0-9a-f]{1,4}\
    |fe80::[0-9a-f]{1,4}%[a-z][a-z0-9]{0,14})$";

impl PartialSchema for AdviceLevelText {
    fn schema() -> RefOr<Schema> {
        words(AdviceLevel::ALL.iter().map(|level| level.as_str()))
    }
}

impl ToSchema for AdviceLevelText {}

impl PartialSchema for DeviceText {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().schema_type(Type::String).pattern(Some(DEVICE)).into()
    }
}

impl ToSchema for DeviceText {}

impl PartialSchema for DeviceTypeText {
    fn schema() -> RefOr<Schema> {
        words(DeviceType::ALL.iter().map(|known| known.as_str()))
    }
}

impl ToSchema for DeviceTypeText {}

impl PartialSchema for IdentifyMethodText {
    fn schema() -> RefOr<Schema> {
        words(IdentifyMethod::ALL.iter().map(|method| method.as_str()))
    }
}

impl ToSchema for IdentifyMethodText {}

impl PartialSchema for NameSourceText {
    fn schema() -> RefOr<Schema> {
        words(NameSource::ALL.iter().map(|source| source.as_str()))
    }
}

impl ToSchema for NameSourceText {}

impl PartialSchema for NullValue {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().schema_type(Type::Null).into()
    }
}

impl ToSchema for NullValue {}

impl PartialSchema for PresenceText {
    fn schema() -> RefOr<Schema> {
        words([Presence::Online, Presence::Offline, Presence::Unknown].map(Presence::as_str).into_iter())
    }
}

impl ToSchema for PresenceText {}

impl PartialSchema for ProtocolText {
    fn schema() -> RefOr<Schema> {
        words(Protocol::ALL.iter().map(|protocol| protocol.as_str()))
    }
}

impl ToSchema for ProtocolText {}

impl PartialSchema for StateText {
    fn schema() -> RefOr<Schema> {
        words(PortState::ALL.iter().map(|state| state.as_str()))
    }
}

impl ToSchema for StateText {}

impl PartialSchema for TagText {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[a-z0-9_-]{1,32}$")).into()
    }
}

impl ToSchema for TagText {}

fn words(words: impl Iterator<Item = &'static str>) -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words)).into()
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, string::string_regex};

    use super::*;
    use crate::model::DeviceKey;

    proptest! {
        #[test]
        fn every_matching_text_is_a_device(text in string_regex(&DEVICE.replace(['^', '$'], "")).unwrap()) {
            prop_assert!(text.parse::<DeviceKey>().is_ok(), "{}", text);
        }
    }
}
