//! Scans that users request.

use super::{Action, Agenda, Order, OrderError, Run, RunId, targets::is_wanted};
use crate::{
    config::{ScannerConfig, ScannerPorts, Targets},
    model::{Address, Device, DeviceKey, PortSet, ScanKind, TargetSpec},
    service::schedule::Times,
};

impl Agenda {
    /// Begins the ordered runs, or returns those that are already in progress. Excluded devices stay excluded.
    ///
    /// # Errors
    /// Fails if nothing can be begun.
    pub fn order(&mut self, order: &Order, times: &Times) -> Result<(Vec<RunId>, Vec<Action>), OrderError> {
        if self.paused {
            return Err(OrderError::Paused);
        }
        let mut actions = Vec::new();
        let runs = match order {
            Order::Scanner(name) => self.order_scanners(name.as_deref(), times, &mut actions)?,
            Order::Device { key, scanner, ports } => {
                vec![self.order_device(
                    order,
                    key,
                    scanner.as_deref(),
                    ports.as_ref(),
                    times,
                    &mut actions,
                )?]
            }
        };
        Ok((runs, actions))
    }

    fn order_scanners(
        &mut self,
        name: Option<&str>,
        times: &Times,
        actions: &mut Vec<Action>,
    ) -> Result<Vec<RunId>, OrderError> {
        let chosen = match name {
            Some(name) => {
                let place = self.place_of(name)?;
                place..place + 1
            }
            None => 0..self.scanners.len(),
        };
        // Of all scanners, those of the commonest ports add nothing to the others.
        let all_common = self.scanners.iter().all(|scanner| scanner.config.ports == ScannerPorts::Common);
        let adds = |place: &usize| {
            name.is_some() || all_common || self.scanners[*place].config.ports != ScannerPorts::Common
        };
        let chosen: Vec<usize> = chosen.filter(adds).collect();
        let runs: Vec<RunId> = chosen
            .into_iter()
            .filter_map(|place| {
                self.scanners[place].run.or_else(|| self.begin_run(place, false, times, actions))
            })
            .collect();
        if runs.is_empty() { Err(OrderError::NoTargets) } else { Ok(runs) }
    }

    fn order_device(
        &mut self,
        order: &Order,
        key: &DeviceKey,
        scanner: Option<&str>,
        ports: Option<&PortSet>,
        times: &Times,
        actions: &mut Vec<Action>,
    ) -> Result<RunId, OrderError> {
        let scanner = match scanner {
            Some(name) => self.place_of(name)?,
            None => {
                let feeds = |config: &ScannerConfig| config.targets == Targets::Feed;
                self.scanners.iter().position(|scanner| feeds(&scanner.config)).unwrap_or(0)
            }
        };
        let unknown = || OrderError::UnknownDevice(key.clone());
        let mut devices = self.known(key);
        if devices.is_empty() {
            return Err(unknown());
        }
        devices.retain(|device| is_wanted(&self.config, device));
        if devices.is_empty() {
            return Err(OrderError::Unwanted(key.clone()));
        }
        if let Some((id, _)) = self.runs.iter().find(|(_, run)| run.order.as_ref() == Some(order)) {
            return Ok(*id);
        }
        let config = &self.scanners.get(scanner).ok_or(OrderError::NoTargets)?.config;
        let mut run = Run::new(config, ScanKind::Manual, times.now);
        run.targets = Targets::List(devices.iter().map(|device| self.as_target(device)).collect());
        run.order = Some(order.clone());
        if let Some(ports) = ports {
            run.ports.clone_from(ports);
            run.exact = devices.iter().map(|device| (device.endpoint(), ports.clone())).collect();
        }
        run.enqueue(devices);
        Ok(self.insert(run, Vec::new(), actions))
    }

    fn place_of(&self, name: &str) -> Result<usize, OrderError> {
        self.scanners.iter().position(|scanner| scanner.config.name == name).ok_or_else(|| {
            let known: Vec<&str> = self.scanners.iter().map(|scanner| scanner.config.name.as_str()).collect();
            OrderError::UnknownScanner { asked: name.chars().take(40).collect(), known: known.join(", ") }
        })
    }

    /// Returns a device at all addresses that the feed has for it, or else where its result was found. A device that
    /// is ordered by its address is scanned at that address alone.
    fn known(&self, key: &DeviceKey) -> Vec<Device> {
        let fed: Vec<Device> = match key {
            DeviceKey::Mac(mac) => {
                self.devices.values().filter(|device| device.mac == Some(*mac)).cloned().collect()
            }
            DeviceKey::Address(address) => self.devices.get(address).cloned().into_iter().collect(),
        };
        if fed.is_empty() { self.results.last_found(key) } else { fed }
    }

    /// Returns a target that follows this device to wherever the feed has it later. A device that the feed does not
    /// name is scanned where it was.
    fn as_target(&self, device: &Device) -> TargetSpec {
        match device.mac.filter(|_| self.devices.contains_key(&device.address)) {
            Some(mac) => TargetSpec::Mac(mac.octets().to_vec()),
            None => TargetSpec::Address(device.address.clone()),
        }
    }
}

impl super::Results {
    /// Returns where a device had its results, with its identity.
    fn last_found(&self, key: &DeviceKey) -> Vec<Device> {
        let device = |(address, key): (&Address, &DeviceKey)| Device {
            address: address.clone(),
            mac: key.mac(),
            name: None,
        };
        match key {
            DeviceKey::Mac(_) => self.identities().filter(|(_, found)| *found == key).map(device).collect(),
            DeviceKey::Address(address) => {
                self.identities().filter(|(at, _)| *at == address).map(device).collect()
            }
        }
    }
}
