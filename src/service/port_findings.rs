//! Combines the findings of all methods about a port.

use std::cmp::Reverse;

use crate::model::{IdentifyMethod, PortIdentification};

/// Combines what several methods found at one port: each value is that of the best method which has it, and so is the
/// evidence. `None`: nothing was found.
pub fn combine<'a>(found: impl IntoIterator<Item = &'a PortIdentification>) -> Option<PortIdentification> {
    let mut found: Vec<&PortIdentification> = found.into_iter().collect();
    found.sort_by_key(|one| Reverse(rank(one)));
    let mut found = found.into_iter();
    let mut best = found.next()?.clone();
    for other in found {
        // A product and its version are one statement.
        if best.product.is_none() && other.product.is_some() {
            best.vendor.clone_from(&other.vendor);
            best.product.clone_from(&other.product);
            best.version.clone_from(&other.version);
        }
        fill(&mut best.service, &other.service);
        fill(&mut best.title, &other.title);
        fill(&mut best.certificate, &other.certificate);
        fill(&mut best.host_key, &other.host_key);
        fill(&mut best.device.device_type, &other.device.device_type);
        fill(&mut best.device.maker, &other.device.maker);
        fill(&mut best.device.model, &other.device.model);
        best.tls |= other.tls;
    }
    Some(best)
}

/// The best is the most certain, then what names a product, then the method that says most of a service.
fn rank(found: &PortIdentification) -> (u8, bool, u8) {
    let method = found.evidence.method;
    let says = match method {
        IdentifyMethod::Greeting => 5,
        IdentifyMethod::Http => 4,
        IdentifyMethod::Tls => 3,
        IdentifyMethod::SshKey => 2,
        IdentifyMethod::Upnp => 1,
        IdentifyMethod::DnsSd => 0,
    };
    (method.confidence(), found.product.is_some(), says)
}

fn fill<T: Clone>(value: &mut Option<T>, other: &Option<T>) {
    if value.is_none() {
        value.clone_from(other);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::Evidence;

    /// A finding that says nothing but this evidence.
    pub(in crate::service) fn found(method: IdentifyMethod, text: &str) -> PortIdentification {
        let time = "2026-03-01T10:00:00Z".parse().unwrap();
        PortIdentification::unnamed(Evidence { method, text: text.to_owned(), time })
    }

    fn product(method: IdentifyMethod, product: &str, version: Option<&str>) -> PortIdentification {
        let (product, version) = (Some(product.to_owned()), version.map(str::to_owned));
        PortIdentification { product, version, ..found(method, "") }
    }

    #[test]
    fn a_service_that_speaks_beats_an_announcement_of_it() {
        let announced = product(IdentifyMethod::DnsSd, "Forged", Some("1"));
        let spoken =
            PortIdentification { service: Some("ssh".to_owned()), ..found(IdentifyMethod::Greeting, "x") };
        let both = combine([&announced, &spoken]).unwrap();
        assert_eq!(both.evidence.method, IdentifyMethod::Greeting);
        assert_eq!((both.service.as_deref(), both.product.as_deref()), (Some("ssh"), Some("Forged")));
        assert_eq!(combine([]), None);
    }

    #[test]
    fn a_version_stays_with_its_product() {
        let page = product(IdentifyMethod::Http, "nginx", None);
        let tls = product(IdentifyMethod::Tls, "other", Some("7"));
        let key =
            PortIdentification { host_key: Some("SHA256:x".to_owned()), ..found(IdentifyMethod::SshKey, "") };
        let all = combine([&tls, &key, &page]).unwrap();
        assert_eq!((all.product.as_deref(), all.version), (Some("nginx"), None));
        assert_eq!(all.host_key.as_deref(), Some("SHA256:x"));
    }
}
