//! The identifications of ports and devices, and the owner's type and tags.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::shapes::{DeviceTypeText, IdentifyMethodText, NullValue, TagText};
use crate::{
    http::answer::Refusal,
    model::{
        Certificate, DeviceType, Evidence, IdentifyMethod, PortIdentification, TAGS_MAX, all_tags, parse_tag,
    },
    service::{device_type::DeviceKind, directory::DeviceDirectory, evidence::DeviceEvidence},
    store::{AnnotationPatch, DeviceRecord},
};

/// What a service says about itself. Unknown keys are left out; texts are untrusted.
#[derive(Default, Serialize, ToSchema)]
pub(super) struct IdentifiedBody {
    /// Whether the service speaks inside TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    tls: Option<bool>,
    /// The software.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "OpenSSH")]
    product: Option<String>,
    /// The software's version, as the service claims; distributions fix faults without changing it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "9.2p1")]
    version: Option<String>,
    /// The title of its page.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    title: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    certificate: Option<CertificateBody>,
    /// The fingerprint of its SSH host key, as `ssh-keygen -l` prints it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    host_key: Option<String>,
    /// The evidence: that of the best method.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    evidence: Option<EvidenceBody>,
}

/// A certificate. Its signature is not verified: most devices sign their own.
#[derive(Serialize, ToSchema)]
struct CertificateBody {
    #[schema(example = "CN=nas")]
    subject: String,
    /// The names and addresses that it is valid for.
    sans: Vec<String>,
    issuer: String,
    #[schema(value_type = String, format = DateTime)]
    not_after: Timestamp,
    /// Whether subject and issuer are the same.
    self_signed: bool,
    /// The kind and size of its key; empty if unknown.
    #[schema(example = "RSA 2048")]
    key: String,
    /// The algorithm of its signature; empty if unknown.
    signature: String,
    /// SHA-256 of all of it.
    fingerprint: String,
}

/// The evidence of an identification.
#[derive(Serialize, ToSchema)]
struct EvidenceBody {
    #[schema(value_type = IdentifyMethodText)]
    method: IdentifyMethod,
    /// What was received, on one line.
    text: String,
    /// At most a day behind.
    #[schema(value_type = String, format = DateTime)]
    time: Timestamp,
}

/// The identification of a device. Unknown keys are left out.
#[derive(Serialize, ToSchema)]
pub(super) struct KindBody {
    /// The type of device: set by the owner, or else by what the device and its services say, or by its name and
    /// maker.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<DeviceTypeText>, nullable = false)]
    device_type: Option<DeviceType>,
    /// The reason for the type, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "announces _ipp._tcp")]
    type_evidence: Option<String>,
    /// Its maker, as it says itself; `vendor` made its network interface.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    maker: Option<String>,
    /// Its model, as it says itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    model: Option<String>,
    /// Its tags: the configuration's, then those that its owner gave it here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    /// The type that the owner has set here.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<DeviceTypeText>, nullable = false)]
    own_type: Option<DeviceType>,
    /// The tags that the owner has set here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    own_tags: Vec<String>,
    /// When it fell silent after an identification; since then it is no longer identified.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime, nullable = false)]
    silenced: Option<Timestamp>,
}

/// The type and tags that the owner sets. A missing key leaves the value as it is; `null` deletes it.
#[derive(Deserialize, ToSchema)]
pub(super) struct KindPatch {
    /// What kind of device it is.
    #[serde(rename = "type", default, deserialize_with = "given")]
    #[schema(value_type = Option<DeviceTypeText>)]
    device_type: Option<Option<String>>,
    /// At most 16 tags of at most 32 characters: a-z, 0-9, - and _.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Vec<TagText>>, max_items = 16)]
    tags: Option<Option<Vec<String>>>,
    /// Only `null`: the device may be identified again, although it fell silent after that.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = NullValue, required = false)]
    silenced: Option<Option<()>>,
}

/// A key that is present, even if it is `null`.
pub(super) fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    value: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(value).map(Some)
}

impl IdentifiedBody {
    pub(super) fn of(found: Option<&PortIdentification>) -> Self {
        let Some(found) = found.cloned() else { return Self::default() };
        let PortIdentification { tls, product, version, title, certificate, host_key, evidence, .. } = found;
        Self {
            tls: tls.then_some(true),
            product,
            version,
            title,
            certificate: certificate.map(CertificateBody::of),
            host_key,
            evidence: Some(EvidenceBody::of(evidence)),
        }
    }
}

impl CertificateBody {
    fn of(certificate: Certificate) -> Self {
        let Certificate { subject, sans, issuer, not_after, self_signed, key, signature, fingerprint } =
            certificate;
        Self { subject, sans, issuer, not_after, self_signed, key, signature, fingerprint }
    }
}

impl EvidenceBody {
    fn of(evidence: Evidence) -> Self {
        let Evidence { method, text, time } = evidence;
        Self { method, text, time }
    }
}

impl KindBody {
    pub(super) fn of(host: &DeviceRecord, evidence: &DeviceEvidence, directory: &DeviceDirectory) -> Self {
        let (configured, tags) = directory.configured(&host.device);
        let own = &host.words;
        let kind = evidence.kind((own.device_type, configured), &host.identified_as);
        let DeviceKind { device_type, maker, model } = kind;
        let (device_type, type_evidence) = device_type.unzip();
        Self {
            device_type,
            type_evidence,
            maker,
            model,
            tags: all_tags(tags, &own.tags),
            own_type: own.device_type,
            own_tags: own.tags.clone(),
            silenced: host.silenced,
        }
    }
}

impl KindPatch {
    /// Adds these values to a patch.
    ///
    /// # Errors
    /// Fails for an unknown type, a malformed tag, or too many tags.
    pub(super) fn add_to(self, patch: AnnotationPatch) -> Result<AnnotationPatch, Refusal> {
        let Self { device_type, tags, silenced } = self;
        let bad =
            |key: &str, error: &dyn std::fmt::Display| Refusal::bad_request(format!("`{key}`: {error}"));
        let device_type = device_type
            .map(|said| {
                said.filter(|text| !text.is_empty()).map(|text| text.parse::<DeviceType>()).transpose()
            })
            .transpose()
            .map_err(|error| bad("type", &error))?;
        let tags = tags.map(Option::unwrap_or_default);
        let tags = tags.map(|tags| tags.iter().map(|tag| parse_tag(tag)).collect::<Result<Vec<String>, _>>());
        let mut tags = tags.transpose().map_err(|error| bad("tags", &error))?;
        if let Some(tags) = &mut tags {
            // A tag that is given twice is stored once.
            let mut known = BTreeSet::new();
            tags.retain(|tag| known.insert(tag.clone()));
            if tags.len() > TAGS_MAX {
                return Err(bad("tags", &format!("these are more than {TAGS_MAX}; leave some out")));
            }
        }
        Ok(AnnotationPatch { device_type, tags, may_identify: silenced.is_some(), ..patch })
    }
}
