//! Decides which targets of a scan that a user asks for are left out, by the command line and the configuration's
//! exclusions.
//!
//! An exclusion by MAC needs the MAC before the first probe, so it is resolved first if the decision depends on it.

use std::{io, sync::Arc};

use super::{agenda::is_wanted, retry::retry_kernel_read};
use crate::{
    config::{Config, ConfigError, Overrides},
    engine::Link,
    model::{Address, Device, Mac, TargetSpec},
    net::{Links, Solicited, solicit},
};

/// The exclusions from a scan.
#[derive(Debug, Default)]
pub struct Exclusions {
    /// MACs, or beginnings of MACs, of the command line. Its excluded addresses are no targets in the first place.
    macs: Vec<TargetSpec>,
    /// The configuration, unless its exclusions are ignored.
    config: Option<Arc<Config>>,
}

/// The first step with a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstStep {
    /// To probe it.
    Probe,
    /// The decision depends on its MAC.
    AskForMac,
    /// To leave it out.
    LeaveOut,
}

/// The source of an exclusion by MAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExclusionSource {
    /// `--exclude`.
    CommandLine,
    /// The configuration of this machine's appliance.
    Configuration,
}

impl Exclusions {
    /// Reads the exclusions in the configuration of this machine's appliance, unless they are ignored.
    ///
    /// # Errors
    /// Fails if the configuration is unusable: then its exclusions are unknown.
    pub fn read(overrides: &Overrides, ignores_exclusions: bool) -> Result<Self, ConfigError> {
        let config = if ignores_exclusions { None } else { Some(Arc::new(Config::read(overrides)?)) };
        Ok(Self { macs: Vec::new(), config })
    }

    /// Those of this configuration.
    pub fn of(config: Arc<Config>) -> Self {
        Self { macs: Vec::new(), config: Some(config) }
    }

    /// Adds exclusions by MAC.
    pub fn with_macs(self, macs: Vec<TargetSpec>) -> Self {
        Self { macs, ..self }
    }

    /// Returns the first step by the address alone.
    pub fn first(&self, address: &Address, links: &Links) -> FirstStep {
        let unseen = Device { address: address.clone(), mac: None, name: None };
        if self.config.as_ref().is_some_and(|config| config.is_excluded(&unseen)) {
            return FirstStep::LeaveOut;
        }
        let has_mac = match links.link_of(address) {
            Link::OnLink => true,
            Link::Local => links.own_mac(address).is_some(),
            // Behind a router no MAC is known.
            Link::Routed => false,
        };
        let by_mac = |spec: &TargetSpec| matches!(spec, TargetSpec::Mac(_));
        // Also where a rule for the MAC may come before one for the address that leaves it out.
        let decides_by_mac = self.config.as_ref().is_some_and(|config| {
            let has_rules_of_both_kinds = config.devices.iter().any(|rule| !rule.scan)
                && config.devices.iter().any(|rule| by_mac(&rule.matches));
            config.excludes_by_mac() || has_rules_of_both_kinds
        });
        match self.config.as_ref().is_none_or(|config| is_wanted(config, &unseen)) {
            _ if has_mac && (decides_by_mac || !self.macs.is_empty()) => FirstStep::AskForMac,
            true => FirstStep::Probe,
            false => FirstStep::LeaveOut,
        }
    }

    /// Returns why a device with this MAC is left out, if it is.
    pub fn reason(&self, address: &Address, mac: Mac) -> Option<ExclusionSource> {
        if self.macs.iter().any(|spec| spec.matches(address, Some(mac))) {
            return Some(ExclusionSource::CommandLine);
        }
        let device = Device { address: address.clone(), mac: Some(mac), name: None };
        let is_unwanted = self.config.as_ref().is_some_and(|config| !is_wanted(config, &device));
        is_unwanted.then_some(ExclusionSource::Configuration)
    }
}

/// Resolves a neighbour's MAC; those of this machine itself are known.
///
/// # Errors
/// The kernel lacks resources for it.
pub async fn ask_for_mac(links: &Links, address: &Address) -> io::Result<Solicited> {
    match links.own_mac(address) {
        Some(mac) => Ok(Solicited::Answered(mac)),
        None => retry_kernel_read(|| solicit(links, address)).await,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn exclusions(config: &str) -> Exclusions {
        let file = Some((Path::new("test.toml"), config));
        let config = Config::load(&Overrides::default(), &|_| None, file).unwrap();
        Exclusions { macs: Vec::new(), config: Some(Arc::new(config)) }
    }

    /// An address of another network has no MAC that could be resolved.
    #[test]
    fn an_address_is_left_out_by_exclusions_and_by_the_first_rule_that_matches() {
        let links = Links::default();
        let mac = "[[device]]\nmatch = \"02:00:00:00:00:06\"\nscan = false\n";
        for (config, first) in [
            ("", FirstStep::Probe),
            ("exclude = [\"192.0.2.0/24\"]", FirstStep::LeaveOut),
            ("exclude = [\"192.0.3.0/24\", \"02:00:00:*\"]", FirstStep::Probe),
            ("[[device]]\nmatch = \"192.0.2.9\"\nscan = false\n", FirstStep::LeaveOut),
            (
                "[[device]]\nmatch = \"192.0.2.9\"\ntiming = \"T2\"\n[[device]]\nmatch = \"192.0.2.0/24\"\nscan = false\n",
                FirstStep::Probe,
            ),
            (mac, FirstStep::Probe),
        ] {
            assert_eq!(exclusions(config).first(&"192.0.2.9".parse().unwrap(), &links), first, "{config}");
        }
        assert_eq!(Exclusions::default().first(&"192.0.2.9".parse().unwrap(), &links), FirstStep::Probe);
    }

    #[test]
    fn a_mac_is_left_out_by_the_command_line_or_by_the_configuration() {
        let address: Address = "192.0.2.9".parse().unwrap();
        let [printer, nas] = ["02:00:00:00:00:06", "02:00:00:00:00:07"].map(|mac| mac.parse().unwrap());
        let both = exclusions("exclude = [\"02:00:00:00:00:06\"]")
            .with_macs(vec!["02:00:00:00:00:07".parse().unwrap()]);
        assert_eq!(both.reason(&address, printer), Some(ExclusionSource::Configuration));
        assert_eq!(both.reason(&address, nas), Some(ExclusionSource::CommandLine));
        // The first rule that matches holds.
        let rules = exclusions(
            "[[device]]\nmatch = \"02:00:00:00:00:06\"\ntiming = \"T2\"\n[[device]]\nmatch = \"192.0.2.0/24\"\nscan = false\n",
        );
        assert_eq!(rules.reason(&address, printer), None);
        assert_eq!(rules.reason(&address, nas), Some(ExclusionSource::Configuration));
        assert_eq!(Exclusions::default().reason(&address, nas), None);
    }
}
