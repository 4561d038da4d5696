//! Finds the devices that a run scans, and their present addresses.

use std::collections::BTreeMap;

use super::{Agenda, Run};
use crate::{
    config::{Config, Targets},
    model::{Address, Device, TargetSpec},
};

/// Whether a device may be scanned at all. Ask again with every further fact that becomes known: its address, its MAC.
pub fn is_wanted(config: &Config, device: &Device) -> bool {
    !config.is_excluded(device) && config.rule_for(device).is_none_or(|rule| rule.scan)
}

/// Whether only the feed can resolve these targets.
pub(super) fn need_feed(targets: &Targets) -> bool {
    match targets {
        Targets::Feed => true,
        Targets::List(specs) => specs.iter().any(|spec| matches!(spec, TargetSpec::Mac(_))),
    }
}

/// Whether targets name a device by its address, or by its MAC.
pub(super) fn name(specs: &[TargetSpec], device: &Device) -> bool {
    specs.iter().any(|spec| spec.matches(&device.address, device.mac))
}

impl Agenda {
    /// Returns the feed's devices that may be scanned, by address.
    pub(super) fn scannable(&self) -> impl Iterator<Item = &Device> {
        self.devices.values().filter(|device| is_wanted(&self.config, device))
    }

    /// Returns the devices that targets stand for, by address, and the names that still need an address.
    pub(super) fn targets(&self, targets: &Targets) -> (Vec<Device>, Vec<String>) {
        let Targets::List(specs) = targets else { return (self.scannable().cloned().collect(), Vec::new()) };
        let mut devices = BTreeMap::new();
        let mut names = Vec::new();
        for spec in specs {
            match spec {
                TargetSpec::Name(name) => names.push(name.clone()),
                TargetSpec::Mac(_) => {
                    let named = self.devices.values().filter(|known| spec.matches(&known.address, known.mac));
                    devices.extend(named.map(|known| (known.address.clone(), known.clone())));
                }
                _ => devices.extend(spec.addresses().map(|at| (at.clone(), self.device_at(at)))),
            }
        }
        (devices.into_values().filter(|device| is_wanted(&self.config, device)).collect(), names)
    }

    /// Returns the devices at the addresses of a run's names, without those that the run has anyway.
    pub(super) fn named(&self, targets: &Targets, addresses: Vec<Address>) -> Vec<Device> {
        let Targets::List(specs) = targets else { return Vec::new() };
        let devices: BTreeMap<Address, Device> =
            addresses.into_iter().map(|address| (address.clone(), self.device_at(address))).collect();
        devices.into_values().filter(|device| !name(specs, device)).collect()
    }

    /// Returns a device that a run queued a while ago, as it is now: a MAC where it has moved to within the run's
    /// targets, an address with the device that has it. Returns `None` if it is gone, or at another of its addresses,
    /// which the run has queued anyway.
    pub(super) fn present(&self, run: &Run, queued: &Device) -> Option<Device> {
        let here = self.devices.get(&queued.address);
        let same = |known: &&Device| queued.mac.is_none() || known.mac == queued.mac;
        if let Some(device) = here.filter(same) {
            return Some(device.clone());
        }
        let is_it = |known: &&Device| {
            queued.mac.is_some() && known.mac == queued.mac && !run.has_queued(&known.address)
        };
        let moved = || self.devices.values().filter(is_it);
        match &run.targets {
            Targets::Feed => moved().next().cloned(),
            Targets::List(specs) => moved().find(|known| name(specs, known)).cloned().or_else(|| {
                let by_mac = |spec: &TargetSpec| matches!(spec, TargetSpec::Mac(_));
                let wanted_itself =
                    specs.iter().any(|spec| by_mac(spec) && spec.matches(&queued.address, queued.mac));
                (!wanted_itself).then(|| self.device_at(queued.address.clone()))
            }),
        }
    }

    /// Returns the feed's device at an address, or one known by the address alone.
    fn device_at(&self, address: Address) -> Device {
        let known = self.devices.get(&address).cloned();
        known.unwrap_or(Device { address, mac: None, name: None })
    }
}
