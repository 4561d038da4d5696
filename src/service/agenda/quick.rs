//! Quick looks: the commonest ports of every device that has no result, before any device gets all of its ports.

use super::{
    Action, Agenda, Extent, Run, Scanner, Scope,
    run::Busy,
    scope::{COMMONEST, is_few, usual_ports, widest},
    targets::is_wanted,
};
use crate::{
    config::{ScannerConfig, Targets},
    model::{Device, PortSet},
    service::schedule::Times,
};

/// The most devices of a run's list that get a quick look, if the feed does not name them: a subnet of 256 addresses.
/// Most addresses of a list have no host, and every try at one takes seconds.
const LISTED: usize = 256;

impl Agenda {
    /// Starts a quick look at each device that needs one.
    pub(super) fn begin_quick(&mut self, times: &Times, actions: &mut Vec<Action>) {
        let mut taken = self.awaiting_quick_or_scanned();
        let mut needy: Vec<Device> = Vec::new();
        let mut scanner: Option<ScannerConfig> = None;
        for (config, device) in self.quick_candidates(times) {
            if !taken.has(device) && self.needs_quick(device, times) {
                taken.insert(device);
                needy.push(device.clone());
                scanner.get_or_insert_with(|| config.clone());
            }
        }
        if let Some(scanner) = scanner {
            self.begin_or_join(needy, Run::quick(&scanner, times.now), times, actions);
        }
    }

    /// Returns the devices that wait for a quick look.
    pub(super) fn awaiting_quick(&self) -> Busy {
        let mut awaiting = Busy::default();
        let quick = self.runs.values().filter(|run| run.is_quick() && !run.is_stopped());
        quick.flat_map(|run| &run.todo).for_each(|device| awaiting.insert(device));
        awaiting
    }

    /// Returns the devices that wait for a quick look, and those that are being scanned.
    pub(super) fn awaiting_quick_or_scanned(&self) -> Busy {
        let mut busy = self.awaiting_quick();
        self.looks.values().for_each(|look| busy.insert(&look.device));
        busy
    }

    /// Returns the devices that may need a quick look, each with the scanner that will scan it whole: the feed's, as
    /// far as their identity is certain, and those that wait in runs.
    fn quick_candidates<'a>(
        &'a self,
        times: &Times,
    ) -> impl Iterator<Item = (&'a ScannerConfig, &'a Device)> {
        let is_known = self.feed_is_known(times);
        let feed = self.feed_scanner().map(|scanner| &scanner.config);
        let fed = feed.into_iter().flat_map(move |config| {
            let certain = move |device: &&Device| is_known || device.mac.is_some();
            self.scannable().filter(certain).map(move |device| (config, device))
        });
        let listed = self.scanners.iter().filter_map(|scanner| {
            let run = self.runs.get(&scanner.run?)?;
            let short = run.scope == Scope::Usual && !is_few(&run.ports) && run.queued() <= LISTED;
            short.then(|| run.todo.iter().map(|device| (&scanner.config, device)))
        });
        fed.chain(listed.flatten())
    }

    /// Whether a device has no result, and all of its ports are so many that the commonest ones come first.
    pub(super) fn needs_quick(&self, device: &Device, times: &Times) -> bool {
        is_wanted(&self.config, device)
            && self.results.needs_first(device, times.now)
            && !usual_ports(&self.config, device).is_some_and(|ports| is_few(&ports))
    }

    /// Returns the scanner that scans the feed's devices: of several, the one with the most ports.
    pub(super) fn feed_scanner(&self) -> Option<&Scanner> {
        let feeds = self.scanners.iter().filter(|scanner| scanner.config.targets == Targets::Feed);
        widest(feeds, |scanner| &scanner.config.ports)
    }

    /// Returns how much of a device a look at these ports covers.
    pub(super) fn extent(&self, device: &Device, ports: &PortSet) -> Extent {
        match usual_ports(&self.config, device) {
            Some(usual) if usual.is_subset(ports) => Extent::Full,
            // A user or a resolved name has led to it.
            None => Extent::Full,
            Some(_) if self.ports_in(Scope::Common, &COMMONEST, device).is_subset(ports) => Extent::Common,
            Some(_) => Extent::Part,
        }
    }

    /// Returns the ports of a device that a run scans.
    pub(super) fn ports_of(&self, run: &Run, device: &Device) -> PortSet {
        let exact = run.exact.get(&device.endpoint());
        exact.cloned().unwrap_or_else(|| self.ports_in(run.scope, &run.ports, device))
    }

    pub(super) fn ports_in(&self, scope: Scope, ports: &PortSet, device: &Device) -> PortSet {
        let rule = self.config.rule_for(device).and_then(|rule| rule.ports.as_ref());
        scope.ports(ports, rule, &PortSet::default())
    }
}
