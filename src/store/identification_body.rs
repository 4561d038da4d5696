//! The stored form of an identification: JSON without the time, so that the same finding has the same digest at any
//! time, and bounded, because a stranger wrote its texts.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::{Result, StoreError};
use crate::model::{
    Certificate, DeviceIdentification, DeviceType, Evidence, IdentifyMethod, PortIdentification,
};

/// The longest body of a method that reads certificates, and of any other, in bytes. A port speaks one protocol, so at
/// most four methods apply: with these bounds they have 2 KB together.
const MAX_BYTES: [usize; 2] = [800, 416];

/// The lengths to which the texts of a body are cut until it fits, in characters, and its names with them. At the last
/// any body fits: its texts then have 64 bytes each in JSON at most.
const LENGTHS: &[(usize, usize)] =
    &[(300, 16), (200, 16), (120, 12), (80, 8), (60, 6), (40, 4), (24, 3), (12, 2), (5, 1), (1, 0)];

/// What is stored. An absent key says nothing.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Body {
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    tls: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    vendor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    product: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<Certificate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_type: Option<DeviceType>,
    #[serde(skip_serializing_if = "Option::is_none")]
    maker: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    evidence: String,
}

/// The body of what a port was identified as; `None` if it cannot be stored.
pub(super) fn encode_port(found: &PortIdentification) -> Option<String> {
    let body = Body {
        service: found.service.clone(),
        tls: found.tls,
        vendor: found.vendor.clone(),
        product: found.product.clone(),
        version: found.version.clone(),
        title: found.title.clone(),
        certificate: found.certificate.clone(),
        host_key: found.host_key.clone(),
        ..Body::of_device(&found.device, &found.evidence)
    };
    body.encode(found.evidence.method)
}

/// The body of what a device was identified as; `None` if it cannot be stored.
pub(super) fn encode_device(found: &DeviceIdentification, evidence: &Evidence) -> Option<String> {
    Body::of_device(found, evidence).encode(evidence.method)
}

/// Reads what a port was identified as by this method at this time.
pub(super) fn decode_port(body: &str, method: IdentifyMethod, time: Timestamp) -> Result<PortIdentification> {
    let body = Body::decode(body)?;
    Ok(PortIdentification {
        device: body.device(),
        service: body.service,
        tls: body.tls,
        vendor: body.vendor,
        product: body.product,
        version: body.version,
        title: body.title,
        certificate: body.certificate,
        host_key: body.host_key,
        evidence: Evidence { method, text: body.evidence, time },
    })
}

/// Reads what a device was identified as by this method at this time.
pub(super) fn decode_device(
    body: &str,
    method: IdentifyMethod,
    time: Timestamp,
) -> Result<(DeviceIdentification, Evidence)> {
    let body = Body::decode(body)?;
    Ok((body.device(), Evidence { method, text: body.evidence, time }))
}

/// Whether a body can be read.
pub(super) fn check(body: &str) -> Result<()> {
    Body::decode(body).map(drop)
}

impl Body {
    fn of_device(found: &DeviceIdentification, evidence: &Evidence) -> Self {
        let DeviceIdentification { device_type, maker, model } = found.clone();
        Self { device_type, maker, model, evidence: evidence.text.clone(), ..Self::default() }
    }

    fn device(&self) -> DeviceIdentification {
        let Self { device_type, maker, model, .. } = self.clone();
        DeviceIdentification { device_type, maker, model }
    }

    fn encode(mut self, method: IdentifyMethod) -> Option<String> {
        let [of_certificates, of_others] = MAX_BYTES;
        let most = if method == IdentifyMethod::Tls { of_certificates } else { of_others };
        for &(length, names) in LENGTHS {
            self.shorten(length, names);
            let body = serde_json::to_string(&self).ok()?;
            if body.len() <= most {
                return Some(body);
            }
        }
        None
    }

    fn decode(body: &str) -> Result<Self> {
        serde_json::from_str(body).map_err(|error| StoreError::Damaged(error.to_string()))
    }

    /// Cuts every text to this many characters, and the list of a certificate's names to this many of them.
    fn shorten(&mut self, length: usize, names: usize) {
        let optional = [
            &mut self.service,
            &mut self.vendor,
            &mut self.product,
            &mut self.version,
            &mut self.title,
            &mut self.maker,
            &mut self.model,
        ];
        optional.into_iter().flatten().for_each(|text| cut(text, length));
        cut(&mut self.evidence, length);
        // A fingerprint is of use only as a whole; none is longer than this.
        self.host_key.iter_mut().for_each(|text| cut(text, 64));
        if let Some(certificate) = &mut self.certificate {
            certificate.sans.truncate(names);
            certificate.sans.iter_mut().for_each(|text| cut(text, length));
            cut(&mut certificate.subject, length);
            cut(&mut certificate.issuer, length);
            cut(&mut certificate.key, length.min(40));
            cut(&mut certificate.signature, length.min(40));
            cut(&mut certificate.fingerprint, 64);
        }
    }
}

/// Cuts a text to this many characters.
fn cut(text: &mut String, length: usize) {
    if let Some((at, _)) = text.char_indices().nth(length) {
        text.truncate(at);
    }
}
