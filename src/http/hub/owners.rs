//! The sites that know a device.

use hyper::{Method, StatusCode};
use percent_encoding::percent_decode_str;

use super::{HubSite, read::Read, selection::SiteSelection};
use crate::{
    fleet::SiteName,
    http::answer::Refusal,
    model::{DeviceKey, DeviceKeyError},
};

/// The sites that know a device, of those that a request is for.
pub(super) struct Owners<'a> {
    /// In the order of their names.
    pub(super) sites: Vec<(&'a SiteName, &'a HubSite)>,
    /// That a copy cannot be read, whose site may know the device, too.
    pub(super) unreadable: Option<Refusal>,
}

impl<'a> Owners<'a> {
    /// Asks the copies. `device` is escaped for a path, and well-formed.
    ///
    /// # Errors
    /// A copy does not answer.
    pub(super) async fn of(
        selection: &'a SiteSelection,
        device: &str,
        read: Read<'_>,
    ) -> Result<Self, Refusal> {
        let mut owners = Self { sites: Vec::new(), unreadable: None };
        for (name, site) in &selection.sites {
            let answer = read.send(&site.router, Method::HEAD, &format!("/v1/hosts/{device}")).await?;
            let status = answer.status();
            let unclear = || {
                let error =
                    format!("the site {name} may know the device or not; name the site by ?site=NAME");
                Refusal::new(status, error)
            };
            match status {
                StatusCode::OK => owners.sites.push((name, site)),
                StatusCode::NOT_FOUND => {}
                _ => owners.unreadable = Some(unclear()),
            }
        }
        Ok(owners)
    }
}

/// The device that a path names, escaped.
///
/// # Errors
/// It is neither a MAC nor an address.
pub(super) fn key_of(device: &str) -> Result<DeviceKey, Refusal> {
    let text = percent_decode_str(device).decode_utf8_lossy();
    text.parse().map_err(|error: DeviceKeyError| Refusal::bad_request(error.to_string()))
}

/// The refusal for a device that no site knows.
pub(super) fn unknown() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "no site knows this device; /v1/hosts lists all devices")
}

/// The refusal for a device that several sites know.
pub(super) fn several(owners: &[(&SiteName, &HubSite)]) -> Refusal {
    let names: Vec<_> = owners.iter().take(2).map(|(name, _)| name.as_str()).collect();
    Refusal::bad_request(format!(
        "{} sites know this device, {} among them; name one by ?site=NAME",
        owners.len(),
        names.join(" and "),
    ))
}
